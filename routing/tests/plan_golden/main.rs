//! The decisions of the planner, scene by scene, in words.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use seamline_routing::camera::{Camera, CopyIx};
use seamline_routing::coverage::Coverage;
use seamline_routing::plan::{Request, Step, next_step};
use seamline_routing::policy::{Failback, Policy};
use seamline_routing::time::TimeRange;

mod scene;

use scene::{
    Copy, back, between, coverage, expect, expect_by, failback, from, second, site, told_of,
};

#[test]
fn a_primary_up_with_footage() {
    let copies = [
        Copy::up("####################"),
        Copy::up("####################"),
    ];
    expect(
        &between(5, 15),
        &copies,
        &["00:05 to 00:15: primary (priority)"],
    );
    let growing = [Copy::up("##########>"), Copy::up("##########>")];
    expect(&from(5), &growing, &["00:05 to open: primary (priority)"]);
}

#[test]
fn b_primary_offline() {
    let copies = [
        Copy::down("####################"),
        Copy::up("####################"),
    ];
    expect(
        &between(5, 15),
        &copies,
        &["00:05 to 00:15: secondary (primary offline)"],
    );
}

#[test]
fn b_a_primary_that_this_playback_gave_up_on() {
    let barred = Copy {
        barred: true,
        ..Copy::up("####################")
    };
    let copies = [barred, Copy::up("####################")];
    expect(
        &between(5, 15),
        &copies,
        &["00:05 to 00:15: secondary (primary failed)"],
    );
}

#[test]
fn c_primary_up_without_footage() {
    let copies = [
        Copy::up("##........##########"),
        Copy::up("####################"),
    ];
    expect(
        &between(5, 20),
        &copies,
        &[
            "00:05 to 00:10: secondary (gap at primary)",
            "00:10 to 00:20: primary (priority)",
        ],
    );
}

#[test]
fn d_neither_has_footage() {
    let copies = [
        Copy::up("##........####......"),
        Copy::up("###.....####........"),
    ];
    expect(
        &between(5, 20),
        &copies,
        &[
            "00:05 to 00:08: hole",
            "00:08 to 00:10: secondary (gap at primary)",
            "00:10 to 00:14: primary (priority)",
        ],
    );
    expect(&between(15, 20), &copies, &[]);
    expect(&between(5, 7), &copies, &[]);
}

#[test]
fn d_only_the_primary_that_is_offline_has_footage() {
    let copies = [Copy::down("..#####....."), Copy::up("#.........##")];
    expect(
        &between(0, 12),
        &copies,
        &[
            "00:00 to 00:01: secondary (primary offline)",
            "00:01 to 00:02: hole",
            "00:02 to 00:10: outage",
            "00:10 to 00:12: secondary (primary offline)",
        ],
    );
    expect(
        &from(5),
        &[Copy::down("##########")],
        &["00:05 to open: outage"],
    );
}

#[test]
fn e_a_gap_is_reached_while_playing() {
    let copies = [
        Copy::up("######......########"),
        Copy::up("####################"),
    ];
    expect(
        &between(0, 20),
        &copies,
        &[
            "00:00 to 00:06: primary (priority)",
            "00:06 to 00:12: secondary (gap at primary)",
            "00:12 to 00:20: primary (priority)",
        ],
    );
    expect(
        &back(20, 0),
        &copies,
        &[
            "00:20 to 00:12: primary (priority)",
            "00:12 to 00:06: secondary (gap at primary)",
            "00:06 to 00:00: primary (priority)",
        ],
    );
}

#[test]
fn e_failback_never_stays_until_the_secondary_ends() {
    let copies = [
        Copy::up("####....####..######"),
        Copy::up("################...."),
    ];
    expect_by(
        &failback(Failback::Never),
        &between(0, 20),
        &copies,
        &[
            "00:00 to 00:04: primary (priority)",
            "00:04 to 00:16: secondary (gap at primary)",
            "00:16 to 00:20: primary (priority)",
        ],
    );
}

/// What follows when the primary's recorder lives again while the secondary plays at 5 s.
fn resumed(policy: &Policy, primary: Copy) -> String {
    let copies = [primary, Copy::up("####################")];
    let facts = copies.each_ref().map(Copy::facts);
    let step = next_step(second(5), &between(0, 20), &facts, Some(CopyIx(1)), policy);
    told_of(&[step])
}

#[test]
fn f_primary_comes_back() {
    let policy = Policy::default();
    let whole = "####################";
    assert_eq!(
        resumed(&policy, Copy::down(whole)),
        "00:05 to 00:20: secondary (primary offline)\nend"
    );
    assert_eq!(
        resumed(&policy, Copy::back_for(29, whole)),
        "00:05 to 00:20: secondary (primary not yet trusted)\nend"
    );
    assert_eq!(
        resumed(&policy, Copy::back_for(30, whole)),
        "00:05 to 00:20: primary (priority)\nend"
    );
    assert_eq!(
        resumed(&failback(Failback::AtSeam), Copy::up(whole)),
        "00:05 to 00:20: secondary (primary not yet trusted)\nend"
    );
    assert_eq!(
        resumed(&failback(Failback::Never), Copy::up(whole)),
        "00:05 to 00:20: secondary (primary not yet trusted)\nend"
    );
}

#[test]
fn f_primary_comes_back_with_a_gap_where_it_was_out() {
    let missed = "###.......##########";
    for policy in [Policy::default(), failback(Failback::AtSeam)] {
        assert_eq!(
            resumed(&policy, Copy::back_for(2, missed)),
            "00:05 to 00:10: secondary (gap at primary)\nend"
        );
    }
    assert_eq!(
        resumed(&Policy::default(), Copy::suspect(missed)),
        "00:05 to 00:20: secondary (gap at primary)\nend"
    );
}

#[test]
fn f_a_return_that_would_not_last_is_not_made() {
    let copies = [
        Copy::up("####.....#...#######"),
        Copy::up("##################.."),
    ];
    expect(
        &between(0, 20),
        &copies,
        &[
            "00:00 to 00:04: primary (priority)",
            "00:04 to 00:13: secondary (gap at primary)",
            "00:13 to 00:20: primary (priority)",
        ],
    );
    // Unless the secondary does not have it either.
    let copies = [
        Copy::up("####.....#...#######"),
        Copy::up("#########.##########"),
    ];
    expect(
        &between(0, 13),
        &copies,
        &[
            "00:00 to 00:04: primary (priority)",
            "00:04 to 00:09: secondary (gap at primary)",
            "00:09 to 00:10: primary (priority)",
            "00:10 to 00:13: secondary (gap at primary)",
        ],
    );
}

#[test]
fn g_overlap_with_skew() {
    // The secondary's clock is 3 s ahead: what it calls 9 s to 23 s is 6 s to 20 s.
    let stated = coverage("?????????##############");
    let secondary = Copy {
        coverage: stated.shift(-3_000_000),
        ..Copy::up("")
    };
    let copies = [Copy::up("########............"), secondary];
    expect(
        &between(0, 20),
        &copies,
        &[
            "00:00 to 00:08: primary (priority)",
            "00:08 to 00:20: secondary (gap at primary)",
        ],
    );
    expect(
        &back(20, 0),
        &copies,
        &[
            "00:20 to 00:08: secondary (gap at primary)",
            "00:08 to 00:00: primary (priority)",
        ],
    );
}

#[test]
fn h_gaps_shorter_than_min_gap() {
    let range = |start: i64, end: i64| {
        TimeRange::new(second(0).shift(start * 1_000), second(0).shift(end * 1_000)).unwrap()
    };
    // Holes of 499 ms at 4 s and of 500 ms at 10 s.
    let periods = [range(0, 4_000), range(4_499, 10_000), range(10_500, 20_000)];
    let primary = Copy {
        coverage: Coverage::new(range(0, 20_000), periods, second(20), false),
        ..Copy::up("")
    };
    let copies = [primary, Copy::up("####################")];
    expect(
        &between(0, 20),
        &copies,
        &[
            "00:00 to 00:10: primary (priority)",
            "00:10 to 00:10.500: secondary (gap at primary)",
            "00:10.500 to 00:20: primary (priority)",
        ],
    );
    let in_hole = Request {
        at: second(0).shift(4_200_000),
        ..between(0, 8)
    };
    expect(
        &in_hole,
        &copies,
        &["00:04.200 to 00:08: primary (priority)"],
    );
    let all = Policy {
        min_gap: Duration::ZERO,
        ..Policy::default()
    };
    expect_by(
        &all,
        &between(3, 6),
        &copies,
        &[
            "00:03 to 00:04: primary (priority)",
            "00:04 to 00:06: secondary (gap at primary)",
        ],
    );
}

#[test]
fn i_three_sites() {
    let copies = [
        Copy::down("####################"),
        Copy::up("#####.....##########"),
        Copy::up("########............"),
    ];
    expect(
        &between(0, 20),
        &copies,
        &[
            "00:00 to 00:05: secondary (primary offline)",
            "00:05 to 00:08: tertiary (primary offline, gap at secondary)",
            "00:08 to 00:10: outage",
            "00:10 to 00:20: secondary (primary offline)",
        ],
    );
    let camera = Camera {
        id: "gate".into(),
        name: "Gate".into(),
        copies: ["north", "south", "cloud"].map(site).into(),
    };
    let facts = copies.each_ref().map(Copy::facts);
    let Step::Leg { reason, .. } = next_step(second(6), &from(6), &facts, None, &Policy::default())
    else {
        panic!("the third site holds it");
    };
    assert_eq!(
        reason.named(&camera).to_string(),
        "north offline, gap at south"
    );
}

#[test]
fn j_unknown_coverage() {
    // Unknown is no gap, but what is known comes first.
    let copies = [
        Copy::up("????????????????????"),
        Copy::up("##########.........."),
    ];
    expect(
        &between(5, 20),
        &copies,
        &[
            "00:05 to 00:10: secondary (coverage of primary unknown)",
            "00:10 to 00:20: primary (coverage unknown)",
        ],
    );
    // Nor is it the end.
    let copies = [Copy::up("######????"), Copy::up("..........")];
    expect(&from(0), &copies, &["00:00 to open: primary (priority)"]);
    // A recorder that cannot list is believed to have what it has not refused.
    let copies = [
        Copy::mute("?????....???????????"),
        Copy::up("####################"),
    ];
    expect(
        &between(0, 20),
        &copies,
        &[
            "00:00 to 00:05: primary (priority)",
            "00:05 to 00:09: secondary (gap at primary)",
            "00:09 to 00:20: primary (priority)",
        ],
    );
    let copies = [
        Copy::down("????????????????????"),
        Copy::up("##########.........."),
    ];
    expect(
        &between(5, 20),
        &copies,
        &[
            "00:05 to 00:10: secondary (primary offline)",
            "00:10 to 00:20: outage",
        ],
    );
}

#[test]
fn choosing_a_step_allocates_nothing() {
    let primary = Copy::up("####....####..######?????");
    let secondary = Copy::up("????######.#######.....##>");
    let (offline, mute) = (Copy::down("####################"), Copy::mute("????..????"));
    let facts = [
        primary.facts(),
        offline.facts(),
        secondary.facts(),
        mute.facts(),
    ];
    let policy = Policy::default();
    let allocations = allocation_counter::measure(|| {
        for request in [from(0), back(24, 0)] {
            for at in 0..25 {
                std::hint::black_box(next_step(second(at), &request, &facts, None, &policy));
            }
        }
    });
    assert_eq!(allocations.count_total, 0);
}

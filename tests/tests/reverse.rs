//! Reverse play on the wire and in a player: groups last first, each forward, whatever serves them.

use std::{collections::BTreeSet, time::Duration};

use seamline_tests::{
    clock::{FRAME_MS, iso, monotonic, noon},
    footage::Recipe,
    onvif::Setup as Soap,
    probe::Probe,
    recorder::Setup,
    seamline::Config,
    stream::{Onvif, Packet, Unit, assert_one_stream, assert_stamped, units},
    vendor::Setup as Vendor,
};
use serde_json::json;

const SOON: Duration = Duration::from_secs(30);

/// What came backwards: its groups, as D tells them apart.
struct Rewound {
    groups: Vec<Vec<Unit>>,
}

impl Rewound {
    /// Panics unless D and C are on the first packet of each group, and nowhere else.
    fn of(packets: &[Packet], cseq: u32) -> Self {
        assert_one_stream(packets);
        assert_stamped(packets, cseq);
        let mut firsts = Vec::new();
        for (index, packet) in packets.iter().enumerate() {
            let onvif = packet.onvif.expect("all are stamped");
            assert_eq!(
                onvif.discontinuity(),
                onvif.clean_point(),
                "C or D alone on packet {}",
                packet.sequence
            );
            if onvif.discontinuity() {
                firsts.push(index);
            }
        }
        assert_eq!(firsts.first(), Some(&0), "does not begin with D");
        let ends = firsts.iter().skip(1).copied().chain([packets.len()]);
        let groups = firsts.iter().zip(ends);
        Self {
            groups: groups
                .map(|(from, to)| units(&packets[*from..to]))
                .collect(),
        }
    }

    fn captures(group: &[Unit]) -> Vec<i64> {
        group.iter().filter_map(|unit| unit.capture_ms).collect()
    }

    /// Panics unless every picture before `later` down to `earlier` came once, in order, but for what lies in `holes`.
    fn assert_whole(&self, later: i64, earlier: i64, holes: &[(i64, i64)]) {
        let mut shown = Vec::new();
        for group in &self.groups {
            let captures = Self::captures(group);
            let steps = captures
                .windows(2)
                .all(|pair| pair[1] - pair[0] == FRAME_MS);
            assert!(steps, "uneven within a group: {:?}", said(&captures));
            shown.extend(captures.into_iter().rev());
        }
        let held = |at: i64| !holes.iter().any(|(from, to)| (*from..*to).contains(&at));
        let wanted: Vec<i64> = (0..=(later - earlier) / FRAME_MS)
            .map(|step| later - step * FRAME_MS)
            .filter(|at| held(*at))
            .collect();
        // Before the end of the range only what its pictures need to be decoded.
        let (inside, preroll): (Vec<i64>, Vec<i64>) =
            shown.iter().copied().partition(|at| *at >= earlier);
        let missing: BTreeSet<i64> = wanted
            .iter()
            .copied()
            .filter(|at| !inside.contains(at))
            .collect();
        assert!(missing.is_empty(), "missing {:?}", said(missing.iter()));
        assert_eq!(said(&inside), said(&wanted));
        let last = self.groups.last().map_or(0, Vec::len);
        assert!(
            preroll.len() < last,
            "goes on behind the range: {:?}",
            said(&preroll)
        );
    }

    /// Capture times of the units with E, and of those with T.
    fn ends(&self) -> (Vec<i64>, Vec<i64>) {
        let flagged = |flag: fn(&Unit) -> bool| {
            let units = self.groups.iter().flatten().filter(|unit| flag(unit));
            units.filter_map(|unit| unit.capture_ms).collect()
        };
        (
            flagged(|unit| unit.onvif.is_some_and(Onvif::section_end)),
            flagged(|unit| unit.onvif.is_some_and(Onvif::terminal)),
        )
    }

    /// Panics unless RTP time follows the capture times at `ticks` a picture; negative where it says when each is shown.
    fn assert_rtp(&self, ticks: i64) {
        let units: Vec<&Unit> = self.groups.iter().flatten().collect();
        for pair in units.windows(2) {
            let rtp = i64::from(pair[1].rtp_time.wrapping_sub(pair[0].rtp_time) as i32);
            let captures = pair[1].capture_ms.zip(pair[0].capture_ms);
            let pictures = captures.map_or(0, |(after, before)| (after - before) / FRAME_MS);
            let error = (rtp - pictures * ticks).abs();
            assert!(error <= 2, "RTP time moves {rtp} over {pictures} pictures");
        }
    }
}

fn said<'a>(captures: impl IntoIterator<Item = &'a i64>) -> Vec<String> {
    captures.into_iter().map(|at| iso(*at)).collect()
}

#[test]
fn an_archive_and_a_recorder_play_backwards_alike() {
    let footage = Recipe::default().make();
    let recorder = Setup::default().start(&footage);
    let device = Soap::default().start(&recorder);
    let files = Recipe::default().mp4().make();
    let folder = files.archive_without(&[]);
    let clips = Vendor::of("mediamtx").start(&footage);
    for config in [
        Config::default().onvif("device", &device),
        Config::default().archive("archive", folder.path()),
        Config::default().site("recorder", &recorder),
        Config::default().vendor("mediamtx", &clips),
    ] {
        let seamline = config.serve();
        let mut probe = Probe::open(&seamline.url());
        let headers = [("Scale", "-1.0"), ("Rate-Control", "no")];
        let (later, earlier) = (noon(20.0), noon(9.0));
        let answer = probe.play(later, Some(earlier), &headers);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("Scale"), Some("-1.0"));
        assert_eq!(
            answer.header("Range"),
            Some("clock=20260101T120020Z-20260101T120009Z")
        );
        let cseq = probe.client.cseq();
        probe.receive_to_end(SOON);
        let rewound = Rewound::of(&probe.tracks[0], cseq);
        rewound.assert_whole(later, earlier, &[]);
        rewound.assert_rtp(3_600);
        let end = rewound.groups.last().and_then(|group| group.last());
        let end = end
            .and_then(|unit| unit.capture_ms)
            .expect("units are dated");
        assert_eq!(rewound.ends(), (vec![end], vec![end]));
        let silent = probe.receive(Duration::from_secs(1), |probe| probe.byes() > 1);
        assert!(!silent && probe.byes() == 1, "{} BYE", probe.byes());
    }
}

#[test]
fn over_planned_seams_and_holes_no_picture_is_missing() {
    let footage = [Recipe::default().make(), Recipe::secondary().make()];
    // 4 s to 8 s only at the secondary; 20 s to 24.72 s nowhere; 26 s to 28.2 s only at the primary.
    let primary = Setup::default()
        .without(noon(4.0), noon(8.0))
        .without(noon(20.0), noon(24.0))
        .start(&footage[0]);
    let secondary = Setup::default()
        .without(noon(19.0), noon(24.4))
        .without(noon(26.0), noon(28.2))
        .start(&footage[1]);
    let seamline = Config::default()
        .site("primary", &primary)
        .site("secondary", &secondary)
        .policy("failback", "at-seam")
        .serve();
    let (later, earlier) = (noon(30.0), noon(2.0));
    // What follows a hole begins with the first key frame: the secondary's.
    let hole = (noon(20.0), noon(24.72));
    for turn in 0..2 {
        let mut probe = Probe::open(&seamline.url());
        let headers = [("Scale", "-1"), ("Rate-Control", "no")];
        let answer = probe.play(later, Some(earlier), &headers);
        assert_eq!(answer.status, 200, "{answer:?}");
        let cseq = probe.client.cseq();
        probe.receive_to_end(SOON);
        let rewound = Rewound::of(&probe.tracks[0], cseq);
        println!("turn {turn}");
        rewound.assert_whole(later, earlier, &[hole]);
        rewound.assert_rtp(3_600);
        let last = rewound.groups.last().and_then(|group| group.last());
        let last = last
            .and_then(|unit| unit.capture_ms)
            .expect("units are dated");
        let (sections, terminal) = rewound.ends();
        assert_eq!(terminal, [last]);
        // The group that opens the section behind the hole ends it backwards, and the last one does.
        assert_eq!(sections.last(), Some(&last));
        assert_eq!(sections.len(), 2, "E at {:?}", said(&sections));
        let opening = rewound
            .groups
            .iter()
            .find(|group| Rewound::captures(group).first() == Some(&hole.1));
        let opening = opening.expect("the section begins with a key frame");
        assert_eq!(Rewound::captures(opening).last(), sections.first());
    }
}

#[test]
fn what_only_a_frozen_recorder_holds_is_waited_for_backwards() {
    let footage = [Recipe::default().make(), Recipe::secondary().make()];
    // 16 s to 22 s only at the secondary.
    let busy = || Setup::default().no_faster_than(4.0);
    let primary = busy().without(noon(16.0), noon(22.0)).start(&footage[0]);
    let secondary = busy().start(&footage[1]);
    let seamline = Config::default()
        .site("primary", &primary)
        .site("secondary", &secondary)
        .policy("failback", "at-seam")
        // What is asked of it while it is frozen fails, more than once.
        .policy("reaction", json!({ "response": "700ms" }))
        .serve();
    let (later, earlier) = (noon(25.0), noon(14.0));
    for (scale, paced, frozen_at) in [("-1", "no", 24.6), ("-2", "yes", 24.6)] {
        let mut probe = Probe::open(&seamline.url());
        let headers = [("Scale", scale), ("Rate-Control", paced)];
        let answer = probe.play(later, Some(earlier), &headers);
        assert_eq!(answer.status, 200, "{answer:?}");
        let cseq = probe.client.cseq();
        let there = |probe: &Probe| probe.last_capture().is_some_and(|at| at < noon(frozen_at));
        assert!(probe.receive(SOON, there), "no reverse play");
        secondary.stop();
        probe.receive(Duration::from_secs(2), Probe::has_ended);
        secondary.resume();
        probe.receive_to_end(SOON);
        let rewound = Rewound::of(&probe.tracks[0], cseq);
        let (wait, at) = seamline_tests::stream::longest_stall(&rewound.groups.concat());
        println!("paced {paced}: longest wait {wait:?} before {}", iso(at));
        rewound.assert_whole(later, earlier, &[]);
    }
}

#[test]
fn the_primary_dies_under_reverse_play() {
    let footage = [Recipe::default().make(), Recipe::secondary().make()];
    let busy = || Setup::default().no_faster_than(3.0);
    let mut primary = busy().start(&footage[0]);
    let secondary = busy().start(&footage[1]);
    let seamline = Config::default()
        .site("primary", &primary)
        .site("secondary", &secondary)
        .policy("failback", "never")
        .serve();
    let (later, earlier) = (noon(40.0), noon(30.0));
    let mut probe = Probe::open(&seamline.url());
    let answer = probe.play(later, Some(earlier), &[("Scale", "-1.0")]);
    assert_eq!(answer.status, 200, "{answer:?}");
    let cseq = probe.client.cseq();
    let begun = |probe: &Probe| probe.last_capture().is_some_and(|at| at < noon(37.0));
    assert!(probe.receive(SOON, begun), "no reverse play");
    primary.kill();
    probe.receive_to_end(SOON);
    let rewound = Rewound::of(&probe.tracks[0], cseq);
    rewound.assert_whole(later, earlier, &[]);
    rewound.assert_rtp(-3_600);
    seamline.await_log(&["route", "secondary"], SOON);
    let (wait, at) = seamline_tests::stream::longest_stall(&rewound.groups.concat());
    println!("longest wait {wait:?} before {}", iso(at));
    let arrivals: Vec<Duration> = probe.tracks[0]
        .iter()
        .map(|packet| packet.arrival)
        .collect();
    let lasted = match arrivals[..] {
        [first, .., last] => last.checked_sub(first).expect("the last comes last"),
        _ => panic!("hardly a packet"),
    };
    // How much longer it takes, a busy machine decides.
    assert!(
        lasted >= Duration::from_secs(9),
        "ten seconds of footage took {lasted:?}"
    );
}

#[test]
fn the_primary_freezes_under_reverse_play_and_is_played_again_when_it_is_back() {
    let footage = [Recipe::default().make(), Recipe::secondary().make()];
    let busy = || Setup::default().no_faster_than(6.0);
    let primary = busy().start(&footage[0]);
    let secondary = busy().start(&footage[1]);
    let seamline = Config::default()
        .site("primary", &primary)
        .site("secondary", &secondary)
        .policy("failback", "after 2s")
        .serve();
    let (later, earlier) = (noon(60.0), noon(20.0));
    let mut probe = Probe::open(&seamline.url());
    let answer = probe.play(later, Some(earlier), &[("Scale", "-2.0")]);
    assert_eq!(answer.header("Scale"), Some("-2.0"), "{answer:?}");
    let cseq = probe.client.cseq();
    let before = |at: i64| move |probe: &Probe| probe.last_capture().is_some_and(|last| last < at);
    assert!(probe.receive(SOON, before(noon(56.0))), "no reverse play");
    primary.stop();
    let line = seamline.await_log(&["route", "to=\"secondary\""], SOON);
    println!("{line}");
    primary.resume();
    probe.receive_to_end(SOON);
    let rewound = Rewound::of(&probe.tracks[0], cseq);
    rewound.assert_whole(later, earlier, &[]);
    rewound.assert_rtp(-1_800);
    let (wait, at) = seamline_tests::stream::longest_stall(&rewound.groups.concat());
    println!("longest wait {wait:?} before {}", iso(at));
    let back = ["route", "from=\"secondary\"", "to=\"primary\""];
    println!("{}", seamline.await_log(&back, Duration::from_secs(1)));
}

#[test]
fn the_first_picture_backwards_comes_nearly_as_soon_as_forward() {
    let recorder = Setup::default().start(&Recipe::default().make());
    let folder = Recipe::default().mp4().make().archive_without(&[]);
    for (name, config) in [
        ("recorder", Config::default().site("recorder", &recorder)),
        (
            "archive",
            Config::default().archive("archive", folder.path()),
        ),
    ] {
        let seamline = config.serve();
        let mut waits = [Vec::new(), Vec::new()];
        for turn in 0..10 {
            for (scale, waits) in ["1.0", "-1.0"].into_iter().zip(&mut waits) {
                let mut probe = Probe::open(&seamline.url());
                let began = monotonic();
                let at = noon(15.0 + 3.3 * f64::from(turn));
                let answer = probe.play(at, None, &[("Scale", scale)]);
                assert_eq!(answer.status, 200, "{answer:?}");
                assert!(probe.receive(SOON, |probe| !probe.tracks[0].is_empty()));
                let first = probe.tracks[0][0].arrival;
                waits.push(first.checked_sub(began).expect("media follows its PLAY"));
            }
        }
        let [forward, back] = waits.map(|mut waits| {
            waits.sort_unstable();
            waits[waits.len() / 2]
        });
        println!("{name}: first picture after {forward:?} forward, {back:?} in reverse");
        assert!(back < forward + Duration::from_millis(300));
    }
}

#[test]
fn recorders_that_are_told_the_time_in_the_url_play_backwards() {
    let footage = Recipe::default().make();
    // Four times as fast as it was recorded: real ones send some of it ahead.
    let of = |kind, tells| Vendor::of(kind).tells(tells).speed(4.0);
    let template = of("nx", "stamps").start(&footage);
    let url = format!(
        "rtsp://127.0.0.1:{}/{{camera}}?pos={{start:ms}}",
        template.port()
    );
    let vendors = [
        of("hikvision", "rtp-info").zone("Europe/Zurich"),
        of("dahua", "report").zone("Europe/Zurich"),
        // Two recordings that follow each other.
        of("axis", "stamps").split(noon(13.52)),
        of("nx", "stamps"),
    ]
    .map(|setup| setup.start(&footage));
    let zoned = |config: Config, at: usize| match at {
        0 | 1 => config.recorder("zone", "Europe/Zurich"),
        _ => config,
    };
    let configs = vendors.iter().enumerate();
    let configs =
        configs.map(|(at, vendor)| zoned(Config::default().vendor("primary", vendor), at));
    for config in configs.chain([Config::default().site_at("primary", &url, 0)]) {
        let seamline = config.serve();
        let mut probe = Probe::open(&seamline.url());
        let headers = [("Scale", "-1.0"), ("Rate-Control", "no")];
        let (later, earlier) = (noon(20.0), noon(9.0));
        let answer = probe.play(later, Some(earlier), &headers);
        assert_eq!(answer.status, 200, "{answer:?}");
        let cseq = probe.client.cseq();
        probe.receive_to_end(SOON);
        let rewound = Rewound::of(&probe.tracks[0], cseq);
        rewound.assert_whole(later, earlier, &[]);
        rewound.assert_rtp(3_600);
    }
}

#[test]
fn backwards_over_a_gap_of_a_recorder_by_url_the_other_plays() {
    let footage = [Recipe::default().make(), Recipe::secondary().make()];
    // It runs over its gap as if there were none.
    let first = Vendor::of("hikvision")
        .tells("rtp-info")
        .zone("Europe/Zurich")
        .without(noon(14.0), noon(19.6))
        .speed(4.0)
        .start(&footage[0]);
    let second = Vendor::of("axis")
        .tells("stamps")
        .speed(4.0)
        .start(&footage[1]);
    let seamline = Config::default()
        .policy("failback", "at-seam")
        .vendor("primary", &first)
        .recorder("zone", "Europe/Zurich")
        .vendor("secondary", &second)
        .serve();
    let mut probe = Probe::open(&seamline.url());
    let headers = [("Scale", "-1"), ("Rate-Control", "no")];
    let (later, earlier) = (noon(25.0), noon(9.0));
    let answer = probe.play(later, Some(earlier), &headers);
    assert_eq!(answer.status, 200, "{answer:?}");
    let cseq = probe.client.cseq();
    probe.receive_to_end(SOON);
    let rewound = Rewound::of(&probe.tracks[0], cseq);
    rewound.assert_whole(later, earlier, &[]);
    for (from, to) in [("primary", "secondary"), ("secondary", "primary")] {
        let (from, to) = (format!("from=\"{from}\""), format!("to=\"{to}\""));
        println!("{}", seamline.await_log(&["route", &from, &to], SOON));
    }
}

#[test]
fn stretches_that_nothing_dates_join_backwards_picture_for_picture() {
    // Its key frames lie ever differently within the second that is asked for.
    let recipe = Recipe {
        gop: 37,
        seconds: 45,
        ..Recipe::default()
    };
    let footage = recipe.make();
    let recorder = Vendor::of("dahua")
        .zone("Europe/Zurich")
        .speed(4.0)
        .start(&footage);
    let seamline = Config::default()
        .vendor("primary", &recorder)
        .recorder("zone", "Europe/Zurich")
        .serve();
    let (later, earlier) = (noon(20.0), noon(9.0));
    let play = |headers: &[(&str, &str)], from: i64, to: i64| {
        let mut probe = Probe::open(&seamline.url());
        let answer = probe.play(from, Some(to), headers);
        assert_eq!(answer.status, 200, "{answer:?}");
        let cseq = probe.client.cseq();
        probe.receive_to_end(SOON);
        (cseq, probe.tracks.swap_remove(0))
    };
    let (_, forward) = play(&[("Rate-Control", "no")], noon(3.0), noon(26.0));
    let back = [("Scale", "-1"), ("Rate-Control", "no")];
    let (cseq, back) = play(&back, later, earlier);
    let rewound = Rewound::of(&back, cseq);
    // What is shown as eleven seconds is one unbroken piece of the recording, whatever the dates.
    rewound.assert_whole(later, earlier, &[]);
    let mut shown: Vec<Vec<u8>> = Vec::new();
    for group in back.chunk_by(|_, next| !next.onvif.is_some_and(Onvif::discontinuity)) {
        shown.extend(coded(group).into_iter().rev());
    }
    shown.reverse();
    let held = coded(&forward);
    let begins = held.iter().position(|picture| *picture == shown[0]);
    let begins = begins.expect("what is shown was recorded");
    assert!(
        held[begins..].starts_with(&shown),
        "{} pictures, from {begins} of {}",
        shown.len(),
        held.len()
    );
}

/// What is coded of each picture, without parameter sets.
fn coded(packets: &[Packet]) -> Vec<Vec<u8>> {
    let pictures = packets.chunk_by(|one, next| one.rtp_time == next.rtp_time);
    let slices = pictures.map(|picture| {
        let is_slice = |packet: &&Packet| matches!(packet.payload[0] & 31, 1 | 5 | 28);
        let slices = picture.iter().filter(is_slice);
        slices.flat_map(|packet| packet.payload.clone()).collect()
    });
    slices.collect()
}

//! Where a client is told to be: in one timeline of all sites, whoever of them is there.

use std::env;

use seamline_tests::{
    clock::{await_that, noon},
    imageserver::Client,
    pair::{Pair, TOKEN, Union, holding, place},
    xprotect::{CAMERA, Setup},
};
use serde_json::json;

use crate::{GOLDEN, SOON, asked};

#[test]
fn positions_are_those_of_one_recorder_that_holds_all() {
    let pair = Pair::new(&[(0, 10), (40, 50)], &[(5, 45)]);
    let mut client = pair.client();
    for (method, at, expected) in GOLDEN {
        let answer = asked(&mut client, method, at);
        assert_eq!(place(&answer), expected, "{method} {at}: {answer}");
        assert_eq!(answer["pictures"], 25, "{answer}");
    }
    // Transcoded, a key picture each; every picture by itself, over both seams.
    let mut client = pair.client_with(&json!({ "jpeg": true }));
    for (method, at, expected) in GOLDEN {
        let answer = asked(&mut client, method, at);
        assert_eq!(place(&answer), expected, "JPEG {method} {at}: {answer}");
        assert_eq!(
            (&answer["type"], &answer["parts"]),
            (&json!("image/jpeg"), &json!(1))
        );
    }
    let mut client = pair.client_with(&json!({ "jpeg": true, "allframes": true }));
    for from in [9.7, 39.7] {
        let mut answer = client.goto(noon(from) + 1);
        for picture in 0..12 {
            let at = noon(from) - 20 + picture * 40;
            let told = ["prev", "current", "next"].map(|name| answer[name].as_i64().unwrap());
            assert_eq!(
                told,
                [at - 40, at, at + 40],
                "picture {picture} behind {from}: {answer}"
            );
            answer = client.ask("next");
        }
    }
    let mut client = pair.client();
    // Several at once, over the seam: answered in order.
    client.goto(noon(8.0));
    let next = json!({ "method": "next" });
    let answers = client.order(&json!({ "do": "pipeline", "calls": [next, next, next, next] }));
    let answers = answers["answers"]
        .as_array()
        .unwrap_or_else(|| panic!("{answers}"));
    let current: Vec<i64> = answers.iter().map(|answer| place(answer).0).collect();
    assert_eq!(current, [9, 10, 11, 12]);
    // The primary is never asked for what only the other one has, and nobody is asked twice for one thing.
    let log = pair.seamline.log().join("\n");
    assert!(log.contains("gap at better site"), "{log}");
    assert!(!log.contains("TOKEN#") && !log.contains("s3cret"), "{log}");
}

/// The rest of it: a gap of both, its ends, and the ends of all; a primary with [0, 10) and [40, 50), and a secondary with
/// [5, 20) and [30, 45).
const GAPS: [(&str, f64, (i64, i64, i64)); 16] = [
    ("goto", 3.683, (3, 2, 4)),
    ("goto", 25.0, (19, 18, 30)),
    ("next", 0.0, (30, 19, 31)),
    ("previous", 0.0, (19, 18, 30)),
    ("previous", 0.0, (18, 17, 19)),
    ("goto", 29.999, (19, 18, 30)),
    ("goto", 30.0, (30, 19, 31)),
    ("goto", 39.999, (39, 38, 40)),
    ("next", 0.0, (40, 39, 41)),
    ("goto", 9.999, (9, 8, 10)),
    ("next", 0.0, (10, 9, 11)),
    ("goto", 99.0, (49, 48, 49)),
    ("next", 0.0, (49, 48, 49)),
    ("begin", 0.0, (0, 0, 1)),
    ("nextsequence", 0.0, (30, 19, 31)),
    ("previoussequence", 0.0, (0, 0, 1)),
];

/// What a client of the secondary alone would be told, that was told `last` before.
fn alone(held: &[(i64, i64)], method: &str, at: f64, last: (i64, i64, i64)) -> (i64, i64, i64) {
    let units: Vec<i64> = held.iter().flat_map(|(from, to)| *from..*to).collect();
    let (first, newest) = (units[0], units[units.len() - 1]);
    let before = |at: i64| units.iter().copied().filter(|unit| *unit < at).max();
    let behind = |at: i64| units.iter().copied().find(|unit| *unit > at);
    let floor = |at: i64| before(at + 1).unwrap_or(first);
    let begins = |from: i64| {
        held.iter()
            .map(|(start, _)| *start)
            .find(|start| *start > from)
    };
    let current = match method {
        "goto" => floor(at.floor() as i64),
        "next" => match behind(last.0) {
            Some(unit) => unit,
            // Nobody has anything newer: the same again.
            None if last.0 > newest => return (last.0, last.1, last.0),
            None => newest,
        },
        "previous" => match before(last.0) {
            Some(unit) => unit,
            None if last.0 < first => return (last.0, last.0, last.2),
            None => first,
        },
        "begin" => first,
        "nextsequence" => begins(last.0).unwrap_or(newest),
        "previoussequence" => {
            let mut starts = held.iter().rev().map(|(start, _)| *start);
            starts.find(|start| *start < last.0).unwrap_or(first)
        }
        _ => newest,
    };
    let neighbour = |unit: Option<i64>| unit.unwrap_or(current);
    (
        current,
        neighbour(before(current)),
        neighbour(behind(current)),
    )
}

#[test]
fn the_primary_may_die_between_any_two_requests() {
    let tables = [
        (GOLDEN, &[(0, 10), (40, 50)][..], &[(5, 45)][..]),
        (GAPS, &[(0, 10), (40, 50)], &[(5, 20), (30, 45)]),
    ];
    for (table, primary, secondary) in tables {
        let mut pair = Pair::new(primary, secondary);
        let held: Vec<_> = secondary
            .iter()
            .map(|(a, b)| (i64::from(*a), i64::from(*b)))
            .collect();
        // A connection for each request before which it dies, the last one for none: it is up for all of the table.
        let mut client = pair.client();
        for _ in 0..table.len() {
            client.order(&json!({ "do": "open", "port": pair.port }));
            assert_eq!(client.connect(CAMERA, TOKEN)["connected"], "yes");
        }
        for dies_at in 0..=table.len() {
            client.order(&json!({ "do": "use", "index": dies_at }));
            for (method, at, expected) in table.into_iter().take(dies_at) {
                let answer = asked(&mut client, method, at);
                assert_eq!(place(&answer), expected, "up, {method} {at}: {answer}");
                assert_eq!(answer["pictures"], 25, "{answer}");
            }
        }
        pair.primary.kill();
        for dies_at in 0..=table.len() {
            client.order(&json!({ "do": "use", "index": dies_at }));
            let mut last = dies_at
                .checked_sub(1)
                .map_or((0, 0, 0), |before| table[before].2);
            for (index, (method, at, before)) in table.into_iter().enumerate().skip(dies_at) {
                let answer = asked(&mut client, method, at);
                let told = place(&answer);
                // Where the one that died need not be asked, nobody knows yet that it did.
                let unnoticed = index == dies_at && told == before;
                let expected = alone(&held, method, at, last);
                assert!(
                    unnoticed || told == expected,
                    "dead since {dies_at} {index}, {method} {at}: {expected:?}, not {answer}"
                );
                assert_eq!(answer["pictures"], 25, "{answer}");
                last = told;
            }
        }
        // Who comes now is let in as the primary did a while ago, and only he.
        let mut late = Client::open(pair.port);
        assert_eq!(late.connect(CAMERA, TOKEN)["connected"], "yes");
        assert_eq!(place(&late.goto(noon(9.5))).0, 9);
        let mut stranger = Client::open(pair.port);
        assert_eq!(stranger.connect(CAMERA, "TOKEN#other")["connected"], "no");
        // It comes back, and is the one that is asked again; then it does not let him in any more, and nobody else does.
        pair.revive();
        await_that(SOON, "the primary is not asked again", || {
            place(&late.goto(noon(3.0))).0 == 3
        });
        pair.primary.kill();
        assert_eq!(place(&late.goto(noon(9.5))).0, 9);
        pair.revive_without_token();
        await_that(SOON, "a refusal is not heard", || {
            !late.goto(noon(9.5))["gone"].is_null()
        });
    }
}

#[test]
fn random_scrubbing_gives_what_one_recorder_would() {
    let scrubs = env::var("SEAMLINE_SCRUBS").map_or(2000, |count| count.parse().unwrap());
    let primary = [(-8, 0), (6, 10), (20, 26), (40, 46)];
    let secondary = [(-4, 8), (14, 30), (44, 60)];
    let pair = Pair::new(&primary, &secondary);
    let mut union = Union::new(&[(-8, 10), (14, 30), (40, 60)]);
    let mut through = pair.client();
    let order =
        json!({ "do": "scrub", "seed": 7, "count": scrubs, "from": noon(-12.0), "to": noon(64.0) });
    let mut expected = union.client.order(&order);
    let mut answer = through.order(&order);
    for count in 0..scrubs {
        assert_eq!(answer, expected, "after {count} requests");
        (expected, answer) = (union.client.read(), through.read());
    }
    assert_eq!(answer, json!({ "scrubbed": scrubs }));
}

#[test]
fn clocks_apart_make_one_timeline() {
    let sites = [
        holding(Setup::default(), &[(0, 10), (40, 50)]),
        holding(Setup::default(), &[(5, 45)]).ahead_ms(90_000),
    ];
    let pair = Pair::of(sites, |config| config.ahead(90_000));
    let mut client = pair.client();
    for (method, at, expected) in GOLDEN {
        let answer = asked(&mut client, method, at);
        // The client holds the times in the bodies against that of the head.
        assert_eq!(place(&answer), expected, "{method} {at}: {answer}");
        assert_eq!(answer["sync"], answer["current"], "{answer}");
    }
}

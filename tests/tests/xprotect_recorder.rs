//! The port of a recorder of XProtect as its clients meet it: two sites that know nothing of each other, and one timeline.

use std::{
    env,
    io::{Read, Write},
    net::TcpStream,
    process::Command,
    thread,
    time::Duration,
};

use seamline_tests::{
    clock::{await_that, iso, monotonic, noon},
    imageserver::Client,
    pair::{Pair, THERE, TOKEN, Union, holding, place},
    program::{lab_folder, venv},
    xprotect::{CAMERA, Setup},
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);
/// A frozen primary costs less, once: three times what it is on a quiet machine.
const FROZEN_MS: f64 = 1500.0;
/// Sooner than sites are asked anyway.
const LOOKED_WITHIN: Duration = Duration::from_secs(35);
/// What a recorder has said was heard by then.
const ON_ITS_WAY: Duration = Duration::from_millis(500);

/// What the position table says of a primary with [0, 10) and [40, 50), and a secondary with [5, 45).
const GOLDEN: [(&str, f64, (i64, i64, i64)); 16] = [
    ("goto", 3.5, (3, 2, 4)),
    ("goto", 9.9, (9, 8, 10)),
    ("next", 0.0, (10, 9, 11)),
    ("previous", 0.0, (9, 8, 10)),
    ("goto", 39.5, (39, 38, 40)),
    ("next", 0.0, (40, 39, 41)),
    ("previous", 0.0, (39, 38, 40)),
    ("goto", 60.0, (49, 48, 49)),
    ("next", 0.0, (49, 48, 49)),
    ("goto", -8.0, (0, 0, 1)),
    ("previous", 0.0, (0, 0, 1)),
    ("end", 0.0, (49, 48, 49)),
    ("begin", 0.0, (0, 0, 1)),
    ("nextsequence", 0.0, (49, 48, 49)),
    ("goto", 25.0, (25, 24, 26)),
    ("previoussequence", 0.0, (0, 0, 1)),
];

fn asked(client: &mut Client, method: &str, at: f64) -> Value {
    match method {
        "goto" => client.goto(noon(at)),
        method => client.ask(method),
    }
}

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
fn a_refusal_that_comes_late_is_heard_whatever_is_asked_next() {
    let mut pair = Pair::new(&[(0, 50)], &[(0, 50)]);
    let show = json!({ "do": "connect", "camera": CAMERA, "token": TOKEN });
    let mut clients: Vec<Client> = (0..4).map(|_| Client::open(pair.port)).collect();
    // Their recorder says nothing, and then no: meanwhile they are let in as it did a while ago.
    pair.primary.obey("expire");
    pair.primary.stop();
    for client in &mut clients {
        client.tell(&show);
    }
    for client in &clients {
        let answer = client.read();
        assert_eq!(answer["connected"], "yes", "{answer}");
    }
    pair.primary.calls();
    pair.primary.resume();
    pair.await_calls("connect", clients.len());
    // Nothing tells from outside that what it says has arrived.
    thread::sleep(ON_ITS_WAY);
    let param = format!("id={CAMERA}&connectiontoken={TOKEN}");
    let next = [
        json!({ "do": "ask", "method": "alarms", "starttime": noon(0.0), "endtime": noon(60.0) }),
        json!({ "do": "ask", "method": "connectupdate", "connectparam": param }),
        json!({ "do": "ask", "method": "live" }),
        json!({ "do": "ask", "method": "goto", "time": noon(7.0) }),
    ];
    for (client, order) in clients.iter_mut().zip(next) {
        let answer = client.order(&order);
        assert!(!answer["gone"].is_null(), "{order}: {answer}");
    }
    // Nobody is let in any more as it did.
    pair.primary.kill();
    assert_eq!(
        Client::open(pair.port).connect(CAMERA, TOKEN)["connected"],
        "no"
    );
}

#[test]
fn a_camera_that_was_added_is_known_when_it_is_asked_for() {
    let sites = [
        holding(Setup::default().unlisted(), &[(0, 10), (40, 50)]),
        holding(Setup::default(), &[(5, 45)]),
    ];
    let mut pair = Pair::of(sites, |config| config);
    // Nobody has told of it: it is its recorder's alone.
    assert_eq!(place(&pair.client().goto(noon(25.0))).0, 9);
    pair.primary.obey("list");
    await_that(LOOKED_WITHIN, "the camera is not found", || {
        place(&pair.client().goto(noon(25.0))).0 == 25
    });
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
fn what_breaks_in_the_middle_of_a_body_is_never_seen() {
    for fault in ["reset", "no-trailer", "stall", "expire"] {
        let mut pair = Pair::new(&[(0, 10), (40, 50)], &[(5, 45)]);
        let mut client = pair.client();
        for at in 5..44_i64 {
            match at {
                7 if fault != "expire" => pair.primary.obey(fault),
                // The house's token at the other site.
                15 => pair.secondary.obey(fault),
                _ => {}
            }
            let answer = if at == 5 {
                client.goto(noon(5.0))
            } else {
                client.ask("next")
            };
            assert_eq!(place(&answer).0, at, "{fault}: {answer}");
            assert_eq!(answer["pictures"], 25, "{fault}: {answer}");
        }
        if fault == "expire" {
            // The client's own: no other site goes on for who is not let in any more.
            client.goto(noon(5.0));
            pair.primary.obey("expire");
            let answer = client.goto(noon(6.0));
            assert!(answer["gone"].is_string(), "{answer}");
        }
    }
}

#[test]
fn a_primary_that_says_nothing_is_left_before_anybody_notices() {
    let pair = Pair::new(&[(0, 40)], &[(0, 50)]);
    let mut client = pair.client();
    assert_eq!(place(&client.goto(noon(6.0))).0, 6);
    pair.secondary.calls();
    for at in 7..30 {
        assert_eq!(place(&client.ask("next")).0, at);
    }
    // Who is on time is asked alone.
    let others = pair.secondary.calls();
    assert!(
        !others.iter().any(|call| call == "goto" || call == "next"),
        "{others:?}"
    );
    pair.primary.stop();
    for at in 30..36 {
        let answer = client.ask("next");
        assert_eq!(place(&answer).0, at, "{answer}");
        println!("silent primary: {} ms", answer["took_ms"]);
        let took = answer["took_ms"].as_f64().unwrap();
        assert!(took < FROZEN_MS, "{took} ms");
    }
    // Who comes meanwhile does not wait for it either.
    let mut late = pair.client();
    let answer = late.goto(noon(20.0));
    assert_eq!(place(&answer).0, 20, "{answer}");
    pair.primary.resume();
    await_that(SOON, "the primary is not asked again", || {
        assert_eq!(place(&client.goto(noon(20.0))).0, 20);
        let calls = pair.primary.calls();
        calls.iter().any(|call| call == "goto" || call == "next")
    });
}

#[test]
fn who_is_slow_is_waited_for_where_nobody_else_can_answer() {
    let mut pair = Pair::new(&[(0, 10), (40, 50)], &[(5, 45)]);
    let mut client = pair.client();
    assert_eq!(place(&client.goto(noon(3.0))), (3, 2, 4));
    // Twice as late as anybody may be: what it alone holds it is asked for all the same, and what both hold comes in order.
    pair.primary.obey("slow 900");
    for (method, at, expected) in GOLDEN {
        let answer = asked(&mut client, method, at);
        assert_eq!(place(&answer), expected, "{method} {at}: {answer}");
    }
    let next = json!({ "method": "next" });
    client.goto(noon(7.0));
    let answers = client.order(&json!({ "do": "pipeline", "calls": [next, next, next, next] }));
    let answers = answers["answers"].as_array().unwrap();
    let current: Vec<i64> = answers.iter().map(|answer| place(answer).0).collect();
    assert_eq!(current, [8, 9, 10, 11]);
}

#[test]
fn nothing_recorded_other_codecs_and_other_devices_pass() {
    let mut pair = Pair::new(&[(0, 10), (40, 50)], &[(5, 45)]);
    let mut client = pair.client();
    assert_eq!(client.goto(noon(8.0))["codec"], 10);
    pair.primary.obey("codec");
    assert_eq!(client.ask("next")["codec"], 12);
    assert_eq!(client.ask("next")["codec"], 10);
    pair.primary.obey("heal");
    let answer = client.order(
        &json!({ "do": "ask", "method": "alarms", "starttime": noon(0.0), "endtime": noon(60.0) }),
    );
    let seconds = |ms: &Value| (ms.as_i64().unwrap() - noon(0.0)) / 1000;
    let spans = answer["alarms"].as_array().unwrap().iter();
    let spans: Vec<_> = spans
        .map(|span| (seconds(&span[0]), seconds(&span[2])))
        .collect();
    assert_eq!(spans, [(0, 10), (10, 40), (40, 50)], "{answer}");
    let answer = client.ask("getpresetlist");
    assert_eq!(answer["errorreason"], "Unknown method", "{answer}");
    for site in [&mut pair.primary, &mut pair.secondary] {
        site.obey("empty");
    }
    let answer = client.goto(noon(8.0));
    let zeros = ["prev", "current", "next", "bytes"].map(|name| answer[name].as_i64());
    assert_eq!(zeros, [Some(0); 4], "{answer}");
    // Another device on the same connection.
    let yard = "99999999-2222-3333-4444-555555555555";
    assert_eq!(client.connect(yard, TOKEN)["connected"], "yes");
    assert_eq!(client.goto(noon(8.0))["current"], 0);
    let answer = client.connect("nowhere", TOKEN);
    assert_eq!(
        (&answer["connected"], &answer["errorreason"]),
        (&json!("no"), &json!("Unknown device"))
    );
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

#[test]
fn the_growing_end_is_polled_and_live_fails_over() {
    let sites = [
        Setup::default().edge(noon(20.0)),
        Setup::default().edge(noon(20.0)),
    ];
    let mut pair = Pair::of(sites, |config| config);
    let mut client = pair.client();
    let newest = client.ask("end");
    assert_eq!(newest["current"], newest["next"], "{newest}");
    let mut seen = vec![newest["current"].as_i64().unwrap()];
    await_that(SOON, "the edge stands still", || {
        let current = client.ask("next")["current"].as_i64().unwrap();
        if seen.last() != Some(&current) {
            seen.push(current);
        }
        seen.len() == 4
    });
    assert!(
        seen.windows(2).all(|two| two[1] - two[0] == 1000),
        "{seen:?}"
    );
    client.order(&json!({ "do": "send", "method": "live" }));
    let mut pictures = 0;
    let mut watch = |client: &mut Client, count: usize| {
        let (mut last, deadline) = (0, monotonic() + SOON);
        let until = pictures + count;
        while pictures < until {
            assert!(monotonic() < deadline, "{pictures} live pictures");
            let message = client.order(&json!({ "do": "read" }));
            assert!(
                message["error"].is_null() && message["gone"].is_null(),
                "{message}"
            );
            if message["kind"] == "image" {
                let current = message["current"].as_i64().unwrap();
                assert!(current > last, "{message}");
                last = current;
                pictures += 1;
            }
        }
    };
    watch(&mut client, 30);
    pair.primary.kill();
    watch(&mut client, 30);
}

/// What zeep makes of the port's WSDL, and of the answers of two sites.
fn zeep(port: u16, still: f64) -> Value {
    let ms = |at: f64| noon(at).to_string();
    let output = Command::new(venv().join("bin/python"))
        .arg("-B")
        .arg(lab_folder().join("recorder_zeep.py"))
        .args([port.to_string(), CAMERA.to_owned(), TOKEN.to_owned()])
        .args([ms(-60.0), ms(100.0), ms(still)])
        .output()
        .expect("tests/run makes the folder of packages");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}{errors}"))
}

#[test]
fn listings_and_stills_over_soap_are_those_of_all_sites() {
    let mut pair = Pair::new(&[(0, 10), (40, 50)], &[(5, 45), (60, 65)]);
    let second = |at: i64| noon(0.0) + at * 1000;
    let spans = |spans: &[(i64, i64)]| {
        let span = |(from, to): &(i64, i64)| json!([second(*from), second(*to)]);
        Value::from(spans.iter().map(span).collect::<Vec<_>>())
    };
    for (still, of) in [(3.5, CAMERA), (20.5, THERE), (44.0, CAMERA), (62.0, THERE)] {
        let told = zeep(pair.port, still);
        let both = spans(&[(0, 50), (60, 65)]);
        assert_eq!(told["types"].as_array().map(Vec::len), Some(3), "{told}");
        assert_eq!(told["all"], both, "{told}");
        assert_eq!(told["first"], spans(&[(0, 50)]), "{told}");
        assert_eq!((&told["around"], &told["span"]), (&both, &both), "{told}");
        assert_eq!(told["still"], json!([second(still as i64), of]), "{told}");
        assert_eq!(told["stranger"], "Token invalid", "{told}");
    }
    // The recorder is gone: who was let in a while ago is told what is left of it, and no stranger is.
    let mut client = pair.client();
    client.goto(noon(3.0));
    pair.primary.kill();
    client.goto(noon(6.0));
    let told = zeep(pair.port, 7.0);
    assert_eq!(told["still"], json!([second(7), THERE]), "{told}");
    assert_eq!(told["stranger"], "Token invalid", "{told}");
}

/// The answer to a call by SOAP on the recorder's port.
fn soap(port: u16, operation: &str, more: &str) -> String {
    let space = "http://videoos.net/2/XProtectCSRecorderCommand";
    let body = format!(
        "<s:Envelope xmlns:s='http://schemas.xmlsoap.org/soap/envelope/'><s:Body><{operation} xmlns='{space}'><token>{TOKEN}</token>\
         <deviceId>{CAMERA}</deviceId>{more}</{operation}></s:Body></s:Envelope>"
    );
    let request = format!(
        "POST /RecorderCommandService/RecorderCommandService.asmx HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the face listens");
    let patient = stream.set_read_timeout(Some(SOON));
    patient.expect("a socket has a patience");
    stream.write_all(request.as_bytes()).expect("it is read");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it is answered");
    answer
}

#[test]
fn a_time_line_is_that_of_all_sites() {
    let mut pair = Pair::new(&[(0, 10), (40, 50)], &[(5, 45)]);
    let more = format!(
        "<timeLineInformationTypes><guid xmlns='http://microsoft.com/wsdl/types/'>78289503-cbf4-43be-9dc3-9f34a8b60e6d</guid></timeLineInformationTypes>\
         <timeLineInformationBeginTime>{}</timeLineInformationBeginTime><timeLineInformationInterval><MicroSeconds>1000000</MicroSeconds>\
         </timeLineInformationInterval><timeLineInformationCount>48</timeLineInformationCount>",
        iso(noon(0.0))
    );
    let told = |pair: &Pair| soap(pair.port, "TimeLineInformationGet", &more);
    let answer = told(&pair);
    // All of 48 seconds, one bit each.
    assert!(answer.contains("<Data>////////</Data>"), "{answer}");
    assert!(
        answer.contains(&format!("<DeviceId>{CAMERA}</DeviceId>")),
        "{answer}"
    );
    // Who is let in by the recorder is known when that is gone.
    pair.client().goto(noon(3.0));
    pair.primary.kill();
    let answer = told(&pair);
    // From the fifth to the 45th.
    assert!(answer.contains("<Data>4P////8f</Data>"), "{answer}");
    assert!(
        answer.contains(&format!("<DeviceId>{CAMERA}</DeviceId>")),
        "{answer}"
    );
    let answer = soap(pair.port, "GetRetentionTimeLimit", "");
    assert!(
        answer.contains("<GetRetentionTimeLimitResult>2026-"),
        "{answer}"
    );
}

/// What is no client of an ImageServer costs little and disturbs nobody.
#[test]
fn hostile_clients_are_turned_away() {
    let pair = Pair::new(&[(0, 10)], &[(5, 45)]);
    let mut friend = pair.client();
    let connect = format!(
        "<methodcall><requestid>1</requestid><methodname>connect</methodname><connectparam>id={CAMERA}&amp;connectiontoken={TOKEN}</connectparam></methodcall>"
    );
    let bomb = "<!DOCTYPE a [<!ENTITY b \"bbbb\"><!ENTITY c \"&b;&b;\">]><methodcall>&c;</methodcall>\r\n\r\n";
    let external = "<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><methodcall/>\r\n\r\n";
    let deep = "<a>".repeat(200) + "\r\n\r\n";
    let unknown = "<methodcall><methodname>goto</methodname><time>1</time></methodcall>\r\n\r\n";
    let calls = pair.primary.calls();
    assert!(!calls.is_empty());
    for junk in [
        bomb,
        external,
        &deep,
        unknown,
        "\u{1}\u{2}junk<methodcall/>\r\n\r\n",
        "<methodresponse/>\r\n\r\n",
        "<methodcall><methodname>con&#13;nect</methodname></methodcall>\r\n\r\n",
        "<methodcall><methodname>goto</methodname><time>99999999999999999999</time></methodcall>\r\n\r\n",
    ] {
        let mut client = Client::open(pair.port);
        client.order(&json!({ "do": "raw", "text": junk }));
        let answer = client.order(&json!({ "do": "read" }));
        assert!(answer["gone"].is_string(), "{junk}: {answer}");
    }
    let before = pair.seamline.resident();
    let mut client = Client::open(pair.port);
    let endless = json!({ "do": "flood", "text": "<methodcall>aaaaaaaaaaaaaaaaaaaaaaaa", "times": 1000, "bytes": 200_000_000 });
    let answer = client.order(&endless);
    assert!(answer["ended"].is_string(), "{answer}");
    // Calls without end, and nobody who reads the answers.
    let mut client = pair.client();
    let next =
        "<methodcall><requestid>1</requestid><methodname>next</methodname></methodcall>\r\n\r\n";
    let deaf =
        json!({ "do": "flood", "text": next, "times": 100, "bytes": 200_000_000, "patience": 2.0 });
    client.order(&deaf);
    let grown = pair.seamline.resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes for two clients");
    // Byte by byte it is a client like any other.
    let mut client = Client::open(pair.port);
    for piece in connect.as_bytes().chunks(1) {
        let text = String::from_utf8_lossy(piece).into_owned();
        client.order(&json!({ "do": "raw", "text": text }));
    }
    client.order(&json!({ "do": "raw", "text": "\r\n\r\n" }));
    let answer = client.order(&json!({ "do": "read" }));
    assert_eq!(answer["connected"], "yes", "{answer}");
    // Three devices that nobody has are enough.
    let mut client = Client::open(pair.port);
    for _ in 0..3 {
        assert_eq!(client.connect("nowhere", TOKEN)["connected"], "no");
    }
    assert!(client.connect("nowhere", TOKEN)["gone"].is_string());
    assert_eq!(place(&friend.goto(noon(3.0))).0, 3);
}

/// A recorder that answers anything: the other site's answer, within the client's patience, and nothing that grows.
#[test]
fn what_is_no_answer_is_not_passed_on() {
    let mut pair = Pair::new(&[(0, 10), (40, 50)], &[(5, 45)]);
    let before = pair.seamline.resident();
    for lie in [
        "endless",
        "huge",
        "numbers",
        "otherwhen",
        "other-request",
        "words",
        "junk",
        "xml-bomb",
    ] {
        pair.primary.obey(lie);
        let mut client = pair.client();
        let met = format!("met {lie}");
        await_that(SOON, &met, || {
            let answer = client.goto(noon(6.0));
            assert_eq!(place(&answer), (6, 5, 7), "{lie}: {answer}");
            assert_eq!(answer["pictures"], 25, "{lie}: {answer}");
            pair.primary.calls().contains(&met)
        });
        let answer = client.ask("next");
        assert_eq!(place(&answer).0, 7, "{lie}: {answer}");
    }
    let grown = pair.seamline.resident().saturating_sub(before);
    assert!(grown < 200 << 20, "{grown} bytes");
}

/// Masks are each recorder's own, and a site that cannot send as the first one promised is none.
#[test]
fn masks_and_capabilities_are_kept() {
    let sites = [
        holding(Setup::default().mask("grid;4;4;0110"), &[(0, 10), (40, 50)]),
        holding(Setup::default().mask("grid;2;2;9"), &[(5, 45)]),
    ];
    let pair = Pair::of(sites, |config| config);
    let mut client = pair.client_with(&json!({ "mask": true }));
    for (at, mask) in [
        (8.0, "grid;4;4;0110"),
        (25.0, "grid;2;2;9"),
        (41.0, "grid;4;4;0110"),
    ] {
        let answer = client.goto(noon(at));
        assert_eq!(answer["mask"], mask, "{at}: {answer}");
    }
    let answer = pair.client().goto(noon(8.0));
    assert!(answer["mask"].is_null(), "{answer}");
    drop(pair);
    let sites = [
        holding(Setup::default(), &[(0, 10), (40, 50)]),
        holding(Setup::default().lacks("multipartdata"), &[(5, 45)]),
    ];
    let pair = Pair::of(sites, |config| config);
    let mut client = pair.client();
    assert_eq!(place(&client.goto(noon(25.0))), (9, 8, 40));
    pair.seamline
        .await_log(&["lacks what the client was promised"], SOON);
    // Who was promised nothing of the kind gets all of it.
    let mut client = pair.client_with(&json!({ "multipart": false }));
    assert_eq!(place(&client.goto(noon(25.0))).0, 25);
}

/// The reference's own bytes, of the primary, and of the secondary when that is gone.
#[test]
fn the_references_bytes_pass_as_they_are() {
    let mut pair = Pair::of(
        [Setup::default().golden(), Setup::default().golden()],
        |config| config,
    );
    let at = 1_735_689_600_500;
    let golden = |pair: &Pair, site: &str| {
        for (multipart, bytes, sha256) in [
            (
                false,
                231,
                "1ef39547c97f5835bf93ebe7dee694107cd7ad1fce8eefb81bbcb74721202b87",
            ),
            (
                true,
                478,
                "5de7978a94b5f631da6247bf415959a78c707909f62467522254e40f5b6814b9",
            ),
        ] {
            let mut client = pair.client_with(&json!({ "multipart": multipart }));
            let answer = client.goto(at);
            let expected = json!({ "bytes": bytes, "sha256": sha256 });
            assert_eq!(
                answer["wire"], expected,
                "{site}, multipart {multipart}: {answer}"
            );
        }
    };
    let empty = |pair: &Pair, site: &str| {
        let order = json!({ "do": "ask", "method": "goto", "time": at, "requestid": 7 });
        let answer = pair.client().order(&order);
        let sha256 = "d516d0d3a1ba004ee77b7e023630085ca59fd8babe115cf00a16dc6b7d76e9c8";
        let expected = json!({ "bytes": 142, "sha256": sha256 });
        assert_eq!(answer["wire"], expected, "{site}: {answer}");
    };
    golden(&pair, "primary");
    for site in [&mut pair.primary, &mut pair.secondary] {
        site.obey("empty");
    }
    empty(&pair, "both");
    pair.primary.kill();
    empty(&pair, "secondary");
    pair.secondary.obey("heal");
    golden(&pair, "secondary");
}

/// Two tiles of one operator, each where he left it, also while the primary dies.
#[test]
fn two_tiles_play_independently() {
    let mut pair = Pair::new(&[(0, 30)], &[(0, 50)]);
    let (mut one, mut two) = (pair.client(), pair.client());
    assert_eq!(place(&one.goto(noon(3.0))).0, 3);
    assert_eq!(place(&two.goto(noon(45.0))).0, 45);
    for step in 1..20 {
        if step == 9 {
            pair.primary.kill();
        }
        assert_eq!(place(&one.ask("next")).0, 3 + step);
        assert_eq!(place(&two.ask("previous")).0, 45 - step);
    }
}

/// At full speed over seams every fifty seconds, the primary killed halfway: count and digest are those of one recorder.
/// `SEAMLINE_EXPORT=72` is an hour.
#[test]
fn an_export_over_seams_is_whole() {
    let rounds = env::var("SEAMLINE_EXPORT").map_or(6, |rounds| rounds.parse().unwrap());
    let sites = [&[(0, 20), (40, 50)][..], &[(0, 50)]];
    let sites = sites.map(|held| holding(Setup::default().repeat(rounds), held));
    let units = i64::from(rounds) * 50;
    let mut order = json!({ "do": "export", "from": noon(0.0), "until": noon(0.0) + units * 1000 });
    let mut union = Union::of(holding(Setup::default().repeat(rounds), &[(0, 50)]));
    let mut expected = union.client.order(&order);
    let mut pair = Pair::of(sites, |config| config);
    let mut whole = pair.client().order(&order);
    order["tell"] = json!(units / 2 + 5);
    let mut client = pair.client();
    assert!(client.order(&order)["at"].is_number());
    pair.primary.kill();
    let mut struck = client.read();
    println!(
        "export of {units} s: direct {expected}, through {whole}, with the primary killed {struck}"
    );
    for told in [&mut expected, &mut whole, &mut struck] {
        assert_eq!(
            (&told["units"], &told["pictures"]),
            (&json!(units), &json!(units * 25)),
            "{told}"
        );
        told.as_object_mut().unwrap().remove("took_s");
    }
    assert_eq!((&whole, &struck), (&expected, &expected));
}

/// HTTP on the recorder's port: lengths that lie, heads without end, what is no request, and who says nothing.
#[test]
fn hostile_requests_get_their_status() {
    let pair = Pair::new(&[(0, 10)], &[(5, 45)]);
    let mut friend = pair.client();
    let connected = || {
        let stream = TcpStream::connect(("127.0.0.1", pair.port)).expect("the face listens");
        let patient = stream.set_read_timeout(Some(SOON));
        patient.expect("a socket has a patience");
        stream
    };
    let raw = |request: &[u8]| {
        let mut stream = connected();
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    };
    // Calls that have begun, and come no further: they are let go while all else happens.
    let mut slow: Vec<TcpStream> = ["<methodcall>", "POST / HTTP/1.1\r\nHost: a\r\n"]
        .map(|begun| {
            let mut stream = connected();
            stream.write_all(begun.as_bytes()).expect("it is taken");
            stream
        })
        .into();
    let idle: Vec<TcpStream> = (0..100).map(|_| connected()).collect();
    pair.primary.calls();
    let path = "/RecorderCommandService/RecorderCommandService.asmx";
    let post = |headers: &str, body: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n{body}")
    };
    let long = "x".repeat(100_000);
    for (request, status) in [
        (post("Content-Length: -1\r\n", ""), "400"),
        (post("Content-Length: 99999999999999999999\r\n", ""), "400"),
        (
            post("Content-Length: 5\r\nContent-Length: 6\r\n", "12345"),
            "400",
        ),
        (
            post("Content-Length: 2000000\r\n", &"x".repeat(2_000_000)),
            "413",
        ),
        (post(&format!("A: {long}\r\n"), ""), "431"),
        (post("A: b\0c\r\n", ""), "400"),
        (post("Content-Length: 4\r\n", "<a/>"), "500"),
        ("\u{1}\u{2}\r\n\r\n".to_owned(), ""),
    ] {
        let answer = raw(request.as_bytes());
        let got = answer.split(' ').nth(1).unwrap_or_default();
        let shown = request.get(..200).unwrap_or(&request);
        assert_eq!(got, status, "{shown}: {answer}");
    }
    for bomb in [
        "<!DOCTYPE a [<!ENTITY b \"bbbb\">]><s:Envelope xmlns:s='x'><s:Body><SequencesGet>&b;</SequencesGet></s:Body></s:Envelope>",
        &("<a>".repeat(5000)),
    ] {
        let answer = raw(post(&format!("Content-Length: {}\r\n", bomb.len()), bomb).as_bytes());
        assert!(answer.starts_with("HTTP/1.1 500"), "{answer}");
    }
    // None of this came to a recorder; wrong tokens come there once each, and are the client's to hear.
    let calls = pair.primary.calls();
    assert!(calls.is_empty(), "{calls:?}");
    for count in 0..5 {
        let answer = Client::open(pair.port).connect(CAMERA, &format!("TOKEN#guess{count}"));
        assert_eq!(answer["errorreason"], "Invalid token", "{answer}");
    }
    let tried = pair.primary.calls();
    assert_eq!(
        tried.iter().filter(|call| *call == "connect").count(),
        5,
        "{tried:?}"
    );
    assert_eq!(place(&friend.goto(noon(3.0))).0, 3);
    for stream in &mut slow {
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest);
        assert!(ended.is_ok(), "{ended:?}");
    }
    drop(idle);
    assert_eq!(place(&pair.client().goto(noon(3.0))).0, 3);
}

/// Printed, not judged: what the way through adds, and how long a client waits when the primary is killed.
#[test]
#[ignore = "a figure, for a quiet machine"]
fn what_the_way_through_costs() {
    let mut pair = Pair::new(&[(0, 10), (40, 50)], &[(5, 45)]);
    let mut union = Union::new(&[(0, 50)]);
    let order = json!({ "do": "time", "count": 500, "from": noon(0.5), "to": noon(7.5) });
    let direct = union.client.order(&order);
    let through = pair.client().order(&order);
    println!("direct {direct}");
    println!("through {through}");
    for _ in 0..10 {
        let mut client = pair.client();
        client.goto(noon(6.0));
        pair.primary.kill();
        let answer = client.ask("next");
        assert_eq!(place(&answer).0, 7, "{answer}");
        println!(
            "kill -9 to the first answer of the secondary: {} ms",
            answer["took_ms"]
        );
        pair.revive();
        let mut client = pair.client();
        client.goto(noon(6.0));
        pair.primary.stop();
        let answer = client.ask("next");
        assert_eq!(place(&answer).0, 7, "{answer}");
        println!(
            "SIGSTOP to the first answer of the secondary: {} ms",
            answer["took_ms"]
        );
        pair.primary.kill();
        pair.revive();
    }
}

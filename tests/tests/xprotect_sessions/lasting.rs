//! Sessions over time: sites that come late, connections that end, tokens that change, a configuration that is read again, calls that
//! come at once.

use std::{net::TcpStream, thread, time::Duration};

use seamline_tests::{
    clock::{await_that, monotonic, noon, poll},
    imageserver::Client,
    pair::{Pair, TOKEN, holding, place},
    seamline::{Config, free_port},
    xprotect::{self, CAMERA, Setup},
};
use serde_json::{Value, json};

use crate::{SOON, answers, post};

/// Another token of the same user.
const RENEWED: &str = "TOKEN#00000043-0000-4000-8000-0000000000aa#vmshost//ServerConnector#";

/// Polls until a client that comes now is told that this second is there.
fn await_second(pair: &Pair, second: i64) {
    poll(SOON, || {
        let mut client = Client::open(pair.port);
        let connected = client.connect(CAMERA, TOKEN)["connected"] == "yes";
        let answer = if connected {
            client.goto(noon(second as f64 + 0.5))
        } else {
            Value::Null
        };
        if answer["current"] == noon(second as f64) {
            Ok(())
        } else {
            Err(format!("second {second}: {answer}"))
        }
    });
}

#[test]
fn sites_that_come_after_the_start_take_part() {
    let mut pair = Pair::new(&[(0, 10), (40, 50)], &[(5, 45)]);
    // The other site is late: its gap is filled soon after it came, and not when sites are asked anyway.
    pair.secondary.kill();
    pair.restart();
    await_second(&pair, 9);
    assert_eq!(place(&pair.client().goto(noon(25.5))).0, 9);
    pair.revive_secondary();
    await_second(&pair, 25);
    // The one that is meant is late.
    pair.primary.kill();
    pair.restart();
    let refused = Client::open(pair.port)
        .order(&json!({ "do": "connect", "camera": CAMERA, "token": TOKEN }));
    assert_ne!(refused["connected"], "yes", "nobody knows it yet");
    pair.revive();
    await_second(&pair, 3);
    await_second(&pair, 25);
}

#[test]
fn connections_that_ended_are_replaced_and_nobody_notices() {
    let mut pair = Pair::new(&[(0, 10), (40, 50)], &[(5, 45)]);
    let mut client = pair.client();
    assert_eq!(place(&client.goto(noon(8.5))).0, 8);
    pair.primary.obey("hang-up");
    assert_eq!(place(&client.ask("next")), (9, 8, 10));
    assert_eq!(place(&client.ask("next")).0, 10);
    // The house's own, at the other site.
    pair.secondary.obey("hang-up");
    assert_eq!(place(&client.ask("next")), (11, 10, 12));
    // A connection of HTTP, from which a call comes after the recorder has closed its own.
    let body = format!(
        "<s:Envelope xmlns:s='http://schemas.xmlsoap.org/soap/envelope/'><s:Body><PTZMoveHome \
         xmlns='http://videoos.net/2/XProtectCSRecorderCommand'><token>{TOKEN}</token></PTZMoveHome></s:Body></s:Envelope>"
    );
    let mut stream = TcpStream::connect(("127.0.0.1", pair.port)).expect("the face listens");
    stream
        .set_read_timeout(Some(SOON))
        .expect("it has a patience");
    for _ in 0..2 {
        let answer = post(&mut stream, &body);
        assert!(
            answer.contains("Method 'PTZMoveHome' not supported"),
            "{answer}"
        );
        pair.primary.obey("hang-up");
    }
    let log = pair.seamline.log().join("\n");
    assert!(
        !log.contains("better site unreachable") && !log.contains("recorder failed"),
        "{log}"
    );
}

#[test]
fn tokens_that_change_are_shown_on_running_connections() {
    let sites = [
        holding(Setup::default().knows(RENEWED), &[(0, 10), (40, 50)]),
        // The house's own ends soon there: half of its life is left when another is asked for.
        holding(Setup::default(), &[(5, 45)]).token_life(Duration::from_secs(4)),
    ];
    let mut pair = Pair::of(sites, |config| config);
    let mut client = pair.client();
    assert_eq!(place(&client.goto(noon(8.5))).0, 8);
    pair.primary.calls();
    let param = format!("id={CAMERA}&connectiontoken={RENEWED}");
    let update = json!({ "do": "ask", "method": "connectupdate", "connectparam": param });
    assert_eq!(client.order(&update)["connected"], "yes");
    assert_eq!(place(&client.ask("next")).0, 9);
    let calls = pair.primary.calls();
    let count = |calls: &[String], name: &str| calls.iter().filter(|call| *call == name).count();
    assert_eq!(
        (count(&calls, "connectupdate"), count(&calls, "connect")),
        (1, 0),
        "{calls:?}"
    );
    // At the other site for longer than any token lasts: one connection, and several tokens.
    pair.secondary.calls();
    let (begun, mut at) = (monotonic(), 10);
    while monotonic().saturating_sub(begun) < Duration::from_secs(10) {
        let answer = client.ask("next");
        assert_eq!(place(&answer).0, at, "{answer}");
        at += 1;
        // As slow as somebody who looks at each picture: tokens end between two of them.
        thread::sleep(Duration::from_millis(500));
    }
    let calls = pair.secondary.calls();
    assert!(count(&calls, "connectupdate") >= 1, "{calls:?}");
    assert!(count(&calls, "connect") <= 1, "{calls:?}");
    // The token that came with the update is the one that is known when its recorder is gone.
    pair.primary.kill();
    client.ask("next");
    assert_eq!(
        Client::open(pair.port).connect(CAMERA, RENEWED)["connected"],
        "yes"
    );
}

#[test]
fn calls_that_come_at_once_are_answered_in_order_while_the_primary_dies() {
    let mut pair = Pair::new(&[(0, 20)], &[(0, 50)]);
    let next = || json!({ "method": "next" });
    for kills in [false, true] {
        let mut client = pair.client();
        assert_eq!(place(&client.goto(noon(4.5))).0, 4);
        pair.primary.obey("slow 150");
        pair.primary.calls();
        let mut calls: Vec<Value> = (0..8).map(|_| next()).collect();
        calls.push(json!({ "method": "goto", "time": noon(30.5) }));
        calls.push(next());
        let numbers = client.order(&json!({ "do": "batch", "calls": calls }))["numbers"].clone();
        if kills {
            // Behind two of its answers, before the third.
            pair.await_calls("next", 3);
            pair.primary.kill();
        }
        let told = client.order(&json!({ "do": "answers", "count": 10 }));
        let got: Vec<i64> = answers(&told)
            .iter()
            .map(|answer| place(answer).0)
            .collect();
        assert_eq!(got, [5, 6, 7, 8, 9, 10, 11, 12, 30, 31], "{kills}: {told}");
        let ids: Vec<&Value> = answers(&told)
            .iter()
            .map(|answer| &answer["requestid"])
            .collect();
        let asked: Vec<&Value> = numbers
            .as_array()
            .expect("they are listed")
            .iter()
            .collect();
        assert_eq!(ids, asked);
        assert!(
            answers(&told).iter().all(|answer| answer["pictures"] == 25),
            "{told}"
        );
        if !kills {
            // Nobody is asked twice for one thing.
            let calls = pair.primary.calls();
            let steps = calls.iter().filter(|call| *call == "next").count();
            assert!(steps <= 8, "{calls:?}");
            pair.primary.obey("slow 0");
        }
    }
}

/// A run of steps goes to the recorder that is sure to have them before the first of them is answered, and to nobody else.
#[test]
fn steps_that_come_at_once_are_sent_at_once() {
    let mut pair = Pair::new(&[(0, 12), (40, 50)], &[(5, 45)]);
    await_second(&pair, 25);
    let mut client = pair.client();
    let batch = |method: &str, count: usize| {
        let calls: Vec<Value> = (0..count).map(|_| json!({ "method": method })).collect();
        json!({ "do": "pipeline", "calls": calls })
    };
    let seconds =
        |told: &Value| -> Vec<i64> { answers(told).iter().map(|answer| place(answer).0).collect() };
    client.goto(noon(1.0));
    // It answers the first of them when the sixth is there.
    pair.primary.obey("gather 6");
    let told = client.order(&batch("next", 6));
    assert_eq!(seconds(&told), [2, 3, 4, 5, 6, 7]);
    pair.primary.obey("gather 4");
    let told = client.order(&batch("previous", 4));
    assert_eq!(seconds(&told), [6, 5, 4, 3]);
    // Over a seam the first site is asked for no more than it has, and another way is found from there.
    pair.primary.calls();
    client.goto(noon(8.0));
    let told = client.order(&batch("next", 8));
    assert_eq!(seconds(&told), [9, 10, 11, 12, 13, 14, 15, 16]);
    let asked = pair.primary.calls();
    let steps = asked.iter().filter(|call| *call == "next").count();
    assert!(steps <= 4, "{asked:?}");
    // The other site's, in the first one's gap, and what stands before its end.
    pair.secondary.obey("gather 5");
    let told = client.order(&batch("next", 5));
    assert_eq!(seconds(&told), [17, 18, 19, 20, 21]);
    let mixed = [
        "next", "next", "previous", "goto", "next", "end", "previous", "begin",
    ];
    let calls: Vec<Value> = mixed
        .iter()
        .map(|method| match *method {
            "goto" => json!({ "method": method, "time": noon(3.5) }),
            _ => json!({ "method": method }),
        })
        .collect();
    let told = client.order(&json!({ "do": "pipeline", "calls": calls }));
    assert_eq!(seconds(&told), [22, 23, 22, 3, 4, 49, 48, 0]);
    // It breaks off among steps that it was sent, and loses its camera among others: nothing is lost, nothing comes twice.
    for fault in ["reset", "no-trailer", "words"] {
        client.goto(noon(1.0));
        pair.primary.obey(fault);
        let told = client.order(&batch("next", 8));
        assert_eq!(seconds(&told), [2, 3, 4, 5, 6, 7, 8, 9], "{fault}");
        pair.primary.obey("heal");
    }
}

#[test]
fn what_a_reload_changes_counts_for_who_comes_then() {
    let mut pair = Pair::new(&[(0, 10), (40, 50)], &[(5, 45)]);
    let whole = pair.config.clone();
    // With the primary's copy alone at first.
    let face = |port: u16| {
        json!([{
            "primary": "rec-primary",
            "management": format!("127.0.0.1:{}", free_port()),
            "recorder": [{ "recorder": "Recorder", "listen": format!("127.0.0.1:{port}") }],
        }])
    };
    let before = Config::default()
        .xprotect("primary", &pair.primary)
        .top("xprotect", face(pair.port));
    pair.config = before.clone();
    pair.restart();
    await_second(&pair, 9);
    let mut old = pair.client();
    assert_eq!(place(&old.goto(noon(25.5))).0, 9, "nobody fills its gap");
    // Now with the other site, and a certificate; its ports stay.
    let faces = before.face().clone();
    let mut told = faces.clone();
    told[0]["secondary"] = json!("rec-secondary");
    let after = whole.clone().top("xprotect", told.clone()).tls();
    pair.seamline.reload(&after);
    pair.seamline.await_log(&["configuration read again"], SOON);
    await_second(&pair, 25);
    assert_eq!(
        place(&old.goto(noon(25.5))).0,
        9,
        "who is there goes on as he began"
    );
    assert_eq!(place(&old.goto(noon(8.5))).0, 8);
    let mut sealed = Client::open_sealed(pair.port, &pair.seamline.folder().join("cert.pem"));
    assert_eq!(sealed.connect(CAMERA, TOKEN)["connected"], "yes");
    let log = pair.seamline.log().join("\n");
    assert!(!log.contains("changes with a restart only"), "{log}");
    // Its port moves: that is not done, it is said so, and all else counts.
    told.clone_from(&faces);
    told[0]["recorder"][0]["listen"] = json!(format!("127.0.0.1:{}", free_port()));
    pair.seamline.reload(&before.top("xprotect", told));
    pair.seamline
        .await_log(&["listen of [[xprotect]]", "restart only"], SOON);
    await_that(SOON, "the camera has not its one copy again", || {
        place(&pair.client().goto(noon(25.5))).0 == 9
    });
}

/// As an administrator sets it up who rewrites nothing: the management server tells clients the program's address as its recorder's.
#[test]
fn clients_that_log_in_past_the_house_are_led_here_by_the_public_address() {
    let port = free_port();
    let range = ["127.0.0.1", "10."];
    for (local, is_told_the_own) in range.into_iter().zip([true, false]) {
        let primary = holding(Setup::default(), &[(0, 10), (40, 50)]);
        let sites = [
            primary.public_port(port).local_range(local),
            holding(Setup::default(), &[(5, 45)]),
        ];
        let at = |config: Config| {
            let mut faces = config.face().clone();
            faces[0]["recorder"][0]["listen"] = json!(format!("127.0.0.1:{port}"));
            config.top("xprotect", faces)
        };
        if !is_told_the_own {
            // Seamline's host is in no local range: it is told its own address, and says so instead of asking itself.
            let pair = Pair::unawaited(sites, at);
            pair.seamline
                .await_log(&["which is here", "local IP range"], SOON);
            let refused = Client::open(port).connect(CAMERA, TOKEN);
            assert!(refused["gone"].is_string(), "{refused}");
            continue;
        }
        let mut pair = Pair::of(sites, at);
        let url = pair.primary.url().replace("localhost", "127.0.0.1");
        let mut viewer =
            xprotect::Client::log_in_from("127.0.0.9", &url, "oauth", "viewer", "s3cret");
        let told = &viewer.told["recorders"][0]["uri"];
        assert_eq!(
            *told,
            format!("http://localhost:{port}/"),
            "{:?}",
            viewer.told
        );
        let at_second = |viewer: &mut xprotect::Client, at: f64| {
            let told = viewer.play(CAMERA, noon(at));
            (told["picture"]["current"]
                .as_i64()
                .unwrap_or_else(|| panic!("{told}"))
                - noon(0.0))
                / 1000
        };
        // Over both seams, on the token that its own management server gave.
        for second in [3, 25, 44, 48] {
            assert_eq!(at_second(&mut viewer, second as f64 + 0.5), second);
        }
        let token = viewer.token()["token"].clone();
        let mut client = Client::open(port);
        client.connect(CAMERA, token.as_str().expect("it has one"));
        client.goto(noon(8.5));
        for second in 9..13 {
            assert_eq!(place(&client.ask("next")).0, second);
        }
        // Its recorder dies: who it let in goes on.
        pair.primary.kill();
        assert_eq!(place(&client.goto(noon(6.5))).0, 6);
    }
}

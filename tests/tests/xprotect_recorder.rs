//! The port of a recorder of XProtect as its clients meet it: two sites that know nothing of each other, and one timeline.

use std::{env, process::Command, thread, time::Duration};

use seamline_tests::{
    clock::{monotonic, noon},
    footage::{Footage, Recipe},
    imageserver::Client,
    program::{lab_folder, venv},
    seamline::{Config, Seamline, free_port},
    xprotect::{CAMERA, Setup, Site},
};
use serde_json::{Value, json};

const TOKEN: &str = "TOKEN#00000042-0000-4000-8000-0000000000aa#vmshost//ServerConnector#";
/// The same camera at the other site.
const THERE: &str = "77777777-2222-3333-4444-555555555555";
const SOON: Duration = Duration::from_secs(20);
/// Clients wait ten seconds.
const PATIENCE_MS: f64 = 10_000.0;

/// Groups of a second, that begin at full seconds.
fn seconds() -> Footage {
    let recipe = Recipe {
        gop: 25,
        phase: 0,
        ..Recipe::default()
    };
    recipe.make()
}

/// A site that recorded only from some second to another.
fn holding(setup: Setup, held: &[(i32, i32)]) -> Setup {
    let (mut setup, mut from) = (setup, -20);
    for (start, end) in held {
        setup = setup.without(noon(f64::from(from)), noon(f64::from(*start)));
        from = *end;
    }
    setup.without(noon(f64::from(from)), noon(100.0))
}

/// Two sites, each behind its own management server, and the program in front of them.
struct Pair {
    setups: [Setup; 2],
    footage: Footage,
    primary: Site,
    secondary: Site,
    seamline: Seamline,
    port: u16,
}

impl Pair {
    fn new(primary: &[(i32, i32)], secondary: &[(i32, i32)]) -> Self {
        let sites = [primary, secondary].map(|held| holding(Setup::default(), held));
        Self::of(sites, |config| config)
    }

    fn of(sites: [Setup; 2], more: impl Fn(Config) -> Config) -> Self {
        let footage = seconds();
        let [primary, secondary] = sites.map(|setup| {
            let (recorder, server) = (free_port(), free_port());
            setup
                .user("viewer", "s3cret")
                .port(recorder)
                .server_port(server)
        });
        let setups = [primary.knows(TOKEN), secondary.camera(THERE)];
        let [primary, secondary] = [&setups[0], &setups[1]].map(|setup| setup.start(&footage));
        let (port, management) = (free_port(), free_port());
        let face = json!([{
            "primary": "rec-primary",
            "secondary": "rec-secondary",
            "management": format!("127.0.0.1:{management}"),
            "recorder": [{ "recorder": "Recorder", "listen": format!("127.0.0.1:{port}") }],
        }]);
        let config = Config::default()
            .xprotect("primary", &primary)
            .xprotect_of("secondary", &secondary, THERE)
            .top("xprotect", face);
        let seamline = more(config).serve();
        let pair = Self {
            setups,
            footage,
            primary,
            secondary,
            seamline,
            port,
        };
        pair.await_primary();
        pair
    }

    /// A client that is let in.
    fn client(&self) -> Client {
        let mut client = Client::open(self.port);
        let answer = client.connect(CAMERA, TOKEN);
        assert_eq!(answer["connected"], "yes", "{answer}");
        client
    }

    /// Until the program knows where the recorder is, and that it lives.
    fn await_primary(&self) {
        let deadline = monotonic() + SOON;
        loop {
            let mut client = Client::open(self.port);
            if client.connect(CAMERA, TOKEN)["connected"] == "yes" {
                let calls = self.primary.calls();
                if calls.iter().any(|call| call == "connect") {
                    return;
                }
            }
            assert!(monotonic() < deadline, "the primary is not found");
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn revive(&mut self) {
        self.primary = self.setups[0].start(&self.footage);
        self.await_primary();
    }
}

/// One site that holds what both hold, and a client of it.
struct Union {
    _site: Site,
    client: Client,
}

impl Union {
    fn new(held: &[(i32, i32)]) -> Self {
        let port = free_port();
        let setup = holding(Setup::default(), held).knows(TOKEN).port(port);
        let site = setup.start(&seconds());
        let mut client = Client::open(port);
        assert_eq!(client.connect(CAMERA, TOKEN)["connected"], "yes");
        Self {
            _site: site,
            client,
        }
    }
}

/// Current, Prev and Next of an answer, in seconds from noon.
fn place(answer: &Value) -> (i64, i64, i64) {
    let of = |name: &str| {
        let ms = answer[name].as_i64();
        (ms.unwrap_or_else(|| panic!("{answer}")) - noon(0.0)) / 1000
    };
    let took = answer["took_ms"].as_f64();
    assert!(took.is_none_or(|took| took < PATIENCE_MS), "{answer}");
    (of("current"), of("prev"), of("next"))
}

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

/// Where a client of the secondary alone would be, that was at `from` when the primary died.
fn without_primary(method: &str, at: f64, from: i64) -> i64 {
    let held = |at: i64| at.clamp(5, 44);
    match method {
        "goto" => held(if at < 0.0 { 0 } else { at as i64 }),
        // Nobody has anything newer: the same again.
        "next" => held(from + 1).max(from),
        "previous" => held(from - 1).min(from),
        "begin" | "previoussequence" => 5,
        _ => 44,
    }
}

#[test]
fn the_primary_may_die_between_any_two_requests() {
    let mut pair = Pair::new(&[(0, 10), (40, 50)], &[(5, 45)]);
    for dies_at in [0, 1, 2, 3, 5, 6, 8, 10] {
        let mut client = pair.client();
        let mut from = 0;
        for (index, (method, at, expected)) in GOLDEN.into_iter().enumerate() {
            if index == dies_at {
                pair.primary.kill();
            }
            let answer = asked(&mut client, method, at);
            let current = place(&answer).0;
            let expected = if index < dies_at {
                expected.0
            } else {
                without_primary(method, at, from)
            };
            assert_eq!(current, expected, "{dies_at}, {method} {at}: {answer}");
            from = current;
        }
        // Who comes now is let in as the primary did a while ago, and only he.
        let mut late = Client::open(pair.port);
        assert_eq!(late.connect(CAMERA, TOKEN)["connected"], "yes");
        assert_eq!(place(&late.goto(noon(9.5))).0, 9);
        let mut stranger = Client::open(pair.port);
        assert_eq!(stranger.connect(CAMERA, "TOKEN#other")["connected"], "no");
        pair.revive();
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
fn a_primary_that_says_nothing_is_left_before_the_client_leaves() {
    let pair = Pair::new(&[(0, 10), (40, 50)], &[(5, 45)]);
    let mut client = pair.client();
    assert_eq!(place(&client.goto(noon(6.0))).0, 6);
    pair.primary.stop();
    for at in 7..12 {
        let answer = client.ask("next");
        assert_eq!(place(&answer).0, at, "{answer}");
        println!("silent primary: {} ms", answer["took_ms"]);
    }
    pair.primary.resume();
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
    let deadline = monotonic() + SOON;
    let mut seen = vec![newest["current"].as_i64().unwrap()];
    while seen.len() < 4 {
        assert!(monotonic() < deadline, "{seen:?}");
        let current = client.ask("next")["current"].as_i64().unwrap();
        if seen.last() != Some(&current) {
            seen.push(current);
        }
        thread::sleep(Duration::from_millis(200));
    }
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
    }
}

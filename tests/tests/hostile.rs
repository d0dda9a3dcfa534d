//! Hostile clients: what each may get, and that nobody else notices. Rows of the field's list of real attacks and accidents.

use std::{fmt::Write as _, time::Duration};

use seamline_tests::{
    clock::{FRAME_MS, await_that, monotonic, noon, poll, range_time},
    footage::Recipe,
    probe::Probe,
    recorder::{Recorder, Setup},
    rtsp::Client,
    seamline::{Config, Seamline},
    stream::{assert_one_stream, longest_stall, uneven_steps, units},
};
use serde_json::json;

const SOON: Duration = Duration::from_secs(30);

/// A recorder, the program, and somebody who watches in peace.
struct Scenario {
    _recorder: Recorder,
    seamline: Seamline,
    bystander: Probe,
}

impl Scenario {
    fn new() -> Self {
        let recorder = Setup::default().start(&Recipe::secondary().make());
        let seamline = Config::default().site("primary", &recorder).serve();
        let mut bystander = Probe::open(&seamline.url());
        assert_eq!(bystander.play(noon(0.0), None, &[]).status, 200);
        bystander.receive_until(noon(0.5), SOON);
        Self {
            _recorder: recorder,
            seamline,
            bystander,
        }
    }

    /// A connection of its own.
    fn stranger(&self) -> Client {
        Client::connect(&self.seamline.url())
    }

    /// What a new connection gets for these bytes: a status, or `None` when it is closed without one.
    fn ask(&self, bytes: &[u8]) -> Option<u16> {
        let mut client = self.stranger();
        client.raw(bytes);
        client.answer().map(|response| response.status)
    }

    /// Panics when the bystander missed anything so far.
    fn assert_undisturbed(&mut self) {
        let at = self.bystander.last_capture().expect("stamps");
        self.bystander.receive_until(at + 500, SOON);
        assert_one_stream(&self.bystander.tracks[0]);
        let units = units(&self.bystander.tracks[0]);
        assert_eq!(uneven_steps(&units, FRAME_MS), []);
        // Arrivals are counted when the test gets round to them: only the program's own pauses are of the last half second.
        let tail = &units[units.len().saturating_sub(10)..];
        assert!(longest_stall(tail).0 < Duration::from_millis(300));
        assert_eq!(self.bystander.byes(), 0);
    }
}

#[test]
fn another_connections_session_is_out_of_reach() {
    let mut scenario = Scenario::new();
    let url = scenario.seamline.url();
    let session = scenario.bystander.client.session().map(str::to_owned);
    for method in [
        "PLAY",
        "PAUSE",
        "TEARDOWN",
        "GET_PARAMETER",
        "SET_PARAMETER",
        "SETUP",
    ] {
        let mut thief = scenario.stranger();
        thief.claim(session.as_deref());
        let track = format!("{url}/trackID=1");
        let (target, transport) = if method == "SETUP" {
            (
                &track,
                &[("Transport", "RTP/AVP/TCP;unicast;interleaved=0-1")][..],
            )
        } else {
            (&url, &[][..])
        };
        assert_eq!(
            thief.request(method, target, transport).status,
            454,
            "{method}"
        );
    }
    scenario.assert_undisturbed();
}

#[test]
fn lengths_that_lie_are_refused() {
    let mut scenario = Scenario::new();
    let url = scenario.seamline.url();
    let request =
        |headers: &str| format!("GET_PARAMETER {url} RTSP/1.0\r\nCSeq: 1\r\n{headers}\r\n");
    let long = "x".repeat(1 << 20);
    let mut folded = "X-Folded: a\r\n".to_owned();
    for _ in 0..100_000 {
        folded.push_str(" and more\r\n");
    }
    let mut many = String::new();
    for n in 0..5_000 {
        writeln!(many, "X-{n}: y\r").expect("a string takes all");
    }
    for headers in [
        format!("X-Long: {long}\r\n"),
        folded,
        many,
        "Content-Length: -1\r\n".to_owned(),
        "Content-Length: 18446744073709551617\r\n".to_owned(),
        "Content-Length: 4294967297\r\n".to_owned(),
        "Content-Length: 2000000\r\n".to_owned(),
        "Content-Length: ten\r\n".to_owned(),
        "Content-Length: 3\r\nContent-Length: 4\r\n".to_owned(),
        "X-Nul: a\0b\r\n".to_owned(),
    ] {
        let shown: String = headers.chars().take(40).collect();
        let status = scenario.ask(request(&headers).as_bytes());
        assert!(
            matches!(status, None | Some(400 | 413 | 431)),
            "{shown:?}: {status:?}"
        );
    }
    // What stands behind an announced end is the next message, and none.
    let mut client = scenario.stranger();
    client.raw(request("Content-Length: 3\r\n").as_bytes());
    client.raw(b"abc\x01\x02\x03 garbage\r\n\r\n");
    assert_eq!(client.answer().map(|response| response.status), Some(451));
    assert!(matches!(
        client.answer().map(|response| response.status),
        None | Some(400)
    ));
    // Nor is anything of it in the answer.
    let uri = format!(
        "OPTIONS {url}/a%0d%0aX-Injected:%20yes RTSP/1.0\r\nCSeq: 7\r\nUser-Agent: \u{e9}\r\n\r\n"
    );
    let mut client = scenario.stranger();
    client.raw(uri.as_bytes());
    let answer = client.answer().expect("OPTIONS is answered");
    assert_eq!(
        (
            answer.status,
            answer.header("CSeq"),
            answer.header("X-Injected")
        ),
        (200, Some("7"), None)
    );
    for cseq in [
        "",
        "CSeq: \r\n",
        "CSeq: -3\r\n",
        "CSeq: 99999999999999999999\r\n",
    ] {
        let status = scenario.ask(format!("OPTIONS {url} RTSP/1.0\r\n{cseq}\r\n").as_bytes());
        assert_eq!(status, Some(400), "{cseq:?}");
    }
    scenario.assert_undisturbed();
}

#[test]
fn methods_out_of_turn_get_their_status() {
    let mut scenario = Scenario::new();
    let url = scenario.seamline.url();
    let track = format!("{url}/trackID=1");
    let tcp = [("Transport", "RTP/AVP/TCP;unicast;interleaved=0-1")];

    let mut client = scenario.stranger();
    assert_eq!(client.request("PLAY", &url, &[]).status, 455);
    assert_eq!(client.request("PAUSE", &url, &[]).status, 455);
    assert_eq!(client.request("TEARDOWN", &url, &[]).status, 454);
    assert_eq!(client.request("OPTIONS", "*", &[]).status, 200);
    assert_eq!(client.request("NONSENSE", &url, &[]).status, 501);
    assert_eq!(client.request("RECORD", &url, &[]).status, 405);
    assert_eq!(
        client
            .request("DESCRIBE", &format!("{url}/../gate"), &[])
            .status,
        404
    );
    assert_eq!(
        client.request("DESCRIBE", &format!("{url}%2f"), &[]).status,
        404
    );
    assert_eq!(
        client
            .request("DESCRIBE", &format!("{url}-that-nobody-has"), &[])
            .status,
        404
    );
    assert_eq!(
        client
            .request("DESCRIBE", &url, &[("Require", "bogus-tag")])
            .status,
        551
    );

    // No packet goes to an address or a port of the client's choice.
    for transport in [
        "RTP/AVP;unicast;client_port=0-1",
        "RTP/AVP;unicast;client_port=0-1;destination=192.0.2.1",
        "RTP/AVP;multicast",
        "RTP/AVP/TCP;unicast;interleaved=7-7",
        "nonsense",
        "",
    ] {
        let status = client
            .request("SETUP", &track, &[("Transport", transport)])
            .status;
        assert!(matches!(status, 400 | 461), "{transport}: {status}");
    }
    assert_eq!(
        client
            .request("SETUP", &format!("{url}/trackID=9"), &tcp)
            .status,
        404
    );
    assert_eq!(client.request("SETUP", &track, &tcp).status, 200);
    // Again, on other channels: the transport changes.
    let moved = [("Transport", "RTP/AVP/TCP;unicast;interleaved=4-5")];
    assert_eq!(client.request("SETUP", &track, &moved).status, 200);
    let other = format!("{url}?start=2026-01-01T12:00:00Z");
    assert_eq!(
        client
            .request("SETUP", &format!("{other}/trackID=1"), &tcp)
            .status,
        459
    );
    // Clients echo the whole Session header.
    let session = format!("{};timeout=60", client.session().expect("a session"));
    client.claim(Some(&session));
    assert_eq!(client.request("GET_PARAMETER", &url, &[]).status, 200);
    client.claim(None);
    assert_eq!(
        client.request("PLAY", &url, &[]).status,
        200,
        "one session, one connection"
    );
    assert_eq!(client.request("SETUP", &track, &tcp).status, 455);
    assert_eq!(client.request("TEARDOWN", &url, &[]).status, 200);
    assert_eq!(client.request("PLAY", &url, &[]).status, 454);
    scenario.assert_undisturbed();
}

#[test]
fn ranges_and_rates_that_mean_nothing_are_refused_or_read_as_documented() {
    let mut scenario = Scenario::new();
    let mut probe = Probe::open(&scenario.seamline.url());
    let at = range_time(noon(10.0));
    let before = range_time(noon(9.0));
    let cases = [
        (format!("clock={at}-{before}"), 457),
        (format!("clock={at}-{at}"), 457),
        ("clock=00000101T000000Z-00000102T000000Z".to_owned(), 457),
        ("clock=99991231T235959Z-".to_owned(), 457),
        ("clock=20990101T000000Z-".to_owned(), 457),
        ("clock=20200101T000000Z-20200101T000100Z".to_owned(), 457),
        ("clock=20261332T250000Z-".to_owned(), 400),
        ("clock=-".to_owned(), 400),
        ("clock=".to_owned(), 400),
        ("npt=now-".to_owned(), 457),
        ("npt=-1--2".to_owned(), 400),
        ("smpte=0:10:00-".to_owned(), 501),
        ("parsecs=1-2".to_owned(), 501),
        (format!("clock={at}-;npt=3-4;clock={before}-"), 400),
        ("clock=20260101T120010.123456789Z-".to_owned(), 200),
    ];
    for (range, status) in cases {
        let got = probe.request("PLAY", &[("Require", "onvif-replay"), ("Range", &range)]);
        assert_eq!(got.status, status, "{range}");
        if status == 200 {
            let cseq = probe.client.cseq();
            let came = probe.receive(SOON, |probe| {
                probe.tracks[0]
                    .last()
                    .and_then(|packet| packet.onvif)
                    .is_some_and(|onvif| onvif.cseq == cseq as u8)
            });
            assert!(came, "{range}");
        }
    }
    // npt counts from the window that the URL names.
    let mut windowed = Probe::open(&scenario.seamline.url_from(noon(2.0), None));
    let reply = windowed.request(
        "PLAY",
        &[("Require", "onvif-replay"), ("Range", "npt=12.5-13.5")],
    );
    assert_eq!(reply.status, 200);
    windowed.receive_to_end(SOON);
    assert_eq!(windowed.last_capture(), Some(noon(15.5) - 20));
    let range = format!("clock={at}-");
    for name in ["Scale", "Speed"] {
        for value in ["0", "NaN", "inf", "1e308", "-0.0", "x", "", "2.0"] {
            let got = probe.request("PLAY", &[("Range", &range), (name, value)]);
            match got.status {
                200 => {
                    let used: f64 = got
                        .header(name)
                        .and_then(|text| text.parse().ok())
                        .unwrap_or_else(|| panic!("{name} {value}: not in the answer"));
                    assert!(used > 0.0 && used <= 32.0, "{name} {value}: {used}");
                }
                400 | 457 | 501 => {}
                other => panic!("{name} {value}: {other}"),
            }
        }
    }
    let reversed = probe.request("PLAY", &[("Range", &range), ("Scale", "-1.0")]);
    // Back from there to the start of the window that the URL names, or nothing before it.
    assert!(matches!(reversed.status, 200 | 457), "{reversed:?}");
    scenario.assert_undisturbed();
}

#[test]
fn requests_in_pieces_in_heaps_and_among_frames_are_answered_in_order() {
    let mut scenario = Scenario::new();
    let url = scenario.seamline.url();
    let options = |cseq: u32| format!("OPTIONS {url} RTSP/1.0\r\nCSeq: {cseq}\r\n\r\n");
    // A byte at a time, over every boundary.
    let mut client = scenario.stranger();
    for cseq in 1..4 {
        for byte in options(cseq).bytes() {
            assert!(client.raw(&[byte]));
        }
        let answer = client.answer().expect("an answer");
        assert_eq!(
            (answer.status, answer.header("CSeq")),
            (200, Some(&*cseq.to_string()))
        );
    }
    // Two hundred at once, LF alone, blank lines, and frames between them that nobody set up.
    let mut heap = Vec::new();
    for cseq in 1..=200 {
        heap.extend_from_slice(options(cseq).as_bytes());
        if cseq % 3 == 0 {
            heap.extend_from_slice(&[b'$', 77, 0, 5, 1, 2, 3, 4, 5]);
        }
        if cseq % 5 == 0 {
            heap.extend_from_slice(b"\r\n\r\n");
        }
        if cseq % 7 == 0 {
            heap.extend_from_slice(&[b'$', 1, 0, 0]);
        }
    }
    let mut client = scenario.stranger();
    assert!(client.raw(&heap));
    for cseq in 1..=200_u32 {
        let answer = client.answer().expect("an answer");
        assert_eq!(
            (answer.status, answer.header("CSeq")),
            (200, Some(&*cseq.to_string()))
        );
    }
    // The same in the middle of media.
    let mut probe = Probe::open(&url);
    assert_eq!(
        probe
            .play(noon(0.0), None, &[("Rate-Control", "no")])
            .status,
        200
    );
    for step in 0..20 {
        let frame: &[u8] = if step % 2 == 0 {
            &[b'$', 200, 0, 1, 9]
        } else {
            &[b'$', 1, 0, 2, 0x80, 0xc9]
        };
        assert!(probe.client.raw(frame));
        assert_eq!(probe.request("GET_PARAMETER", &[]).status, 200);
    }
    assert_one_stream(&probe.tracks[0]);
    scenario.assert_undisturbed();
}

#[test]
fn slow_and_deaf_clients_cost_little_and_end() {
    let mut scenario = Scenario::new();
    let url = scenario.seamline.url();
    let resident = scenario.seamline.resident();
    // They ask for all the footage there is and take nothing.
    let mut deaf: Vec<Probe> = (0..8)
        .map(|_| {
            let mut probe = Probe::open(&url);
            assert_eq!(
                probe
                    .play(noon(-8.0), None, &[("Rate-Control", "no")])
                    .status,
                200
            );
            probe
        })
        .collect();
    // A request that never ends.
    let mut slow = scenario.stranger();
    assert!(slow.raw(format!("OPTIONS {url} RTSP/1.0\r\nCSeq: 1\r\n").as_bytes()));
    let begun = monotonic();
    while monotonic() < begun + Duration::from_secs(30) {
        scenario
            .bystander
            .receive(Duration::from_millis(500), |_| false);
        if !slow.raw(b"X-More: of it\r\n") {
            break;
        }
    }
    let took = monotonic().saturating_sub(begun);
    assert!(
        (8..16).contains(&took.as_secs()),
        "an endless request lived {took:?}"
    );
    let grown = scenario.seamline.resident().saturating_sub(resident);
    assert!(grown < 100 << 20, "{grown} bytes for eight deaf clients");
    scenario.assert_undisturbed();
    // One that listens after all gets everything, in order.
    let mut late = deaf.swap_remove(0);
    late.receive_to_end(SOON);
    assert_one_stream(&late.tracks[0]);
    assert_eq!(uneven_steps(&units(&late.tracks[0]), FRAME_MS), []);
}

#[test]
fn floods_leave_nothing_behind() {
    let mut scenario = Scenario::new();
    let url = scenario.seamline.url();
    let flood = |rounds: usize| {
        for round in 0..rounds {
            let mut clients: Vec<_> = (0..20).map(|_| Client::connect(&url)).collect();
            for client in &mut clients {
                client.send("DESCRIBE", &format!("{url}-{round}"), &[]);
            }
            // Half of them hang up before the answer.
            for client in clients.iter_mut().skip(10) {
                assert_eq!(client.answer().map(|response| response.status), Some(404));
            }
            // Sessions that are never torn down, in all stages.
            let mut played = Probe::open(&url);
            if round % 2 == 0 {
                played
                    .client
                    .send("PLAY", &format!("{url}/"), &[("Range", "npt=0-")]);
            } else {
                assert_eq!(played.play(noon(1.0), None, &[]).status, 200);
            }
        }
    };
    let settled = |seamline: &Seamline, base: usize| {
        poll(Duration::from_secs(15), || {
            let open = seamline.descriptors();
            let settled = (open <= base).then_some(());
            settled.ok_or_else(|| format!("{open} descriptors, {base} before"))
        });
    };
    // Whoever watches has a connection and a leg; the rest is the program's own.
    let base = scenario.seamline.descriptors();
    flood(5);
    settled(&scenario.seamline, base);
    let resident = scenario.seamline.resident();
    flood(25);
    settled(&scenario.seamline, base);
    let grown = scenario.seamline.resident().saturating_sub(resident);
    assert!(grown < 24 << 20, "{grown} bytes more after the flood");
    scenario.assert_undisturbed();
}

#[test]
fn one_address_takes_no_more_than_its_share() {
    let recorder = Setup::default().start(&Recipe::secondary().make());
    let seamline = Config::default()
        .site("primary", &recorder)
        .top(
            "limits",
            json!({ "per_address_max": 5, "connections_max": 8 }),
        )
        .serve();
    let url = seamline.url();
    let served = |client: &mut Client| {
        client.raw(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n")
            && client.answer().is_some_and(|answer| answer.status == 200)
    };
    let crowd = |address: &str, count: usize| {
        let mut clients: Vec<Client> = (0..count)
            .map(|_| Client::connect_from(address, &url))
            .collect();
        clients.retain_mut(&served);
        clients
    };
    let greedy = crowd("127.0.0.2", 9);
    assert_eq!(greedy.len(), 5);
    // Others find a seat, until there is none.
    let others = crowd("127.0.0.3", 5);
    assert_eq!(others.len(), 3);
    drop(greedy);
    await_that(SOON, "seats are not given back", || {
        !crowd("127.0.0.2", 1).is_empty()
    });
}

//! Paths of recorders' own HTTP services: relayed as they are, by whoever lives, and nothing done twice.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use seamline_tests::{
    clock::monotonic,
    seamline::{Config, Seamline, free_port},
};
use serde_json::json;

/// No answer takes longer.
const SOON: Duration = Duration::from_secs(20);

/// What a recorder's service does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Answers with its name and what it was sent.
    Answers,
    /// Reads a request and closes.
    DiesAtOnce,
    /// Promises more than it sends.
    DiesInMidBody,
    /// Reads a request and says nothing.
    Hangs,
    /// Sends without end.
    StreamsForEver,
    /// Switches protocols and sends back what comes.
    Echoes,
    /// Wants a digest first.
    Asks,
    /// Names its own address.
    Redirects,
}

/// A stand-in for a recorder's HTTP service.
struct Service {
    port: u16,
    /// Requests as they came, heads only.
    heads: Arc<Mutex<Vec<String>>>,
    /// Bytes that it got rid of.
    sent: Arc<AtomicUsize>,
}

impl Service {
    fn start(name: &'static str, manner: Manner) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let service = Self {
            port,
            heads: Arc::default(),
            sent: Arc::default(),
        };
        let (heads, sent) = (service.heads.clone(), service.sent.clone());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (heads, sent) = (heads.clone(), sent.clone());
                thread::spawn(move || serve(stream, name, manner, &heads, &sent));
            }
        });
        service
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("nobody panics with it").clone()
    }
}

fn serve(
    stream: TcpStream,
    name: &str,
    manner: Manner,
    heads: &Mutex<Vec<String>>,
    sent: &AtomicUsize,
) {
    let mut writer = stream.try_clone().expect("a socket can be shared");
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let header = |name: &str| {
            let named = |line: &str| {
                Some(
                    line.split_once(':')
                        .filter(|(have, _)| have.eq_ignore_ascii_case(name))?
                        .1
                        .trim()
                        .to_owned(),
                )
            };
            head.lines().find_map(named)
        };
        let length = header("content-length")
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        heads
            .lock()
            .expect("nobody panics with it")
            .push(head.clone());
        let answered = header("authorization")
            .is_some_and(|value| value.starts_with("Digest username=\"viewer\""));
        let answer = |text: &str| {
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Recorder: {name}\r\nContent-Length: {}\r\n\r\n{text}",
                text.len()
            )
        };
        match manner {
            Manner::Asks if !answered => {
                let challenge = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"nvr\", nonce=\"n1\", qop=\"auth\"\r\nContent-Length: 0\r\n\r\n";
                writer.write_all(challenge.as_bytes()).expect("it is read");
            }
            Manner::Answers | Manner::Asks => {
                let text = format!("{name} got {} bytes", body.len());
                writer
                    .write_all(answer(&text).as_bytes())
                    .expect("it is read");
            }
            Manner::Redirects => {
                let elsewhere = format!(
                    "http://{}/ISAPI/other?a=b",
                    writer.local_addr().expect("it is bound")
                );
                let text = format!(
                    "HTTP/1.1 302 Found\r\nLocation: {elsewhere}\r\nContent-Length: 0\r\n\r\n"
                );
                writer.write_all(text.as_bytes()).expect("it is read");
            }
            Manner::DiesAtOnce => return,
            Manner::Hangs => thread::sleep(Duration::from_secs(60)),
            Manner::DiesInMidBody => {
                let _ =
                    writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf of it");
                return;
            }
            Manner::StreamsForEver => {
                let piece = [b'x'; 16 * 1024];
                let _ = writer.write_all(
                    b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace\r\n\r\n",
                );
                while writer.write_all(&piece).is_ok() {
                    sent.fetch_add(piece.len(), Ordering::Relaxed);
                }
                return;
            }
            Manner::Echoes => {
                let _ = writer.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
                let mut piece = [0; 1024];
                while let Ok(read @ 1..) = reader.read(&mut piece) {
                    if writer.write_all(&piece[..read]).is_err() {
                        return;
                    }
                }
                return;
            }
        }
    }
}

/// Where both services are, and the house in front of them.
fn house(primary: &str, secondary: &str) -> Seamline {
    let to = json!([
        { "recorder": "rec-secondary", "url": secondary },
        { "recorder": "rec-primary", "url": primary, "username": "viewer", "password": "secret" },
    ]);
    let seamline = rules(json!([{ "paths": ["/ISAPI/"], "to": to }])).serve();
    // Nobody replays there. While that is known of one alone the other is asked first.
    for recorder in ["recorder=rec-primary", "recorder=rec-secondary"] {
        seamline.await_log(&["recorder health", recorder, "to=Down"], SOON);
    }
    seamline
}

fn rules(rules: serde_json::Value) -> Config {
    Config::default()
        .site_at("primary", "rtsp://127.0.0.1:9/{camera}", 0)
        .site_at("secondary", "rtsp://127.0.0.1:9/{camera}", 0)
        .top("passthrough", rules)
}

/// All that comes back for a request whose connection is closed behind it, and whether it was whole.
fn ask(seamline: &Seamline, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", seamline.port())).expect("it listens");
    stream
        .set_read_timeout(Some(SOON))
        .expect("a socket takes a timeout");
    let length = if body.is_empty() {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: cctv.example:8554\r\nConnection: close\r\n{headers}{length}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert!(
            error.kind() == std::io::ErrorKind::ConnectionReset,
            "{method} {path}: {error}"
        );
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    (
        status.unwrap_or_else(|| panic!("no status: {answer:?}")),
        answer,
    )
}

/// What did not move for so long stands still.
const STILL: Duration = Duration::from_secs(1);
const DEVICE: &str = "/ISAPI/System/deviceInfo?x=%41";

#[test]
fn what_goes_to_a_recorder_and_what_stays_here() {
    let (primary, secondary) = (
        Service::start("primary", Manner::Answers),
        Service::start("secondary", Manner::Answers),
    );
    let seamline = house(&primary.url(), &secondary.url());
    let headers = "Authorization: Basic eDp5\r\nX-Mine: 1\r\nX-Forwarded-For: 10.9.9.9\r\nConnection: X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\n";
    let (status, answer) = ask(&seamline, "PUT", DEVICE, headers, "hello");
    assert_eq!(status, 200, "{answer}");
    assert!(
        answer.contains("x-recorder: primary") && answer.ends_with("primary got 5 bytes"),
        "{answer}"
    );
    let head = primary.heads().remove(0).to_lowercase();
    assert!(
        head.starts_with("put /isapi/system/deviceinfo?x=%41 http/1.1\r\n"),
        "{head}"
    );
    assert!(
        head.contains(&format!("host: 127.0.0.1:{}\r\n", primary.port)),
        "{head}"
    );
    assert!(
        head.contains("x-mine: 1") && head.contains("x-forwarded-for: 127.0.0.1\r\n"),
        "{head}"
    );
    assert!(
        head.contains("x-forwarded-host: cctv.example:8554")
            && head.contains("forwarded: for=127.0.0.1;proto=http"),
        "{head}"
    );
    for ours in ["authorization", "x-hop", "te:", "10.9.9.9"] {
        assert!(!head.contains(ours), "{ours}: {head}");
    }
    // A body that is too long to keep, and one of no stated length.
    let long = "y".repeat(300_000);
    let (status, answer) = ask(&seamline, "POST", "/ISAPI/upload", "", &long);
    assert_eq!(
        (status, answer.ends_with("primary got 300000 bytes")),
        (200, true)
    );
    assert_eq!(secondary.heads().len(), 0);
    // What leads out of the prefix, or is not in it, reaches nobody; nor does what has come by before.
    let before = primary.heads().len();
    for path in [
        "/ISAPI/../etc",
        "/ISAPI/%2e%2e/etc",
        "/ISAPI/..%2fetc",
        "/other",
        "/ISAPI",
    ] {
        assert_eq!(ask(&seamline, "GET", path, "", "").0, 404, "{path}");
    }
    assert_eq!(
        ask(
            &seamline,
            "GET",
            &format!("http://127.0.0.1:{}/nowhere", secondary.port),
            "",
            ""
        )
        .0,
        404
    );
    let via = head
        .lines()
        .find(|line| line.starts_with("via:"))
        .expect("it says who it is")
        .to_owned();
    assert_eq!(
        ask(&seamline, "GET", DEVICE, &format!("{via}\r\n"), "").0,
        508
    );
    assert_eq!(
        (primary.heads().len(), secondary.heads().len()),
        (before, 0)
    );
    assert_eq!(ask(&seamline, "GET", "/health", "", "").0, 200);
}

#[test]
fn a_recorder_that_fails_before_its_answer_is_left_for_the_next_where_that_does_no_harm() {
    for (manner, refuses) in [
        (Manner::DiesAtOnce, false),
        (Manner::Hangs, false),
        (Manner::Answers, true),
    ] {
        let (primary, secondary) = (
            Service::start("primary", manner),
            Service::start("secondary", Manner::Answers),
        );
        let nobody = format!("http://127.0.0.1:{}", free_port());
        let first = if refuses { nobody } else { primary.url() };
        let seamline = house(&first, &secondary.url());
        // What may have been done is not done again.
        let (status, answer) = ask(&seamline, "POST", DEVICE, "", "hello");
        if refuses {
            assert!(
                status == 200 && answer.ends_with("secondary got 5 bytes"),
                "{manner:?}: {answer}"
            );
        } else {
            let wanted = if manner == Manner::Hangs { 504 } else { 502 };
            assert_eq!(status, wanted, "{manner:?}: {answer}");
            assert_eq!(secondary.heads().len(), 0, "{manner:?}");
            assert!(!answer.contains(&primary.port.to_string()), "{answer}");
        }
        // Once it is asked first again, what does no harm twice goes to the other.
        let method = if manner == Manner::Hangs {
            "PUT"
        } else {
            "GET"
        };
        let (known, deadline) = (primary.heads().len(), monotonic() + SOON);
        loop {
            let (status, answer) = ask(&seamline, method, DEVICE, "", "hello");
            assert!(
                status == 200 && answer.ends_with("secondary got 5 bytes"),
                "{manner:?} {method}: {answer}"
            );
            if refuses || primary.heads().len() > known {
                break;
            }
            assert!(monotonic() < deadline, "{manner:?}: not asked again");
            thread::sleep(Duration::from_millis(100));
        }
        seamline.await_log(
            &[
                "recorder's HTTP service failed",
                "site=primary",
                "recorder=rec-primary",
            ],
            SOON,
        );
        // For a while it is not asked first.
        let asked = monotonic();
        assert_eq!(ask(&seamline, "GET", DEVICE, "", "").0, 200);
        assert!(
            monotonic().saturating_sub(asked) < Duration::from_secs(3),
            "{manner:?}"
        );
    }
}

#[test]
fn an_answer_that_has_begun_ends_with_its_recorder() {
    let (primary, secondary) = (
        Service::start("primary", Manner::DiesInMidBody),
        Service::start("secondary", Manner::Answers),
    );
    let seamline = house(&primary.url(), &secondary.url());
    let (status, answer) = ask(&seamline, "GET", DEVICE, "", "");
    // Cut, never made whole by another's bytes.
    assert!(status == 200 && answer.ends_with("half of it"), "{answer}");
    assert!(
        answer.to_lowercase().contains("content-length: 1000"),
        "{answer}"
    );
    assert_eq!(secondary.heads().len(), 0);
}

#[test]
fn a_stream_without_end_waits_for_its_reader() {
    let primary = Service::start("primary", Manner::StreamsForEver);
    let seamline = house(&primary.url(), &primary.url());
    let mut stream = TcpStream::connect(("127.0.0.1", seamline.port())).expect("it listens");
    stream
        .write_all(format!("GET {DEVICE} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes())
        .expect("it reads");
    let mut first = [0; 4096];
    stream.read_exact(&mut first).expect("it streams");
    let before = seamline.resident();
    let sent = || primary.sent.load(Ordering::Relaxed);
    let (mut held, mut since) = (sent(), monotonic());
    let deadline = since + SOON;
    while held == 0 || monotonic().saturating_sub(since) < STILL {
        assert!(monotonic() < deadline, "who is not read goes on sending");
        thread::sleep(Duration::from_millis(20));
        if sent() != held {
            (held, since) = (sent(), monotonic());
        }
    }
    // What the kernel holds on both ways, and little more.
    assert!(held < 32 << 20, "{held} bytes under way");
    assert!(
        seamline.resident() < before + (4 << 20),
        "{} after {before}",
        seamline.resident()
    );
    drop(stream);
    seamline.await_log(&["serving"], SOON);
    assert_eq!(ask(&seamline, "GET", "/health", "", "").0, 200);
}

#[test]
fn protocols_are_switched_and_challenges_answered() {
    let echo = Service::start("primary", Manner::Echoes);
    let seamline = house(&echo.url(), &echo.url());
    let mut stream = TcpStream::connect(("127.0.0.1", seamline.port())).expect("it listens");
    stream
        .set_read_timeout(Some(SOON))
        .expect("a socket takes a timeout");
    stream.write_all(b"GET /ISAPI/ws HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\n\r\nhello").expect("it reads");
    let mut answer = String::new();
    let mut piece = [0; 1024];
    while !answer.ends_with("hello") {
        let read = stream.read(&mut piece).expect("it answers");
        assert!(read > 0, "{answer}");
        answer.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
    let head = answer.to_lowercase();
    assert!(
        head.starts_with("http/1.1 101") && head.contains("upgrade: echo"),
        "{answer}"
    );
    stream.write_all(b"more").expect("it reads");
    stream.read_exact(&mut piece[..4]).expect("it echoes");
    assert_eq!(&piece[..4], b"more");
    assert!(echo.heads()[0].to_lowercase().contains("upgrade: echo"));

    // The house answers the recorder's challenge, and a client never sees one.
    let (asks, other) = (
        Service::start("primary", Manner::Asks),
        Service::start("secondary", Manner::Asks),
    );
    let seamline = house(&asks.url(), &other.url());
    let (status, answer) = ask(&seamline, "GET", DEVICE, "", "");
    assert!(
        status == 200 && answer.ends_with("primary got 0 bytes"),
        "{answer}"
    );
    let alone = house(&other.url(), &other.url());
    drop(asks);
    assert_eq!(ask(&alone, "GET", DEVICE, "", "").0, 200);
    let nobody = rules(
        json!([{ "paths": ["/"], "to": [{ "recorder": "rec-primary", "url": other.url() }] }]),
    )
    .serve();
    let (status, answer) = ask(&nobody, "GET", DEVICE, "", "");
    assert!(
        status == 502 && !answer.to_lowercase().contains("www-authenticate"),
        "{answer}"
    );

    let elsewhere = Service::start("primary", Manner::Redirects);
    let seamline = house(&elsewhere.url(), &elsewhere.url());
    let (status, answer) = ask(&seamline, "GET", DEVICE, "", "");
    assert_eq!(status, 302);
    assert!(
        answer
            .to_lowercase()
            .contains("location: /isapi/other?a=b\r\n"),
        "{answer}"
    );
}

#[test]
fn recorders_are_for_who_may_see_all_or_is_named() {
    let service = Service::start("primary", Manner::Answers);
    let to = json!([{ "recorder": "rec-primary", "url": service.url() }]);
    let config = rules(json!([
        { "paths": ["/ISAPI/"], "to": to },
        { "paths": ["/ISAPI/admin/"], "to": to, "users": ["guard"], "read_only": true },
    ]));
    let seamline = config
        .auth("basic", true)
        .user("chief", "secret")
        .user_as(json!({ "name": "guard", "password": "secret", "cameras": ["gate"] }))
        .serve();
    let (chief, guard) = (
        "Authorization: Basic Y2hpZWY6c2VjcmV0\r\n",
        "Authorization: Basic Z3VhcmQ6c2VjcmV0\r\n",
    );
    let asked = |method, path, who| ask(&seamline, method, path, who, "").0;
    assert_eq!(asked("GET", DEVICE, ""), 401);
    assert_eq!(asked("GET", DEVICE, guard), 403);
    assert_eq!(asked("GET", "/ISAPI/admin/x", chief), 403);
    assert_eq!(
        service.heads().len(),
        0,
        "nothing reaches a recorder before"
    );
    assert_eq!(asked("GET", DEVICE, chief), 200);
    assert_eq!(asked("GET", "/ISAPI/admin/x", guard), 200);
    assert_eq!(asked("DELETE", "/ISAPI/admin/x", guard), 405);
    assert_eq!(service.heads().len(), 2);
}

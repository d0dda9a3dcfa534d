//! Every way to carry RTSP and its media: the same pictures, over a seam, to players that this project did not write.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use rustix::net::{AddressFamily, SocketType};
use seamline_tests::{
    clock::{FRAME_MS, monotonic, noon},
    footage::{Footage, Recipe},
    player::Player,
    probe::Probe,
    recorder::{Bridge, Recorder, Setup},
    report::judge,
    seamline::{Config, Seamline},
};

const SOON: Duration = Duration::from_secs(30);

/// A primary without 4 s to 8 s, and a secondary that holds everything.
struct Scenario {
    primary: Footage,
    secondary: Footage,
    // Dropped, they end.
    _recorders: [Recorder; 2],
    seamline: Seamline,
}

impl Scenario {
    fn new(config: Config) -> Self {
        let (primary, secondary) = (Recipe::default().make(), Recipe::secondary().make());
        let first = Setup::default()
            .without(noon(4.0), noon(8.0))
            .start(&primary);
        let second = Setup::default().start(&secondary);
        let config = config.policy("failback", "never");
        let seamline = config
            .site("primary", &first)
            .site("secondary", &second)
            .serve();
        // Played once, as fast as it goes: afterwards the index knows the gap.
        let mut probe = Probe::open(&seamline.url());
        let reply = probe.play(noon(1.0), Some(noon(7.0)), &[("Rate-Control", "no")]);
        assert_eq!(reply.status, 200);
        probe.receive_to_end(SOON);
        Self {
            primary,
            secondary,
            _recorders: [first, second],
            seamline,
        }
    }

    /// The camera from 2 s to 6 s, over the seam.
    fn url(&self, scheme: &str) -> String {
        let url = self.seamline.url_from(noon(2.0), Some(noon(6.0)));
        url.replacen("rtsp:", &format!("{scheme}:"), 1)
    }

    /// Panics unless the player shows every picture of the window once and ends.
    fn assert_plays(&self, name: &str, mut player: Player) {
        player.watch_to_end(SOON);
        let report = judge(
            &player.pictures,
            &[("primary", &self.primary), ("secondary", &self.secondary)],
        );
        println!("{name}\n{report}");
        report.assert_seamless();
        assert_eq!(report.sites(), ["primary", "secondary"], "{name}");
        assert!(report.runs[0].first <= noon(2.0), "{name}");
        assert_eq!(report.runs[1].last, noon(6.0) - FRAME_MS, "{name}");
        assert_eq!(player.errors, [""; 0], "{name}");
    }
}

#[test]
fn inside_tls_players_see_no_seam() {
    let scenario = Scenario::new(Config::default().tls());
    let url = scenario.url("rtsps");
    scenario.assert_plays("FFmpeg", Player::ffmpeg(&url));
    scenario.assert_plays("GStreamer", Player::gstreamer_over("tcp", &url));
    // The same port still speaks plainly.
    scenario.assert_plays("FFmpeg, plain", Player::ffmpeg(&scenario.url("rtsp")));
}

#[test]
fn through_http_players_see_no_seam() {
    let scenario = Scenario::new(Config::default().tls());
    let ffmpeg = Player::ffmpeg_over("http", &scenario.url("rtsp"));
    scenario.assert_plays("FFmpeg", ffmpeg);
    // GStreamer names the tunnel in the scheme; the second is inside TLS, both halves.
    for scheme in ["rtsph", "rtspsh"] {
        let gstreamer = Player::gstreamer_over("tcp", &scenario.url(scheme));
        scenario.assert_plays(scheme, gstreamer);
    }
}

#[test]
fn through_a_websocket_players_see_no_seam() {
    let scenario = Scenario::new(Config::default());
    let url = scenario.url("rtsp");
    for options in [&[][..], &["--pieces=7"]] {
        let bridge = Bridge::start(scenario.seamline.port(), options);
        scenario.assert_plays("FFmpeg", Player::ffmpeg(&bridge.through(&url)));
        assert!(bridge.complaints().is_empty(), "{:?}", bridge.complaints());
    }
}

/// Connects from an address of the loopback.
fn connect_from(from: &str, to: SocketAddr) -> TcpStream {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)
        .expect("sockets can be made");
    let from: SocketAddr = format!("{from}:0").parse().expect("an address");
    rustix::net::bind(&socket, &from).expect("all of 127 is ours");
    rustix::net::connect(&socket, &to).expect("it listens");
    socket.into()
}

/// Half of a tunnel, by hand.
struct Half(TcpStream);

/// `OPTIONS * RTSP/1.0` with `CSeq: 1`, in base64.
const OPTIONS: &str = "T1BUSU9OUyAqIFJUU1AvMS4wDQpDU2VxOiAxDQoNCg==";

impl Half {
    fn open(seamline: &Seamline, from: &str, method: &str, cookie: &str) -> Self {
        let address = ([127, 0, 0, 1], seamline.port()).into();
        let socket = connect_from(from, address);
        let mut half = Half(socket);
        half.say(&format!(
            "{method} /gate HTTP/1.0\r\nx-sessioncookie: {cookie}\r\nContent-Type: application/x-rtsp-tunnelled\r\nContent-Length: 32767\r\n\r\n"
        ));
        half
    }

    fn say(&mut self, text: &str) {
        // A server that has closed is no error.
        let _ = self.0.write_all(text.as_bytes());
    }

    /// What comes until `end` of it or the end of the connection, `within` that time.
    fn hear(&mut self, end: &str, within: Duration) -> String {
        let deadline = monotonic() + within;
        let mut heard = Vec::new();
        let mut block = [0; 1024];
        while !String::from_utf8_lossy(&heard).contains(end) {
            let left = deadline.saturating_sub(monotonic());
            assert!(
                !left.is_zero(),
                "only {:?}",
                String::from_utf8_lossy(&heard)
            );
            self.0
                .set_read_timeout(Some(left))
                .expect("a positive timeout");
            match self.0.read(&mut block) {
                Ok(0) => break,
                Ok(bytes) => heard.extend_from_slice(&block[..bytes]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
                Err(error) => panic!("{error}: only {:?}", String::from_utf8_lossy(&heard)),
            }
        }
        String::from_utf8_lossy(&heard).into_owned()
    }

    /// Panics unless the connection is closed `within` that time, after no more than a refusal.
    fn assert_closed(&mut self, what: &str, within: Duration) {
        let heard = self.hear("\0", within);
        assert!(
            heard.is_empty() || heard.contains("400 Bad Request"),
            "{what}: {heard:?}"
        );
    }
}

#[test]
fn tunnels_take_their_halves_in_any_order_and_nobody_elses() {
    let recorder = Setup::default().start(&Recipe::secondary().make());
    let seamline = Config::default().site("primary", &recorder).serve();
    let open = |method, cookie| Half::open(&seamline, "127.0.0.1", method, cookie);
    let answered = "HTTP/1.0 200 OK";
    let served = "CSeq: 1\r\n";

    // POST before GET, the request in pieces, and a second request behind the padding of the first.
    let mut post = open("POST", "early");
    for piece in [&OPTIONS[..1], &OPTIONS[1..9], "\r\n", &OPTIONS[9..]] {
        post.say(piece);
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut get = open("GET", "early");
    let heard = get.hear(served, SOON);
    assert!(
        heard.starts_with(answered) && heard.contains("RTSP/1.0 200 OK"),
        "{heard}"
    );
    assert!(
        !heard.to_lowercase().contains("x-server-ip-address"),
        "{heard}"
    );
    post.say(OPTIONS);
    get.hear(served, SOON);
    // A client may close its POST and go on with another.
    post.0.shutdown(Shutdown::Both).expect("it is open");
    let mut next = open("POST", "early");
    next.say(OPTIONS);
    get.hear(served, SOON);
    // A second GET gets nothing, and disturbs nothing.
    open("GET", "early").assert_closed("a second GET", SOON);
    next.say(OPTIONS);
    get.hear(served, SOON);
    // Garbage ends it.
    next.say("this is no base64!");
    get.assert_closed("garbage", SOON);

    // Both on one socket, either way round.
    let mut both = open("GET", "both");
    both.hear(answered, SOON);
    both.say("POST /gate HTTP/1.0\r\nx-sessioncookie: both\r\n\r\n");
    let heard = both.hear("\0", SOON);
    assert!(!heard.contains("RTSP"), "{heard}");
    let mut both = open("POST", "again");
    both.say("GET /gate HTTP/1.0\r\nx-sessioncookie: again\r\n\r\n");

    // The cookie guessed from another address; and halves that stay alone. All of them end in ten seconds.
    let mut victim = open("GET", "guessed");
    victim.hear(answered, SOON);
    let mut thief = Half::open(&seamline, "127.0.0.2", "POST", "guessed");
    thief.say(OPTIONS);
    let mut orphan = open("POST", "orphan");
    let begun = monotonic();
    thief.assert_closed("another address", Duration::from_secs(14));
    orphan.assert_closed("an orphan", Duration::from_secs(14));
    both.assert_closed("POST and GET on one socket", Duration::from_secs(14));
    let heard = victim.hear("\0", Duration::from_secs(14));
    assert!(heard.is_empty(), "{heard}");
    assert!(monotonic().saturating_sub(begun) > Duration::from_secs(7));

    // What is no tunnel is told so.
    for (request, status) in [
        (
            "GET /index.html HTTP/1.1\r\nHost: h\r\n\r\n",
            "404 Not Found",
        ),
        (
            "OPTIONS /index.html HTTP/1.1\r\nHost: h\r\n\r\n",
            "404 Not Found",
        ),
        (
            "GET / HTTP/1.0\r\nAccept: application/x-rtsp-tunnelled\r\n\r\n",
            "400 Bad Request",
        ),
        (
            "GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: rtsp.onvif.org\r\n\r\n",
            "426 Upgrade Required",
        ),
    ] {
        let mut half =
            Half(TcpStream::connect(("127.0.0.1", seamline.port())).expect("it listens"));
        half.say(request);
        let heard = half.hear("\0", SOON);
        assert!(heard.contains(status), "{request}: {heard}");
    }
    // Nor is TLS spoken without a certificate; whoever says nothing has ten seconds.
    let mut half = Half(TcpStream::connect(("127.0.0.1", seamline.port())).expect("it listens"));
    half.say("\x16\x03\x01\x02\x00\x01");
    assert_eq!(half.hear("\0", SOON), "");
    let mut silent = Half(TcpStream::connect(("127.0.0.1", seamline.port())).expect("it listens"));
    silent.say("G");
    assert_eq!(silent.hear("\0", Duration::from_secs(14)), "");
}

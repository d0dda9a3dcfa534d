//! Every way to carry RTSP and its media: the same pictures, over a seam, to players that this project did not write.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream, UdpSocket},
    time::Duration,
};

use seamline_tests::{
    clock::{FRAME_MS, monotonic, noon},
    footage::{Footage, Recipe},
    player::Player,
    probe::Probe,
    recorder::{Bridge, Recorder, Setup},
    report::judge,
    rtsp::{Client, connect_from},
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
        Self::with(config, &Setup::default())
    }

    /// With recorders of this kind.
    fn with(config: Config, setup: &Setup) -> Self {
        let (primary, secondary) = (Recipe::default().make(), Recipe::secondary().make());
        let first = setup.clone().without(noon(4.0), noon(8.0)).start(&primary);
        let second = setup.start(&secondary);
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
    fn assert_plays(&self, name: &str, player: Player) {
        assert_eq!(self.watch(name, player).errors, [""; 0], "{name}");
    }

    fn watch(&self, name: &str, mut player: Player) -> Player {
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
        player
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
    // live555 says its reports behind the GET, as they are.
    for piece in ["$\u{1}\0\u{8}repo", "rts!$\u{3}\0\0"] {
        get.say(piece);
        next.say(OPTIONS);
        get.hear(served, SOON);
    }
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
        let heard = half.hear("\r\n\r\n", SOON);
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

/// A masked message of a client (RFC 6455 §5.2), the mask all zeros.
fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("short enough for one byte");
    let head = [0x80 | opcode, 0x80 | length, 0, 0, 0, 0];
    [&head, payload].concat()
}

/// A WebSocket that RTSP is spoken in, by hand.
fn websocket(seamline: &Seamline) -> Half {
    let mut half = Half(TcpStream::connect(("127.0.0.1", seamline.port())).expect("it listens"));
    half.say(
        "GET /gate HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: rtsp.onvif.org\r\n\r\n",
    );
    let heard = half.hear("\r\n\r\n", SOON);
    assert!(heard.starts_with("HTTP/1.1 101"), "{heard}");
    half
}

#[test]
fn pings_of_a_websocket_are_answered_and_hold_up_nobody() {
    const PING: u8 = 9;
    const BINARY: u8 = 2;
    let recorder = Setup::default().start(&Recipe::secondary().make());
    let seamline = Config::default().site("primary", &recorder).serve();
    let ask = |number: u8| {
        let request = format!("OPTIONS * RTSP/1.0\r\nCSeq: {number}\r\n\r\n");
        masked(BINARY, request.as_bytes())
    };
    // One before anything else, and one in between.
    let mut one = websocket(&seamline);
    let _ = one.0.write_all(&masked(PING, b"first"));
    one.hear("\u{5}first", SOON);
    let _ = one.0.write_all(&[ask(1), masked(PING, b"second")].concat());
    let heard = one.hear("\u{6}second", SOON);
    assert!(heard.contains("CSeq: 1\r\n"), "{heard}");
    // Many more than are read in one go, and no answer of them is waited for: the newest counts (RFC 6455 §5.5.3).
    let before = seamline.resident();
    let mut many = websocket(&seamline);
    let flood: Vec<u8> = (0..20_000)
        .flat_map(|nth| masked(PING, format!("ping {nth}").as_bytes()))
        .collect();
    let mut sending = many.0.try_clone().expect("it is open");
    let sender = std::thread::spawn(move || {
        let _ = sending.write_all(&flood);
        let _ = sending.write_all(&ask(2));
    });
    let _ = one.0.write_all(&ask(3));
    one.hear("CSeq: 3\r\n", SOON);
    let heard = many.hear("CSeq: 2\r\n", SOON);
    assert!(heard.contains("ping 19999"), "the newest is not answered");
    sender.join().expect("it is all read");
    let grown = seamline.resident().saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes for pings");
    // A ping longer than one may be (RFC 6455 §5.5) ends the connection.
    let mut long = websocket(&seamline);
    // 126: the length stands in the two bytes behind it.
    let start = [0x80 | PING, 0x80 | 0x7e, 0, 0x7e, 0, 0, 0, 0];
    let _ = long.0.write_all(&[&start[..], &[0; 0x7e]].concat());
    let heard = long.hear("\0\0\0\0never", SOON);
    assert!(!heard.contains("RTSP"), "{heard}");
    let _ = one
        .0
        .write_all(&masked(BINARY, b"OPTIONS * RTSP/1.0\r\nCSeq: 4\r\n\r\n"));
    one.hear("CSeq: 4\r\n", SOON);
}

#[test]
fn over_udp_players_see_no_seam() {
    // Recorders' packets over TCP may be larger than any datagram.
    for setup in [Setup::default(), Setup::default().mtu(60_000)] {
        let scenario = Scenario::with(Config::default(), &setup);
        let url = scenario.url("rtsp");
        scenario.assert_plays("FFmpeg", Player::ffmpeg_over("udp", &url));
        scenario.assert_plays("GStreamer", Player::gstreamer_over("udp", &url));
    }
}

#[test]
fn an_outage_under_a_player_over_udp_loses_nothing() {
    let (primary, secondary) = (Recipe::default().make(), Recipe::secondary().make());
    let busy = || Setup::default().no_faster_than(1.2);
    let (mut first, second) = (busy().start(&primary), busy().start(&secondary));
    let seamline = Config::default()
        .policy("failback", "never")
        .site("primary", &first)
        .site("secondary", &second)
        .serve();
    let url = seamline.url_from(noon(2.0), Some(noon(9.0)));
    let mut player = Player::ffmpeg_over("udp", &url);
    player.watch_until(noon(4.0), SOON);
    first.kill();
    player.watch_to_end(SOON);
    let report = judge(
        &player.pictures,
        &[("primary", &primary), ("secondary", &secondary)],
    );
    println!("{report}");
    report.assert_nothing_lost(Duration::from_secs(2));
    assert_eq!(report.sites(), ["primary", "secondary"]);
    assert_eq!(report.runs[1].last, noon(9.0) - FRAME_MS);
}

#[test]
fn where_udp_is_switched_off_players_take_tcp() {
    let scenario = Scenario::new(Config::default().top("udp", false));
    let url = scenario.url("rtsp");
    let ffmpeg = scenario.watch("FFmpeg", Player::ffmpeg_over("udp+tcp", &url));
    assert_eq!(
        ffmpeg.errors,
        ["method SETUP failed: 461 Unsupported Transport"]
    );
    scenario.assert_plays("GStreamer", Player::gstreamer_over("udp+tcp", &url));
}

/// A client's pair of ports, and the session that sends there.
struct Receiver {
    client: Client,
    url: String,
    rtp: UdpSocket,
    rtcp: UdpSocket,
    /// Where the server says that it sends from.
    server: (u16, u16),
}

impl Receiver {
    fn open(url: &str) -> Self {
        let socket = || UdpSocket::bind(("127.0.0.1", 0)).expect("a port is free");
        let (media, control) = (socket(), socket());
        let port = |socket: &UdpSocket| socket.local_addr().expect("it is bound").port();
        let transport = format!(
            "RTP/AVP;unicast;client_port={}-{}",
            port(&media),
            port(&control)
        );
        let mut client = Client::connect(url);
        let answer = client.request(
            "SETUP",
            &format!("{url}/trackID=1"),
            &[("Transport", &transport)],
        );
        assert_eq!(answer.status, 200, "{answer:?}");
        let agreed = answer.header("Transport").expect("a transport");
        let field = |name: &str| agreed.split(';').find_map(|field| field.strip_prefix(name));
        assert_eq!(field("source="), Some("127.0.0.1"), "{agreed}");
        assert!(
            field("ssrc=").is_some_and(|ssrc| ssrc.len() == 8),
            "{agreed}"
        );
        let ports = field("server_port=").and_then(|pair| pair.split_once('-'));
        let (first, second) = ports.expect("a pair");
        let server = (
            first.parse().expect("a port"),
            second.parse().expect("a port"),
        );
        assert_eq!((server.0 % 2, server.1), (0, server.0 + 1));
        Self {
            client,
            url: url.to_owned(),
            rtp: media,
            rtcp: control,
            server,
        }
    }

    /// Whether there is a second without media soon: what is on its way still comes.
    fn falls_silent(&self) -> bool {
        (0..5).any(|_| !self.receives())
    }

    /// Whether media comes within a second, and from where it should.
    fn receives(&self) -> bool {
        let mut packet = vec![0; 65_536];
        // What had come before does not count.
        self.rtp.set_nonblocking(true).expect("sockets can");
        while self.rtp.recv(&mut packet).is_ok() {}
        self.rtp.set_nonblocking(false).expect("sockets can");
        let patience = Some(Duration::from_secs(1));
        self.rtp
            .set_read_timeout(patience)
            .expect("a positive timeout");
        match self.rtp.recv_from(&mut packet) {
            Ok((bytes, from)) => {
                assert!(
                    (12..=1428).contains(&bytes) && packet[0] >> 6 == 2,
                    "{bytes}"
                );
                assert_eq!(from, ([127, 0, 0, 1], self.server.0).into());
                true
            }
            Err(_) => false,
        }
    }
}

#[test]
fn a_session_over_udp_outlives_its_connection_for_its_owner_alone() {
    let recorder = Setup::default().mtu(60_000);
    let recorder = recorder.start(&Recipe::secondary().make());
    let seamline = Config::default().site("primary", &recorder).serve();
    let url = seamline.url();
    let mut receiver = Receiver::open(&url);
    let session = receiver.client.session().expect("a session").to_owned();
    assert_eq!(receiver.client.request("PLAY", &url, &[]).status, 200);
    assert!(receiver.receives());
    // Its sender reports come from the odd port.
    let mut report = [0; 512];
    let (_, from) = receiver.rtcp.recv_from(&mut report).expect("a report");
    assert_eq!((report[1], from.port()), (200, receiver.server.1));

    let ask = |mut client: Client, method: &str| {
        client.claim(Some(&session));
        client.request(method, &url, &[]).status
    };
    // While its connection lives the session is nobody else's.
    for method in ["GET_PARAMETER", "PAUSE", "TEARDOWN"] {
        assert_eq!(ask(Client::connect(&url), method), 454, "{method}");
    }
    assert!(receiver.receives());

    // Without it the media goes on, and another connection of the same client takes the session over.
    receiver.client = Client::connect(&url);
    seamline.await_log(&["the session goes on"], SOON);
    assert!(receiver.receives());
    assert_eq!(
        ask(Client::connect_from("127.0.0.2", &url), "TEARDOWN"),
        454
    );
    assert!(receiver.receives());
    receiver.client.claim(Some(&session));
    let url = receiver.url.clone();
    assert_eq!(
        receiver.client.request("GET_PARAMETER", &url, &[]).status,
        200
    );
    assert!(receiver.receives());
    assert_eq!(receiver.client.request("PAUSE", &url, &[]).status, 200);
    assert!(receiver.falls_silent());
    assert_eq!(receiver.client.request("PLAY", &url, &[]).status, 200);
    assert!(receiver.receives());
    // And again, at once.
    receiver.client = Client::connect(&url);
    receiver.client.claim(Some(&session));
    assert_eq!(receiver.client.request("TEARDOWN", &url, &[]).status, 200);
    assert!(receiver.falls_silent());
    assert_eq!(ask(Client::connect(&url), "GET_PARAMETER"), 454);
}

#[test]
fn no_packet_goes_to_a_third_address_or_to_a_port_of_the_systems() {
    let recorder = Setup::default().start(&Recipe::secondary().make());
    let seamline = Config::default()
        .top("udp_ports", "38000-38001")
        .site("primary", &recorder)
        .serve();
    let url = seamline.url();
    let set_up = |client: &mut Client, transport: &str| {
        let answer = client.request(
            "SETUP",
            &format!("{url}/trackID=1"),
            &[("Transport", transport)],
        );
        (answer.status, answer.header("Transport").map(str::to_owned))
    };
    let mut client = Client::connect(&url);
    for refused in [
        "RTP/AVP;unicast;client_port=0-1",
        "RTP/AVP;unicast;client_port=53-54",
        "RTP/AVP;unicast;client_port=5000-5001;destination=127.0.0.2",
        "RTP/AVP;unicast;client_port=5000-5001;destination=localhost",
        "RTP/AVP;unicast;client_port=65535-65536",
        "RTP/AVP;unicast",
        "RTP/AVP;multicast;client_port=5000-5001",
    ] {
        assert_eq!(set_up(&mut client, refused).0, 461, "{refused}");
    }
    // The range is taken from, and where it is used up the next offer counts.
    let offers = "RTP/AVP;unicast;client_port=50000-50001,RTP/AVP/TCP;unicast;interleaved=0-1";
    let (status, agreed) = set_up(&mut client, offers);
    assert!(
        status == 200 && agreed.is_some_and(|agreed| agreed.contains("server_port=38000-38001"))
    );
    let mut late = Client::connect(&url);
    assert_eq!(
        set_up(&mut late, "RTP/AVP;unicast;client_port=50002-50003").0,
        461
    );
    let (status, agreed) = set_up(&mut late, offers);
    assert!(status == 200 && agreed.is_some_and(|agreed| agreed.contains("interleaved=0-1")));
    assert_eq!(client.request("TEARDOWN", &url, &[]).status, 200);
    let (_, agreed) = set_up(&mut Client::connect(&url), offers);
    assert!(agreed.is_some_and(|agreed| agreed.contains("server_port=38000-38001")));
}

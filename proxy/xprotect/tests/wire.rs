//! The golden bytes of the protocol, both ways, cut anywhere; and what could hurt.

use std::fmt::Write;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use seamline_routing::{TimeRange, Timestamp};
use seamline_xml::{Element, Limits};
use seamline_xprotect::{
    Answer, Call, CallFramer, Capabilities, Connect, Connected, Content, Extras, Framer, ImageHead,
    Incoming, Method, Pass, Span, WireError,
    configuration::{Camera, Configuration, Hardware, RecordingServer},
    gbd::{self, Codec, GbdError, Packet, Video},
    login::{self, Discovery, Session},
    multipart_end, part_head,
    sequences::{self, Entry, Query},
    soap::{self, Fault, SoapError},
};
use sha2::{Digest, Sha256};

/// 2025-01-01T00:00:00Z.
const NOON_MS: i64 = 1_735_689_600_000;
const CAMERA: &str = "11111111-2222-3333-4444-555555555555";

const KEY: &[u8] = &[
    0x00, 0x10, 0x00, 0x00, 0x00, 0x34, 0x00, 0x0a, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x01, 0x94,
    0x1f, 0x29, 0x7c, 0x00, 0x00, 0x00, 0x01, 0x94, 0x1f, 0x29, 0x7c, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x01, 0x67, 0x42, 0x80, 0x00, 0x00, 0x00, 0x00, 0x01, 0x68, 0xce, 0x00, 0x00,
    0x00, 0x01, 0x65, 0x88,
];
const DELTA: &[u8] = &[
    0x00, 0x10, 0x00, 0x00, 0x00, 0x26, 0x00, 0x0a, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x01, 0x94,
    0x1f, 0x29, 0x7c, 0x00, 0x00, 0x00, 0x01, 0x94, 0x1f, 0x29, 0x7c, 0x64, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x01, 0x41, 0x9a,
];

fn key() -> Video {
    Video {
        codec: Codec::H264,
        sequence: 0,
        flags: 1,
        sync_ms: NOON_MS,
        picture_ms: NOON_MS,
        payload: Bytes::from_static(&KEY[32..]),
    }
}

fn delta() -> Video {
    Video {
        codec: Codec::H264,
        sequence: 1,
        flags: 0,
        sync_ms: NOON_MS,
        picture_ms: NOON_MS + 100,
        payload: Bytes::from_static(&DELTA[32..]),
    }
}

fn head(request_id: i64, content: Content) -> ImageHead {
    ImageHead {
        request_id: Some(request_id),
        prev_ms: Some(NOON_MS - 1000),
        current_ms: Some(NOON_MS),
        next_ms: Some(NOON_MS + 1000),
        content,
        privacy_mask: None,
        more: Vec::new(),
    }
}

fn single(bytes: usize) -> Content {
    Content::Body {
        bytes,
        kind: ImageHead::GENERIC.to_owned(),
    }
}

fn one_picture() -> Vec<u8> {
    let body = key().write();
    let head = head(2, single(body.len())).write();
    [&head, &body[..], b"\r\n\r\n"].concat()
}

fn group() -> Vec<u8> {
    let mut bytes = head(2, Content::parts("gop0")).write();
    for packet in [key().write(), delta().write()] {
        bytes.extend(part_head("gop0", packet.len()));
        bytes.extend_from_slice(&packet);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend(multipart_end("gop0"));
    bytes
}

fn nothing() -> Vec<u8> {
    let head = ImageHead {
        request_id: Some(7),
        prev_ms: Some(0),
        current_ms: Some(0),
        next_ms: Some(0),
        content: single(0),
        privacy_mask: None,
        more: Vec::new(),
    };
    [&head.write()[..], b"\r\n\r\n"].concat()
}

fn sha256(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(bytes) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// What a connection gives out when its bytes come in these pieces.
fn read(pieces: impl IntoIterator<Item = Vec<u8>>) -> Result<Vec<Incoming>, WireError> {
    let (mut framer, mut buf, mut found) = (Framer::default(), BytesMut::new(), Vec::new());
    for piece in pieces {
        buf.extend_from_slice(&piece);
        while let Some(incoming) = framer.next(&mut buf)? {
            found.push(incoming);
        }
    }
    Ok(found)
}

#[test]
fn golden_packets() {
    assert_eq!(&key().write()[..], KEY);
    assert_eq!(&delta().write()[..], DELTA);
    let body = [KEY, DELTA].concat().into();
    let packets = gbd::packets(&body).unwrap();
    assert_eq!(packets, [Packet::Video(key()), Packet::Video(delta())]);
    assert!(key().is_key() && !delta().is_key());
    let units = gbd::nal_units(&key().payload);
    assert_eq!(
        units,
        [&[0x67, 0x42, 0x80][..], &[0x68, 0xce], &[0x65, 0x88]]
    );
}

#[test]
fn golden_messages() {
    for (bytes, length, hash) in [
        (
            one_picture(),
            231,
            "1ef39547c97f5835bf93ebe7dee694107cd7ad1fce8eefb81bbcb74721202b87",
        ),
        (
            group(),
            478,
            "5de7978a94b5f631da6247bf415959a78c707909f62467522254e40f5b6814b9",
        ),
        (
            nothing(),
            142,
            "d516d0d3a1ba004ee77b7e023630085ca59fd8babe115cf00a16dc6b7d76e9c8",
        ),
    ] {
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(
            (bytes.len(), sha256(&bytes).as_str()),
            (length, hash),
            "{text}"
        );
    }
    let parts = Content::parts("gop0");
    assert_eq!(
        read([group()]).unwrap(),
        [
            Incoming::Head(head(2, parts)),
            Incoming::Body(Bytes::from_static(KEY)),
            Incoming::Body(Bytes::from_static(DELTA)),
            Incoming::End,
        ]
    );
}

#[test]
fn golden_calls() {
    let sent = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><methodcall><requestid>1</requestid><methodname>connect</methodname>\
         <username>a</username><password>a</password><cameraid>{CAMERA}</cameraid><alwaysstdjpeg>no</alwaysstdjpeg>\
         <connectparam>id={CAMERA}&amp;connectiontoken=TOKEN#..#vms//ServerConnector#</connectparam><clientcapabilities>\
         <privacymask>no</privacymask><multipartdata>yes</multipartdata><datarestriction>no</datarestriction>\
         </clientcapabilities></methodcall>\r\n\r\n"
    );
    let call = Call {
        request_id: 1,
        method: Method::Connect(Box::new(Connect {
            pass: Pass {
                device: CAMERA.to_owned(),
                stream: None,
                token: "TOKEN#..#vms//ServerConnector#".to_owned(),
            },
            capabilities: Capabilities {
                multipart: true,
                ..Capabilities::default()
            },
            ..Connect::default()
        })),
    };
    assert_eq!(String::from_utf8(call.write()).unwrap(), sent);
    assert!(!format!("{call:?}").contains("ServerConnector"), "{call:?}");
    let mut buf = BytesMut::from(sent.as_bytes());
    let document = CallFramer::default().next(&mut buf).unwrap().unwrap();
    assert_eq!(Call::parse(&document).unwrap(), call);
    assert!(buf.is_empty());

    let goto = Call {
        request_id: 2,
        method: Method::Goto {
            time_ms: NOON_MS + 500,
            extras: Extras::default(),
        },
    };
    let sent = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><methodcall><requestid>2</requestid><methodname>goto</methodname>\
                <time>1735689600500</time></methodcall>\r\n\r\n";
    assert_eq!(String::from_utf8(goto.write()).unwrap(), sent);
}

#[test]
fn what_a_camera_may_be_named_by() {
    let parse = |inner: &str| {
        let text = format!("<methodcall><methodname>CONNECT</methodname>{inner}</methodcall>");
        match Call::parse(text.as_bytes()).unwrap().method {
            Method::Connect(connect) => connect.pass,
            other => panic!("{other:?}"),
        }
    };
    let pass = parse(
        "<cameraid>a</cameraid><connectparam>id=X&amp;streamid=S&amp;connectiontoken=T#&amp;=a</connectparam>",
    );
    assert_eq!(pass.device, "X");
    assert_eq!(pass.stream.as_deref(), Some("S"));
    assert_eq!(pass.token, "T#&=a");
    assert_eq!(parse("<cameraid>Y</cameraid>").device, "Y");
}

#[test]
fn golden_answers() {
    let sent = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><methodresponse><requestid>1</requestid><methodname>connect</methodname>\
                <connected>yes</connected><errorreason>Success</errorreason></methodresponse>\r\n\r\n";
    let answer = Answer::Connected(Connected {
        request_id: 1,
        method: "connect".to_owned(),
        accepted: true,
        reason: Some("Success".to_owned()),
        capabilities: None,
        takes_updates: None,
    });
    assert_eq!(String::from_utf8(answer.write()).unwrap(), sent);

    let full = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><methodresponse><requestid>1</requestid><methodname>connect</methodname>\
                <connected>YES</connected><errorreason>Success</errorreason><alwaysstdjpeg>no</alwaysstdjpeg><clientcapabilities>\
                <privacymask>no</privacymask><privacymaskversion>0</privacymaskversion><multipartdata>true</multipartdata>\
                <datarestriction>no</datarestriction></clientcapabilities><servercapabilities><connectupdate>yes</connectupdate>\
                <adaptivestreamingversion>1</adaptivestreamingversion></servercapabilities></methodresponse>";
    let Answer::Connected(connected) = Answer::parse(full.as_bytes()).unwrap() else {
        panic!("connected");
    };
    assert!(connected.accepted && connected.capabilities.unwrap().multipart);
    assert_eq!(connected.takes_updates, Some(true));

    let alarms = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><methodresponse><requestid>1</requestid><methodname>alarms</methodname>\
                  <alarms><alarm starttime=\"1735689600000\" alarmtime=\"1735689600000\" endtime=\"1735689605000\"/></alarms>\
                  </methodresponse>\r\n\r\n";
    let answer = Answer::Alarms {
        request_id: 1,
        spans: vec![Span {
            start_ms: NOON_MS,
            alarm_ms: NOON_MS,
            end_ms: NOON_MS + 5000,
        }],
    };
    assert_eq!(String::from_utf8(answer.write()).unwrap(), alarms);
    assert_eq!(Answer::parse(alarms.as_bytes()).unwrap(), answer);

    let live = "<?xml version=\"1.0\" encoding=\"utf-8\"?><livepackage><status><statustime>1605074397121</statustime>\
                <statusitem id=\"2\" value=\"0\" /><statusitem id=\"5\" value=\"1\" /></status></livepackage>";
    let status = Answer::Status {
        time_ms: Some(1_605_074_397_121),
        items: vec![(2, 0), (Answer::STATUS_CAMERA_LOST, 1)],
    };
    assert_eq!(Answer::parse(live.as_bytes()).unwrap(), status);
    assert_eq!(Answer::parse(&status.write()).unwrap(), status);
}

#[test]
fn heads_are_read_leniently() {
    let mut loose = b"\r\nImageResponse\r\nrequestid:9\r\nCURRENT: 5\r\nX-New: a:b\r\nPrivacyMask: grid;4;4;0110\r\n".to_vec();
    loose.extend_from_slice(
        b"Content-Type: Multipart/related; type=\"x\"; boundary=\"b 1\"\r\n\r\n--b 1\r\nContent-Length:2\r\n\r\nhi\r\n--b 1--\r\n\r\n",
    );
    let found = read([loose]).unwrap();
    let Incoming::Head(head) = &found[0] else {
        panic!("{found:?}");
    };
    assert_eq!(
        (head.request_id, head.prev_ms, head.current_ms),
        (Some(9), None, Some(5))
    );
    assert_eq!(head.privacy_mask.as_deref(), Some("grid;4;4;0110"));
    assert_eq!(
        found[1..],
        [Incoming::Body(Bytes::from_static(b"hi")), Incoming::End]
    );
}

/// A recorder may spell its head as it likes; clients get it as they know it, and no line that some of them cannot split.
#[test]
fn what_is_spelt_otherwise_leaves_as_clients_know_it() {
    let told = b"IMAGERESPONSE\r\ncontent-LENGTH:2\r\nnext: 7\r\nnonsense\r\nX-Empty:\r\nX-Odd: a: b\r\nX-Kept: a;b=c\r\ncurrent:6\r\n\
                 prev:5\r\nREQUESTID: 9\r\n\r\nhi\r\n\r\n";
    let found = read([told.to_vec()]).unwrap();
    let Incoming::Head(head) = &found[0] else {
        panic!("{found:?}");
    };
    let written = "ImageResponse\r\nRequestId: 9\r\nPrev: 5\r\nCurrent: 6\r\nNext: 7\r\nContent-length: 2\r\nX-Kept: a;b=c\r\n\r\n";
    assert_eq!(String::from_utf8(head.write()).unwrap(), written);
    assert_eq!(
        found[1..],
        [Incoming::Body(Bytes::from_static(b"hi")), Incoming::End]
    );
    // What a multipart is of stays as it was said.
    let kind = "multipart/related;type=\"image/jpeg\";boundary=\"b 1\"";
    let told = format!("ImageResponse\r\nContent-Type: {kind}\r\n\r\n--b 1--\r\n\r\n");
    let found = read([told.into_bytes()]).unwrap();
    let Incoming::Head(head) = &found[0] else {
        panic!("{found:?}");
    };
    let written = format!("ImageResponse\r\nContent-type: {kind}\r\n\r\n");
    assert_eq!(String::from_utf8(head.write()).unwrap(), written);
    // Attributes of alarms are read in whatever case they are written, and documents around them.
    let told = "<MethodResponse><requestid>1</requestid><methodname>alarms</methodname><list><x/><Alarm EndTime='30' ALARMTIME='20' id='7' StartTime='10'/>\
                </list></MethodResponse>";
    let Answer::Alarms { spans, .. } = Answer::parse(told.as_bytes()).unwrap() else {
        panic!("{told}");
    };
    let span = Span {
        start_ms: 10,
        alarm_ms: 20,
        end_ms: 30,
    };
    assert_eq!(spans, [span]);
}

#[test]
fn who_is_out_of_step_is_found_out() {
    let picture = one_picture();
    let cut = picture.len() - 4;
    let without_trailer = [&picture[..cut], &picture[..]].concat();
    let long = |name: &str| {
        let line = format!("{name}: {}\r\n", "x".repeat(1000)).repeat(70);
        format!("ImageResponse\r\n{line}").into_bytes()
    };
    let part = b"ImageResponse\r\nContent-type: multipart/related; boundary=b\r\n\r\n";
    let of = |rest: &[u8]| [&part[..], rest].concat();
    for (bytes, error) in [
        (without_trailer, WireError::OutOfStep),
        (b"HTTP/1.1 200 OK".to_vec(), WireError::Start),
        (vec![0x16, 3, 1], WireError::Start),
        (long("A"), WireError::TooLong("head")),
        (
            [b"<a>".to_vec(), vec![b'x'; (1 << 20) + 8]].concat(),
            WireError::TooLong("document"),
        ),
        (
            b"ImageResponse\r\nContent-length: 99999999\r\n\r\n".to_vec(),
            WireError::Length(99_999_999),
        ),
        (
            b"ImageResponse\r\nContent-type: image/jpeg\r\n\r\n".to_vec(),
            WireError::Length(0),
        ),
        (
            b"ImageResponse\r\nCurrent: -1\r\nContent-length: 0\r\n\r\n".to_vec(),
            WireError::Head("Current: -1".replace("Current", "current")),
        ),
        (
            b"ImageResponse\r\nnonsense\r\n\r\n".to_vec(),
            WireError::Length(0),
        ),
        (of(b"--c"), WireError::OutOfStep),
        (of(b"--b\r\nX: y\r\n\r\n"), WireError::Length(0)),
        (
            of(b"--b\r\nContent-length: 1\r\n\r\nab\r\n"),
            WireError::OutOfStep,
        ),
        (
            of(&b"--b\r\nContent-length: 0\r\n\r\n\r\n".repeat(4097)),
            WireError::Parts,
        ),
    ] {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        assert_eq!(read([bytes]), Err(error), "{shown}");
    }
}

#[test]
fn bodies_that_lie_are_refused() {
    let lies = |at: usize, bytes: &[u8]| {
        let mut packet = KEY.to_vec();
        packet[at..at + bytes.len()].copy_from_slice(bytes);
        gbd::packets(&packet.into())
    };
    assert_eq!(lies(2, &[0xff; 4]), Err(GbdError::Short));
    assert_eq!(lies(2, &[0, 0, 0, 5]), Err(GbdError::Short));
    assert_eq!(lies(2, &[0, 0, 0, 31]), Err(GbdError::Short));
    assert_eq!(lies(0, &[0x77, 0x77]), Err(GbdError::Type(0x7777)));
    assert_eq!(lies(20, &[0xff; 8]), Err(GbdError::Time));
    // A wrapper in a wrapper.
    let wrap = |inner: &[u8]| {
        let mut packet = vec![0xfe, 0xf0];
        packet.extend(((16 + inner.len()) as u32).to_be_bytes());
        packet.extend([0; 10]);
        packet.extend(inner);
        packet
    };
    let once = gbd::packets(&wrap(KEY).into()).unwrap();
    assert_eq!(once, [Packet::Video(key())]);
    assert_eq!(
        gbd::packets(&wrap(&wrap(KEY)).into()),
        Err(GbdError::Type(0xfef0))
    );
    let jpeg = Bytes::from_static(&[0xff, 0xd8, 0xff]);
    assert_eq!(gbd::packets(&jpeg).unwrap(), [Packet::Jpeg(jpeg)]);
}

#[test]
fn a_block_of_an_older_recorder_is_recognised() {
    let mut block = vec![0, 0x0a, 0, 2];
    block.extend([0; 4]);
    block.extend(3u32.to_be_bytes());
    block.extend(NOON_MS.to_be_bytes());
    block.extend(NOON_MS.to_be_bytes());
    block.extend([0; 8 + 2]);
    block.extend(b"abc");
    let packets = gbd::packets(&block.clone().into()).unwrap();
    let [Packet::Block(read)] = &packets[..] else {
        panic!("{packets:?}");
    };
    assert_eq!(
        (read.codec, read.begin_ms, &read.payload[..]),
        (Codec::H264, NOON_MS, &b"abc"[..])
    );
    block.truncate(block.len() - 1);
    assert_eq!(gbd::packets(&block.into()), Err(GbdError::Short));
}

#[test]
fn logins() {
    let told = br#"{"issuer":"x","server_version":"25.2.1.1","token_endpoint":"https://vms.example/IDP/connect/token"}"#;
    let discovery: Discovery = serde_json::from_slice(told).unwrap();
    assert_eq!(discovery.major(), Some(25));
    let sent = serde_json::to_string(&discovery).unwrap();
    assert!(sent.contains("\"server_version\":\"25."), "{sent}");

    let asked = login::login("6a0f7b52-0000-4000-8000-000000000001", "");
    let asked = soap::asked(&asked).unwrap();
    assert_eq!(asked.name(), "Login");
    assert_eq!(
        asked.text("instanceId"),
        Some("6a0f7b52-0000-4000-8000-000000000001")
    );
    assert_eq!(asked.text("currentToken"), None);

    let golden = "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body>\
        <LoginResponse xmlns=\"http://videoos.net/2/XProtectCSServerCommand\"><LoginResult xmlns:i=\"x\">\
        <RegistrationTime>2025-06-01T10:00:00.0000000Z</RegistrationTime><TimeToLive><MicroSeconds>14400000000</MicroSeconds></TimeToLive>\
        <TimeToLiveLimited>false</TimeToLiveLimited><Token>TOKEN#0f1e2d3c#vmshost//ServerConnector#</Token>\
        </LoginResult></LoginResponse></s:Body></s:Envelope>";
    let read = |bytes: &[u8]| {
        let result = soap::result(bytes, "Login", Limits::ANSWER)
            .unwrap()
            .unwrap();
        Session::read(&result).unwrap()
    };
    let session = read(golden.as_bytes());
    assert_eq!(session.lives.as_secs(), 4 * 3600);
    assert_eq!(login::renew_after(session.lives).as_secs(), 4 * 3600 - 30);
    assert_eq!(
        login::renew_after(std::time::Duration::from_secs(10)).as_secs(),
        5
    );
    let sent = session.write("2025-06-01T10:00:00.0000000Z");
    assert_eq!(read(&sent), session);
    let text = String::from_utf8(sent).unwrap();
    let at = |name: &str| text.find(name).unwrap();
    assert!(
        at("<RegistrationTime>") < at("<TimeToLive>") && at("<TimeToLiveLimited>") < at("<Token>")
    );
    assert!(!format!("{session:?}").contains("TOKEN"));
}

#[test]
fn a_configuration() {
    let answer = format!(
        "<e:Envelope xmlns:e='x'><e:Body><GetConfigurationResponse><GetConfigurationResult><Recorders><RecorderInfo>\
         <Cameras><CameraInfo><DeviceId>{CAMERA}</DeviceId><DeviceIndex>1</DeviceIndex><HardwareId>AB</HardwareId><Name>Cam 1</Name>\
         <RecorderId>r</RecorderId><CameraSecurity><Browse>false</Browse></CameraSecurity></CameraInfo><CameraInfo/></Cameras>\
         <Hardware><HardwareInfo><HardwareId>ab</HardwareId><Uri>http://10.0.0.9/</Uri></HardwareInfo></Hardware>\
         <Microphones><MicrophoneInfo><DeviceId>M1</DeviceId><Name>Cam 1</Name><MicrophoneSecurity><Live>false</Live></MicrophoneSecurity>\
         </MicrophoneInfo></Microphones><Name>rec</Name><RecorderId>r</RecorderId><WebServerUri>http://rec.example:7563/</WebServerUri>\
         </RecorderInfo></Recorders></GetConfigurationResult></GetConfigurationResponse></e:Body></e:Envelope>"
    );
    let result = soap::result(answer.as_bytes(), "GetConfiguration", Limits::ANSWER).unwrap();
    let configuration = Configuration::read(&result.unwrap());
    let camera = Camera {
        id: CAMERA.to_owned(),
        name: "Cam 1".to_owned(),
        hardware: "AB".to_owned(),
        channel: Some(1),
        may_play: Some(false),
        may_live: None,
        may_list: None,
    };
    let hardware = Hardware {
        id: "ab".to_owned(),
        uri: "http://10.0.0.9/".to_owned(),
    };
    let recorder = RecordingServer {
        id: "r".to_owned(),
        name: "rec".to_owned(),
        uri: "http://rec.example:7563/".to_owned(),
        cameras: vec![camera.clone()],
        hardware: vec![hardware.clone()],
        others: vec![Camera {
            id: "M1".to_owned(),
            name: "Cam 1".to_owned(),
            may_live: Some(false),
            ..Camera::default()
        }],
    };
    // By its name a camera is meant.
    for (remote, id) in [("m1", "M1"), ("Cam 1", CAMERA)] {
        let found = configuration.camera(remote).unwrap();
        assert_eq!(found.map(|(_, camera)| camera.id.as_str()), Some(id));
    }
    assert_eq!(recorder.hardware_of(&camera), Some(&hardware));
    assert_eq!(configuration.recorders, [recorder]);
}

#[test]
fn sequences_and_faults() {
    let window = TimeRange::new(
        Timestamp::from_unix_ms(NOON_MS),
        Timestamp::from_unix_ms(NOON_MS + 86_400_000),
    );
    let query = Query {
        token: "TOKEN#..",
        device: CAMERA,
        window: window.unwrap(),
        count_max: 1000,
    };
    let sent = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><soap:Envelope xmlns:soap=\"http://schemas.xmlsoap.org/soap/envelope/\"><soap:Body>\
         <SequencesGet xmlns=\"http://videoos.net/2/XProtectCSRecorderCommand\"><token>TOKEN#..</token><deviceId>{CAMERA}</deviceId>\
         <sequenceType>f9c62604-d0c5-4050-ae25-72de51639b14</sequenceType><minTime>2025-01-01T00:00:00.000Z</minTime>\
         <maxTime>2025-01-02T00:00:00.000Z</maxTime><maxCount>1000</maxCount></SequencesGet></soap:Body></soap:Envelope>"
    );
    assert_eq!(String::from_utf8(query.write()).unwrap(), sent);
    let result = |bytes: &[u8]| soap::result(bytes, Query::OPERATION, Limits::ANSWER);
    let envelope = |inner: &str| {
        format!(
            "<soap:Envelope xmlns:soap='x'><soap:Body><SequencesGetResponse>{inner}</SequencesGetResponse></soap:Body></soap:Envelope>"
        )
    };
    let golden = envelope(
        "<SequencesGetResult><SequenceEntry><TimeBegin>2025-01-01T00:00:00.0590000Z</TimeBegin><TimeTrigged>2025-01-01T00:00:00.0590000Z\
         </TimeTrigged><TimeEnd>2025-01-01T00:10:00</TimeEnd></SequenceEntry></SequencesGetResult>",
    );
    let at = |ms: i64| Timestamp::from_unix_ms(NOON_MS + ms);
    let entry = Entry::plain(at(59), at(600_000));
    let read = result(golden.as_bytes()).unwrap();
    assert_eq!(sequences::entries(read.as_ref()).unwrap(), [entry]);
    // With what set it off.
    let entry = Entry {
        trigged: at(7_000),
        ..entry
    };
    let read = result(&sequences::answer(&[entry])).unwrap();
    assert_eq!(sequences::entries(read.as_ref()).unwrap(), [entry]);
    for empty in ["<SequencesGetResult />", ""] {
        let read = result(envelope(empty).as_bytes()).unwrap();
        assert_eq!(sequences::entries(read.as_ref()).unwrap(), []);
    }

    let fault = Fault {
        code: "soap:Client".to_owned(),
        text: "Token invalid".to_owned(),
        number: Some((20_001, 2)),
    };
    let golden = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><soap:Envelope xmlns:soap=\"http://schemas.xmlsoap.org/soap/envelope/\">\
        <soap:Body><soap:Fault><faultcode>soap:Client</faultcode><faultstring>Token invalid</faultstring><detail>\
        <ErrorNumber>20001</ErrorNumber><SubErrorNumber>2</SubErrorNumber></detail></soap:Fault></soap:Body></soap:Envelope>";
    assert_eq!(String::from_utf8(fault.write()).unwrap(), golden);
    assert_eq!(
        result(golden.as_bytes()),
        Err(SoapError::Fault(fault.clone()))
    );
    assert!(fault.is_token());
    assert_eq!(result(b"<html/>"), Err(SoapError::NoAnswer));
}

fn method() -> impl Strategy<Value = Method> {
    let extras =
        (prop::option::of(1u8..=104), any::<bool>()).prop_map(|(compression, key_frames_only)| {
            Extras {
                compression,
                key_frames_only,
            }
        });
    let pass = (
        "[0-9a-f-]{36}",
        prop::option::of("[0-9a-f]{8}"),
        "[!-~]{1,60}",
    )
        .prop_map(|(device, stream, token)| Pass {
            device,
            stream,
            token,
        });
    let connect = (pass.clone(), any::<[bool; 5]>()).prop_map(
        |(pass, [jpeg, all, mask, multipart, restriction])| {
            Method::Connect(Box::new(Connect {
                pass,
                always_jpeg: jpeg,
                all_frames: jpeg && all,
                capabilities: Capabilities {
                    privacy_mask: mask,
                    multipart,
                    data_restriction: restriction,
                },
            }))
        },
    );
    prop_oneof![
        connect,
        pass.prop_map(Method::ConnectUpdate),
        (any::<i64>(), extras.clone())
            .prop_map(|(time_ms, extras)| Method::Goto { time_ms, extras }),
        extras.clone().prop_map(Method::Next),
        extras.prop_map(Method::Previous),
        Just(Method::Begin),
        Just(Method::End),
        Just(Method::NextSequence),
        Just(Method::PreviousSequence),
        Just(Method::Stop),
        (any::<bool>(), 1u8..=104).prop_map(|(initial_image, compression)| Method::Live {
            initial_image,
            compression
        }),
        Just(Method::Other("getpresetlist".to_owned())),
    ]
}

/// What a recorder may say, as bytes and as it must be read.
fn message() -> impl Strategy<Value = (Vec<u8>, Vec<Incoming>)> {
    let bodies = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..5);
    let time = || prop::option::of(0i64..253_402_300_800_000);
    (any::<bool>(), bodies, time(), time()).prop_map(|(parts, bodies, prev_ms, current_ms)| {
        let boundary = "b-1".to_owned();
        let whole = bodies.concat();
        let content = if parts {
            Content::parts(&boundary)
        } else {
            single(whole.len())
        };
        let head = ImageHead {
            request_id: Some(1),
            prev_ms,
            current_ms,
            next_ms: None,
            content,
            privacy_mask: None,
            more: Vec::new(),
        };
        let mut bytes = head.write();
        let mut found = vec![Incoming::Head(head)];
        if parts {
            for body in bodies {
                bytes.extend(part_head(&boundary, body.len()));
                bytes.extend(&body);
                bytes.extend(b"\r\n");
                found.push(Incoming::Body(body.into()));
            }
            bytes.extend(multipart_end(&boundary));
        } else {
            bytes.extend(&whole);
            bytes.extend(b"\r\n\r\n");
            found.push(Incoming::Body(whole.into()));
        }
        found.push(Incoming::End);
        (bytes, found)
    })
}

proptest! {
    #[test]
    fn calls_come_back(request_id in any::<i64>(), method in method()) {
        let call = Call { request_id, method };
        let mut buf = BytesMut::from(&call.write()[..]);
        let document = CallFramer::default().next(&mut buf).unwrap().unwrap();
        prop_assert_eq!(Call::parse(&document).unwrap(), call);
        prop_assert!(buf.is_empty());
    }

    #[test]
    fn however_the_bytes_are_cut_the_same_is_read(
        messages in prop::collection::vec(message(), 1..6),
        cuts in prop::collection::vec(1usize..40, 1..50),
    ) {
        let bytes: Vec<u8> = messages.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        let wanted: Vec<Incoming> = messages.into_iter().flat_map(|(_, found)| found).collect();
        let (mut rest, mut pieces) = (&bytes[..], Vec::new());
        for cut in cuts.into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, behind) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece.to_vec());
            rest = behind;
        }
        prop_assert_eq!(read(pieces).unwrap(), wanted);
    }

    #[test]
    fn packets_come_back(
        codec in any::<u16>(), sequence in any::<u16>(), flags in any::<u16>(),
        times in any::<[u32; 2]>(), payload in prop::collection::vec(any::<u8>(), 0..90),
    ) {
        let video = Video {
            codec: codec.into(), sequence, flags,
            sync_ms: i64::from(times[0]), picture_ms: i64::from(times[1]), payload: payload.into(),
        };
        prop_assert_eq!(gbd::packets(&video.write()).unwrap(), [Packet::Video(video)]);
    }

    #[test]
    fn nothing_panics_on_anything(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = gbd::packets(&bytes.clone().into());
        let _ = gbd::nal_units(&bytes.clone().into());
        let _ = Call::parse(&bytes);
        let _ = Answer::parse(&bytes);
        let _ = Element::parse(&bytes);
        let _ = read([bytes]);
    }
}

#[test]
fn a_method_is_not_taken_for_another_whose_name_is_left_without_control_characters() {
    let document =
        b"<methodcall><requestid>3</requestid><methodname>got\x14o</methodname></methodcall>";
    assert!(Call::parse(document).is_err());
}

#[test]
fn what_follows_a_head_is_kept_as_it_came() {
    let (key, delta) = (key().write(), delta().write());
    let parts = [
        part_head("gop0", key.len()),
        key.to_vec(),
        b"\r\n--gop0\r\nX-Of: a camera\r\nContent-length: ".to_vec(),
        delta.len().to_string().into_bytes(),
        b"\r\nContent-type: image/jpeg\r\n\r\n".to_vec(),
        delta.to_vec(),
        b"\r\n".to_vec(),
        multipart_end("gop0"),
    ]
    .concat();
    let single = [&key[..], b"\r\n\r\n"].concat();
    let kind = ImageHead::GENERIC.to_owned();
    let bytes = key.len();
    for (content, follows) in [
        (Content::parts("gop0"), parts),
        (Content::Body { bytes, kind }, single),
    ] {
        let mut head = head(2, content);
        head.more = vec![("X-Lens".to_owned(), "fisheye".to_owned())];
        let sent = [head.write(), follows.clone()].concat();
        for cut in [1, 7, 64, sent.len()] {
            let (mut framer, mut buf) = (Framer::default(), BytesMut::new());
            framer.keep();
            let mut seen = Vec::new();
            for chunk in sent.chunks(cut) {
                buf.extend_from_slice(chunk);
                while let Some(incoming) = framer.next(&mut buf).unwrap() {
                    seen.push(incoming);
                }
            }
            let kept = framer.take_kept();
            let bytes: Vec<u8> = kept.iter().flat_map(|piece| piece.bytes.to_vec()).collect();
            assert_eq!(bytes, follows);
            let bodies = seen.iter().filter_map(|incoming| match incoming {
                Incoming::Body(body) => Some(body),
                _ => None,
            });
            let kept = kept.iter().filter(|piece| piece.is_body);
            assert!(kept.map(|piece| &piece.bytes).eq(bodies));
            assert_eq!(seen.first(), Some(&Incoming::Head(head.clone())));
        }
    }
}

#[test]
fn times_of_pictures_are_moved_and_nothing_else() {
    let (key, delta) = (key(), delta());
    let later = |video: &Video, ms: i64| Video {
        sync_ms: video.sync_ms + ms,
        picture_ms: video.picture_ms + ms,
        ..video.clone()
    };
    let both = Bytes::from([key.write(), delta.write()].concat());
    let moved = gbd::shifted(&both, -1500);
    let expected = [later(&key, -1500).write(), later(&delta, -1500).write()].concat();
    assert_eq!(moved, expected);
    assert_eq!(gbd::shifted(&moved, 1500), both);
    let inner = key.write();
    let mut multi = vec![0xFE, 0xF0];
    multi.extend_from_slice(&(16 + inner.len() as u32).to_be_bytes());
    multi.extend_from_slice(&[7; 10]);
    let wrapped = Bytes::from([&multi[..], &inner].concat());
    let expected = [&multi[..], &later(&key, 250).write()].concat();
    assert_eq!(gbd::shifted(&wrapped, 250), expected);
    // What is no GenericByteData, or ends too early, stays.
    for body in [&b"\xFF\xD8\xFF\xE0 jpeg"[..], &KEY[..20], b"", b"\x00"] {
        let body = Bytes::copy_from_slice(body);
        assert_eq!(gbd::shifted(&body, 5), body);
    }
}

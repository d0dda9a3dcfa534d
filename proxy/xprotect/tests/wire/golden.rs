//! The golden bytes, both ways.

use std::fmt::Write;

use bytes::{Bytes, BytesMut};
use seamline_xprotect::{
    Answer, Call, CallFramer, Capabilities, Connect, Connected, Content, Extras, ImageHead,
    Incoming, Method, Pass, Span,
    gbd::{self, Packet, Video},
    multipart_end, part_head,
};
use sha2::{Digest, Sha256};

use crate::{CAMERA, DELTA, KEY, NOON_MS, delta, head, key, one_picture, read, single};

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

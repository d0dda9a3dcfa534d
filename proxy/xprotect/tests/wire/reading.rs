//! What is spelt otherwise, cut anywhere, out of step or a lie.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use seamline_xml::Element;
use seamline_xprotect::{
    Answer, Call, CallFramer, Capabilities, Connect, Content, Extras, Framer, ImageHead, Incoming,
    Method, Pass, Span, WireError,
    gbd::{self, Codec, GbdError, Packet, Video},
    multipart_end, part_head,
};

use crate::{KEY, NOON_MS, delta, head, key, one_picture, read, single};

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

//! Straight through, and what the owner decides on the way.

use super::{Recorder, URL, described, digest, play, set_up, with_credentials};
use bytes::BytesMut;
use seamline_rtsp::client::{
    ClientError, ClientEvent, Phase, PlayRequest, Playing, TrackChoice, TrackStart,
};
use seamline_rtsp::headers::{ClockTime, Frames, Range, RateControl, Scale};
use seamline_rtsp::{Framer, Incoming, Method, Response};

#[test]
fn the_straight_way() {
    let mut recorder = Recorder::new(|_| {});
    assert_eq!(recorder.client.phase(), Phase::Describing);
    let describe = recorder.asked(&Method::Describe);
    assert_eq!(describe.uri, URL);
    assert_eq!(describe.headers.get("Accept"), Some("application/sdp"));
    assert_eq!(describe.headers.get("Require"), Some("onvif-replay"));
    recorder.silent();
    recorder.answer(&described(&describe)).expect("described");
    assert!(
        matches!(recorder.event(), ClientEvent::Described(description) if description.tracks.len() == 2)
    );

    for (number, channels) in [(1, "0-1"), (2, "2-3")] {
        let setup = recorder.asked(&Method::Setup);
        assert_eq!(
            setup.uri,
            format!("rtsp://recorder:554/rec/7/trackID={number}")
        );
        assert_eq!(setup.headers.get("Require"), Some("onvif-replay"));
        let transport = format!("RTP/AVP/TCP;unicast;interleaved={channels}");
        assert_eq!(setup.headers.get("Transport"), Some(transport.as_str()));
        assert_eq!(
            setup.headers.get("Session"),
            (number == 2).then_some("abc.-9")
        );
        recorder.silent();
        recorder.answer(&set_up(&setup)).expect("set up");
    }
    assert_eq!(recorder.event(), ClientEvent::Ready);
    assert_eq!(recorder.client.keep_alive_every().as_secs(), 10);
    assert_eq!(
        recorder
            .client
            .tracks()
            .iter()
            .map(|track| track.rtp_channel)
            .collect::<Vec<_>>(),
        [0, 2]
    );

    let play = recorder.asked(&Method::Play);
    assert_eq!(play.uri, "rtsp://recorder:554/rec/7/");
    for (name, value) in [
        ("Session", "abc.-9"),
        ("Require", "onvif-replay"),
        ("Range", "clock=20260102T030405.25Z-20260102T031500Z"),
        ("Rate-Control", "no"),
    ] {
        assert_eq!(play.headers.get(name), Some(value), "{name}");
    }
    for absent in ["Scale", "Speed", "Frames", "Immediate"] {
        assert_eq!(play.headers.get(absent), None, "{absent}");
    }
    assert_eq!(
        (recorder.client.phase(), recorder.client.is_waiting()),
        (Phase::Starting, true)
    );
    let info = "url=rtsp://recorder:554/rec/7/trackID=2;seq=9;rtptime=90,url=rtsp://recorder:554/rec/7/trackID=1;seq=4711";
    let reply = Response::to(&play, 200)
        .with("Range", "clock=20260102T030404.48Z-20260102T031500Z")
        .with("RTP-Info", info)
        .with("Rate-Control", "no")
        .with("Scale", "1.0");
    recorder.answer(&reply).expect("playing");
    let start = ClockTime::parse("20260102T030404.48Z").ok();
    let end = ClockTime::parse("20260102T031500Z").ok();
    let playing = Playing {
        cseq: play.cseq().expect("CSeq"),
        range: Some(Range::Clock { start, end }),
        scale: Some(Scale::ONE),
        rate_control: Some(RateControl::No),
        onvif: true,
        starts: vec![
            TrackStart {
                track: 1,
                seq: Some(9),
                rtptime: Some(90),
            },
            TrackStart {
                track: 0,
                seq: Some(4711),
                rtptime: None,
            },
        ],
    };
    assert_eq!(recorder.event(), ClientEvent::Playing(playing));
    assert_eq!(
        (recorder.client.phase(), recorder.client.is_waiting()),
        (Phase::Playing, false)
    );

    recorder.client.teardown();
    let teardown = recorder.asked(&Method::Teardown);
    assert_eq!(teardown.headers.get("Session"), Some("abc.-9"));
    recorder
        .answer(&Response::to(&teardown, 454))
        .expect("gone is gone");
    assert_eq!(recorder.event(), ClientEvent::Closed);
    assert_eq!(recorder.client.phase(), Phase::Closed);
}

#[test]
fn cseq_counts_every_sending() {
    let mut recorder = Recorder::new(with_credentials);
    let first = recorder.asked(&Method::Describe);
    recorder
        .answer(&digest(&first, "1", ""))
        .expect("challenge");
    let second = recorder.asked(&Method::Describe);
    assert_eq!((first.cseq(), second.cseq()), (Some(1), Some(2)));
}

#[test]
fn the_owner_names_tracks_and_says_when() {
    let mut recorder = Recorder::new(|config| {
        config.tracks = TrackChoice::Named;
        config.play = None;
    });
    recorder.describe();
    recorder.silent();
    assert_eq!(recorder.client.phase(), Phase::Described);
    recorder.client.set_up(&[1, 99]).expect("named");
    let setup = recorder.asked(&Method::Setup);
    assert!(setup.uri.ends_with("trackID=2"));
    recorder.answer(&set_up(&setup)).expect("set up");
    recorder.silent();
    assert_eq!(recorder.client.phase(), Phase::Ready);

    let wish = PlayRequest {
        scale: Some(Scale::REVERSE),
        frames: Some(Frames::Intra {
            interval_ms: Some(4000),
        }),
        immediate: true,
        ..play()
    };
    recorder.client.play(wish);
    let play = recorder.asked(&Method::Play);
    for (name, value) in [
        ("Scale", "-1.0"),
        ("Frames", "intra/4000"),
        ("Immediate", "yes"),
    ] {
        assert_eq!(play.headers.get(name), Some(value), "{name}");
    }

    let mut recorder = Recorder::new(|config| config.tracks = TrackChoice::Named);
    recorder.describe();
    assert!(matches!(
        recorder.client.set_up(&[]),
        Err(ClientError::Protocol(_))
    ));
}

#[test]
fn seeking_by_pause_and_play() {
    let mut recorder = Recorder::playing();
    recorder.client.pause();
    recorder.client.play(PlayRequest {
        range: Range::parse("clock=20260102T040000Z-").ok(),
        ..play()
    });
    let (pause, play) = (
        recorder.asked(&Method::Pause),
        recorder.asked(&Method::Play),
    );
    recorder.answer(&Response::to(&pause, 200)).expect("paused");
    assert_eq!(
        (recorder.event(), recorder.client.phase()),
        (ClientEvent::Paused, Phase::Starting)
    );
    recorder.answer(&Response::to(&play, 200)).expect("playing");
    assert!(
        matches!(recorder.event(), ClientEvent::Playing(playing) if Some(playing.cseq) == play.cseq())
    );
    assert_eq!(recorder.client.phase(), Phase::Playing);
    recorder.client.pause();
    let pause = recorder.asked(&Method::Pause);
    recorder.answer(&Response::to(&pause, 200)).expect("paused");
    assert_eq!(recorder.client.phase(), Phase::Ready);
}

#[test]
fn a_recorder_that_cannot_pause_may_still_seek() {
    let mut recorder = Recorder::playing();
    recorder.client.pause();
    recorder.client.play(play());
    recorder
        .reply(&Method::Pause, 501)
        .expect("the PLAY decides");
    recorder.reply(&Method::Play, 200).expect("playing");
    assert_eq!(recorder.client.phase(), Phase::Playing);
    recorder.client.pause();
    assert_eq!(
        recorder.reply(&Method::Pause, 501),
        Err(ClientError::Unsupported { status: 501 })
    );
}

#[test]
fn frames_that_overtake_the_answer_are_not_lost() {
    let mut recorder = Recorder::new(|_| {});
    recorder.describe();
    recorder.set_up(2);
    let play = recorder.asked(&Method::Play);
    let mut stream = BytesMut::from(&b"$\x00\x00\x03one$\x00\x00\x03two"[..]);
    stream.extend_from_slice(&Response::to(&play, 200).encode());
    stream.extend_from_slice(b"$\x00\x00\x05three");
    let (mut framer, mut media) = (Framer::new(), Vec::new());
    while let Some(incoming) = framer.next(&mut stream).expect("RTSP") {
        match incoming {
            Incoming::Frame { bytes, .. } => media.push((recorder.client.phase(), bytes)),
            Incoming::Response(response) => recorder.answer(&response).expect("playing"),
            Incoming::Request(request) => panic!("{request:?}"),
        }
    }
    let phases: Vec<_> = media
        .iter()
        .map(|(phase, bytes)| (*phase, bytes.len()))
        .collect();
    assert_eq!(
        phases,
        [
            (Phase::Starting, 7),
            (Phase::Starting, 7),
            (Phase::Playing, 9)
        ]
    );
}

#[test]
fn rtp_info_finds_its_track_whatever_its_url() {
    let starts = |info: &str| {
        let mut recorder = Recorder::new(|_| {});
        recorder.describe();
        recorder.set_up(2);
        let play = recorder.asked(&Method::Play);
        recorder
            .answer(&Response::to(&play, 200).with("RTP-Info", info))
            .expect("playing");
        std::iter::from_fn(|| recorder.client.poll_event()).find_map(|event| match event {
            ClientEvent::Playing(playing) => Some(
                playing
                    .starts
                    .iter()
                    .map(|s| (s.track, s.seq))
                    .collect::<Vec<_>>(),
            ),
            _ => None,
        })
    };
    assert_eq!(starts("url=trackID=2;seq=5"), Some(vec![(1, Some(5))]));
    assert_eq!(
        starts("url=rtsp://nat/other/trackID=1;seq=5"),
        Some(vec![(0, Some(5))])
    );
    assert_eq!(
        starts("url=a;seq=1,url=b;seq=2"),
        Some(vec![(0, Some(1)), (1, Some(2))])
    );
    assert_eq!(starts("url=unknown;seq=5"), Some(vec![]));
}

#[test]
fn passwords_stay_out_of_debug_output() {
    let recorder = Recorder::new(with_credentials);
    assert!(!format!("{:?}", recorder.client).contains("s3cret"));
}

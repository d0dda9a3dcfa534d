//! Refusals, redirects and breaches: each is another decision.

use super::{Recorder, SDP, URL, described, set_up};
use seamline_rtsp::client::{ClientError, ClientEvent, Phase};
use seamline_rtsp::{Method, Request, Response, RtspUrl};

#[test]
fn a_recorder_without_onvif_replay_is_asked_without() {
    // Where the demand may be refused: DESCRIBE (by any odd status), SETUP, PLAY.
    for (refusing, status) in [
        (Method::Describe, 551),
        (Method::Describe, 400),
        (Method::Setup, 551),
        (Method::Play, 551),
    ] {
        let mut recorder = Recorder::new(|_| {});
        let mut refused = false;
        for method in [Method::Describe, Method::Setup, Method::Setup, Method::Play] {
            let mut request = recorder.asked(&method);
            if method == refusing && !refused {
                assert_eq!(request.headers.get("Require"), Some("onvif-replay"));
                recorder
                    .answer(&Response::to(&request, status))
                    .expect("falls back");
                request = recorder.asked(&method);
                refused = true;
            }
            assert_eq!(
                request.headers.get("Require"),
                (!refused).then_some("onvif-replay"),
                "{method} of {refusing}"
            );
            let reply = match method {
                Method::Describe => described(&request),
                Method::Setup => set_up(&request),
                _ => Response::to(&request, 200),
            };
            recorder.answer(&reply).expect("goes on");
        }
        assert!(!recorder.client.is_onvif());
        assert_eq!(recorder.client.phase(), Phase::Playing);
    }
}

#[test]
fn a_second_551_is_final() {
    let mut recorder = Recorder::new(|_| {});
    recorder.reply(&Method::Describe, 551).expect("falls back");
    assert_eq!(
        recorder.reply(&Method::Describe, 551),
        Err(ClientError::Unsupported { status: 551 })
    );
}

#[test]
fn refusals_are_decisions() {
    let cases = [
        (404, ClientError::NotFound),
        (410, ClientError::NotFound),
        (453, ClientError::Busy { status: 453 }),
        (503, ClientError::Busy { status: 503 }),
        (454, ClientError::SessionLost),
        (457, ClientError::Range),
        (461, ClientError::Unsupported { status: 461 }),
        (501, ClientError::Unsupported { status: 501 }),
        (500, ClientError::Status(500)),
    ];
    for (status, error) in cases {
        let mut recorder = Recorder::new(|config| config.onvif = false);
        assert_eq!(
            recorder.reply(&Method::Describe, status),
            Err(error.clone()),
            "DESCRIBE"
        );
        let mut recorder = Recorder::new(|_| {});
        recorder.describe();
        recorder.set_up(2);
        assert_eq!(recorder.reply(&Method::Play, status), Err(error), "PLAY");
        assert_eq!(recorder.client.phase(), Phase::Failed);
    }
    for status in [453, 503, 403, 454] {
        let mut recorder = Recorder::new(|_| {});
        recorder.describe();
        assert_eq!(
            recorder.reply(&Method::Setup, status),
            Err(ClientError::from_status(status)),
            "SETUP"
        );
    }
}

#[test]
fn one_refused_track_does_not_stop_the_others() {
    let mut recorder = Recorder::new(|_| {});
    recorder.describe();
    recorder.set_up(1);
    recorder.reply(&Method::Setup, 461).expect("goes on");
    assert!(matches!(recorder.event(), ClientEvent::Described(_)));
    assert_eq!(
        recorder.event(),
        ClientEvent::TrackRefused {
            track: 1,
            status: 461
        }
    );
    assert_eq!(recorder.event(), ClientEvent::Ready);
    recorder.asked(&Method::Play);

    let mut recorder = Recorder::new(|_| {});
    recorder.describe();
    recorder.reply(&Method::Setup, 461).expect("goes on");
    assert_eq!(
        recorder.reply(&Method::Setup, 400),
        Err(ClientError::Unsupported { status: 461 })
    );
}

#[test]
fn a_control_url_that_is_not_found_is_joined_the_other_way() {
    let mut recorder = Recorder::new(|_| {});
    let describe = recorder.asked(&Method::Describe);
    // No Content-Base: the request's URL is the base, and it ends without a slash.
    recorder
        .answer(&Response::to(&describe, 200).with_body("application/sdp", SDP))
        .expect("described");
    let setup = recorder.asked(&Method::Setup);
    assert_eq!(setup.uri, "rtsp://recorder:554/rec/7/trackID=1");
    recorder
        .answer(&Response::to(&setup, 404))
        .expect("tries the other");
    let setup = recorder.asked(&Method::Setup);
    assert_eq!(setup.uri, "rtsp://recorder:554/rec/trackID=1");
    recorder.answer(&set_up(&setup)).expect("set up");
    assert_eq!(
        recorder
            .client
            .tracks()
            .first()
            .map(|track| track.url.as_str()),
        Some("rtsp://recorder:554/rec/trackID=1")
    );
}

#[test]
fn channels_are_the_recorder_s_choice() {
    let mut recorder = Recorder::new(|_| {});
    recorder.describe();
    let setup = recorder.asked(&Method::Setup);
    let reply = |setup: &Request, transport: &str| {
        Response::to(setup, 200)
            .with("Session", "1")
            .with("Transport", transport)
    };
    recorder
        .answer(&reply(&setup, "RTP/AVP/TCP;unicast;interleaved=8-9"))
        .expect("set up");
    let setup = recorder.asked(&Method::Setup);
    assert!(matches!(
        recorder.answer(&reply(&setup, "RTP/AVP/TCP;unicast;interleaved=9-10")),
        Err(ClientError::Protocol(_))
    ));

    let mut recorder = Recorder::new(|_| {});
    recorder.describe();
    let setup = recorder.asked(&Method::Setup);
    assert_eq!(
        recorder.answer(&reply(&setup, "RTP/AVP;unicast;client_port=1-2")),
        Err(ClientError::Unsupported { status: 461 })
    );
}

#[test]
fn a_set_up_without_session_is_a_breach() {
    let mut recorder = Recorder::new(|_| {});
    recorder.describe();
    assert!(matches!(
        recorder.reply(&Method::Setup, 200),
        Err(ClientError::Protocol(_))
    ));
}

#[test]
fn redirects_only_within_the_recorder() {
    let redirect = |request: &Request, to: &str| Response::to(request, 302).with("Location", to);
    let mut recorder = Recorder::new(|_| {});
    let describe = recorder.asked(&Method::Describe);
    recorder
        .answer(&redirect(&describe, "rtsp://u:p@RECORDER/rec/8"))
        .expect("followed");
    let describe = recorder.asked(&Method::Describe);
    assert_eq!(describe.uri, "rtsp://RECORDER/rec/8");
    let location = RtspUrl::parse("rtsp://elsewhere/rec/8").ok();
    assert_eq!(
        recorder.answer(&redirect(&describe, "rtsp://elsewhere/rec/8")),
        Err(ClientError::Redirect { location })
    );

    let mut recorder = Recorder::new(|_| {});
    for _ in 0..3 {
        let describe = recorder.asked(&Method::Describe);
        recorder
            .answer(&redirect(&describe, URL))
            .expect("followed");
    }
    let describe = recorder.asked(&Method::Describe);
    let location = RtspUrl::parse(URL).ok();
    assert_eq!(
        recorder.answer(&redirect(&describe, URL)),
        Err(ClientError::Redirect { location })
    );

    let mut recorder = Recorder::new(|_| {});
    let describe = recorder.asked(&Method::Describe);
    assert_eq!(
        recorder.answer(&redirect(&describe, "http://x")),
        Err(ClientError::Redirect { location: None })
    );
}

#[test]
fn a_broken_description_is_an_error() {
    let mut recorder = Recorder::new(|_| {});
    let describe = recorder.asked(&Method::Describe);
    let reply = Response::to(&describe, 200).with_body("application/sdp", "<html></html>");
    assert!(matches!(
        recorder.answer(&reply),
        Err(ClientError::Description(_))
    ));
}

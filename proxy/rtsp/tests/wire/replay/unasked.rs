//! What the recorder sends unasked: its own requests, odd responses, floods.

use super::{Recorder, described};
use seamline_rtsp::client::{ClientError, ClientEvent, Phase};
use seamline_rtsp::{Incoming, Method, Request, Response, RtspUrl};

#[test]
fn the_recorder_s_requests_are_answered_in_mid_play() {
    let mut recorder = Recorder::playing();
    for (number, method) in (500..).zip([
        Method::Options,
        Method::GetParameter,
        Method::SetParameter,
        Method::Announce,
    ]) {
        let request = Request::new(method.clone(), "*").with("CSeq", number);
        recorder.client.handle_request(&request).expect("answered");
        let Some(Incoming::Response(response)) = recorder.written() else {
            panic!("a response to {method}")
        };
        assert_eq!(
            (
                response.status,
                response.cseq(),
                response.headers.get("Session")
            ),
            (200, Some(number), Some("abc.-9"))
        );
        assert_eq!(recorder.event(), ClientEvent::ServerRequest(method));
        assert_eq!(recorder.client.poll_event(), None);
    }
    recorder
        .client
        .handle_request(&Request::new(Method::Record, "*").with("CSeq", 9))
        .expect("answered");
    assert!(
        matches!(recorder.written(), Some(Incoming::Response(response)) if response.status == 501)
    );
    assert_eq!(recorder.client.phase(), Phase::Playing);
}

#[test]
fn an_announced_end_is_an_event() {
    let mut recorder = Recorder::playing();
    let announce = Request::new(Method::Announce, "*")
        .with("CSeq", 1)
        .with("x-notice", "2101 \"End-of-Stream Reached\"");
    recorder.client.handle_request(&announce).expect("answered");
    assert_eq!(
        recorder.event(),
        ClientEvent::ServerRequest(Method::Announce)
    );
    assert_eq!(recorder.event(), ClientEvent::EndOfStream);
}

#[test]
fn a_redirect_request_is_answered_and_reported() {
    let mut recorder = Recorder::playing();
    let request = Request::new(Method::Redirect, "*")
        .with("CSeq", 1)
        .with("Location", "rtsp://other/x");
    let location = RtspUrl::parse("rtsp://other/x").ok();
    assert_eq!(
        recorder.client.handle_request(&request),
        Err(ClientError::Redirect { location })
    );
    assert!(
        matches!(recorder.written(), Some(Incoming::Response(response)) if response.status == 200)
    );
}

#[test]
fn floods_end_the_session() {
    let mut recorder = Recorder::playing();
    let request = Request::new(Method::Options, "*").with("CSeq", 1);
    let flooded = (0..1000).find_map(|_| recorder.client.handle_request(&request).err());
    assert!(matches!(flooded, Some(ClientError::Protocol(_))));

    // Nor do answers pile up that nobody takes, where events are.
    let mut recorder = Recorder::playing();
    let flooded = (0..1000).find_map(|_| {
        while recorder.client.poll_event().is_some() {}
        recorder.client.handle_request(&request).err()
    });
    assert!(matches!(flooded, Some(ClientError::Protocol(_))));

    let mut recorder = Recorder::playing();
    let strays = (0..1000).find_map(|_| recorder.client.handle_response(&Response::new(200)).err());
    assert!(matches!(strays, Some(ClientError::Protocol(_))));
}

#[test]
fn keep_alive_falls_back_to_options() {
    let mut recorder = Recorder::playing();
    recorder.client.keep_alive();
    let get = recorder.asked(&Method::GetParameter);
    assert_eq!(get.headers.get("Session"), Some("abc.-9"));
    recorder
        .answer(&Response::to(&get, 501))
        .expect("tolerated");
    recorder.client.keep_alive();
    let options = recorder.asked(&Method::Options);
    recorder.answer(&Response::to(&options, 200)).expect("kept");
    assert_eq!(recorder.client.phase(), Phase::Playing);
    recorder.client.keep_alive();
    assert_eq!(
        recorder.reply(&Method::Options, 454),
        Err(ClientError::SessionLost)
    );
}

#[test]
fn a_refresh_does_not_wait_for_the_answer_to_the_one_before() {
    let mut recorder = Recorder::playing();
    // Ten minutes of pause: the answers are stuck behind media that nobody reads, and come all at once.
    let unanswered: Vec<_> = (0..60)
        .map(|_| {
            recorder.client.keep_alive();
            recorder.asked(&Method::GetParameter)
        })
        .collect();
    for refresh in &unanswered {
        recorder
            .answer(&Response::to(refresh, 200))
            .expect("kept, or nobody's any more");
    }
    assert_eq!(recorder.client.phase(), Phase::Playing);
}

#[test]
fn answers_without_cseq_and_provisional_ones() {
    let mut recorder = Recorder::new(|_| {});
    let describe = recorder.asked(&Method::Describe);
    recorder
        .answer(&Response::to(&describe, 100))
        .expect("ignored");
    assert!(recorder.client.is_waiting());
    let mut reply = described(&describe);
    reply.headers.remove("CSeq");
    recorder.answer(&reply).expect("described");
    recorder.asked(&Method::Setup);
}

//! Challenges: answered once, renewed when stale, never insisted on.

use super::{Recorder, described, digest, nonce_of, play, with_credentials};
use seamline_rtsp::auth::client::Denial;
use seamline_rtsp::client::{ClientError, Phase};
use seamline_rtsp::{Method, Response};

#[test]
fn answers_a_challenge_once_and_every_request_after_it() {
    let mut recorder = Recorder::new(with_credentials);
    let bare = recorder.asked(&Method::Describe);
    assert_eq!(nonce_of(&bare), None);
    recorder
        .answer(&digest(&bare, "n1", ""))
        .expect("challenge");
    let describe = recorder.asked(&Method::Describe);
    assert_eq!(nonce_of(&describe), Some("n1"));
    assert_eq!(describe.headers.get("Accept"), Some("application/sdp"));
    recorder.answer(&described(&describe)).expect("described");
    let setup = recorder.asked(&Method::Setup);
    assert_eq!(nonce_of(&setup), Some("n1"));
    assert!(
        setup
            .headers
            .get("Authorization")
            .is_some_and(|answer| answer.contains(&format!("uri=\"{}\"", setup.uri)))
    );
}

#[test]
fn a_stale_nonce_is_renewed_in_mid_play() {
    for more in [", stale=true", ", stale=\"TRUE\"", ""] {
        let mut recorder = Recorder::new(with_credentials);
        let bare = recorder.asked(&Method::Describe);
        recorder
            .answer(&digest(&bare, "n1", ""))
            .expect("challenge");
        recorder.describe();
        recorder.set_up(2);
        let old = recorder.asked(&Method::Play);
        assert_eq!(nonce_of(&old), Some("n1"));
        recorder.answer(&digest(&old, "n2", more)).expect("renewed");
        let new = recorder.asked(&Method::Play);
        assert_eq!(nonce_of(&new), Some("n2"));
        assert_eq!(new.headers.get("Range"), old.headers.get("Range"));
        recorder.answer(&Response::to(&new, 200)).expect("playing");
        assert_eq!(recorder.client.phase(), Phase::Playing);
    }
}

#[test]
fn wrong_credentials_are_tried_once() {
    let mut recorder = Recorder::new(with_credentials);
    let bare = recorder.asked(&Method::Describe);
    recorder
        .answer(&digest(&bare, "n1", ""))
        .expect("challenge");
    let describe = recorder.asked(&Method::Describe);
    assert_eq!(
        recorder.answer(&digest(&describe, "n2", "")),
        Err(ClientError::Unauthorized(Denial::Refused))
    );
    assert_eq!(recorder.client.phase(), Phase::Failed);
    recorder.silent();
    recorder.client.keep_alive();
    recorder.client.play(play());
    recorder.silent();
}

#[test]
fn a_recorder_that_calls_every_nonce_stale_is_left() {
    let mut recorder = Recorder::new(with_credentials);
    for nonce in ["n1", "n2"] {
        let describe = recorder.asked(&Method::Describe);
        recorder
            .answer(&digest(&describe, nonce, ", stale=true"))
            .expect("renewed");
    }
    let describe = recorder.asked(&Method::Describe);
    assert_eq!(
        recorder.answer(&digest(&describe, "n3", ", stale=true")),
        Err(ClientError::Unauthorized(Denial::Refused))
    );
    recorder.silent();
}

#[test]
fn no_credentials_no_second_question() {
    let mut recorder = Recorder::new(|_| {});
    let describe = recorder.asked(&Method::Describe);
    assert_eq!(
        recorder.answer(&digest(&describe, "n1", "")),
        Err(ClientError::Unauthorized(Denial::NoCredentials))
    );
    let mut recorder = Recorder::new(with_credentials);
    assert_eq!(
        recorder.reply(&Method::Describe, 403),
        Err(ClientError::Unauthorized(Denial::Forbidden))
    );
}

//! Answers to our challenge, and challenges of recorders: nobody comes in by accident, and nothing breaks.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seamline_rtsp::auth::client::Answerer;
use seamline_rtsp::auth::server::{Ask, Login, Offers, Users, Verdict};
use seamline_rtsp::auth::users::{Secret, User};
use seamline_rtsp::url::Credentials;
use seamline_rtsp::{Method, Response};

fuzz_target!(|text: &str| {
    let mut users = Users::new([7; 32]).with_offers(Offers {
        sha256: true,
        basic_in_clear: true,
    });
    users.insert(User {
        name: "viewer".to_owned(),
        secret: Secret::Password("no fuzzer finds this".to_owned()),
        cameras: None,
    });
    let ask = Ask {
        method: "PLAY",
        uri: "rtsp://h/gate",
        authorization: Some(text),
        secure: true,
        now_s: 1_767_323_045,
    };
    let verdict = users.verify(&ask, &mut Login::default());
    assert!(matches!(verdict, Verdict::Denied(_)), "{verdict:?}");
    let credentials = Credentials {
        user: "viewer".to_owned(),
        password: "s3cret".to_owned(),
    };
    let mut answerer = Answerer::new(Some(credentials), true);
    if answerer
        .challenged(&Response::new(401).with("WWW-Authenticate", text), 0)
        .is_ok()
    {
        let answer = answerer.authorization(&Method::Play, "rtsp://h/gate");
        assert!(answer.is_none_or(|answer| !answer.contains(['\r', '\n'])));
    }
});

//! Digest in both directions: the reference's vectors, and our client against our server.

use proptest::prelude::*;
use seamline_rtsp::auth::client::{Answerer, Denial};
use seamline_rtsp::auth::server::{NONCE_LIFETIME_S, NonceCount, Secret, User, Users, Verdict};
use seamline_rtsp::url::Credentials;
use seamline_rtsp::{Method, Response};

const URI: &str = "rtsp://10.0.0.5:554/rec/1?x=1/";
const NOW_S: u64 = 1_767_323_045;

fn users(secret: Secret) -> Users {
    let mut users = Users::new([7; 32]).with_realm("nvr");
    users.insert(User {
        name: "viewer".to_owned(),
        secret,
        cameras: Some(vec!["gate".to_owned()]),
    });
    users
}

fn password() -> Secret {
    Secret::Password("s3cret".to_owned())
}

fn answerer(user: &str, password: &str) -> Answerer {
    Answerer::new(
        Some(Credentials {
            user: user.to_owned(),
            password: password.to_owned(),
        }),
        false,
    )
}

fn challenge(value: impl std::fmt::Display) -> Response {
    Response::new(401).with("WWW-Authenticate", value)
}

/// An answer to a nonce that the reference made up.
fn foreign(response: &str, more: &str) -> String {
    format!(
        "Digest username=\"viewer\", realm=\"nvr\", nonce=\"a1b2c3d4e5f60718\", uri=\"{URI}\", response=\"{response}\"{more}"
    )
}

fn verdict(users: &Users, authorization: &str) -> &'static str {
    match users.verify(&Method::Play, URI, Some(authorization), NOW_S) {
        Verdict::Allowed { .. } => "allowed",
        Verdict::Absent => "absent",
        Verdict::Denied => "denied",
        Verdict::Stale => "stale",
    }
}

const MD5: &str = "19270a257048ec8d16356ab5ec26cfc0";
const MD5_QOP: &str = "74c6bc3fddcbe7a73c286950fd6a295e";
const SHA256: &str = "939168a44e57f731df5f696b51496c8f042a8c428b46d1961dd10ed95b7dc081";
const SHA256_QOP: &str = "7ef9b1ef686c34e1c48cdff20b5cd39acd778df9c4eb6747d22c2249543e9a59";
const QOP: &str = ", qop=auth, nc=00000001, cnonce=\"0a4f113b\"";

#[test]
fn the_reference_s_answers_are_right_but_their_nonce_is_not_ours() {
    let users = users(password());
    for (response, more) in [
        (MD5, String::new()),
        (MD5_QOP, QOP.to_owned()),
        (MD5, ", algorithm=\"MD5\"".to_owned()),
        // aiortsp chooses SHA-256 and does not say so.
        (SHA256, String::new()),
        (SHA256, ", algorithm=SHA-256".to_owned()),
        // gortsplib quotes it.
        (SHA256_QOP, format!("{QOP}, algorithm=\"SHA-256\"")),
    ] {
        assert_eq!(
            verdict(&users, &foreign(response, &more)),
            "stale",
            "{response} {more}"
        );
        let wrong = response.replacen(|c: char| c != '0', "0", 1);
        assert_eq!(
            verdict(&users, &foreign(&wrong, &more)),
            "denied",
            "{wrong} {more}"
        );
    }
}

#[test]
fn a_stored_hash_serves_as_well_as_the_password() {
    let md5 = "3f0e5dbd4ef3c20c8dcd5ff3f6a9d1f5";
    let hash = |algorithm: digest_auth::AlgorithmType| {
        digest_auth::Algorithm::new(algorithm, false).hash_str("viewer:nvr:s3cret")
    };
    let both = users(Secret::Ha1 {
        md5: hash(digest_auth::AlgorithmType::MD5),
        sha256: Some(hash(digest_auth::AlgorithmType::SHA2_256)),
    });
    assert_eq!(verdict(&both, &foreign(MD5, "")), "stale");
    assert_eq!(verdict(&both, &foreign(SHA256, "")), "stale");
    let only_md5 = users(Secret::Ha1 {
        md5: hash(digest_auth::AlgorithmType::MD5),
        sha256: None,
    });
    assert_eq!(verdict(&only_md5, &foreign(SHA256, "")), "denied");
    let other = users(Secret::Ha1 {
        md5: md5.to_owned(),
        sha256: None,
    });
    assert_eq!(verdict(&other, &foreign(MD5, "")), "denied");
}

#[test]
fn the_challenge_is_the_form_that_every_client_reads() {
    let users = Users::new([7; 32]);
    let text = users.challenge(NOW_S, false);
    let nonce = text
        .strip_prefix("Digest realm=\"seamline\", nonce=\"")
        .and_then(|rest| rest.strip_suffix('"'));
    let nonce = nonce.expect("realm first, then nonce, nothing else");
    assert!(
        nonce.len() == 48 && nonce.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{nonce}"
    );
    assert_eq!(users.challenge(NOW_S, true), format!("{text}, stale=true"));
    let quoted = Users::new([7; 32]).with_realm("a\"b\\c\r\n, d");
    assert!(
        quoted
            .challenge(NOW_S, false)
            .starts_with("Digest realm=\"abc, d\", nonce=")
    );
}

#[test]
fn our_client_passes_our_server_until_the_nonce_is_old() {
    let users = users(password());
    let mut answerer = answerer("viewer", "s3cret");
    assert_eq!(answerer.authorization(&Method::Play, URI), None);
    answerer
        .challenged(&challenge(users.challenge(NOW_S, false)), 0)
        .expect("answerable");
    let answer = answerer.authorization(&Method::Play, URI).expect("answer");
    let at = |now_s| users.verify(&Method::Play, URI, Some(&answer), now_s);
    assert!(
        matches!(at(NOW_S), Verdict::Allowed { user } if user.may_see("gate") && !user.may_see("vault"))
    );
    assert!(matches!(
        at(NOW_S + NONCE_LIFETIME_S - 60),
        Verdict::Allowed { .. }
    ));
    assert!(matches!(at(NOW_S + NONCE_LIFETIME_S + 1), Verdict::Stale));
    // Made by a replica whose clock is a little, or far, ahead.
    assert!(matches!(at(NOW_S - 30), Verdict::Allowed { .. }));
    assert!(matches!(at(NOW_S - 120), Verdict::Stale));
    // For another method, by another user, to another key.
    assert!(matches!(
        users.verify(&Method::Teardown, URI, Some(&answer), NOW_S),
        Verdict::Denied
    ));
    assert_eq!(
        verdict(&users, &answer.replace("\"viewer\"", "\"nobody\"")),
        "denied"
    );
    let mut elsewhere = Users::new([8; 32]).with_realm("nvr");
    elsewhere.insert(User {
        name: "viewer".to_owned(),
        secret: password(),
        cameras: None,
    });
    assert_eq!(verdict(&elsewhere, &answer), "stale");
}

#[test]
fn the_signed_uri_must_denote_what_is_asked() {
    let users = users(password());
    let allowed = |asked: &str, signed: &str| {
        let mut answerer = answerer("viewer", "s3cret");
        answerer
            .challenged(&challenge(users.challenge(NOW_S, false)), 0)
            .expect("answerable");
        let answer = answerer
            .authorization(&Method::Setup, signed)
            .expect("answer");
        matches!(
            users.verify(&Method::Setup, asked, Some(&answer), NOW_S),
            Verdict::Allowed { .. }
        )
    };
    for (asked, signed) in [
        ("rtsp://h/cam/1", "rtsp://h/cam/1"),
        ("rtsp://h/cam/1/", "rtsp://h/cam/1"),
        ("rtsp://h/cam/1?start=2", "rtsp://h/cam/1"),
        ("rtsp://h/cam/1", "/cam/1"),
        ("rtsp://nat/cam/1", "rtsp://h/cam/1/"),
        ("rtsp://h/cam/1/trackID=1", "rtsp://h/cam/1"),
        ("*", "*"),
    ] {
        assert!(allowed(asked, signed), "{asked} signed as {signed}");
    }
    for (asked, signed) in [
        ("rtsp://h/cam/1", "rtsp://h/cam/2"),
        ("rtsp://h/cam/1", "rtsp://h/cam/1/trackID=1"),
        ("rtsp://h/cam/1/a/b", "rtsp://h/cam/1"),
        ("rtsp://h/cam/12", "rtsp://h/cam/1"),
        ("rtsp://h/cam", "*"),
        ("rtsp://h/cam", "rtsp://h/"),
    ] {
        assert!(!allowed(asked, signed), "{asked} signed as {signed}");
    }
}

#[test]
fn what_we_cannot_have_asked_for_is_denied() {
    let users = users(password());
    let denied = [
        "Basic dmlld2VyOnMzY3JldA==".to_owned(),
        "Digest".to_owned(),
        "Digest username=\"viewer\"".to_owned(),
        foreign(MD5, "").replace("\"nvr\"", "\"other\""),
        foreign(MD5, ", algorithm=MD5-sess"),
        foreign(MD5, ", algorithm=SHA-512-256"),
        foreign(MD5, ", qop=auth-int, nc=00000001, cnonce=\"0a4f113b\""),
        foreign(MD5, ", userhash=true"),
        foreign("", ""),
        foreign("é", ""),
        foreign(MD5, &format!(", opaque=\"{}\"", "x".repeat(5000))),
    ];
    for authorization in denied {
        assert_eq!(verdict(&users, &authorization), "denied", "{authorization}");
    }
    assert!(matches!(
        users.verify(&Method::Play, URI, None, NOW_S),
        Verdict::Absent
    ));
}

#[test]
fn a_count_that_runs_backwards_is_a_replay() {
    let users = users(password());
    let mut answerer = answerer("viewer", "s3cret");
    let with_qop = format!("{}, qop=\"auth\"", users.challenge(NOW_S, false));
    answerer
        .challenged(&challenge(with_qop), 0)
        .expect("answerable");
    let mut count = NonceCount::default();
    let mut answers = || answerer.authorization(&Method::Play, URI);
    let (first, second) = (answers(), answers());
    let mut check = |answer: &Option<String>| {
        let verdict = users.verify(&Method::Play, URI, answer.as_deref(), NOW_S);
        matches!(
            count.check(verdict, answer.as_deref()),
            Verdict::Allowed { .. }
        )
    };
    assert!(check(&first) && check(&second));
    assert!(!check(&second) && !check(&first));
}

#[test]
fn our_client_gives_the_reference_s_answers() {
    for (parameters, response) in [
        ("", MD5),
        (", algorithm=MD5", MD5),
        (", algorithm=SHA-256", SHA256),
    ] {
        let mut answerer = answerer("viewer", "s3cret");
        let value = format!("Digest realm=\"nvr\", nonce=\"a1b2c3d4e5f60718\"{parameters}");
        answerer
            .challenged(&challenge(value), 0)
            .expect("answerable");
        let answer = answerer.authorization(&Method::Play, URI).expect("answer");
        assert!(
            answer.contains(&format!("response=\"{response}\"")),
            "{answer}"
        );
    }
}

#[test]
fn basic_only_where_it_is_allowed_and_never_before_digest() {
    let basic = challenge("Basic realm=\"nvr\"");
    assert_eq!(
        answerer("viewer", "s3cret").challenged(&basic, 0),
        Err(Denial::BasicNotAllowed)
    );
    let credentials = Credentials {
        user: "viewer".to_owned(),
        password: "s3cret".to_owned(),
    };
    let mut allowing = Answerer::new(Some(credentials), true);
    allowing.challenged(&basic, 0).expect("answerable");
    assert_eq!(
        allowing.authorization(&Method::Play, URI).as_deref(),
        Some("Basic dmlld2VyOnMzY3JldA==")
    );
    let both = basic.with("WWW-Authenticate", "Digest realm=\"nvr\", nonce=\"1\"");
    allowing.challenged(&both, 0).expect("answerable");
    assert!(
        allowing
            .authorization(&Method::Play, URI)
            .is_some_and(|answer| answer.starts_with("Digest "))
    );
}

#[test]
fn a_refused_answer_is_not_repeated() {
    let digest = |nonce: &str| challenge(format!("Digest realm=\"nvr\", nonce=\"{nonce}\""));
    let stale = |nonce: &str| {
        challenge(format!(
            "Digest realm=\"nvr\", nonce=\"{nonce}\", stale=TRUE"
        ))
    };

    let mut wrong = answerer("viewer", "wrong");
    assert_eq!(wrong.challenged(&digest("1"), 0), Ok(()));
    assert_eq!(wrong.challenged(&digest("2"), 1), Err(Denial::Refused));

    let mut renewed = answerer("viewer", "s3cret");
    assert_eq!(renewed.challenged(&digest("1"), 0), Ok(()));
    assert_eq!(renewed.challenged(&stale("2"), 1), Ok(()));
    assert_eq!(renewed.challenged(&stale("3"), 2), Err(Denial::Refused));

    // A recorder that changes its nonce without saying `stale`: the credentials were accepted before.
    let mut rotating = answerer("viewer", "s3cret");
    assert_eq!(rotating.challenged(&digest("1"), 0), Ok(()));
    rotating.accepted();
    assert_eq!(rotating.challenged(&digest("2"), 1), Ok(()));
    assert_eq!(rotating.challenged(&digest("2"), 1), Err(Denial::Refused));

    assert_eq!(
        Answerer::new(None, true).challenged(&digest("1"), 0),
        Err(Denial::NoCredentials)
    );
    assert_eq!(
        answerer("viewer", "s3cret").challenged(&challenge("Bearer x"), 0),
        Err(Denial::Scheme)
    );
    assert_eq!(
        answerer("viewer", "s3cret").challenged(&Response::new(401), 0),
        Err(Denial::Scheme)
    );
}

proptest! {
    #[test]
    fn no_answer_brings_the_server_down(authorization in "(Digest )?[ -~é\\t]{0,80}", uri in ".{0,30}") {
        let users = users(password());
        let verdict = users.verify(&Method::Play, &uri, Some(&authorization), NOW_S);
        prop_assert!(matches!(verdict, Verdict::Denied));
    }

    #[test]
    fn no_parameters_bring_the_server_down(
        parameters in prop::collection::vec(("(username|realm|nonce|uri|response|nc|qop|cnonce|algorithm)", "\"?.{0,20}\"?"), 0..12),
    ) {
        let parameters: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let authorization = format!("Digest {}", parameters.join(", "));
        let users = users(password());
        let verdict = users.verify(&Method::Play, URI, Some(&authorization), NOW_S);
        prop_assert!(matches!(verdict, Verdict::Denied));
    }

    #[test]
    fn no_challenge_brings_the_client_down(value in "(Digest |Basic )?.{0,80}", answers in 0_u32..3) {
        let mut answerer = answerer("viewer", "s3cret");
        let _ = answerer.challenged(&challenge(value), answers);
        let _ = answerer.authorization(&Method::Play, URI);
    }
}

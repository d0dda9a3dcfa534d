//! Digest in both directions: the reference's vectors, and our client against our server.

use proptest::prelude::*;
use seamline_rtsp::auth::client::{Answerer, Denial};
use seamline_rtsp::auth::nonce::{NONCE_WINDOW_S, NonceKey};
use seamline_rtsp::auth::server::{
    Ask, Denied, Login, Offers, Users, Verdict, basic_password, ha1,
};
use seamline_rtsp::auth::users::{CameraPattern, Secret, User};
use seamline_rtsp::url::Credentials;
use seamline_rtsp::{Method, Response};

const URI: &str = "rtsp://10.0.0.5:554/rec/1?x=1/";
const NOW_S: u64 = 1_767_323_045;

fn users(secret: Secret) -> Users {
    let mut users = Users::new([7; 32]).with_realm("nvr");
    users.insert(User {
        name: "viewer".to_owned(),
        secret,
        cameras: Some(vec!["gate".to_owned().into()]),
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
    name(users.verify(&play(Some(authorization)), &mut Login::default()))
}

fn name(verdict: Verdict<'_>) -> &'static str {
    match verdict {
        Verdict::Allowed { .. } => "allowed",
        Verdict::Absent => "absent",
        Verdict::Denied(Denied::Wrong) => "wrong",
        Verdict::Denied(Denied::Malformed) => "malformed",
        Verdict::Denied(Denied::InClear) => "in clear",
        Verdict::Denied(Denied::NeedsBasic) => "needs basic",
        Verdict::Stale => "stale",
        Verdict::Compare { user, .. } => user.map_or("compare with nobody's", |_| "compare"),
    }
}

/// A PLAY without TLS.
fn play(authorization: Option<&str>) -> Ask<'_> {
    Ask {
        method: "PLAY",
        uri: URI,
        authorization,
        secure: false,
        now_s: NOW_S,
    }
}

/// The answer of our own client to this challenge.
fn answer(password: &str, value: &str, method: &Method, uri: &str) -> String {
    let mut answerer = answerer("viewer", password);
    answerer
        .challenged(&challenge(value), 0)
        .expect("answerable");
    answerer.authorization(method, uri).expect("answer")
}

/// The only challenge where nothing but Digest by MD5 is offered.
fn md5_challenge(users: &Users) -> String {
    let challenges = users.challenges(NOW_S, false, false, None);
    assert_eq!(challenges.len(), 1);
    challenges.into_iter().next().expect("one")
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
            "wrong",
            "{wrong} {more}"
        );
    }
}

#[test]
fn a_stored_digest_serves_as_well_as_the_password() {
    let (md5, sha256) = ha1("viewer", "nvr", "s3cret");
    let with = |md5: Option<&str>, sha256: Option<&str>| {
        users(Secret::Ha1 {
            md5: md5.map(str::to_owned),
            sha256: sha256.map(str::to_owned),
        })
    };
    let both = with(Some(&md5), Some(&sha256));
    assert_eq!(verdict(&both, &foreign(MD5, "")), "stale");
    assert_eq!(verdict(&both, &foreign(SHA256, "")), "stale");
    let only_md5 = with(Some(&md5), None);
    assert_eq!(verdict(&only_md5, &foreign(MD5, "")), "stale");
    assert_eq!(verdict(&only_md5, &foreign(SHA256, "")), "wrong");
    let only_sha256 = with(None, Some(&sha256));
    assert_eq!(verdict(&only_sha256, &foreign(MD5, "")), "wrong");
    assert_eq!(verdict(&only_sha256, &foreign(SHA256, "")), "stale");
    let other = with(Some("3f0e5dbd4ef3c20c8dcd5ff3f6a9d1f5"), None);
    assert_eq!(verdict(&other, &foreign(MD5, "")), "wrong");
}

#[test]
fn the_challenge_is_the_form_that_every_client_reads() {
    let users = users(password()).with_realm("seamline");
    let text = md5_challenge(&users);
    let nonce = text
        .strip_prefix("Digest realm=\"seamline\", nonce=\"")
        .and_then(|rest| rest.strip_suffix('"'));
    let nonce = nonce.expect("realm first, then nonce, nothing else");
    assert!(
        nonce.len() == 48 && nonce.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{nonce}"
    );
    assert_eq!(
        users.challenges(NOW_S, false, true, None),
        [format!("{text}, stale=true")]
    );
    let quoted = users.with_realm("a\"b\\c\r\n, d");
    assert!(md5_challenge(&quoted).starts_with("Digest realm=\"abc, d\", nonce="));
}

/// The schemes offered, in order.
fn offered(users: &Users, secure: bool, denied: Option<Denied>) -> Vec<&'static str> {
    let challenges = users.challenges(NOW_S, secure, true, denied);
    let scheme = |value: &String| match () {
        () if value == "Basic realm=\"nvr\"" => "basic",
        () if value.ends_with(", algorithm=SHA-256, stale=true") => "sha-256",
        () if value.starts_with("Digest ") && !value.contains("algorithm") => "md5",
        () => panic!("{value}"),
    };
    challenges.iter().map(scheme).collect()
}

#[test]
fn each_is_offered_what_can_work_sha_256_first_and_basic_last() {
    let all = Offers {
        sha256: true,
        basic_in_clear: true,
    };
    let known = || users(password());
    assert_eq!(offered(&known(), false, None), ["md5"]);
    assert_eq!(offered(&known(), true, None), ["md5", "basic"]);
    let open = known().with_offers(all);
    assert_eq!(offered(&open, false, None), ["sha-256", "md5", "basic"]);

    let hashed = || users(Secret::Hash(HASH.to_owned()));
    assert_eq!(offered(&hashed(), true, None), ["basic"]);
    assert_eq!(offered(&hashed().with_offers(all), false, None), ["basic"]);
    // Nobody can come in, but a 401 has a challenge.
    assert_eq!(offered(&hashed(), false, None), ["md5"]);

    let mut mixed = known();
    mixed.insert(User {
        name: "hashed".to_owned(),
        secret: Secret::Hash(HASH.to_owned()),
        cameras: None,
    });
    assert_eq!(offered(&mixed, true, None), ["md5", "basic"]);
    // Who answered by Digest and cannot is offered only what can.
    let denied = Some(Denied::NeedsBasic);
    assert_eq!(offered(&mixed, true, denied), ["basic"]);
    assert_eq!(offered(&mixed, false, denied), ["md5"]);
}

const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAA";

/// For `viewer:s3cret`.
const BASIC: &str = "Basic dmlld2VyOnMzY3JldA==";

#[test]
fn basic_is_looked_at_only_where_nobody_else_can() {
    let wrong = "Basic dmlld2VyOndyb25n";
    let nobody = "Basic bm9ib2R5OnMzY3JldA==";
    let (md5, sha256) = ha1("viewer", "nvr", "s3cret");
    let basic_in_clear = Offers {
        basic_in_clear: true,
        ..Offers::default()
    };
    for secret in [
        password(),
        Secret::Ha1 {
            md5: Some(md5),
            sha256: None,
        },
        Secret::Ha1 {
            md5: None,
            sha256: Some(sha256),
        },
    ] {
        let users = users(secret);
        let judge = |authorization: &str, secure: bool| {
            let ask = Ask {
                secure,
                ..play(Some(authorization))
            };
            name(users.verify(&ask, &mut Login::default()))
        };
        assert_eq!(judge(BASIC, false), "in clear");
        assert_eq!(judge(wrong, false), "in clear");
        assert_eq!(judge(BASIC, true), "allowed");
        assert_eq!(judge(wrong, true), "wrong");
        assert_eq!(judge(nobody, true), "wrong");
        let open = users.with_offers(basic_in_clear);
        assert_eq!(verdict(&open, BASIC), "allowed");
    }
}

#[test]
fn a_hashed_secret_is_compared_once_a_connection() {
    let users = users(Secret::Hash(HASH.to_owned()));
    let ask = |authorization| Ask {
        secure: true,
        ..play(Some(authorization))
    };
    let mut login = Login::default();
    let Verdict::Compare {
        user: Some(user),
        hash,
    } = users.verify(&ask(BASIC), &mut login)
    else {
        panic!("a comparison is needed")
    };
    assert_eq!((user.name.as_str(), hash), ("viewer", HASH));
    assert_eq!(basic_password(BASIC).as_deref(), Some("s3cret"));
    login.remember(BASIC, user);
    assert_eq!(login.name(), Some("viewer"));
    assert_eq!(name(users.verify(&ask(BASIC), &mut login)), "allowed");
    let wrong = "Basic dmlld2VyOndyb25n";
    assert_eq!(name(users.verify(&ask(wrong), &mut login)), "compare");
    // Nobody is compared as well: the time it takes names no users.
    let nobody = ask("Basic bm9ib2R5OnMzY3JldA==");
    assert_eq!(
        name(users.verify(&nobody, &mut login)),
        "compare with nobody's"
    );
    assert_eq!(verdict(&users, &foreign(MD5, "")), "needs basic");
}

#[test]
fn a_nonce_serves_a_connection_and_others_for_a_minute() {
    let users = users(password());
    assert_eq!(
        answerer("viewer", "s3cret").authorization(&Method::Play, URI),
        None
    );
    let answer = answer("s3cret", &md5_challenge(&users), &Method::Play, URI);
    let at = |now_s, login: &mut Login| {
        let ask = Ask {
            now_s,
            ..play(Some(&answer))
        };
        users.verify(&ask, login)
    };
    let mut login = Login::default();
    assert!(
        matches!(at(NOW_S, &mut login), Verdict::Allowed { user } if user.may_see("gate") && !user.may_see("vault"))
    );
    // It came in time on this connection; on another it is a replay.
    let late = NOW_S + 86_400;
    assert_eq!(name(at(late, &mut login)), "allowed");
    assert_eq!(name(at(late, &mut Login::default())), "stale");
    let fresh = |now_s| name(at(now_s, &mut Login::default()));
    assert_eq!(fresh(NOW_S + NONCE_WINDOW_S), "allowed");
    assert_eq!(fresh(NOW_S + NONCE_WINDOW_S + 1), "stale");
    // Made by a replica whose clock is a little, or far, ahead.
    assert_eq!(fresh(NOW_S - 30), "allowed");
    assert_eq!(fresh(NOW_S - 120), "stale");
    // For another method, by another user, to another key.
    let teardown = Ask {
        method: "TEARDOWN",
        ..play(Some(&answer))
    };
    assert_eq!(name(users.verify(&teardown, &mut login)), "wrong");
    assert_eq!(
        verdict(&users, &answer.replace("\"viewer\"", "\"nobody\"")),
        "wrong"
    );
}

#[test]
fn replicas_that_share_a_key_accept_each_other_s_nonces() {
    let replica = |secret: &[u8]| {
        let key = NonceKey::from_secret(secret).expect("long enough");
        let mut users = Users::new(key).with_realm("nvr");
        users.insert(User {
            name: "viewer".to_owned(),
            secret: password(),
            cameras: None,
        });
        users
    };
    let (one, other) = (replica(b"sixteen bytes ok"), replica(b"sixteen bytes ok"));
    let answer = answer("s3cret", &md5_challenge(&one), &Method::Play, URI);
    assert_eq!(verdict(&other, &answer), "allowed");
    assert_eq!(verdict(&replica(b"another sixteen!"), &answer), "stale");
    assert!(NonceKey::from_secret(b"short").is_none());
}

#[test]
fn a_camera_is_named_or_fits_a_pattern() {
    let fits =
        |pattern: &str, camera: &str| CameraPattern::from(pattern.to_owned()).matches(camera);
    for (pattern, camera) in [
        ("gate", "gate"),
        ("*", "yard/north"),
        ("yard/*", "yard/north/1"),
        ("*/north", "yard/north"),
        ("y*d/*th", "yard/north"),
        ("a*b*b", "abb"),
        ("**", ""),
    ] {
        assert!(fits(pattern, camera), "{pattern} {camera}");
    }
    for (pattern, camera) in [
        ("gate", "gates"),
        ("gate", "Gate"),
        ("yard/*", "yard"),
        ("*/north", "yard/north/1"),
        ("a*b*b", "ab"),
        ("ab*ba", "aba"),
        ("", "gate"),
    ] {
        assert!(!fits(pattern, camera), "{pattern} {camera}");
    }
}

#[test]
fn the_signed_uri_must_denote_what_is_asked() {
    let users = users(password());
    let allowed = |asked: &str, signed: &str| {
        let answer = answer("s3cret", &md5_challenge(&users), &Method::Setup, signed);
        let ask = Ask {
            method: "SETUP",
            uri: asked,
            ..play(Some(&answer))
        };
        matches!(
            users.verify(&ask, &mut Login::default()),
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
    for authorization in [
        "Basic".to_owned(),
        "Basic ???".to_owned(),
        "Basic dmlld2Vy".to_owned(),
        "Basic /////w==".to_owned(),
        "Bearer dmlld2VyOnMzY3JldA==".to_owned(),
        "Digest".to_owned(),
        "Digest username=\"viewer\"".to_owned(),
        foreign(MD5, ", algorithm=MD5-sess"),
        foreign(MD5, ", algorithm=SHA-512-256"),
        foreign(MD5, ", qop=auth-int, nc=00000001, cnonce=\"0a4f113b\""),
        foreign(MD5, ", userhash=true"),
        foreign("é", ""),
        foreign(MD5, &format!(", opaque=\"{}\"", "x".repeat(5000))),
    ] {
        assert_eq!(
            verdict(&users, &authorization),
            "malformed",
            "{authorization}"
        );
    }
    for authorization in [
        foreign(MD5, "").replace("\"nvr\"", "\"other\""),
        foreign("", ""),
    ] {
        assert_eq!(verdict(&users, &authorization), "wrong", "{authorization}");
    }
    let absent = users.verify(&play(None), &mut Login::default());
    assert_eq!(name(absent), "absent");
}

#[test]
fn a_count_that_does_not_advance_is_a_replay() {
    let users = users(password());
    let mut answerer = answerer("viewer", "s3cret");
    let with_qop = format!("{}, qop=\"auth\"", md5_challenge(&users));
    answerer
        .challenged(&challenge(with_qop), 0)
        .expect("answerable");
    let mut answers = || {
        answerer
            .authorization(&Method::Play, URI)
            .expect("an answer")
    };
    let (first, second, third) = (answers(), answers(), answers());
    let mut login = Login::default();
    let mut check = |answer: &str| name(users.verify(&play(Some(answer)), &mut login));
    assert_eq!(check(&first), "allowed");
    assert_eq!(check(&second), "allowed");
    assert_eq!(check(&second), "stale");
    assert_eq!(check(&first), "stale");
    assert_eq!(check(&third), "allowed");
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
        let ask = Ask { uri: &uri, ..play(Some(&authorization)) };
        let verdict = users.verify(&ask, &mut Login::default());
        prop_assert!(matches!(verdict, Verdict::Denied(_)));
    }

    #[test]
    fn no_parameters_bring_the_server_down(
        parameters in prop::collection::vec(("(username|realm|nonce|uri|response|nc|qop|cnonce|algorithm)", "\"?.{0,20}\"?"), 0..12),
    ) {
        let parameters: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let authorization = format!("Digest {}", parameters.join(", "));
        let users = users(password());
        let verdict = users.verify(&play(Some(&authorization)), &mut Login::default());
        prop_assert!(matches!(verdict, Verdict::Denied(_)));
    }

    #[test]
    fn no_challenge_brings_the_client_down(value in "(Digest |Basic )?.{0,80}", answers in 0_u32..3) {
        let mut answerer = answerer("viewer", "s3cret");
        let _ = answerer.challenged(&challenge(value), answers);
        let _ = answerer.authorization(&Method::Play, URI);
    }
}

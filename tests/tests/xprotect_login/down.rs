//! What clients are told while the primary is down.

use std::{fs, os::unix::fs::PermissionsExt};

use seamline_tests::{
    clock::monotonic,
    xprotect::{Client, Setup},
};
use serde_json::json;

use crate::{House, OURS, SOON, THEIRS, raw};

#[test]
fn while_the_primary_is_down_users_see_what_it_told_them_and_no_more() {
    let mut house = House::new(Setup::default());
    let seamline = house.serve();
    let mut viewer = house.log_in("oauth", "viewer", "s3cret");
    let narrow = house.log_in("soap", "narrow", "n4rrow");
    assert_eq!(narrow.told, house.expected(&["Yard"]));
    // One that hangs is as good as dead, soon enough for clients that wait ten seconds.
    house.primary.stop();
    let begun = monotonic();
    let hung = house.log_in("oauth", "viewer", "s3cret");
    assert_eq!(hung.login["token_of"], OURS, "{:?}", hung.login);
    println!(
        "logged in behind a primary that hangs after {:?}",
        monotonic().saturating_sub(begun)
    );
    house.primary.kill();
    // What services are like, the secondary says as well.
    let described = raw(
        house.management,
        &format!(
            "GET /ManagementServer/ServerCommandService.svc?wsdl HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\n\r\n",
            house.management
        ),
    );
    assert!(described.starts_with("HTTP/1.1 200"), "{described}");
    assert!(
        described.contains(&house.url()) && !described.contains("vmshost"),
        "{described}"
    );
    // Who is in stays in.
    assert_eq!(viewer.ask(), house.expected(&["Gate", "Yard"]));
    // Who comes is vouched for by the secondary, or by the primary a moment ago, and has a token of the house's.
    for (kind, name, password, cameras) in [
        ("oauth", "viewer", "s3cret", &["Gate", "Yard"][..]),
        ("oauth", "Narrow", "n4rrow", &["Yard"]),
        ("soap", "narrow", "n4rrow", &["Yard"]),
    ] {
        // The secondary knows him by the same name in whatever case; the stand-in wants it as it is.
        let name = if name == "Narrow" { "narrow" } else { name };
        let mut client = house.log_in(kind, name, password);
        assert_eq!(
            client.login["token_of"], OURS,
            "{kind} {name}: {:?}",
            client.login
        );
        assert_eq!(client.told, house.expected(cameras), "{kind} {name}");
        assert_eq!(client.ask(), client.told);
    }
    assert_eq!(viewer.log_in_again()["token_of"], OURS);
    let wrong = house.log_in("oauth", "viewer", "wrong");
    assert_eq!(wrong.login["refused"], "invalid_grant", "{:?}", wrong.login);
    // What is kept is for nobody else, and holds no secret.
    let kept: Vec<_> = fs::read_dir(house.cache.path().join("kept"))
        .unwrap()
        .flatten()
        .collect();
    assert!(kept.len() >= 4, "{kept:?}");
    for file in kept {
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{file:?}");
        let text = fs::read_to_string(file.path()).unwrap();
        for secret in ["s3cret", "n4rrow", "TOKEN#", "access-"] {
            assert!(!text.contains(secret), "{secret} in {file:?}");
        }
    }
    // A house that was started since knows as much.
    drop(seamline);
    let seamline = house.serve();
    let again = house.log_in("oauth", "narrow", "n4rrow");
    assert_eq!(again.login["token_of"], OURS, "{:?}", again.login);
    assert_eq!(again.told, house.expected(&["Yard"]));
    // The primary is back: its tokens again.
    house.primary_returns();
    let deadline = monotonic() + SOON;
    let mut client = loop {
        let client = house.log_in("oauth", "viewer", "s3cret");
        if client.login["token_of"] == THEIRS {
            break client;
        }
        assert!(monotonic() < deadline, "{:?}", client.login);
    };
    seamline.await_log(&["management server back"], SOON);
    assert_eq!(client.ask(), house.expected(&["Gate", "Yard"]));
    assert_eq!(viewer.log_in_again()["token_of"], THEIRS);
}

/// What a client goes on with while its management server is down: views that it was told before, searches that find nothing, and a fault
/// at once for all that nobody can know.
#[test]
fn views_and_bookmarks_are_answered_while_the_primary_is_down() {
    let mut house = House::new(Setup::default());
    let seamline = house.serve();
    let mut viewer = house.log_in("oauth", "viewer", "s3cret");
    let mut narrow = house.log_in("oauth", "narrow", "n4rrow");
    let token = "<token>{token}</token>";
    let said = |client: &mut Client, operation: &str| {
        let told = client.call(operation, token);
        assert!(told["took_s"].as_f64().unwrap_or(99.0) < 20.0, "{told}");
        told
    };
    let before = said(&mut viewer, "GetViewGroups");
    assert_eq!(
        before["texts"],
        json!(["GetViewGroups of viewer"]),
        "{before}"
    );
    let marked = said(&mut viewer, "BookmarkSearchTime");
    assert_eq!(
        marked["texts"],
        json!(["BookmarkSearchTime of viewer"]),
        "{marked}"
    );
    // One that he opened before is told as it was; another is not there to be told.
    let mark = |number: u32| format!("{token}<bookmarkId>{number}</bookmarkId>");
    let opened = viewer.call("BookmarkGet", &mark(1));
    assert_eq!(
        opened["texts"],
        json!(["BookmarkGet of viewer"]),
        "{opened}"
    );
    let version = viewer.call("GetVersion", "");
    assert_eq!(version["texts"], json!(["25"]), "{version}");
    let path = "GET /api/rest/v1/cameras HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert!(raw(house.management, path).starts_with("HTTP/1.1 401"));
    // First one that hangs, then one that is gone; then a session of the house's.
    for round in ["hung", "gone", "of the house"] {
        match round {
            "hung" => house.primary.stop(),
            "gone" => house.primary.kill(),
            _ => assert_eq!(viewer.log_in_again()["token_of"], OURS),
        }
        let views = said(&mut viewer, "GetViewGroups");
        assert_eq!(
            (&views["status"], &views["texts"]),
            (&json!(200), &before["texts"]),
            "{round}: {views}"
        );
        let marks = said(&mut viewer, "BookmarkSearchTime");
        assert_eq!(
            (&marks["status"], &marks["kind"], &marks["texts"]),
            (
                &json!(200),
                &json!("BookmarkSearchTimeResponse"),
                &json!([])
            ),
            "{round}: {marks}"
        );
        assert_eq!(
            viewer.call("GetVersion", "")["texts"],
            json!(["25"]),
            "{round}"
        );
        for operation in ["BookmarkCreate", "RestrictedMediaQueryAll"] {
            let refused = said(&mut viewer, operation);
            assert_eq!(
                (&refused["status"], &refused["kind"]),
                (&json!(500), &json!("Fault")),
                "{round}: {refused}"
            );
            assert!(
                refused["texts"][1]
                    .as_str()
                    .unwrap_or_default()
                    .contains("management server of a"),
                "{refused}"
            );
        }
        let again = viewer.call("BookmarkGet", &mark(1));
        assert_eq!(again["texts"], opened["texts"], "{round}: {again}");
        let other = viewer.call("BookmarkGet", &mark(2));
        assert_eq!(other["kind"], "Fault", "{round}: {other}");
        // What another was told is not his.
        let other = said(&mut narrow, "GetViewGroups");
        assert_eq!(other["kind"], "Fault", "{round}: {other}");
    }
    let rest = raw(house.management, path);
    assert!(
        rest.starts_with("HTTP/1.1 503") && rest.contains("\"httpCode\":503"),
        "{rest}"
    );
    seamline.await_log(
        &["not answered while the primary is down", "BookmarkCreate"],
        SOON,
    );
}

//! Who comes in, by which door, and who does not.

use seamline_tests::{
    clock::noon,
    xprotect::{CAMERA, Setup},
};

use crate::{House, OURS, SOON, THEIRS, raw};

#[test]
fn clients_come_in_by_each_door_and_are_led_here() {
    // So long a configuration comes in chunks.
    let mut house = House::new(Setup::default().pad(300_000));
    let seamline = house.serve();
    for kind in ["oauth", "soap", "soap-older", "ntlm"] {
        let mut client = house.log_in(kind, "viewer", "s3cret");
        assert_eq!(
            client.login["token_of"], THEIRS,
            "{kind}: {:?}",
            client.login
        );
        assert_eq!(client.told, house.expected(&["Gate", "Yard"]), "{kind}");
        // On the token that it has, and on another.
        assert_eq!(client.ask(), client.told, "{kind}");
        assert_eq!(client.log_in_again()["token_of"], THEIRS, "{kind}");
    }
    let client = house.log_in("oauth", "viewer", "s3cret");
    assert_eq!(
        client.login["endpoint"],
        format!("localhost:{}", house.management)
    );
    let rest = house.log_in("rest", "viewer", "s3cret");
    let recorder = &rest.told["recorders"][0];
    let uri = format!("http://localhost:{}/", house.recorder);
    assert_eq!(recorder["uri"], uri, "{:?}", rest.told);
    assert_eq!(recorder["active"], uri);
    assert_eq!(recorder["port"], house.recorder);
    assert_eq!(rest.told["site"][0], format!("{}/", house.url()));
    // Wrong passwords are for the primary to refuse, each once.
    house.primary.calls();
    for kind in ["oauth", "soap"] {
        let client = house.log_in(kind, "viewer", "wrong");
        assert!(
            !client.login.as_object().unwrap().contains_key("token_of"),
            "{:?}",
            client.login
        );
    }
    assert!(
        house
            .primary
            .calls()
            .iter()
            .all(|call| !call.starts_with("login"))
    );
    let log = seamline.log().join("\n");
    for secret in ["s3cret", "n4rrow", "TOKEN#", "access-"] {
        assert!(!log.contains(secret), "{secret} in the log");
    }
    assert!(log.contains("user=\"viewer\""), "{log}");
    house.primary.kill();
}

/// A ticket for a name that is none of the server's: what else may be shown is offered, in the server's order, and NTLM then passes.
#[test]
fn a_ticket_of_kerberos_is_refused_in_favour_of_ntlm() {
    let house = House::new(Setup::default());
    let seamline = house.serve();
    let spnego = "Negotiate YIIBAgYGKwYBBQUCoKCgoHRpY2tldCBvZiBhbm90aGVyIG5hbWU=";
    let asked = |shown: &str| {
        let path = "/ServerAPI/ServerCommandService.asmx";
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: {shown}\r\nContent-Length: 0\r\n\r\n"
        );
        let answer = raw(house.management, &request);
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
        let offered = answer.lines().filter_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("www-authenticate: ")
                .map(str::to_owned)
        });
        offered.collect::<Vec<_>>()
    };
    assert_eq!(
        asked("Basic eDp5"),
        ["negotiate, ntlm"],
        "as the server says it"
    );
    assert_eq!(asked(spnego), ["ntlm"]);
    seamline.await_log(&["ticket of Kerberos is refused", "falls_back=true"], SOON);
    let client = house.log_in("ntlm", "viewer", "s3cret");
    assert_eq!(client.login["token_of"], THEIRS, "{:?}", client.login);
}

#[test]
fn who_comes_in_plays_also_with_a_token_of_the_houses_and_nothing_else() {
    let mut house = House::new(Setup::default());
    let _seamline = house.serve();
    let mut viewer = house.log_in("oauth", "viewer", "s3cret");
    house.log_in("oauth", "narrow", "n4rrow");
    let at = noon(3.5);
    let before = viewer.play(CAMERA, at);
    let current = before["picture"]["current"].clone();
    assert!(current.is_number(), "{before:?}");
    house.primary.kill();
    // On the token that the primary gave, on one of the house's, and not what he may not see.
    for _ in 0..2 {
        let after = viewer.play(CAMERA, at);
        assert_eq!(after["picture"]["current"], current, "{after:?}");
        assert_eq!(viewer.log_in_again()["token_of"], OURS);
    }
    let mut narrow = house.log_in("oauth", "narrow", "n4rrow");
    assert_eq!(narrow.login["token_of"], OURS, "{:?}", narrow.login);
    let refused = narrow.play(CAMERA, at);
    assert_eq!(refused["connected"], false, "{refused:?}");
}

#[test]
fn whom_the_primary_has_not_told_anything_or_has_turned_away_does_not_come_in() {
    let mut house = House::new(Setup::default());
    let _seamline = house.serve();
    // Known to the primary, and then not to be let in.
    house.log_in("soap", "narrow", "n4rrow");
    house.primary.tell("no-permission");
    let refused = house.log_in("soap", "narrow", "n4rrow");
    assert!(refused.login["token_of"].is_null(), "{:?}", refused.login);
    house.primary.kill();
    for (kind, name, password) in [("soap", "narrow", "n4rrow"), ("oauth", "viewer", "s3cret")] {
        let client = house.log_in(kind, name, password);
        assert!(
            client.login["token_of"].is_null(),
            "{name}: {:?}",
            client.login
        );
        assert!(
            client.told["recorders"].is_null(),
            "{name}: {:?}",
            client.told
        );
    }
}

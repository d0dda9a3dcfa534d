//! Who may come in, as files say it: users, passwords, tokens, links and origins.

use super::{house, parse, problems};
use crate::inbound::Cors;

#[test]
fn passwords_come_from_one_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "secret\n").unwrap();
    let camera = r#"[[camera]]
        id = "gate"
        copies = [{ recorder = "nvr-1", remote = "7" }]"#;
    let text = house(&format!(
        "{camera}\n[[user]]\nname = 'guard'\npassword_file = {file:?}\ncameras = ['gate']"
    ));
    let config = parse(&text).unwrap();
    assert!(
        matches!(&config.auth.users[0].secret, seamline_rtsp::auth::users::Secret::Password(text) if text == "secret")
    );
    assert!(config.auth.users[0].may_see("gate") && !config.auth.users[0].may_see("yard"));
}

#[test]
fn what_is_kept_of_passwords_and_who_can_come_in_with_it() {
    let with = |auth: &str, users: &[&str]| {
        let users: Vec<String> = users
            .iter()
            .enumerate()
            .map(|(n, keys)| format!("[[user]]\nname = 'u{n}'\n{keys}\n"))
            .collect();
        let users = users.concat();
        house(&format!(
            "[auth]\n{auth}\n{users}\n[[camera]]\nid = 'yard/north'\ncopies = [{{ recorder = 'nvr-1', remote = '7' }}]"
        ))
    };
    let ha1 = format!("ha1 = '{}'", "A1".repeat(16));
    let ha1_sha256 = format!("ha1_sha256 = '{}'", "b2".repeat(32));
    let both = format!("{ha1}\n{ha1_sha256}\ncameras = ['yard/*']");
    let hash = format!("password_hash = '{}'", crate::access::hash("x"));
    let remarks =
        |auth: &str, users: &[&str]| parse(&with(auth, users)).unwrap().auth.remarks(false);
    let about = |auth: &str, users: &[&str]| {
        let remarks = remarks(auth, users);
        assert_eq!(remarks.len(), 1, "{remarks:?}");
        remarks.into_iter().next().unwrap()
    };
    assert_eq!(
        remarks("sha256 = true", &[&both, "password = 'x'"]),
        [""; 0]
    );
    assert!(about("", &[]).contains("anybody may watch"));
    assert!(about("", &[&hash]).contains("cannot come in"));
    let by_tls = parse(&with("", &[&hash])).unwrap().auth.remarks(true);
    assert!(by_tls.concat().contains("over TLS only"));
    assert!(about("basic = true", &[&hash]).contains("in clear"));
    assert!(about("", &[&ha1_sha256]).contains("no player is asked"));
    assert!(about("sha256 = true", &[&ha1_sha256]).contains("know only MD5"));
    assert!(about("sha256 = true", &[&ha1]).contains("choose SHA-256"));
    assert_eq!(remarks("", &[&hash, &ha1]).len(), 2);

    for (auth, user, problem) in [
        ("", "ha1 = 'short'", "ha1 is the MD5 of"),
        ("", "ha1_sha256 = 'short'", "ha1_sha256 is the SHA-256 of"),
        (
            "",
            "password_hash = 'open'",
            "password_hash: not an argon2 hash",
        ),
        (
            "",
            "password = 'x'\npassword_hash = 'y'",
            "a user has one of",
        ),
        (
            "",
            "password = 'x'\ncameras = ['cellar/*']",
            "no camera fits \"cellar/*\"",
        ),
        ("realm = 'a\"b'", "password = 'x'", "realm \"a\\\"b\""),
        (
            "nonce_key_file = '/nonexistent/key'",
            "password = 'x'",
            "nonce_key_file /nonexistent/key: No such file",
        ),
        ("sha = true", "password = 'x'", "unknown field `sha`"),
    ] {
        let said = problems(&with(auth, &[user]));
        assert!(said.contains(problem), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    let auth = format!("nonce_key_file = {file:?}");
    std::fs::write(&file, "guessed\n").unwrap();
    assert!(problems(&with(&auth, &["password = 'x'"])).contains("can be guessed"));
    std::fs::write(&file, "0123456789abcdef0123456789abcdef\n").unwrap();
    assert!(
        parse(&with(&auth, &["password = 'x'"]))
            .unwrap()
            .auth
            .nonce_key
            .is_some()
    );
}

#[test]
fn tokens_links_and_origins() {
    let folder = tempfile::tempdir().unwrap();
    let (short, long) = (folder.path().join("short"), folder.path().join("long"));
    std::fs::write(&short, "guessed\n").unwrap();
    std::fs::write(&long, "0123456789abcdef0123456789abcdef\n").unwrap();
    let camera = "[[camera]]\nid = 'gate'\ncopies = [{ recorder = 'nvr-1', remote = '7' }]\n";
    let user = "[[user]]\nname = 'guard'\npassword = 'x'\n";
    let with = |rest: &str| house(&format!("{camera}{user}{rest}"));
    let good = format!(
        "[auth]\nlink_key_file = {long:?}\n[auth.token]\nsecret_file = {long:?}\naudience = 'video'\n\
         [http]\ncors_origins = ['https://wall.example.org', 'http://127.0.0.1:3000']"
    );
    let config = parse(&with(&good)).unwrap();
    assert!(config.auth.tokens.is_some() && config.auth.link_key.is_some());
    assert!(
        config
            .auth
            .remarks(false)
            .concat()
            .contains("tokens cross the network in clear")
    );
    let Cors::Origins(origins) = &config.inbound.http.cors else {
        panic!("origins")
    };
    assert_eq!(origins.len(), 2);
    for (rest, problem) in [
        (
            format!("[auth]\nlink_key_file = {short:?}"),
            "can be guessed",
        ),
        (
            format!("[auth.token]\nsecret_file = {short:?}"),
            "no secret for HS256",
        ),
        (
            format!("[auth.token]\npublic_key_file = {long:?}"),
            "no public key",
        ),
        ("[auth.token]".to_owned(), "takes one of"),
        (
            "[auth.token]\nsecret = 'x'".to_owned(),
            "unknown field `secret`",
        ),
        (
            "[http]\ncors_origins = ['https://wall.example.org/']".to_owned(),
            "no origin as browsers write it",
        ),
        (
            "[http]\ncors_origins = ['*', 'https://a.example']".to_owned(),
            "no origin",
        ),
        ("[http]\nport = 80".to_owned(), "unknown field `port`"),
    ] {
        let said = problems(&with(&rest));
        assert!(said.contains(problem), "{rest}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    let nobody = format!("{camera}[auth.token]\nsecret_file = {long:?}");
    assert!(problems(&house(&nobody)).contains("anybody may come in"));
}

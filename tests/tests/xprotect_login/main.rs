//! Clients of XProtect log in through the house: by each door, with the primary up, down and back, on each way in which sites are
//! built; and what is hostile on these ports.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::Duration,
};

use seamline_tests::{
    clock::{monotonic, noon},
    footage::{Footage, Recipe},
    seamline::{Seamline, free_port},
    xprotect::{CAMERA, Client, Setup, Site},
};
use serde_json::{Value, json};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(20);

/// Two independent sites behind one house, at ports that stay when a site comes back.
struct House {
    footage: Footage,
    primary: Site,
    secondary: Site,
    ports: [u16; 2],
    management: u16,
    recorder: u16,
    cache: TempDir,
    setup: Setup,
}

impl House {
    fn new(setup: Setup) -> Self {
        let footage = Recipe::default().make();
        let ports = [free_port(), free_port()];
        let setup = setup
            .user("viewer", "s3cret")
            .narrow_user("narrow", "n4rrow");
        Self {
            primary: setup
                .clone()
                .server_port(ports[0])
                .port(ports[1])
                .start(&footage),
            secondary: Setup::default()
                .user("viewer", "s3cret")
                .narrow_user("narrow", "n4rrow")
                .start(&footage),
            footage,
            ports,
            management: free_port(),
            recorder: free_port(),
            cache: tempfile::tempdir().expect("a temporary folder can be made"),
            setup,
        }
    }

    fn config(&self, port: u16) -> Value {
        let recorder = |name: &str, site: &Site| {
            let mut recorder = site.recorder();
            recorder["name"] = json!(name);
            recorder["site"] = json!(name);
            recorder
        };
        json!({
            "listen": format!("127.0.0.1:{port}"),
            "site": [{ "name": "a" }, { "name": "b" }],
            "recorder": [recorder("a", &self.primary), recorder("b", &self.secondary)],
            "camera": [{ "id": "gate", "copies": [{ "recorder": "a", "remote": "Gate" }, { "recorder": "b", "remote": "Gate" }] }],
            "xprotect": [{
                "primary": "a",
                "secondary": "b",
                "management": format!("127.0.0.1:{}", self.management),
                "cache": self.cache.path().join("kept"),
                "recorder": [{ "recorder": "Recorder", "listen": format!("127.0.0.1:{}", self.recorder) }],
            }],
        })
    }

    fn serve(&self) -> Seamline {
        let port = free_port();
        let seamline = Seamline::of(&self.config(port), port, "info,seamline=debug");
        // The faces are bound before the house serves.
        TcpStream::connect(("127.0.0.1", self.management)).expect("the face listens");
        seamline
    }

    fn url(&self) -> String {
        format!("http://localhost:{}", self.management)
    }

    fn log_in(&self, kind: &str, name: &str, password: &str) -> Client {
        Client::log_in(&self.url(), kind, name, password)
    }

    fn primary_returns(&mut self) {
        let [server, recorder] = self.ports;
        self.primary = self
            .setup
            .clone()
            .server_port(server)
            .port(recorder)
            .start(&self.footage);
    }

    /// What a client is to be told.
    fn expected(&self, cameras: &[&str]) -> Value {
        let uri = format!("http://localhost:{}/", self.recorder);
        json!({ "recorders": [{ "uri": uri, "host": "localhost", "cameras": cameras }] })
    }
}

const OURS: &str = "seamline//ServerConnector";
const THEIRS: &str = "vmshost//ServerConnector";

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

/// One request on a connection of its own; the answer with its head.
fn raw(port: u16, request: &str) -> String {
    let mut stream = connected(port);
    let sent = stream.write_all(request.as_bytes());
    sent.expect("the face reads");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn connected(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the face listens");
    let patient = stream.set_read_timeout(Some(SOON));
    patient.expect("a socket has a patience");
    stream
}

#[test]
fn what_is_not_ours_passes_as_it_is() {
    let house = House::new(Setup::default());
    let seamline = house.serve();
    house.log_in("oauth", "viewer", "s3cret");
    let port = house.management;
    let get = |path: &str, more: &str| {
        raw(
            port,
            &format!(
                "GET {path} HTTP/1.1\r\nHost: seam.example:{port}\r\nConnection: close\r\n{more}\r\n"
            ),
        )
    };
    let own = format!("http://seam.example:{port}");

    let told = get("/API/.well-known/uris", "");
    assert!(
        told.contains(&format!("\"IdentityProvider\":\"{own}/IDP\"")),
        "{told}"
    );
    assert!(
        told.contains(&format!("\"SecureManagementServer\":\"{own}/\"")),
        "no certificate: {told}"
    );
    let moved = get("/away", "");
    assert!(
        moved.contains(&format!("Location: {own}/IDP/login")),
        "{moved}"
    );
    assert!(moved.contains("Set-Cookie: a=b; Path=/"), "{moved}");
    let described = get("/ManagementServer/ServerCommandService.svc?wsdl", "");
    assert!(
        !described.contains("vmshost") && described.contains(&own),
        "{described}"
    );
    assert!(
        described.contains("namespace=\"http://videoos.net/2/XProtectCSServerCommand\""),
        "{described}"
    );
    let services = raw(
        port,
        &format!(
            "POST /ManagementServer/ServiceRegistrationService.svc HTTP/1.1\r\nHost: seam.example:{port}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        ),
    );
    assert!(
        services.contains(&format!("{own}/ManagementServer/")),
        "{services}"
    );
    assert!(
        services.contains("http://events.example:22331/Central/"),
        "{services}"
    );
    assert!(!services.contains("vmshost"), "{services}");
    let big = get("/big", "");
    let (_, body) = big.split_once("\r\n\r\n").unwrap();
    let count = body.bytes().filter(|byte| *byte == b'x').count();
    assert_eq!(count, 3 << 20, "it comes in chunks, and all of it");
    assert!(get("/nothing", "").starts_with("HTTP/1.1 404"));

    // A recorder's address in a service that nobody knows passes, and is told of.
    let view = raw(
        port,
        &format!(
            "POST /ManagementServer/ViewsService.svc HTTP/1.1\r\nHost: seam.example:{port}\r\nConnection: close\r\nContent-Length: 4\r\n\r\n<a/>"
        ),
    );
    assert!(view.contains("<Recorder>http://localhost:"), "{view}");
    seamline.await_log(&["recorder's own address leaves", "count=1"], SOON);
}

#[test]
fn switched_connections_carry_what_they_carry() {
    let house = House::new(Setup::default());
    let _seamline = house.serve();
    let port = house.management;
    let form = "grant_type=password&username=viewer&password=s3cret&client_id=VmsClient";
    let asked = format!(
        "POST /API/IDP/connect/token HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    let access = raw(port, &asked);
    let (_, access) = access.split_once("\"access_token\":\"").unwrap();
    let access = access.split('"').next().unwrap();
    let mut stream = connected(port);
    let upgrade = format!(
        "GET /API/ws/events/v1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nAuthorization: bearer {access}\r\n\r\n"
    );
    stream.write_all(upgrade.as_bytes()).unwrap();
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(char::from(byte[0]));
    }
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    for piece in [b"\x81\x05hello".to_vec(), vec![0x82; 50_000]] {
        stream.write_all(&piece).unwrap();
        let mut back = vec![0; piece.len()];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back, piece);
    }
}

#[test]
fn what_is_hostile_goes_no_further() {
    let house = House::new(Setup::default());
    let seamline = house.serve();
    let port = house.management;
    let bad = |request: &str, status: &str| {
        let answer = raw(port, request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{request:.200}: {answer:.200}"
        );
    };
    bad("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400");
    bad("GET / HTTP/1.1\r\n\r\n", "400");
    bad("GET / HTTP/1.1\r\nHost: \"><script>\r\n\r\n", "400");
    bad("GET / HTTP/1.1\r\nHost: user@elsewhere\r\n\r\n", "400");
    bad(
        "CONNECT elsewhere:80 HTTP/1.1\r\nHost: elsewhere:80\r\nConnection: close\r\n\r\n",
        "405",
    );
    bad(
        &format!(
            "GET /{} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            "x".repeat(10_000)
        ),
        "414",
    );
    bad(
        &format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
            "x".repeat(100_000)
        ),
        "431",
    );
    bad("GET / HTTP/1.1\r\nHost: a\r\nX: a\u{0}b\r\n\r\n", "400");
    bad(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        "400",
    );
    bad(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "400",
    );
    // An address of another host leads to the primary all the same, and nowhere else.
    let absolute = raw(
        port,
        "GET http://elsewhere.invalid/nothing HTTP/1.1\r\nHost: elsewhere.invalid\r\nConnection: close\r\n\r\n",
    );
    assert!(absolute.starts_with("HTTP/1.1 404"), "{absolute}");
    let posted = |path: &str, body: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let bomb = "<!DOCTYPE a [<!ENTITY b \"bbbbbbbb\">]><a>&b;</a>";
    bad(
        &posted("/ManagementServer/ServerCommandServiceOAuth.svc", bomb),
        "400",
    );
    let deep = "<a>".repeat(10_000);
    bad(
        &posted("/ServerAPI/ServerCommandService.asmx", &deep),
        "400",
    );
    bad(&posted("/idp/connect/token", &"x".repeat(100_000)), "413");
    assert!(seamline.log().iter().all(|line| !line.contains("panicked")));
}

#[test]
fn the_three_ways_in_which_sites_are_built() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    for kind in ["single", "independent", "federated"] {
        let footage = Recipe::default().make();
        let folder = tempfile::tempdir().unwrap();
        let names = match kind {
            "single" => ["vms", "vms"],
            "independent" => ["vms-a", "vms-b"],
            _ => ["parent", "child"],
        };
        let child = Setup::default().user("seamline", "s3cret").start(&footage);
        let parent = Setup::default().user("seamline", "s3cret");
        let parent = if kind == "federated" {
            parent.child(&format!("{}/", child.url()))
        } else {
            parent
        };
        let mut parent = parent.start(&footage);
        let text = fs::read_to_string(deploy.join(format!("xprotect-{kind}.toml"))).unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(folder.path().join("fullchain.pem"), made.cert.pem()).unwrap();
        fs::write(
            folder.path().join("key.pem"),
            made.signing_key.serialize_pem(),
        )
        .unwrap();
        let mut text = text
            .replace("/etc/seamline", &folder.path().display().to_string())
            .replace("/var/lib/seamline", &folder.path().display().to_string());
        for (name, site) in names.iter().zip([&parent, &child]) {
            fs::write(folder.path().join(format!("{name}.password")), "s3cret\n").unwrap();
            text = text.replace(&format!("https://{name}.example"), site.url());
        }
        let listened =
            ["80", "443", "7563", "8080", "8443", "7573"].map(|port| (port, free_port()));
        for (port, free) in listened {
            text = text.replace(
                &format!("\"0.0.0.0:{port}\""),
                &format!("\"127.0.0.1:{free}\""),
            );
        }
        let mut config: Value =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{kind}: {error}"));
        let port = free_port();
        config["listen"] = json!(format!("127.0.0.1:{port}"));
        let seamline = Seamline::of(&config, port, "info");
        let at = |port: &str| listened.iter().find(|(name, _)| *name == port).unwrap().1;
        let url = |port: &str| format!("http://localhost:{}", at(port));
        let mut client = Client::log_in(&url("80"), "oauth", "seamline", "s3cret");
        assert_eq!(
            client.login["token_of"], THEIRS,
            "{kind}: {:?}",
            client.login
        );
        let uri = format!("http://localhost:{}/", at("7563"));
        assert_eq!(client.told["recorders"][0]["uri"], uri, "{kind}");
        // Inside TLS it is the same.
        let sealed = Client::log_in(
            &format!("https://localhost:{}", at("443")),
            "oauth",
            "seamline",
            "s3cret",
        );
        assert_eq!(
            sealed.told["recorders"], client.told["recorders"],
            "{kind}: {:?}",
            sealed.login
        );
        assert_eq!(
            sealed.login["endpoint"],
            format!("localhost:{}", at("443")),
            "{kind}"
        );
        if kind == "federated" {
            // The child has a face of its own, with its own recorder's port.
            let below = Client::log_in(&url("8080"), "oauth", "seamline", "s3cret");
            assert_eq!(
                below.told["recorders"][0]["uri"],
                format!("http://localhost:{}/", at("7573"))
            );
        }
        parent.kill();
        assert_eq!(client.ask()["recorders"][0]["uri"], uri, "{kind}");
        // A single site has no other that could vouch for him: the primary did, a moment ago.
        let renewed = if kind == "single" {
            Client::log_in(&url("80"), "soap", "seamline", "s3cret").login
        } else {
            client.log_in_again()
        };
        if kind == "single" {
            assert!(
                renewed["token_of"].is_null(),
                "it never came by this door: {renewed:?}"
            );
        } else {
            assert_eq!(renewed["token_of"], OURS, "{kind}: {renewed:?}");
        }
        drop(seamline);
    }
}

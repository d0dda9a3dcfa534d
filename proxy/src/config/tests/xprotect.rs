//! Faces of XProtect, as files say them.

use super::{parse, problems};
use crate::inbound::PortSettings;

const SITES: &str = r#"
[[site]]
name = "primary"
[[site]]
name = "secondary"

[[recorder]]
name = "vms"
site = "primary"
kind = "xprotect"
url = "https://vms.example"
[[recorder]]
name = "vms-b"
site = "secondary"
kind = "xprotect"
url = "https://vms-b.example"
[[recorder]]
name = "nvr"
site = "secondary"
kind = "rtsp"
url = "rtsp://10.1.0.10/replay/{camera}"

[[camera]]
id = "gate"
copies = [{ recorder = "vms", remote = "Gate" }, { recorder = "vms-b", remote = "Gate" }]
"#;

#[test]
fn a_face_of_xprotect() {
    let config = parse(&format!(
        r#"{SITES}
        [[xprotect]]
        primary = "vms"
        secondary = "vms-b"
        management = ["0.0.0.0:80", "0.0.0.0:443"]
        cache = "/var/lib/seamline"
        [[xprotect.recorder]]
        recorder = "Recorder 1"
        listen = "0.0.0.0:7563"
        [[xprotect.recorder]]
        recorder = "Recorder 2"
        listen = "0.0.0.0:7573"
        public_port = 7564
        "#
    ))
    .unwrap();
    let [face] = &config.faces[..] else {
        panic!("one face, not {}", config.faces.len());
    };
    assert_eq!(face.primary.site.as_str(), "primary");
    assert_eq!(face.management.len(), 2);
    assert!(face.sessions_while_down && face.live_failover);
    let ports: Vec<u16> = face.ports.iter().map(PortSettings::told_port).collect();
    assert_eq!(ports, [7563, 7564]);
}

#[test]
fn what_is_wrong_with_a_face_of_xprotect() {
    let told = problems(&format!(
        r#"{SITES}[[xprotect]]
primary = "nvr"
secondary = "nobody"
management = "0.0.0.0:8554"
sessions_while_down = true
public_host = "a/b"
[[xprotect.recorder]]
recorder = "one"
listen = "0.0.0.0:7563"
[[xprotect.recorder]]
recorder = "one"
listen = "0.0.0.0:7563"
public_port = 0
[[xprotect]]
primary = "vms"
secondary = "vms"
management = []
recorders = 3
"#
    ));
    let first = SITES.lines().count();
    let line = |at: usize| format!("seamline.toml:{}: ", first + at);
    let expected = [
        (2, "recorder \"nvr\" is not of the kind \"xprotect\""),
        (3, "there is no recorder \"nobody\""),
        (4, "0.0.0.0:8554 is listened on already"),
        (5, "`cache` must be set"),
        (6, "\"a/b\" is no host"),
        (
            11,
            "\"one\" is no recorder's GUID or name, or one that has its port already",
        ),
        (12, "0.0.0.0:7563 is listened on already"),
        (13, "clients cannot connect to port 0"),
        (18, "unknown field `recorders`"),
    ];
    for (at, message) in expected {
        let wanted = line(at) + message;
        assert!(told.contains(&wanted), "{wanted}\n{told}");
    }
}

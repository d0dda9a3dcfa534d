//! Whole files: what they come to, and every error of a bad one.

mod access;
mod xprotect;

use std::time::Duration;

use seamline_routing::policy::Failback;

use super::*;
use crate::inbound::Limits;

fn parse(text: &str) -> Result<Config, Problems> {
    Config::parse(text, "seamline.toml", Clock::System)
}

fn problems(text: &str) -> String {
    parse(text)
        .err()
        .map(|problems| problems.to_string())
        .unwrap_or_default()
}

const HOUSE: &str = r#"
listen = "127.0.0.1:0"

[[site]]
name = "primary"
[[site]]
name = "secondary"

[[recorder]]
name = "nvr-1"
site = "primary"
kind = "rtsp"
url = "rtsp://10.1.0.10/replay/{camera}"

[[recorder]]
name = "archive"
site = "secondary"
kind = "archive"
path = "/srv/recordings"
pattern = "{camera}/%Y%m%dT%H%M%SZ"
"#;

fn house(rest: &str) -> String {
    format!("{HOUSE}\n{rest}")
}

#[test]
fn a_small_house() {
    let config = parse(&house(
        r#"
        [policy]
        failback = "after 5s"

        [[camera]]
        id = "gate"
        copies = [
            { recorder = "archive", remote = "gate", clock_offset_ms = -250 },
            { recorder = "nvr-1", remote = "7" },
        ]

        [[camera]]
        id = "yard/north"
        name = "North yard"
        priority = ["secondary"]
        copies = [{ recorder = "nvr-1", remote = "8" }, { recorder = "archive", remote = "yard" }]
        policy = { failback = "never" }
        "#,
    ))
    .unwrap();
    assert_eq!(config.listen, ["127.0.0.1:0".parse().unwrap()]);
    let [gate, yard] = &config.cameras[..] else {
        panic!("two cameras")
    };
    let order = |camera: &CameraSettings| {
        camera
            .camera
            .copies
            .iter()
            .map(|copy| copy.site.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (order(gate), order(yard)),
        (
            vec!["primary".into(), "secondary".into()],
            vec!["secondary".into(), "primary".into()]
        )
    );
    assert_eq!(gate.camera.copies[1].clock_offset_us, -250_000);
    assert_eq!(
        (&*gate.camera.name, &*yard.camera.name),
        ("gate", "North yard")
    );
    assert_eq!(
        gate.policy.failback,
        Failback::After(Duration::from_secs(5))
    );
    assert_eq!(
        (yard.policy.failback, yard.policy.min_gap),
        (Failback::Never, config.policy.min_gap)
    );
}

#[test]
fn one_address_or_a_list_of_them() {
    let listen = |listen: &str| {
        let text = HOUSE.replace("\"127.0.0.1:0\"", listen);
        let camera = "[[camera]]\nid = 'gate'\ncopies = [{ recorder = 'nvr-1', remote = '7' }]";
        parse(&format!("{text}\n{camera}"))
    };
    let two = listen(r#"["0.0.0.0:554", "[::1]:322"]"#).unwrap().listen;
    assert_eq!(
        two,
        ["0.0.0.0:554", "[::1]:322"].map(|text| text.parse().unwrap())
    );
    for (wrong, why) in [
        ("[]", "the list of addresses is empty"),
        ("554", "an address such as"),
        (r#"["0.0.0.0:554", "here"]"#, "\"here\" is no address"),
    ] {
        let problems = listen(wrong).err().map(|problems| problems.to_string());
        assert!(
            problems.as_ref().is_some_and(|text| text.contains(why)),
            "{problems:?}"
        );
    }
}

#[test]
fn ports_for_udp_are_whole_pairs() {
    let camera = "[[camera]]\nid = 'gate'\ncopies = [{ recorder = 'nvr-1', remote = '7' }]";
    let udp = |lines: &str| parse(&format!("{lines}\n{HOUSE}\n{camera}"));
    let settings = udp("udp_ports = \"30000-30999\"").unwrap().inbound.udp;
    assert_eq!(
        (settings.refused, settings.ports),
        (false, Some(30_000..=30_999))
    );
    assert!(udp("udp = false").unwrap().inbound.udp.refused);
    for wrong in [
        "30000",
        "30001-30002",
        "30999-30000",
        "1-70000",
        "0-9",
        "a-b",
    ] {
        let problems = udp(&format!("udp_ports = {wrong:?}")).err();
        let problems = problems.map(|problems| problems.to_string());
        let told =
            |text: &String| text.starts_with("seamline.toml:1:") && text.contains("udp_ports");
        assert!(problems.as_ref().is_some_and(told), "{wrong}: {problems:?}");
    }
}

#[test]
fn every_error_is_found_and_has_its_line() {
    let text = r#"listen = "nowhere"
lisetn = "0.0.0.0:8554"
[limits]
connections_max = 0
drain = 10
[log]
level = "info,=loud="
[policy]
holes = "jump"
min_gap = "soon"
[[site]]
name = "primary"
[[site]]
name = "primary"
[[recorder]]
name = "a"
site = "moon"
kind = "archive"
path = "/srv"
pattern = "%H"
[[recorder]]
name = "b"
site = "primary"
kind = "rtsp"
urll = "rtsp://b/"
[[recorder]]
name = "c"
site = "primary"
kind = "rtsp"
url = "rtsp://c/"
username = "u"
password_file = "/nonexistent/password"
[[recorder]]
name = "d"
site = "primary"
kind = "betamax"
[[camera]]
id = "gate"
copies = [
  { recorder = "b", remote = "1" },
  { recorder = "zz", remote = "2" },
]
[[camera]]
id = "../etc"
copies = []
[[camera]]
id = "gate"
copies = [{ recorder = "b" }]
[[user]]
name = "guard"
password = "a"
ha1 = "b"
[[user]]
name = "chief"
password_env = "SEAMLINE_TEST_UNSET"
cameras = ["attic"]
[users]
"#;
    let expected = r#"
seamline.toml:1: "nowhere" is no address with a port, such as "0.0.0.0:554"
seamline.toml:2: unknown key `lisetn`; there are listen, udp, udp_ports, [auth], [evidence], [http], [limits], [log], [tls], [policy], [dialects], [[passthrough]], [[xprotect]], [[user]], [[site]], [[recorder]], [[camera]]
seamline.toml:4: invalid value: integer `0`, expected a nonzero usize
seamline.toml:5: invalid type: integer `10`, expected a duration with its unit such as "500ms", "30s" or "2m"
seamline.toml:7: "info,=loud=" is no level such as "info", nor a list of them
seamline.toml:9: unknown variant `jump`, expected one of `skip`, `wait`, `end`
seamline.toml:10: "soon" is not a duration such as "500ms", "30s" or "2m"
seamline.toml:14: site "primary" is already on line 12
seamline.toml:17: there is no site "moon"
seamline.toml:20: pattern "%H" does not determine a time: "03.mp4" cannot be read back
seamline.toml:21: missing field `url`
seamline.toml:25: unknown field `urll`, expected one of `url`, `live`, `zone`, `username`, `password`, `password_file`, `password_env`, `ca_file`, `pin_sha256`, `insecure`
seamline.toml:32: password_file /nonexistent/password: No such file or directory (os error 2)
seamline.toml:36: unknown variant `betamax`, expected one of `archive`, `axis`, `dahua`, `files`, `hikvision`, `hls`, `mediamtx`, `nx`, `onvif`, `rtsp`, `seamline`, `xprotect`
seamline.toml:41: there is no recorder "zz"
seamline.toml:44: "../etc" cannot be part of a URL's path
seamline.toml:45: a camera has 1 to 16 copies, this one has 0
seamline.toml:47: camera "gate" is already on line 38
seamline.toml:48: missing field `remote`
seamline.toml:49: a user has one of password, password_file, password_env, password_hash, and ha1 with or without ha1_sha256; `seamline user` makes such a section
seamline.toml:55: password_env "SEAMLINE_TEST_UNSET" is not set
seamline.toml:56: there is no camera "attic"
seamline.toml:57: unknown key `users`; there are listen, udp, udp_ports, [auth], [evidence], [http], [limits], [log], [tls], [policy], [dialects], [[passthrough]], [[xprotect]], [[user]], [[site]], [[recorder]], [[camera]]
"#;
    assert_eq!(problems(text), expected.trim());
}

#[test]
fn names_in_vendors_urls() {
    let text = house(
        r#"
        [[camera]]
        id = "gate"
        aliases = ["hikvision:101", "Hikvision:101", "betamax:1", "dahua:"]
        copies = [{ recorder = "nvr-1", remote = "7" }]
        [[camera]]
        id = "yard"
        aliases = ["hikvision:101"]
        zone = "Mars/Base"
        copies = [{ recorder = "nvr-1", remote = "8" }]
        [[camera]]
        id = "door"
        aliases = ["hikvision:101"]
        zone = "Europe/Zurich"
        copies = [{ recorder = "nvr-1", remote = "9" }]
        "#,
    );
    let known = "axis, dahua, genetec, hanwha, hikvision, milestone, nx, tvt, vivotek";
    let expected = [
        format!(
            "seamline.toml:25: \"Hikvision:101\" is no vendor and name such as \"hikvision:101\"; there are {known}"
        ),
        format!(
            "seamline.toml:25: \"betamax:1\" is no vendor and name such as \"hikvision:101\"; there are {known}"
        ),
        format!(
            "seamline.toml:25: \"dahua:\" is no vendor and name such as \"hikvision:101\"; there are {known}"
        ),
        "seamline.toml:30: unknown time zone \"Mars/Base\"".to_owned(),
        "seamline.toml:34: \"hikvision:101\" is already an alias of camera \"gate\"".to_owned(),
    ];
    assert_eq!(problems(&text), expected.join("\n"));
}

#[test]
fn a_file_that_is_no_toml_names_the_line() {
    assert_eq!(
        problems("[[site]]\nname = \"a\n"),
        "seamline.toml:2: invalid basic string, expected `\"`"
    );
}

#[test]
fn paths_of_recorders() {
    let camera = "[[camera]]\nid = 'gate'\ncopies = [{ recorder = 'nvr-1', remote = '7' }]\n";
    let user = "[[user]]\nname = 'admin'\npassword = 'x'\n";
    let with = |rest: &str| house(&format!("{camera}{user}[[passthrough]]\n{rest}"));
    let both = "to = [{ recorder = 'archive', url = 'https://10.2.0.1', insecure = true }, \
                { recorder = 'nvr-1', url = 'http://10.1.0.1:8080', username = 'u', password = 'p' }]";
    let config = parse(&with(&format!(
        "paths = ['/ISAPI/']\nusers = ['admin']\n{both}"
    )))
    .unwrap();
    assert!(!config.remarks().concat().contains("passthrough"));
    let open = house(&format!("{camera}[[passthrough]]\npaths = ['/']\n{both}"));
    let open = parse(&open).unwrap().remarks().concat();
    assert!(open.contains("[[passthrough]]"), "{open}");
    let rule = &config.inbound.http.passthrough[0];
    let sites: Vec<&str> = rule
        .targets
        .iter()
        .map(|target| target.site.as_str())
        .collect();
    assert_eq!(sites, ["primary", "secondary"]);
    for (rest, problem) in [
        (
            format!("paths = ['ISAPI']\n{both}"),
            "no beginning of a path",
        ),
        (
            format!("paths = ['/a?b']\n{both}"),
            "no beginning of a path",
        ),
        (format!("paths = []\n{both}"), "1 to 64 paths"),
        (
            format!("paths = ['/']\nusers = ['nobody']\n{both}"),
            "there is no user \"nobody\"",
        ),
        (
            "paths = ['/']\nto = [{ recorder = 'x', url = 'http://h' }]".to_owned(),
            "there is no recorder \"x\"",
        ),
        (
            "paths = ['/']\nto = [{ recorder = 'nvr-1', url = 'ftp://h' }]".to_owned(),
            "is needed",
        ),
        (
            "paths = ['/']\nto = [{ recorder = 'nvr-1', url = 'http://h/x' }]".to_owned(),
            "only http://host:port",
        ),
        (
            "paths = ['/']\nto = [{ recorder = 'nvr-1', url = 'http://h', password = 'p' }]"
                .to_owned(),
            "a password needs a username",
        ),
    ] {
        let said = problems(&with(&rest));
        assert!(said.contains(problem), "{rest}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

/// The example, with each setting that stands behind a single `#` switched on.
fn example(all: bool) -> String {
    let text = include_str!("../../../../deploy/seamline.toml");
    let is_setting = |line: &str| {
        line.strip_prefix('#').is_some_and(|rest| {
            rest.starts_with(|first: char| first.is_ascii_lowercase() || first == '[')
        })
    };
    let lines = text.lines().map(|line| {
        if all && is_setting(line) {
            line.trim_start_matches('#')
        } else {
            line
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_is_a_configuration() {
    let config = parse(&example(false)).unwrap();
    assert_eq!(
        (config.listen, config.cameras.len(), config.recorders.len()),
        (vec![LISTEN], 2, 2)
    );
}

#[test]
fn the_example_tells_the_defaults() {
    let (short, long) = (
        parse(&example(false)).unwrap(),
        parse(&example(true)).unwrap(),
    );
    assert_eq!(short.policy, Policy::default());
    assert_eq!(long.policy, Policy::default());
    assert_eq!(
        (long.listen, long.inbound.limits, long.log),
        (short.listen, short.inbound.limits, short.log)
    );
    assert_eq!(
        (long.inbound.limits, long.recorders.len()),
        (Limits::default(), 13)
    );
}

fn camera_table(n: usize) -> String {
    format!(
        "[[camera]]\nid = \"cam{n}\"\ncopies = [{{ recorder = \"archive\", remote = \"{n}\" }}]\n"
    )
}

#[test]
fn cameras_that_are_read_one_by_one_are_those_of_the_whole() {
    let mut text = HOUSE.to_owned();
    for n in 0..20 {
        text.push_str(&camera_table(n));
        if n % 3 == 0 {
            text += "priority = [\"secondary\"]\n[camera.policy]\nholes = \"wait\"\n";
        }
    }
    assert!(document::read_by_cameras(&text).is_some());
    let one_by_one = parse(&text).unwrap().cameras;
    // Anything else behind the first camera is read as a whole.
    let whole = text.replacen("listen", "#", 1) + "[limits]\nconnections_max = 7\n";
    assert!(document::read_by_cameras(&whole).is_none());
    let whole = parse(&whole).unwrap().cameras;
    assert_eq!(format!("{one_by_one:?}"), format!("{whole:?}"));
    assert_eq!(whole.len(), 20);
    // Errors have their lines.
    let lines = text.lines().count();
    let double = format!("{text}[[camera]]\nid = \"cam3\"\ncopies = []\n");
    let told = problems(&double);
    assert!(
        told.contains(&format!("seamline.toml:{}:", lines + 2)),
        "{told}"
    );
    assert!(told.contains("is already on line"), "{told}");
    let broken = text.replacen("id = \"cam7\"", "id = cam7", 1);
    let at = 1 + broken[..broken.find("id = cam7").unwrap()]
        .matches('\n')
        .count();
    assert!(
        problems(&broken).contains(&format!(":{at}:")),
        "{}",
        problems(&broken)
    );
    for odd in [
        "x = \"\"\"\n[[camera]]\n\"\"\"\n",
        "[[camera]]\n[[camera]]\n",
    ] {
        assert!(document::read_by_cameras(odd).is_none(), "{odd}");
    }
}

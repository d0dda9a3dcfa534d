//! XProtect inside TLS, from client to recorder: two sites and the house, each with an authority of its own; and certificates that are
//! not to be trusted.

use std::{path::Path, process::Command, time::Duration};

use seamline_tests::{
    authority::Authority,
    clock::{FRAME_MS, noon, poll},
    footage::{Footage, Recipe},
    imageserver,
    player::Player,
    program::{lab_folder, venv},
    report::judge,
    seamline::{Config, Seamline, free_port},
    xprotect::{CAMERA, Client, Setup, Site},
};
use serde_json::{Value, json};

const TOKEN: &str = "TOKEN#00000042-0000-4000-8000-0000000000aa#vmshost//ServerConnector#";
const SOON: Duration = Duration::from_secs(30);

/// Groups of a second, that begin at full seconds.
fn seconds() -> Footage {
    let recipe = Recipe {
        gop: 25,
        phase: 0,
        ..Recipe::default()
    };
    recipe.make()
}

fn second(ms: &Value) -> i64 {
    let ms = ms.as_i64().unwrap_or_else(|| panic!("{ms}"));
    (ms - noon(0.0)) / 1000
}

/// Nothing from a second to another.
fn without(setup: Setup, gaps: &[(f64, f64)]) -> Setup {
    gaps.iter().fold(setup, |setup, (from, to)| {
        setup.without(noon(*from), noon(*to))
    })
}

/// Three authorities: of the primary, of the secondary, and of the house.
fn authorities() -> [Authority; 3] {
    ["primary", "secondary", "house"].map(Authority::new)
}

struct House {
    footage: Footage,
    primary: Site,
    secondary: Site,
    seamline: Seamline,
    management: u16,
    recorder: u16,
    authorities: [Authority; 3],
}

impl House {
    fn new() -> Self {
        let authorities = authorities();
        let [of_primary, of_secondary, of_house] = &authorities;
        let footage = seconds();
        let primary = Setup::default()
            .user("viewer", "s3cret")
            .knows(TOKEN)
            .tls(&of_primary.issue("localhost"));
        let secondary = Setup::default()
            .user("viewer", "s3cret")
            .tls(&of_secondary.issue("localhost"));
        let primary = without(primary, &[(10.0, 40.0)]).start(&footage);
        let secondary = without(secondary, &[(-20.0, 5.0), (45.0, 100.0)]).start(&footage);
        let (management, recorder) = (free_port(), free_port());
        let [certificate, key] = of_house.issue("localhost");
        let cache = of_house.file().with_file_name("kept");
        let seamline = Config::default()
            .policy("failback", "at-seam")
            .xprotect("primary", &primary)
            .recorder("ca_file", of_primary.file().display().to_string())
            .xprotect("secondary", &secondary)
            .recorder("ca_file", of_secondary.file().display().to_string())
            .top("tls", json!({ "certificate": certificate, "key": key }))
            .top(
                "xprotect",
                json!([{
                    "primary": "rec-primary",
                    "secondary": "rec-secondary",
                    "management": format!("127.0.0.1:{management}"),
                    "cache": cache,
                    "recorder": [{ "recorder": "Recorder", "listen": format!("127.0.0.1:{recorder}") }],
                }]),
            )
            .serve();
        Self {
            footage,
            primary,
            secondary,
            seamline,
            management,
            recorder,
            authorities,
        }
    }

    fn log_in(&self, kind: &str) -> Client {
        let url = format!("https://localhost:{}", self.management);
        let authority = self.authorities[2].file();
        Client::log_in_trusting(&url, kind, "viewer", "s3cret", Some(&authority))
    }

    /// A client of the recorder's port, that is let in.
    fn client(&self) -> imageserver::Client {
        let authority = self.authorities[2].file();
        poll(SOON, || {
            let mut client = imageserver::Client::open_sealed(self.recorder, &authority);
            let connected = client.connect(CAMERA, TOKEN)["connected"] == "yes";
            connected.then_some(client).ok_or("nobody is let in")
        })
    }
}

/// What zeep is told of all recordings at a recorder's port.
fn zeep(url: &str, authority: &Path) -> Value {
    let ms = |at: f64| noon(at).to_string();
    let output = Command::new(venv().join("bin/python"))
        .arg("-B")
        .arg(lab_folder().join("recorder_zeep.py"))
        .args([url, CAMERA, TOKEN])
        .args([ms(-60.0), ms(100.0), ms(20.5)])
        .env("REQUESTS_CA_BUNDLE", authority)
        .output()
        .expect("tests/run makes the folder of packages");
    let (said, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}{errors}"))
}

#[test]
fn from_client_to_recorder_everything_goes_inside_tls() {
    let mut house = House::new();
    let mut client = house.client();
    let uri = format!("https://localhost:{}/", house.recorder);
    for kind in ["oauth", "soap", "soap-older", "rest"] {
        let mut log_in = house.log_in(kind);
        assert_eq!(
            log_in.told["recorders"][0]["uri"], uri,
            "{kind}: {} {}",
            log_in.login, log_in.told
        );
        if kind == "oauth" {
            // By the token that he was given, at the address that he was told: from the other site.
            let played = log_in.play(CAMERA, noon(20.5));
            assert_eq!(second(&played["picture"]["current"]), 20, "{played}");
        }
    }
    // ImageServer and HTTP on one port, both inside TLS.
    for (method, at, current) in [
        ("goto", 9.5, 9),
        ("next", 0.0, 10),
        ("previous", 0.0, 9),
        ("goto", 39.5, 39),
        ("next", 0.0, 40),
        ("begin", 0.0, -20),
        ("end", 0.0, 0),
    ] {
        let answer = match method {
            "goto" => client.goto(noon(at)),
            method => client.ask(method),
        };
        assert!(
            answer["kind"] == "image"
                && (method == "begin" || method == "end" || second(&answer["current"]) == current),
            "{method} {at}: {answer}"
        );
        assert_eq!(answer["pictures"], 25, "{answer}");
    }
    let told = zeep(
        &format!("https://localhost:{}", house.recorder),
        &house.authorities[2].file(),
    );
    assert_eq!(told["all"].as_array().map(Vec::len), Some(1), "{told}");
    assert_eq!(told["stranger"], "Token invalid", "{told}");
    // Clients that trust another authority are not let on by ours.
    let stranger = Client::log_in_trusting(
        &format!("https://localhost:{}", house.management),
        "oauth",
        "viewer",
        "s3cret",
        Some(&house.authorities[0].file()),
    );
    let said = stranger.login["failed"].as_str().unwrap_or_default();
    assert!(
        said.contains("CERTIFICATE_VERIFY_FAILED"),
        "{}",
        stranger.login
    );
    // A player of RTSP, over the seam between two recorders that speak TLS alone.
    let end = noon(14.0);
    let mut player = Player::ffmpeg(&house.seamline.url_from(noon(7.0), Some(end)));
    player.watch_to_end(SOON);
    let report = judge(
        &player.pictures,
        &[("primary", &house.footage), ("secondary", &house.footage)],
    );
    println!("{report}");
    report.assert_seamless();
    assert_eq!(
        report.runs.last().map(|run| run.last),
        Some(end - FRAME_MS),
        "{report}"
    );
    // The primary dies: recordings go on, and so do logins.
    client.goto(noon(6.0));
    house.secondary.calls();
    house.primary.kill();
    // Over what was a seam, and then somebody who came when it was gone.
    for at in 7..12 {
        let answer = client.ask("next");
        assert_eq!(second(&answer["current"]), at, "{answer}");
        assert_eq!(answer["pictures"], 25, "{answer}");
    }
    let answer = house.client().goto(noon(9.5));
    assert_eq!(second(&answer["current"]), 9, "{answer}");
    let calls = house.secondary.calls();
    assert!(calls.iter().any(|call| call == "next"), "{calls:?}");
    let down = house.log_in("oauth");
    assert_eq!(
        down.login["token_of"], "seamline//ServerConnector",
        "{}",
        down.login
    );
    assert!(
        house
            .secondary
            .calls()
            .iter()
            .any(|call| call == "login bearer")
    );
}

/// A pair of which one site shows something that is not to be trusted.
fn refused(primary: &Setup, authority: &Path) -> (Config, Site, Site) {
    let footage = seconds();
    let primary = primary.clone().user("viewer", "s3cret").start(&footage);
    let secondary = Setup::default().user("viewer", "s3cret").start(&footage);
    let config = Config::default()
        .xprotect("primary", &primary)
        .recorder("ca_file", authority.display().to_string())
        .xprotect("secondary", &secondary);
    (config, primary, secondary)
}

#[test]
fn a_certificate_that_is_not_to_be_trusted_is_refused_and_told_of() {
    let [own, other, _] = authorities();
    let good = own.issue("localhost");
    for (setup, authority, why) in [
        (
            Setup::default().tls(&good),
            other.file(),
            "the certificate is refused: its authority is not known here, name it in `ca_file`",
        ),
        (
            Setup::default().tls(&own.issue("elsewhere.example")),
            own.file(),
            "it is asked as localhost, and its certificate is for",
        ),
        // The management server is who it says, and its recorder is not.
        (
            Setup::default()
                .tls(&good)
                .recorder_tls(&other.issue("localhost")),
            own.file(),
            "the recorder at localhost:",
        ),
    ] {
        let (config, site, _secondary) = refused(&setup, &authority);
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let checked = config.command(&["check", "--probe"], folder.path());
        let said = String::from_utf8_lossy(&checked.stdout).into_owned();
        assert!(!checked.status.success(), "{said}");
        let line = said
            .lines()
            .find(|line| line.starts_with("gate    primary"));
        let line = line.unwrap_or_else(|| panic!("{said}"));
        assert!(
            line.contains(why) && line.contains("certificate"),
            "{why}: {said}"
        );
        let logins = site
            .calls()
            .iter()
            .filter(|call| call.starts_with("access"))
            .count();
        // Who is not trusted is shown no password.
        assert_eq!(logins > 0, why.contains("recorder at"), "{why}");
        // The other site plays, and the log says why the first one does not.
        let seamline = config.serve();
        if logins > 0 {
            let mut player = Player::onvif(&seamline.url(), noon(2.0));
            player.watch_until(noon(3.0), SOON);
        }
        seamline.await_log(&["rec-primary", why], SOON);
    }
}

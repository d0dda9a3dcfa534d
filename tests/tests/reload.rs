//! SIGHUP under running players: what the configuration says from then on, and nobody who plays notices.

use std::{fs, process::Command, time::Duration};

use seamline_tests::{
    clock::{FRAME_MS, iso, noon},
    curl::curl,
    footage::Recipe,
    player::Player,
    probe::Probe,
    recorder::Setup,
    rtsp::Client,
    seamline::{Config, Seamline},
    stream::{assert_one_stream, uneven_steps, units},
};

const SOON: Duration = Duration::from_secs(30);
/// Two seconds of 25 pictures; those from the random access point before come too.
const PICTURES: usize = 50;

/// A player that shows the password of the user who came with the reload.
fn plays(seamline: &Seamline, camera: &str) -> usize {
    let query = format!("start={}&end={}", iso(noon(2.0)), iso(noon(4.0)));
    let url = seamline.url_of(&format!("{camera}?{query}"));
    let url = url.replace("rtsp://", "rtsp://guard:open%20sesame@");
    let mut player = Player::ffmpeg(&url);
    player.watch_to_end(SOON);
    println!(
        "{camera}: {} pictures, {:?}",
        player.pictures.len(),
        player.errors
    );
    player.pictures.len()
}

/// Whether a client that trusts only this certificate comes in.
fn trusts(seamline: &Seamline, certificate: &str) -> bool {
    let url = format!("https://localhost:{}/health", seamline.port());
    let mut curl = Command::new("curl");
    curl.args(["-sf", "--max-time", "10", "--cacert"])
        .arg(seamline.folder().join(certificate));
    let asked = curl.arg(&url).output().expect("curl can be started");
    asked.status.success()
}

fn knock(seamline: &Seamline) -> u16 {
    let url = seamline.url();
    Client::connect(&url).request("DESCRIBE", &url, &[]).status
}

#[test]
fn a_reload_changes_what_is_served_and_no_viewer_notices() {
    let mut primary = Setup::default().start(&Recipe::default().make());
    let secondary = Setup::default().start(&Recipe::secondary().make());
    let before = Config::default().site("primary", &primary).tls();
    let seamline = before.serve();
    let mut viewer = Probe::open(&seamline.url());
    assert_eq!(viewer.play(noon(0.0), None, &[]).status, 200);
    viewer.receive_until(noon(1.0), SOON);
    let folder = seamline.folder();
    fs::copy(folder.join("cert.pem"), folder.join("old.pem")).expect("there is a certificate");
    assert!(trusts(&seamline, "old.pem"));

    let after = before
        .site("secondary", &secondary)
        .another_camera("yard")
        .user("guard", "open sesame")
        .top("listen", "127.0.0.1:1");
    seamline.reload(&after);
    seamline.await_log(&["configuration read again", "cameras=2", "users=1"], SOON);
    seamline.await_log(&["restart", "listen"], SOON);
    assert_eq!(knock(&seamline), 401, "nobody comes in without a password");
    assert!(
        plays(&seamline, "yard") >= PICTURES,
        "a camera that came with it"
    );
    assert!(trusts(&seamline, "cert.pem") && !trusts(&seamline, "old.pem"));
    let metrics = curl(
        &format!("http://127.0.0.1:{}/metrics", seamline.port()),
        &[],
    );
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    for line in [
        "seamline_certificate_expiry_seconds ",
        "seamline_cameras 2\n",
        "seamline_playbacks 1\n",
    ] {
        assert!(metrics.contains(line), "{line:?} in {metrics}");
    }
    viewer.receive_until(noon(4.0), SOON);

    let line = "kopies = []";
    seamline.reload_text(&format!("[[camera]]\nid = \"gate\"\n{line}\n"));
    let told = seamline.await_log(&["stays what it was", "seamline.toml:3: "], SOON);
    assert!(told.contains("kopies"), "{told}");
    assert_eq!(knock(&seamline), 401);
    viewer.receive_until(noon(5.0), SOON);
    assert_one_stream(&viewer.tracks[0]);
    assert_eq!(uneven_steps(&units(&viewer.tracks[0]), FRAME_MS), []);

    primary.kill();
    assert!(
        plays(&seamline, "gate") >= PICTURES,
        "a site that came with it"
    );
}

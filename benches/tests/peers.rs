//! RTSP proxies that are not to be had everywhere: stand-ins check how they are called and configured, then pass bytes on.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

const BENCH: &str = env!("CARGO_BIN_EXE_seamline-bench");
const PLAYERS: usize = 3;

/// `mediamtx FILE`.
const MEDIAMTX: &str = r#"
[ "$1" = --version ] && { echo v1.2.3; exit; }
for line in 'rtsp: yes' 'rtspTransports: [tcp]' 'rtmp: no' 'hls: no' 'webrtc: no' 'srt: no' 'api: no' 'paths:' '  s2:' '  unpaced0:'; do
  grep -qxF -- "$line" "$1"
done
[ "$(grep -cxF '    sourceOnDemand: yes' "$1")" = $((PLAYERS + 1)) ]
# Else it pulls its sources for 10 s more, while the next program is measured.
[ "$(grep -cxF '    sourceOnDemandCloseAfter: 250ms' "$1")" = $((PLAYERS + 1)) ]
listen=$(sed -n 's/^rtspAddress: //p' "$1")
recorder=$(sed -n 's|^    source: rtsp://\(.*\)/s2$|\1|p' "$1")
"#;
/// `go2rtc -config FILE`.
const GO2RTC: &str = r#"
[ "$1" = -version ] && { echo 'go2rtc version 1.2.3'; exit; }
[ "$1" = -config ]
[ "$(grep -cxF '  listen: ""' "$2")" = 3 ]
listen=$(sed -n '/^rtsp:/,/^[a-q]/s/^  listen: "\(.*\)"$/\1/p' "$2")
recorder=$(sed -n 's|^  s2: rtsp://\(.*\)/s2$|\1|p' "$2")
"#;
/// `live555ProxyServer -t -p PORT URL...`.
const LIVE555: &str = r#"
[ "$1 $2 $#" = "-t -p $((PLAYERS + 4))" ]
listen=127.0.0.1:$3
[ "${7##*/}" = unpaced0 ]
seq 100 | sed 's/^/Play this stream using the URL rtsp:/' >&2
recorder=${6#rtsp://}
[ "${recorder#*/}" = s2 ]
recorder=${recorder%/s2}
"#;

/// A program that checks, and then does as the plain copy loop.
fn stand_in(folder: &Path, name: &str, checks: &str) -> PathBuf {
    let file = folder.join(name);
    let checks = checks.replace("PLAYERS", &PLAYERS.to_string());
    let script = format!(
        "#!/bin/bash\nset -eu\n{checks}\nexec '{BENCH}' copy-loop \"$listen\" \"$recorder\"\n"
    );
    fs::write(&file, script).expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("made a program");
    file
}

fn compare(folder: &Path, peers: &[(&str, &Path)]) -> Output {
    let mut command = Command::new(BENCH);
    command.args([
        "compare",
        "--ways",
        "paced,bulk",
        "--rounds",
        "1",
        "--no-calls",
    ]);
    command.args(["--sessions", &PLAYERS.to_string()]);
    command.args(["--seconds", "0.5", "--kbit-s", "500"]);
    command.args(["--programs", "copy,direct,mediamtx,go2rtc,live555"]);
    command.args(["--json", "figures.json"]).current_dir(folder);
    for (name, program) in peers {
        let program = program.strip_prefix(folder).expect("in the folder");
        command.arg(format!("--{name}")).arg(program);
    }
    command.output().expect("the bench runs")
}

#[test]
fn rtsp_proxies_are_configured_and_driven() {
    let folder = tempfile::tempdir().expect("a folder");
    let programs = [
        ("mediamtx", MEDIAMTX),
        ("go2rtc", GO2RTC),
        ("live555", LIVE555),
    ]
    .map(|(name, checks)| (name, stand_in(folder.path(), name, checks)));
    let peers = programs
        .each_ref()
        .map(|(name, file)| (*name, file.as_path()));
    let output = compare(folder.path(), &peers);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");

    let json = fs::read_to_string(folder.path().join("figures.json")).expect("figures");
    let figures: Value = serde_json::from_str(&json).expect("JSON");
    // As fast as they are read, thousands come in the same time.
    for (way, at_least) in [(0, PLAYERS as u64 * 10), (1, 1_000)] {
        let programs = figures["figures"]["ways"][way]["programs"]
            .as_array()
            .expect("programs");
        let names: Vec<&str> = programs
            .iter()
            .filter_map(|one| one["name"].as_str())
            .collect();
        assert_eq!(names, ["copy", "direct", "mediamtx", "go2rtc", "live555"]);
        for program in programs {
            let received = &program["runs"][0]["received"];
            assert_eq!(received["faults"], 0, "{program}");
            assert_eq!(received["dropped"], 0, "{program}");
            // live555 has names of its own, by which a stand-in that passes on what it is asked finds nothing unpaced.
            let at_least = match program["name"].as_str() {
                Some("live555") => 5,
                _ => at_least,
            };
            let pictures = received["pictures"].as_u64();
            assert!(pictures > Some(at_least), "{program}");
        }
    }
    assert!(!said.contains("Play this stream"), "{said}");
    let versions = figures["figures"]["versions"].to_string();
    assert!(versions.contains("v1.2.3") && versions.contains("go2rtc version 1.2.3"));
    let plot = fs::read_to_string(folder.path().join("figures.svg")).expect("a plot");
    assert!(
        plot.contains("paced live555"),
        "the plot names what it shows"
    );
}

#[test]
fn a_peer_that_does_not_start_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let broken = stand_in(folder.path(), "broken-proxy", "exit 1");
    let output = compare(folder.path(), &[("go2rtc", &broken)]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("broken-proxy"), "{said}");
    let broken = stand_in(
        folder.path(),
        "silent-proxy",
        "echo 'no such port' >&2; exit 1",
    );
    let output = compare(folder.path(), &[("live555", &broken)]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("silent-proxy: no such port"), "{said}");
}

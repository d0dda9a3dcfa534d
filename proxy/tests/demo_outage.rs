//! The demo's script as its users run it: the program, its children, a real `kill -9`.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// The script is over in 30 s; the rest is for a busy machine.
const OVER_WITHIN: Duration = Duration::from_secs(40);

#[test]
fn the_viewer_sees_every_picture_once_while_the_primary_dies_and_comes_back() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_seamline"))
        .args(["demo", "--script", "outage"])
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = child.stdout.take().unwrap();
    let (sender, whole) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        let read = output.read_to_string(&mut text);
        let _ = sender.send(read.map(|_| text));
    });
    let text = whole.recv_timeout(OVER_WITHIN);
    if text.is_err() {
        child.kill().unwrap();
    }
    let status = child.wait().unwrap();
    let text = text.expect("the script ends by itself").unwrap();
    assert!(status.success(), "{status}\n{text}");
    for line in [
        "✗ kill -9 primary",
        "primary failed:",
        "primary → secondary",
        "✓ primary is back",
        "missing       0\n",
        "repeated      0\n",
        "out of order  0\n",
        "1 source",
        "0 sequence breaks",
        "verdict       clean",
    ] {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
}

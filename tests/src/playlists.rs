//! An independent reader of HLS playlists.

use std::process::Command;

use crate::program::{lab_folder, venv};

/// Panics unless it finds the playlist at `index`, and its segments, as RFC 8216bis demands.
pub fn assert_conforms(index: &str) {
    let checked = Command::new(venv().join("bin/python"))
        .arg(lab_folder().join("hls_check.py"))
        .arg(index)
        .output()
        .expect("tests/run venv installs m3u8");
    let said = String::from_utf8_lossy(&checked.stdout);
    println!("{said}");
    assert!(checked.status.success(), "{said} {checked:?}");
}

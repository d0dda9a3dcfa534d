//! The footage of the demo, part of the program: one minute of one camera as two sites hold it.

use std::fs;
use std::io;
use std::path::Path;

use seamline_routing::Timestamp;

/// The camera.
pub(super) const CAMERA: &str = "gate";
/// The better site, which lacks 12:00:20 to 12:00:30.
pub(super) const PRIMARY: &str = "primary";
/// The other, which lacks 12:00:40 to 12:00:50.
pub(super) const SECONDARY: &str = "secondary";
/// How the files are named.
pub(super) const PATTERN: &str = "%Y%m%dT%H%M%SZ";
/// 2026-01-01T12:00:00Z, where both begin.
pub(super) const START: Timestamp = Timestamp::from_micros(1_767_268_800_000_000);

struct Clip {
    site: &'static str,
    name: &'static str,
    bytes: &'static [u8],
}

macro_rules! clips {
    ($($site:literal / $name:literal),* $(,)?) => {
        &[$(Clip { site: $site, name: $name, bytes: include_bytes!(concat!("../../demo/", $site, "/", $name)) }),*]
    };
}

const CLIPS: &[Clip] = clips![
    "primary" / "20260101T120000Z.mp4",
    "primary" / "20260101T120010Z.mp4",
    "primary" / "20260101T120030Z.mp4",
    "primary" / "20260101T120040Z.mp4",
    "primary" / "20260101T120050Z.mp4",
    "secondary" / "20260101T120000Z.mp4",
    "secondary" / "20260101T120010Z.mp4",
    "secondary" / "20260101T120020Z.mp4",
    "secondary" / "20260101T120030Z.mp4",
    "secondary" / "20260101T120050Z.mp4",
];

/// Writes them below `folder`, a folder for each site.
pub(super) fn unpack(folder: &Path) -> io::Result<()> {
    for clip in CLIPS {
        let site = folder.join(clip.site);
        fs::create_dir_all(&site)?;
        fs::write(site.join(clip.name), clip.bytes)?;
    }
    Ok(())
}

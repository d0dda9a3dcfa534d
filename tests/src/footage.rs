//! Recordings of one scene, as different recorders would have stored them.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::{
    clock,
    program::{cache_folder, lab_folder},
};

/// A folder of recordings and what each of its pictures looks like.
#[derive(Clone, Debug)]
pub struct Footage {
    /// Where the segments are.
    pub folder: PathBuf,
    /// MD5 of the decoded luma plane by the picture's time (milliseconds since 1970).
    pub pictures: BTreeMap<i64, String>,
}

impl Footage {
    /// A folder of its MP4 files without those that begin at these times, named by [`ARCHIVE_PATTERN`].
    pub fn archive_without(&self, missing: &[i64]) -> TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let missing: Vec<_> = missing
            .iter()
            .map(|start| clock::range_time(*start).replace(".000", "") + ".mp4")
            .collect();
        for entry in fs::read_dir(&self.folder).expect("footage.py made the folder") {
            let file = entry.expect("a folder can be listed").path();
            let name = file.file_name().expect("a file has a name");
            let wanted = file.extension().is_some_and(|kind| kind == "mp4")
                && !missing.iter().any(|missing| name == missing.as_str());
            if wanted {
                fs::copy(&file, folder.path().join(name)).expect("recordings can be copied");
            }
        }
        folder
    }
}

/// How [`Footage::archive_without`] names files.
pub const ARCHIVE_PATTERN: &str = "%Y%m%dT%H%M%SZ.mp4";

/// What to record; the defaults are those of a primary recorder.
#[must_use]
#[derive(Clone, Debug)]
pub struct Recipe {
    /// `h264`, `h265` or `mjpeg`.
    pub codec: &'static str,
    /// Width and height of a picture.
    pub size: &'static str,
    /// Of the codec; of MJPEG its quantizer.
    pub profile: &'static str,
    /// Pictures from key frame to key frame.
    pub gop: u32,
    /// Pictures by which the first key frame comes before the first picture asked for: what makes two sites' groups
    /// of pictures begin at different instants.
    pub phase: u32,
    /// Video, kbit/s.
    pub bitrate: u32,
    /// B pictures between two others.
    pub b_frames: u32,
    /// Whether groups refer to the one before.
    pub open_gop: bool,
    /// Of one picture.
    pub slices: u32,
    /// `none`, `g711`, `aac` or `opus`.
    pub audio: &'static str,
    /// Seconds of footage, from ten seconds before noon.
    pub seconds: u32,
    /// `nut` for the lab's recorder, `mp4` for a folder that is read as it is: one file every ten seconds.
    pub container: &'static str,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            codec: "h264",
            size: "640x360",
            profile: "high",
            gop: 50,
            phase: 12,
            bitrate: 800,
            b_frames: 0,
            open_gop: false,
            slices: 1,
            audio: "none",
            seconds: 80,
            container: "nut",
        }
    }
}

impl Recipe {
    /// The other site's encoder: another profile, group length, group phase and rate.
    pub fn secondary() -> Self {
        Self {
            profile: "main",
            gop: 25,
            phase: 7,
            bitrate: 500,
            slices: 2,
            ..Self::default()
        }
    }

    /// The same, in H.265.
    pub fn h265(self) -> Self {
        Self {
            codec: "h265",
            profile: "main",
            slices: 1,
            ..self
        }
    }

    /// The same as pictures that each stand alone, of this quantizer.
    pub fn mjpeg(self, quantizer: &'static str) -> Self {
        Self {
            codec: "mjpeg",
            profile: quantizer,
            gop: 1,
            phase: 0,
            seconds: 40,
            ..self
        }
    }

    /// The same, with sound.
    pub fn with_audio(self, audio: &'static str) -> Self {
        Self { audio, ..self }
    }

    /// The same as MP4 files, which begin with a key frame at every full ten seconds.
    pub fn mp4(self) -> Self {
        Self {
            container: "mp4",
            phase: 0,
            ..self
        }
    }

    /// Makes the recordings, or finds them made.
    pub fn make(&self) -> Footage {
        let mut command = Command::new("/usr/bin/python3");
        command
            .arg("-B")
            .arg(lab_folder().join("footage.py"))
            .arg("--cache")
            .arg(cache_folder())
            .args(["--start", &clock::iso(clock::noon(-10.0))])
            .args(["--seconds", &self.seconds.to_string()])
            .args(["--codec", self.codec, "--profile", self.profile])
            .args(["--size", self.size])
            .args(["--gop", &self.gop.to_string()])
            .args(["--phase", &self.phase.to_string()])
            .args(["--bitrate", &self.bitrate.to_string()])
            .args(["--b-frames", &self.b_frames.to_string()])
            .args(["--slices", &self.slices.to_string()])
            .args(["--audio", self.audio])
            .args(["--container", self.container])
            .stderr(Stdio::inherit());
        if self.open_gop {
            command.arg("--open-gop");
        }
        let output = command.output().expect("/usr/bin/python3 runs");
        assert!(output.status.success(), "footage.py failed");
        let said = String::from_utf8(output.stdout).expect("footage.py prints text");
        let folder = PathBuf::from(said.lines().last().expect("footage.py names its folder"));
        let list =
            fs::read_to_string(folder.join("frames.txt")).expect("footage.py lists its pictures");
        let pictures = list.lines().map(picture).collect();
        Footage { folder, pictures }
    }
}

/// `<clock ms> <luma md5> <key>`
fn picture(line: &str) -> (i64, String) {
    let mut words = line.split(' ');
    let clock_ms = words.next().and_then(|word| word.parse().ok());
    clock_ms
        .zip(words.next().map(str::to_owned))
        .unwrap_or_else(|| panic!("frames.txt has a line {line}"))
}

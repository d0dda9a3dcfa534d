//! Clips over HTTP as users fetch them, by curl, and what FFmpeg and GStreamer make of the files.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::{lab_folder, npm};

/// What curl was answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status, 0 where there was none.
    pub status: u16,
    /// Headers of the last answer, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body, as far as it came.
    pub body: Vec<u8>,
    /// How curl ended: 0 when the body was whole by what the headers say.
    pub code: i32,
}

impl Answer {
    /// A header's value; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// Fetches a URL; `options` are curl's own.
pub fn curl(url: &str, options: &[&str]) -> Answer {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let (head, body) = (folder.path().join("head"), folder.path().join("body"));
    let output = Command::new("curl")
        .args([
            "--silent",
            "--max-time",
            "120",
            "--write-out",
            "%{http_code}",
        ])
        .arg("--dump-header")
        .arg(&head)
        .arg("--output")
        .arg(&body)
        .args(options)
        .arg(url)
        .output()
        .expect("curl runs");
    let text = fs::read_to_string(&head).unwrap_or_default();
    let last = text
        .trim_end()
        .rsplit("\r\n\r\n")
        .next()
        .unwrap_or_default();
    let headers = last
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
    Answer {
        status: String::from_utf8_lossy(&output.stdout)
            .trim()
            .parse()
            .unwrap_or(0),
        headers: headers.collect(),
        body: fs::read(&body).unwrap_or_default(),
        code: output.status.code().unwrap_or(-1),
    }
}

/// A file of a test's own.
#[derive(Debug)]
pub struct Clip {
    /// Where it is.
    pub path: PathBuf,
    _folder: TempDir,
}

/// One packet of a file, as FFmpeg's demuxer has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Packet {
    /// Seconds.
    pub pts: f64,
    /// Seconds.
    pub dts: f64,
    /// Decoding can start here.
    pub key: bool,
}

impl Clip {
    /// A file with these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = folder.path().join("clip.mp4");
        fs::write(&path, bytes).expect("the temporary folder can be written");
        Clip {
            path,
            _folder: folder,
        }
    }

    /// Its packets by stream: `v:0`, `a:0`.
    pub fn packets(&self, stream: &str) -> Vec<Packet> {
        let output = Command::new("ffprobe")
            .args(["-v", "error", "-select_streams", stream, "-of", "csv=p=0"])
            .args(["-show_entries", "packet=pts_time,dts_time,flags"])
            .arg(&self.path)
            .output()
            .expect("ffprobe runs");
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{output:?}"
        );
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let packet = |line: &str| {
            let mut fields = line.split(',');
            let mut time = || fields.next()?.parse().ok();
            let (pts, dts) = (time()?, time()?);
            let key = line.contains('K');
            Some(Packet { pts, dts, key })
        };
        text.lines().filter_map(packet).collect()
    }

    /// Panics unless FFmpeg decodes all of it without a word, and its packets are to be decoded one after the other.
    pub fn assert_clean(&self) {
        let output = Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error", "-xerror", "-i"])
            .arg(&self.path)
            .args(["-map", "0", "-fps_mode", "passthrough"])
            // Pictures that are squeezed into a seam are a tick apart, which the usual time base of a picture cannot tell.
            .args(["-enc_time_base", "1:90000", "-f", "null", "-"])
            .output()
            .expect("ffmpeg runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "FFmpeg: {said}");
        for stream in ["v:0", "a:0"] {
            let packets = self.packets(stream);
            let back = packets.windows(2).find(|pair| pair[1].dts <= pair[0].dts);
            assert_eq!(back, None, "decode times of {stream} do not rise");
        }
    }

    /// Panics unless mp4box.js finds nothing odd in its boxes, and takes as many samples of each track out of it as FFmpeg does.
    pub fn assert_well_formed(&self) {
        let output = Command::new("node")
            .arg(lab_folder().join("boxes.mjs"))
            .arg(npm("mp4box"))
            .arg(&self.path)
            .output()
            .expect("node runs");
        assert!(output.status.success(), "{output:?}");
        let told: Value = serde_json::from_slice(&output.stdout).expect("a line of JSON");
        assert_eq!(told["odd"], json!([]), "{told}");
        let tracks = told["tracks"].as_array().expect("a list");
        let samples = |track: &Value| track["samples"].as_u64();
        let taken: Vec<_> = tracks.iter().filter_map(samples).collect();
        let packets = ["v:0", "a:0"].map(|stream| self.packets(stream).len() as u64);
        let packets = packets.into_iter().filter(|packets| *packets > 0);
        assert_eq!(taken, packets.collect::<Vec<_>>(), "{told}");
    }

    /// Pictures that GStreamer decodes out of it: their number.
    pub fn gstreamer_pictures(&self, decoder: &str) -> usize {
        let sink = tempfile::NamedTempFile::new().expect("a temporary file can be made");
        let pipeline = format!(
            "filesrc location={} ! qtdemux name=d d.video_0 ! queue ! {decoder} ! videoconvert ! videoscale ! \
             video/x-raw,format=GRAY8,width=16,height=16 ! filesink location={}",
            self.path.display(),
            sink.path().display()
        );
        let output = Command::new("gst-launch-1.0")
            .arg("-q")
            .args(pipeline.split_whitespace())
            .output()
            .expect("gst-launch-1.0 runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success() && !said.contains("ERROR"),
            "GStreamer: {said}"
        );
        bytes_of(sink.path()) / 256
    }
}

fn bytes_of(path: &Path) -> usize {
    fs::metadata(path).map_or(0, |data| data.len() as usize)
}

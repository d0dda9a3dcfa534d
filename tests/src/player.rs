//! Players that this project did not write: GStreamer and FFmpeg, decoding what they get.

use std::{path::Path, process::Command, time::Duration};

use crate::{
    clock::{self, monotonic},
    program::{Event, Picture, Program, built, lab_folder, npm, venv},
    recorder::port_of,
};

/// What `openRTSP` takes for one picture; it cuts off what is larger.
const OPENRTSP_PICTURE_BYTES_MAX: usize = 1_000_000;
/// Of its socket: a busy machine may leave it a second without a turn.
const OPENRTSP_SOCKET_BYTES: usize = 2_000_000;

/// A running player and all it said so far.
#[derive(Debug)]
pub struct Player {
    program: Program,
    /// Every picture, in the order of decoding.
    pub pictures: Vec<Picture>,
    /// UTC of every audio frame that came with one, in milliseconds since 1970.
    pub sounds_ms: Vec<i64>,
    /// Complaints of its decoder and its protocol.
    pub errors: Vec<String>,
    /// What it found odd.
    pub warnings: Vec<String>,
    /// How it ended, when it has.
    pub end: Option<String>,
    /// What scripts came to, see [`Self::run`].
    values: Vec<serde_json::Value>,
}

impl Player {
    /// FFmpeg over interleaved TCP.
    pub fn ffmpeg(url: &str) -> Self {
        Self::start("ffmpeg_player.py", &[url.to_owned()])
    }

    /// FFmpeg over `udp`, `tcp` or `http`.
    pub fn ffmpeg_over(transport: &str, url: &str) -> Self {
        let transport = format!("--transport={transport}");
        Self::start("ffmpeg_player.py", &[url.to_owned(), transport])
    }

    /// FFmpeg without its look ahead, for measuring the first picture.
    pub fn ffmpeg_fast(url: &str) -> Self {
        Self::start(
            "ffmpeg_player.py",
            &[url.to_owned(), "--fast-start".to_owned()],
        )
    }

    /// Chromium, which opens `page` and plays `video`, a path of the same server. Its pictures have no hash.
    pub fn chromium(page: &str, video: &str) -> Self {
        let arguments = [page.to_owned(), format!("--video={video}")];
        Self::start("chromium.py", &arguments)
    }

    /// As [`Self::chromium`], where hls.js plays a playlist.
    pub fn chromium_hls_js(page: &str, playlist: &str) -> Self {
        let script = npm("hls.js").join("dist/hls.min.js");
        let script = format!("--script={}", script.display());
        let arguments = [page.to_owned(), format!("--video={playlist}"), script];
        Self::start("chromium.py", &arguments)
    }

    /// Chromium with a page that plays something by itself.
    pub fn chromium_page(page: &str) -> Self {
        Self::start("chromium.py", &[page.to_owned()])
    }

    /// GStreamer with what it finds for a URL of HTTP.
    pub fn gstreamer_http(url: &str) -> Self {
        Self::start("gst_uri_player.py", &[url.to_owned()])
    }

    /// The same with the elements that newer applications take: HLS is another program there.
    pub fn gstreamer_http_new(url: &str) -> Self {
        Self::start("gst_uri_player.py", &["--new".to_owned(), url.to_owned()])
    }

    /// GStreamer's `rtspsrc` as it is.
    pub fn gstreamer(url: &str) -> Self {
        Self::start("gst_player.py", &[url.to_owned()])
    }

    /// As [`Self::gstreamer`], over `udp`, `tcp` or `http`, or several of them in its order: `udp+tcp`.
    pub fn gstreamer_over(transport: &str, url: &str) -> Self {
        let transport = format!("--transport={transport}");
        Self::start("gst_player.py", &[url.to_owned(), transport])
    }

    /// As [`Self::gstreamer`], with `name:password`.
    pub fn gstreamer_as(url: &str, user: &str) -> Self {
        Self::start("gst_player.py", &[url.to_owned(), format!("--user={user}")])
    }

    /// GStreamer in ONVIF mode, from `start` (milliseconds since 1970), paced by the server.
    pub fn onvif(url: &str, start: i64) -> Self {
        Self::onvif_with(url, start, None, &[])
    }

    /// As [`Self::onvif`], until `stop`.
    pub fn onvif_between(url: &str, start: i64, stop: i64) -> Self {
        Self::onvif_with(url, start, Some(stop), &[])
    }

    /// As [`Self::onvif_between`], at another rate; negative from `start` back to `stop`.
    pub fn onvif_at(rate: f64, url: &str, start: i64, stop: i64) -> Self {
        Self::onvif_with(url, start, Some(stop), &[&format!("--rate={rate}")])
    }

    /// As [`Self::onvif_between`], key frames alone.
    pub fn onvif_keys(url: &str, start: i64, stop: i64) -> Self {
        Self::onvif_with(url, start, Some(stop), &["--key-frames"])
    }

    /// GStreamer in ONVIF mode with `Rate-Control: no`.
    pub fn onvif_unpaced(url: &str, start: i64, stop: Option<i64>) -> Self {
        Self::onvif_with(url, start, stop, &["--unpaced"])
    }

    /// aiortsp over `udp`, `tcp` or `tls`, from `start` (milliseconds since 1970) on.
    pub fn aiortsp(transport: &str, url: &str, start: i64) -> Self {
        let script = lab_folder().join("aiortsp_player.py");
        let mut command = Command::new(venv().join("bin/python"));
        command.arg("-B").arg(script).arg(url);
        command.arg(format!("--transport={transport}"));
        command.arg(format!("--start={}", clock::iso(start)));
        Self::of(Program::start("aiortsp", command))
    }

    /// retina over `udp` or `tcp`; it knows no other beginning than the one that the URL names.
    pub fn retina(transport: &str, url: &str) -> Self {
        let program = built("retina_player").display().to_string();
        let arguments = [program, url.to_owned(), transport.to_owned()];
        Self::start("pipe_player.py", &arguments)
    }

    /// live555's `openRTSP`, the program at this path, over `udp`, `tcp`, `http` or (by the URL) `tls`: picture alone, by absolute time.
    pub fn openrtsp(program: &Path, transport: &str, url: &str, start: i64, stop: i64) -> Self {
        let mut arguments = vec![program.display().to_string(), "-v".to_owned()];
        match transport {
            "udp" => {}
            "http" => arguments.extend(["-T".to_owned(), port_of(url).to_string()]),
            _ => arguments.push("-t".to_owned()),
        }
        for (flag, value) in [
            ("-b", OPENRTSP_PICTURE_BYTES_MAX.to_string()),
            ("-B", OPENRTSP_SOCKET_BYTES.to_string()),
            ("-U", clock::range_time(start)),
            ("-E", clock::range_time(stop)),
        ] {
            arguments.extend([flag.to_owned(), value]);
        }
        arguments.push(url.to_owned());
        Self::start("pipe_player.py", &arguments)
    }

    fn onvif_with(url: &str, start: i64, stop: Option<i64>, more: &[&str]) -> Self {
        let mut arguments = vec![url.to_owned(), "--onvif".to_owned()];
        arguments.push(format!("--start={}", clock::iso(start)));
        arguments.extend(stop.map(|stop| format!("--stop={}", clock::iso(stop))));
        arguments.extend(more.iter().map(ToString::to_string));
        Self::start("gst_player.py", &arguments)
    }

    fn start(script: &str, arguments: &[String]) -> Self {
        Self::of(Program::lab(script, arguments))
    }

    fn of(program: Program) -> Self {
        Self {
            program,
            pictures: Vec::new(),
            sounds_ms: Vec::new(),
            errors: Vec::new(),
            warnings: Vec::new(),
            end: None,
            values: Vec::new(),
        }
    }

    /// Watches until `enough` says so, the player ends, or `within` is over; whether `enough` said so.
    pub fn watch(&mut self, within: Duration, mut enough: impl FnMut(&Self) -> bool) -> bool {
        let deadline = monotonic() + within;
        while !enough(self) {
            if self.end.is_some() {
                return false;
            }
            let Some(event) = self.program.event_until(deadline) else {
                return false;
            };
            self.take(event);
        }
        true
    }

    /// Watches until the picture of `clock_ms` or a later one; panics when it does not come `within` that time.
    pub fn watch_until(&mut self, clock_ms: i64, within: Duration) {
        let reached = self.watch(within, |player| player.last_clock() >= Some(clock_ms));
        assert!(
            reached,
            "no picture of {} within {within:?}: last {:?} of {}, end {:?}, errors {:?}",
            clock::iso(clock_ms),
            self.last_clock().map(clock::iso),
            self.pictures.len(),
            self.end,
            self.errors,
        );
    }

    /// Watches until the player ends by itself; panics when it does not.
    pub fn watch_to_end(&mut self, within: Duration) {
        self.watch(within, |player| player.end.is_some());
        assert!(
            self.end.is_some(),
            "still playing after {within:?}, last {:?}",
            self.last_clock().map(clock::iso)
        );
    }

    /// Gives it `seek <ISO time>`, `pause` or `play`.
    pub fn tell(&mut self, command: &str) {
        self.program.tell(command);
    }

    /// Runs a line of script in a browser's page; what it comes to. Panics when that takes longer than `within`.
    pub fn run(&mut self, script: &str, within: Duration) -> serde_json::Value {
        let known = self.values.len();
        self.tell(&format!("do {script}"));
        assert!(
            self.watch(within, |player| player.values.len() > known),
            "no answer to {script}: end {:?}, errors {:?}",
            self.end,
            self.errors
        );
        self.values[known].clone()
    }

    /// The burned-in clock of the latest readable picture.
    pub fn last_clock(&self) -> Option<i64> {
        self.pictures
            .iter()
            .rev()
            .find_map(|picture| picture.clock_ms)
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Picture(picture) => self.pictures.push(picture),
            Event::Sound { capture_ms, .. } => self
                .sounds_ms
                .extend(capture_ms.map(|ms| ms.round() as i64)),
            Event::Error { text } => self.errors.push(text),
            Event::Warning { text } => self.warnings.push(text),
            Event::End { how } => self.end = Some(how),
            Event::Value { value } => self.values.push(value),
            Event::Ready { .. }
            | Event::Describe
            | Event::Asked(_)
            | Event::Play { .. }
            | Event::Done
            | Event::Sessions { .. }
            | Event::Stale
            | Event::Call { .. }
            | Event::Overtaken { .. }
            | Event::Other => {}
        }
    }
}

//! A vendor's recorder: a listing over HTTP, and playback by the times in the URL, see `vendor.py`, or by HTTP, see `clips.py`.

use serde_json::{Value, json};

use crate::{
    clock::{self, monotonic},
    footage::Footage,
    program::{Event, Program, START_WITHIN},
    recorder::port_of,
};

/// A running stand-in and what it was asked so far.
#[derive(Debug)]
pub struct Vendor {
    kind: &'static str,
    port: u16,
    program: Program,
}

/// How to set one up.
#[must_use]
#[derive(Clone, Debug)]
pub struct Setup {
    kind: &'static str,
    arguments: Vec<String>,
}

impl Setup {
    /// A `hikvision`, `dahua`, `axis` or `nx`, or a `mediamtx` or `hls`.
    pub fn of(kind: &'static str) -> Self {
        Self {
            kind,
            arguments: Vec::new(),
        }
    }

    /// Nothing was recorded from `from` to `to` (true time, milliseconds since 1970).
    pub fn without(self, from: i64, to: i64) -> Self {
        self.with(
            "--hide",
            &format!("{},{}", clock::iso(from), clock::iso(to)),
        )
    }

    /// One recording ends then, and the next begins.
    pub fn split(self, at: i64) -> Self {
        self.with("--split", &clock::iso(at))
    }

    /// It has sound too.
    pub fn with_audio(mut self) -> Self {
        self.arguments.push("--audio".to_owned());
        self
    }

    /// The zone of its local times.
    pub fn zone(self, name: &str) -> Self {
        self.with("--zone", name)
    }

    /// It demands Digest of this user, over HTTP and RTSP.
    pub fn user(self, name: &str, password: &str) -> Self {
        self.with("--user", &format!("{name}:{password}"))
    }

    /// What dates its pictures: `nothing`, `rtp-info`, `report` or `stamps`.
    pub fn tells(self, what: &str) -> Self {
        self.with("--tells", what)
    }

    /// It sends so many seconds of footage a second.
    pub fn speed(self, times: f64) -> Self {
        self.with("--speed", &times.to_string())
    }

    fn with(mut self, option: &str, value: &str) -> Self {
        self.arguments.push(format!("{option}={value}"));
        self
    }

    /// Starts it and waits until it listens.
    pub fn start(&self, footage: &Footage) -> Vendor {
        let mut arguments = vec![self.kind.to_owned(), footage.folder.display().to_string()];
        arguments.extend(self.arguments.iter().cloned());
        let script = match self.kind {
            "mediamtx" | "hls" => "clips.py",
            _ => "vendor.py",
        };
        let program = Program::lab(script, &arguments);
        match program.event_until(monotonic() + START_WITHIN) {
            Some(Event::Ready { url, .. }) => Vendor {
                kind: self.kind,
                port: port_of(&url),
                program,
            },
            other => panic!("the stand-in did not start: {other:?}"),
        }
    }
}

impl Vendor {
    /// As a configuration names it.
    pub fn recorder(&self) -> Value {
        let url = format!("http://127.0.0.1:{}", self.port);
        match self.kind {
            "mediamtx" => json!({ "kind": self.kind, "url": url }),
            "hls" => json!({ "kind": self.kind, "url": format!("{url}/{{camera}}/index.m3u8") }),
            _ => json!({
                "kind": self.kind,
                "url": url,
                "rtsp": format!("rtsp://127.0.0.1:{}", self.port),
            }),
        }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The camera's own name there.
    pub fn remote(&self) -> &'static str {
        match self.kind {
            "hikvision" => "101",
            "nx" | "mediamtx" | "hls" => "cam1",
            _ => "1",
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.program.kill();
    }

    /// The URLs that it was asked to play since it was last looked at.
    pub fn played(&self) -> Vec<String> {
        let events = std::iter::from_fn(|| self.program.event_until(std::time::Duration::ZERO));
        let urls = events.filter_map(|event| match event {
            // They tell the URL where the recorder tells the pace.
            Event::Play { rate_control, .. } => Some(rate_control),
            _ => None,
        });
        urls.collect()
    }
}

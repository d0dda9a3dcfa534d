//! A recorder with ONVIF replay, made of GStreamer's RTSP server.

use std::{path::PathBuf, time::Duration};

use crate::{
    clock::{self, monotonic},
    footage::Footage,
    program::{Event, Program, START_WITHIN},
};

/// A running recorder and what it was asked so far.
#[derive(Debug)]
pub struct Recorder {
    /// Where its camera `cam1` is.
    pub url: String,
    /// What it has recorded, from and to, by its own clock.
    pub recorded: Vec<(String, String)>,
    port: u16,
    program: Program,
}

/// How to set up a recorder.
#[must_use]
#[derive(Clone, Debug, Default)]
pub struct Setup {
    arguments: Vec<String>,
    port: u16,
}

impl Setup {
    /// Nothing was recorded from `from` to `to` (true time, milliseconds since 1970).
    pub fn without(self, from: i64, to: i64) -> Self {
        self.with(
            "--hide",
            &format!("{},{}", clock::iso(from), clock::iso(to)),
        )
    }

    /// Its clock is that much ahead of true time.
    pub fn clock_ahead_ms(self, ms: i64) -> Self {
        self.with("--clock-offset-ms", &ms.to_string())
    }

    /// It is still recording: `edge` (true time) is now, and moves on.
    pub fn growing_from(self, edge: i64) -> Self {
        self.with("--edge", &clock::iso(edge))
    }

    /// It reads its disk no faster than that many times real time. Without a limit a whole minute may already be in
    /// the buffers between it and the client when it dies.
    pub fn no_faster_than(self, speed: f64) -> Self {
        self.with("--speed-max", &speed.to_string())
    }

    /// Its packets are as large as this.
    pub fn mtu(self, bytes: u32) -> Self {
        self.with("--mtu", &bytes.to_string())
    }

    /// It wants Digest answers of this user.
    pub fn user(self, name: &str, password: &str) -> Self {
        self.with("--user", &format!("{name}:{password}"))
    }

    /// It speaks TLS alone, with this certificate and its key.
    pub fn tls(self, [certificate, key]: &[PathBuf; 2]) -> Self {
        self.with("--certificate", &certificate.display().to_string())
            .with("--key", &key.display().to_string())
    }

    /// Packs parameter sets and small slices into one packet (STAP-A, AP).
    pub fn aggregating(self) -> Self {
        self.with("--aggregate", "max")
    }

    /// On this port, as a recorder has it that comes back.
    pub fn on_port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    fn with(mut self, option: &str, value: &str) -> Self {
        self.arguments.push(format!("{option}={value}"));
        self
    }

    /// Starts it and waits until it listens.
    pub fn start(&self, footage: &Footage) -> Recorder {
        let mut arguments = vec![
            footage.folder.display().to_string(),
            format!("--port={}", self.port),
        ];
        arguments.extend(self.arguments.iter().cloned());
        let program = Program::lab("recorder.py", &arguments);
        let deadline = monotonic() + START_WITHIN;
        loop {
            match program.event_until(deadline) {
                Some(Event::Ready { url, recorded }) => {
                    let port = port_of(&url);
                    return Recorder {
                        url,
                        recorded,
                        port,
                        program,
                    };
                }
                Some(_) => {}
                None => panic!("the recorder did not start"),
            }
        }
    }
}

impl Recorder {
    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `rtsp://127.0.0.1:<port>/{camera}`, or `rtsps`, as a configuration names it.
    pub fn template(&self) -> String {
        let scheme = self.url.split(':').next().unwrap_or_default();
        format!("{scheme}://127.0.0.1:{}/{{camera}}", self.port)
    }

    /// Gives a command of recorder.py and waits until it is obeyed.
    pub fn tell(&mut self, command: &str) {
        self.program.tell(command);
        let deadline = monotonic() + Duration::from_secs(5);
        loop {
            match self.program.event_until(deadline) {
                Some(Event::Done) => return,
                Some(Event::Error { text }) => panic!("the recorder does not know {text}"),
                Some(_) => {}
                None => panic!("the recorder does not obey"),
            }
        }
    }

    /// How many sessions are open at it.
    pub fn sessions(&mut self) -> usize {
        self.program.tell("sessions");
        let deadline = monotonic() + Duration::from_secs(5);
        loop {
            match self.program.event_until(deadline) {
                Some(Event::Sessions { count }) => return count,
                Some(_) => {}
                None => panic!("the recorder does not obey"),
            }
        }
    }

    /// The requests it got since it was last looked at.
    pub fn asked(&self) -> Vec<Event> {
        std::iter::from_fn(|| self.program.event_until(Duration::ZERO)).collect()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.program.kill();
    }

    /// `SIGSTOP`: connections are accepted, then silence.
    pub fn stop(&self) {
        self.program.stop();
    }

    /// `SIGCONT`.
    pub fn resume(&self) {
        self.program.resume();
    }
}

/// A door in front of a recorder, see `gate.py`.
#[derive(Debug)]
pub struct Gate {
    port: u16,
    program: Program,
}

impl Gate {
    /// Starts it with these options.
    pub fn start(recorder: &Recorder, options: &[&str]) -> Self {
        let mut arguments = vec![recorder.port().to_string()];
        arguments.extend(options.iter().map(ToString::to_string));
        let program = Program::lab("gate.py", &arguments);
        match program.event_until(monotonic() + START_WITHIN) {
            Some(Event::Ready { url, .. }) => Self {
                port: port_of(&url),
                program,
            },
            other => panic!("the gate did not start: {other:?}"),
        }
    }

    /// Its address as a configuration names it.
    pub fn template(&self) -> String {
        format!("rtsp://127.0.0.1:{}/{{camera}}", self.port)
    }

    /// What happened at it since it was last looked at.
    pub fn seen(&self) -> Vec<Event> {
        std::iter::from_fn(|| self.program.event_until(Duration::ZERO)).collect()
    }
}

/// A program that carries RTSP over WebSocket, see `ws_bridge.py`.
#[derive(Debug)]
pub struct Bridge {
    port: u16,
    program: Program,
}

impl Bridge {
    /// Starts it in front of what listens on `port`, with these options.
    pub fn start(port: u16, options: &[&str]) -> Self {
        let mut arguments = vec![format!("ws://127.0.0.1:{port}/rtsp")];
        arguments.extend(options.iter().map(ToString::to_string));
        let program = Program::lab("ws_bridge.py", &arguments);
        match program.event_until(monotonic() + START_WITHIN) {
            Some(Event::Ready { url, .. }) => Self {
                port: port_of(&url),
                program,
            },
            other => panic!("the bridge did not start: {other:?}"),
        }
    }

    /// The same URL through the bridge.
    pub fn through(&self, url: &str) -> String {
        url.replacen(&format!(":{}", port_of(url)), &format!(":{}", self.port), 1)
    }

    /// What it complained about since it was last looked at.
    pub fn complaints(&self) -> Vec<Event> {
        std::iter::from_fn(|| self.program.event_until(Duration::ZERO)).collect()
    }
}

pub(crate) fn port_of(url: &str) -> u16 {
    let authority = url.split('/').nth(2).unwrap_or_default();
    let port = authority
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok());
    port.unwrap_or_else(|| panic!("{url} has no port"))
}

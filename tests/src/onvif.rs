//! An ONVIF device over SOAP, in front of a recorder.

use std::time::Duration;

use crate::{
    clock::monotonic,
    program::{Event, Program, START_WITHIN},
    recorder::Recorder,
};

/// A running device.
#[derive(Debug)]
pub struct Device {
    /// `http://127.0.0.1:<port>`.
    pub url: String,
    program: Program,
}

/// How to set up a device.
#[must_use]
#[derive(Clone, Debug, Default)]
pub struct Setup {
    arguments: Vec<String>,
    own_recordings: bool,
}

impl Setup {
    /// One of the quirks of `onvif_device.py`.
    pub fn quirk(self, name: &str) -> Self {
        self.with("--quirk", name)
    }

    /// It wants these, by `digest`, `token` or `both`.
    pub fn user(self, name: &str, password: &str, by: &str) -> Self {
        self.with("--user", &format!("{name}:{password}"))
            .with("--auth", by)
    }

    /// Its clock is that much ahead of true time.
    pub fn clock_ahead_ms(self, ms: i64) -> Self {
        self.with("--clock-offset-ms", &ms.to_string())
    }

    /// No more than so many results come in one answer.
    pub fn page(self, results: usize) -> Self {
        self.with("--page", &results.to_string())
    }

    /// A recording as `onvif_device.py` describes it, in place of the recorder's.
    pub fn recording(mut self, description: &str) -> Self {
        self.own_recordings = true;
        self.with("--recording", description)
    }

    fn with(mut self, option: &str, value: &str) -> Self {
        self.arguments.push(format!("{option}={value}"));
        self
    }

    /// Starts it in front of `recorder`, whose camera is its recording `REC1`.
    pub fn start(self, recorder: &Recorder) -> Device {
        let spans: Vec<String> = recorder
            .recorded
            .iter()
            .map(|(from, to)| format!("{from}/{to}"))
            .collect();
        let recording = format!("token=REC1,name=gate,spans={}", spans.join("+"));
        let setup = if self.own_recordings {
            self
        } else {
            self.with("--recording", &recording)
        };
        setup.with("--rtsp", &recorder.url).launch()
    }

    /// Starts it with nothing behind it that could be played.
    pub fn start_alone(self) -> Device {
        self.launch()
    }

    fn launch(self) -> Device {
        let program = Program::lab("onvif_device.py", &self.arguments);
        let deadline = monotonic() + START_WITHIN;
        loop {
            match program.event_until(deadline) {
                Some(Event::Ready { url, .. }) => return Device { url, program },
                Some(_) => {}
                None => panic!("the device did not start"),
            }
        }
    }
}

impl Device {
    /// Gives a command of `onvif_device.py` and waits until it is obeyed; gives what it was asked until then.
    pub fn tell(&mut self, command: &str) -> Vec<Asked> {
        self.program.tell(command);
        let deadline = monotonic() + Duration::from_secs(5);
        let mut asked = Vec::new();
        loop {
            match self.program.event_until(deadline) {
                Some(Event::Done) => return asked,
                Some(Event::Asked(question)) => asked.push(question),
                Some(Event::Error { text }) => panic!("the device does not know {text}"),
                Some(_) => {}
                None => panic!("the device does not obey"),
            }
        }
    }

    /// What it was asked since it was last looked at.
    pub fn asked(&self) -> Vec<Asked> {
        let events = std::iter::from_fn(|| self.program.event_until(Duration::ZERO));
        events
            .filter_map(|event| match event {
                Event::Asked(question) => Some(question),
                _ => None,
            })
            .collect()
    }

    /// `SIGSTOP`: connections are accepted, then silence.
    pub fn stop(&self) {
        self.program.stop();
    }
}

/// A request that a device got.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Asked {
    /// Its name without prefix.
    pub operation: String,
    /// `none`, `digest` or `token`.
    pub proof: String,
    /// The status of the answer, 0 when that was none.
    pub status: u16,
}

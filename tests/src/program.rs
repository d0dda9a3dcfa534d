//! A child process of a test: JSON lines out of it, commands into it, and its certain end.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStderr, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use crate::{clock::monotonic, onvif::Asked};

/// How long anything in the lab may take to say its first word.
pub const START_WITHIN: Duration = Duration::from_secs(20);

/// How long a program may take to leave after it was asked to.
const LEAVE_WITHIN: Duration = Duration::from_secs(3);

/// A line of one of the lab's programs.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// A recorder listens.
    Ready {
        /// Where its camera is.
        url: String,
        /// What it has recorded, from and to, by its own clock.
        #[serde(default)]
        recorded: Vec<(String, String)>,
    },
    /// A device was asked something by SOAP.
    Asked(Asked),
    /// A recorder was asked for its description.
    Describe,
    /// A recorder was asked to play.
    Play {
        /// The `Range` header, empty when absent; absent altogether when a player confirms a command.
        #[serde(default)]
        range: String,
        /// The `Require` header, empty when absent.
        #[serde(default)]
        require: String,
        /// The `Rate-Control` header, empty when absent.
        #[serde(default)]
        rate_control: String,
    },
    /// A recorder has obeyed a command.
    Done,
    /// How many sessions are open at a recorder.
    Sessions {
        /// Playing or not.
        count: usize,
    },
    /// A door got an answer to a nonce that was worn out.
    Stale,
    /// A door let media overtake the answer to PLAY.
    Overtaken {
        /// How much.
        bytes: usize,
    },
    /// A player decoded a picture.
    Picture(Picture),
    /// A player got an audio frame.
    Sound {
        /// UTC of the frame, where the player knows it, in milliseconds since 1970.
        capture_ms: Option<f64>,
        /// The player's own time of the frame, in milliseconds.
        pts_ms: Option<f64>,
    },
    /// Something failed.
    Error {
        /// In the program's own words.
        text: String,
    },
    /// Something is odd.
    Warning {
        /// In the program's own words.
        text: String,
    },
    /// A player has finished.
    End {
        /// `eos`, `stopped` or `error`.
        how: String,
    },
    /// A site of XProtect was asked something.
    Call {
        /// What.
        name: String,
    },
    /// What a script of a page came to.
    Value {
        /// As JSON.
        value: serde_json::Value,
    },
    /// Anything else, such as the echo of a command.
    #[serde(other)]
    Other,
}

/// One decoded picture.
#[derive(Clone, Debug, Deserialize)]
pub struct Picture {
    /// The burned-in clock, milliseconds since 1970; absent where the strip is damaged.
    pub clock_ms: Option<i64>,
    /// Of the decoded luma plane.
    pub md5: String,
    /// UTC that came with the picture (0xABAC), in milliseconds since 1970.
    pub capture_ms: Option<f64>,
    /// The player's own time of the picture, in milliseconds.
    pub pts_ms: Option<f64>,
    /// When it left the decoder, on the machine's monotonic clock.
    pub arrival_ns: u64,
    /// How much a browser had behind it, in milliseconds.
    pub ahead_ms: Option<f64>,
    /// How many pictures a browser had decoded by then.
    pub decoded: Option<u64>,
}

/// A running child. Dropping it ends it, stopped or not.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Program {
    /// Starts one of the lab's Python programs.
    pub fn lab(script: &str, arguments: &[String]) -> Self {
        let mut command = Command::new("/usr/bin/python3");
        command
            .arg("-B")
            .arg(lab_folder().join(script))
            .args(arguments);
        Self::start(script, command)
    }

    /// Starts `command` with its standard input and output in our hands; its errors go where ours go.
    pub fn start(name: &str, mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let input = child.stdin.take();
        let output = child.stdout.take().expect("standard output is piped");
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            name: name.to_owned(),
            child,
            input,
            lines,
        }
    }

    /// The next line, `None` when there was none until `deadline` (monotonic) or there will be no more.
    pub fn line_until(&self, deadline: Duration) -> Option<String> {
        let left = deadline.saturating_sub(monotonic());
        self.lines.recv_timeout(left).ok()
    }

    /// The next event, as [`Self::line_until`].
    pub fn event_until(&self, deadline: Duration) -> Option<Event> {
        let line = self.line_until(deadline)?;
        Some(
            serde_json::from_str(&line)
                .unwrap_or_else(|error| panic!("{} said {line}: {error}", self.name)),
        )
    }

    /// Writes a command line to its standard input.
    pub fn tell(&mut self, command: &str) {
        let input = self.input.as_mut().expect("standard input is piped");
        writeln!(input, "{command}")
            .unwrap_or_else(|error| panic!("{} does not listen: {error}", self.name));
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.child.wait().expect("our own child can be waited for");
    }

    /// `SIGSTOP`: alive for the kernel, dead for everyone else.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// `SIGCONT`.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// `SIGHUP`.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// `SIGTERM`.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Waits for its end; the exit code, `None` when a signal ended it.
    pub fn wait(&mut self) -> Option<i32> {
        self.input = None;
        let status = self.child.wait().expect("our own child can be waited for");
        status.code()
    }

    /// Its standard error, when the command pipes it; once.
    pub fn take_errors(&mut self) -> ChildStderr {
        self.child
            .stderr
            .take()
            .expect("standard error is piped and not taken yet")
    }

    /// The process id, for `/proc`.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal)
            .unwrap_or_else(|error| panic!("cannot signal {}: {error}", self.name));
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // The lab's programs leave when their input ends, and take their own children along.
        self.input = None;
        let deadline = monotonic() + LEAVE_WITHIN;
        while monotonic() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Where the lab's Python programs are.
pub fn lab_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("lab")
}

/// Where `tests/run` puts what the lab needs from `PyPI`.
pub fn venv() -> PathBuf {
    lab_folder().with_file_name(".lab").join("venv")
}

/// Where `tests/run scripts` puts a package from npm.
pub fn npm(package: &str) -> PathBuf {
    let folder = venv().with_file_name("npm").join(package);
    assert!(
        folder.exists(),
        "no {package}: tests/run scripts fetches it"
    );
    folder
}

/// Where footage is kept that was made once: `SEAMLINE_LAB_CACHE`, or beside the tests.
pub fn cache_folder() -> PathBuf {
    env::var_os("SEAMLINE_LAB_CACHE")
        .map_or_else(|| lab_folder().with_file_name(".lab"), PathBuf::from)
}

/// A program that a build left beside the tests.
pub fn built(name: &str) -> PathBuf {
    let test = env::current_exe().expect("a running program has a path");
    let beside = test.ancestors().nth(2).map(|folder| folder.join(name));
    beside
        .filter(|path| path.exists())
        .unwrap_or_else(|| panic!("{name} is not built; tests/run builds all that the tests need"))
}

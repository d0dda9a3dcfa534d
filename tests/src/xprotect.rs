//! A site of XProtect: management server and recording server, see `xprotect_site.py`.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    clock::{self, monotonic},
    footage::Footage,
    program::{Event, Program, START_WITHIN, lab_folder, venv},
};

/// The camera's GUID at it.
pub const CAMERA: &str = "11111111-2222-3333-4444-555555555555";
/// That of its microphone.
pub const MICROPHONE: &str = "55555555-2222-3333-4444-555555555555";

/// A running site.
#[derive(Debug)]
pub struct Site {
    url: String,
    program: Program,
}

/// How to set one up.
#[must_use]
#[derive(Clone, Debug, Default)]
pub struct Setup {
    arguments: Vec<String>,
}

impl Setup {
    /// Nothing was recorded from `from` to `to` (true time, milliseconds since 1970).
    pub fn without(self, from: i64, to: i64) -> Self {
        let range = format!("{},{}", clock::iso(from), clock::iso(to));
        self.with("--hide", &range)
    }

    /// It lets nobody else in.
    pub fn user(self, name: &str, password: &str) -> Self {
        self.with("--user", &format!("{name}:{password}"))
    }

    /// Tokens are good for so long.
    pub fn token_life(self, life: Duration) -> Self {
        self.with("--token-life", &life.as_secs_f64().to_string())
    }

    /// So many sequences in one answer.
    pub fn page(self, count: usize) -> Self {
        self.with("--page", &count.to_string())
    }

    /// How far its clock is ahead.
    pub fn ahead_ms(self, ms: i64) -> Self {
        self.with("--clock-offset-ms", &ms.to_string())
    }

    /// Still recording: this instant is now.
    pub fn edge(self, at: i64) -> Self {
        self.with("--edge", &clock::iso(at))
    }

    /// Lets another one in, who may see `Yard` alone.
    pub fn narrow_user(self, name: &str, password: &str) -> Self {
        self.with("--narrow-user", &format!("{name}:{password}"))
    }

    /// Tells of a site below it, at this address.
    pub fn child(self, url: &str) -> Self {
        self.with("--child", url)
    }

    /// Configurations are longer by so many bytes.
    pub fn pad(self, bytes: usize) -> Self {
        self.with("--pad", &bytes.to_string())
    }

    /// Its GUID of the camera, where it is not [`CAMERA`].
    pub fn camera(self, guid: &str) -> Self {
        self.with("--camera", guid)
    }

    /// Its configurations tell of the camera only from the command `list` on.
    pub fn unlisted(mut self) -> Self {
        self.arguments.push("--unlisted".to_owned());
        self
    }

    /// A token that is good from the start, as if it had been given to somebody.
    pub fn knows(self, token: &str) -> Self {
        self.with("--known-token", token)
    }

    /// It does not know a token any more.
    pub fn forgets(mut self, token: &str) -> Self {
        let known = format!("--known-token={token}");
        self.arguments.retain(|argument| *argument != known);
        self
    }

    /// All of its footage so many times, one behind the other.
    pub fn repeat(self, times: u32) -> Self {
        self.with("--repeat", &times.to_string())
    }

    /// The pictures of the reference instead of footage.
    pub fn golden(mut self) -> Self {
        self.arguments.push("--golden".to_owned());
        self
    }

    /// What it tells clients to mask.
    pub fn mask(self, mask: &str) -> Self {
        self.with("--mask", mask)
    }

    /// A capability that it does not grant.
    pub fn lacks(self, name: &str) -> Self {
        self.with("--lacks", name)
    }

    /// Where its recording server listens.
    pub fn port(self, port: u16) -> Self {
        self.with("--port", &port.to_string())
    }

    /// Where its management server listens.
    pub fn server_port(self, port: u16) -> Self {
        self.with("--server-port", &port.to_string())
    }

    /// The device that its two cameras are of, by address, and what they are called.
    pub fn cameras(self, hardware: &str, names: [&str; 2]) -> Self {
        self.with("--hardware", hardware)
            .with("--names", &names.join(","))
    }

    /// A second recording server records the camera too, as this GUID, and nothing from `from` to `to`.
    pub fn twin(self, guid: &str, from: i64, to: i64) -> Self {
        let gap = format!("{guid},{},{}", clock::iso(from), clock::iso(to));
        self.with("--twin", &gap)
    }

    /// Clients outside of its local range are told this port of its recorder.
    pub fn public_port(self, port: u16) -> Self {
        self.with("--public-port", &port.to_string())
    }

    /// The addresses of clients that are told the recorder's own port, by how they begin; without, it is this machine's usual one.
    pub fn local_range(self, prefix: &str) -> Self {
        self.with("--local-range", prefix)
    }

    /// Lets an account of Windows in, `DOMAIN\\name`, by NTLM.
    pub fn windows_user(self, name: &str, password: &str) -> Self {
        self.with("--windows-user", &format!("{name}:{password}"))
    }

    /// How accounts of Windows prove themselves over HTTP, such as `negotiate,ntlm`.
    pub fn windows_schemes(self, schemes: &str) -> Self {
        self.with("--windows-schemes", schemes)
    }

    /// A proof inside TLS must be bound to the certificate.
    pub fn extended_protection(mut self) -> Self {
        self.arguments.push("--extended-protection".to_owned());
        self
    }

    /// As before 2021: no access tokens.
    pub fn older(mut self) -> Self {
        self.arguments.push("--no-oauth".to_owned());
        self
    }

    /// It speaks TLS alone, with a certificate and its key (PEM files).
    pub fn tls(self, [certificate, key]: &[PathBuf; 2]) -> Self {
        self.with(
            "--tls",
            &format!("{},{}", certificate.display(), key.display()),
        )
    }

    /// As [`Self::tls`], of its recording server, where that has another.
    pub fn recorder_tls(self, [certificate, key]: &[PathBuf; 2]) -> Self {
        self.with(
            "--recorder-tls",
            &format!("{},{}", certificate.display(), key.display()),
        )
    }

    fn with(mut self, option: &str, value: &str) -> Self {
        self.arguments.push(format!("{option}={value}"));
        self
    }

    /// Starts it and waits until it listens.
    pub fn start(&self, footage: &Footage) -> Site {
        let mut arguments = vec![footage.folder.display().to_string()];
        arguments.extend(self.arguments.iter().cloned());
        let program = Program::lab("xprotect_site.py", &arguments);
        match program.event_until(monotonic() + START_WITHIN) {
            Some(Event::Ready { url, .. }) => Site { url, program },
            other => panic!("the site did not start: {other:?}"),
        }
    }
}

impl Site {
    /// As a configuration names it.
    pub fn recorder(&self) -> Value {
        json!({ "kind": "xprotect", "url": self.url, "username": "viewer", "password": "s3cret" })
    }

    /// Its management server.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it does from now on: see the commands of `xprotect_site.py`.
    pub fn tell(&mut self, command: &str) {
        self.program.tell(command);
    }

    /// As [`Self::tell`], and waits until it does so. Calls that were not looked at are lost.
    pub fn obey(&mut self, command: &str) {
        self.tell(command);
        let deadline = monotonic() + START_WITHIN;
        while !matches!(self.program.event_until(deadline), Some(Event::Done)) {
            assert!(monotonic() < deadline, "{command} is not obeyed");
        }
    }

    /// The calls and logins since it was last looked at.
    pub fn calls(&self) -> Vec<String> {
        let events = std::iter::from_fn(|| self.program.event_until(Duration::ZERO));
        let calls = events.filter_map(|event| match event {
            Event::Call { name } => Some(name),
            _ => None,
        });
        calls.collect()
    }

    /// `SIGSTOP`: it is there, and says nothing any more.
    pub fn stop(&self) {
        self.program.stop();
    }

    /// `SIGCONT`.
    pub fn resume(&self) {
        self.program.resume();
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.program.kill();
    }
}

/// A client of a management server, see `xprotect_clients.py`.
#[derive(Debug)]
pub struct Client {
    program: Program,
    /// What it was told when it logged in.
    pub login: Value,
    /// What it was told of the site then.
    pub told: Value,
}

impl Client {
    /// Logs in at a management server as a client of a `kind` does, and asks what there is.
    pub fn log_in(url: &str, kind: &str, name: &str, password: &str) -> Self {
        Self::log_in_trusting(url, kind, name, password, None)
    }

    /// As [`Self::log_in`]; every certificate must be of this authority (a PEM file).
    pub fn log_in_trusting(
        url: &str,
        kind: &str,
        name: &str,
        password: &str,
        authority: Option<&Path>,
    ) -> Self {
        let more = authority.map(|file| ("REQUESTS_CA_BUNDLE", file.as_os_str().to_owned()));
        Self::log_in_with(url, kind, [name, password], more)
    }

    /// As [`Self::log_in`], from another address of this machine.
    pub fn log_in_from(address: &str, url: &str, kind: &str, name: &str, password: &str) -> Self {
        let more = ("CLIENT_ADDRESS", address.into());
        Self::log_in_with(url, kind, [name, password], Some(more))
    }

    fn log_in_with(
        url: &str,
        kind: &str,
        [name, password]: [&str; 2],
        more: Option<(&str, OsString)>,
    ) -> Self {
        let mut command = Command::new(venv().join("bin/python"));
        command
            .arg("-B")
            .arg(lab_folder().join("xprotect_clients.py"));
        command.args([url, kind, name, password, "again"]);
        command.env_remove("REQUESTS_CA_BUNDLE");
        command.envs(more);
        // Packages keep logs where they are started.
        command.current_dir(std::env::temp_dir());
        let program = Program::start(kind, command);
        let mut client = Self {
            program,
            login: Value::Null,
            told: Value::Null,
        };
        client.login = client.said();
        client.told = client.said();
        client
    }

    /// Asks again, with the token that it has.
    pub fn ask(&mut self) -> Value {
        self.program.tell("told");
        self.said()
    }

    /// The token that it has for recorders.
    pub fn token(&mut self) -> Value {
        self.program.tell("token");
        self.said()
    }

    /// Logs in once more.
    pub fn log_in_again(&mut self) -> Value {
        self.program.tell("login");
        self.said()
    }

    /// Asks an operation; `{token}` in what is said stands for its token.
    pub fn call(&mut self, operation: &str, said: &str) -> Value {
        self.program.tell(&format!("call {operation} {said}"));
        self.said()
    }

    /// Connects to the recorder that it was told of, and asks for the picture of an instant (milliseconds since 1970).
    pub fn play(&mut self, camera: &str, at: i64) -> Value {
        self.program.tell(&format!("play {camera} {at}"));
        self.said()
    }

    fn said(&self) -> Value {
        let line = self.program.line_until(monotonic() + ANSWER_WITHIN);
        let line = line.expect("the client says what it was told");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }
}

const ANSWER_WITHIN: Duration = Duration::from_secs(60);

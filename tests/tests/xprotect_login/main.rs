//! Clients of XProtect log in through the house: by each door, with the primary up, down and back, on each way in which sites are
//! built; and what is hostile on these ports.

mod built;
mod doors;
mod down;
mod hostile;
mod passing;

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use seamline_tests::{
    footage::{Footage, Recipe},
    seamline::{Seamline, free_port},
    xprotect::{Client, Setup, Site},
};
use serde_json::{Value, json};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(20);

/// Two independent sites behind one house, at ports that stay when a site comes back.
struct House {
    footage: Footage,
    primary: Site,
    secondary: Site,
    ports: [u16; 2],
    management: u16,
    recorder: u16,
    cache: TempDir,
    setup: Setup,
}

impl House {
    fn new(setup: Setup) -> Self {
        let footage = Recipe::default().make();
        let ports = [free_port(), free_port()];
        let setup = setup
            .user("viewer", "s3cret")
            .narrow_user("narrow", "n4rrow");
        Self {
            primary: setup
                .clone()
                .server_port(ports[0])
                .port(ports[1])
                .start(&footage),
            secondary: Setup::default()
                .user("viewer", "s3cret")
                .narrow_user("narrow", "n4rrow")
                .start(&footage),
            footage,
            ports,
            management: free_port(),
            recorder: free_port(),
            cache: tempfile::tempdir().expect("a temporary folder can be made"),
            setup,
        }
    }

    fn config(&self, port: u16) -> Value {
        let recorder = |name: &str, site: &Site| {
            let mut recorder = site.recorder();
            recorder["name"] = json!(name);
            recorder["site"] = json!(name);
            recorder
        };
        json!({
            "listen": format!("127.0.0.1:{port}"),
            "site": [{ "name": "a" }, { "name": "b" }],
            "recorder": [recorder("a", &self.primary), recorder("b", &self.secondary)],
            "camera": [{ "id": "gate", "copies": [{ "recorder": "a", "remote": "Gate" }, { "recorder": "b", "remote": "Gate" }] }],
            "xprotect": [{
                "primary": "a",
                "secondary": "b",
                "management": format!("127.0.0.1:{}", self.management),
                "cache": self.cache.path().join("kept"),
                "recorder": [{ "recorder": "Recorder", "listen": format!("127.0.0.1:{}", self.recorder) }],
            }],
        })
    }

    fn serve(&self) -> Seamline {
        let port = free_port();
        let seamline = Seamline::of(&self.config(port), port, "info,seamline=debug");
        // The faces are bound before the house serves.
        TcpStream::connect(("127.0.0.1", self.management)).expect("the face listens");
        seamline
    }

    fn url(&self) -> String {
        format!("http://localhost:{}", self.management)
    }

    fn log_in(&self, kind: &str, name: &str, password: &str) -> Client {
        Client::log_in(&self.url(), kind, name, password)
    }

    fn primary_returns(&mut self) {
        let [server, recorder] = self.ports;
        self.primary = self
            .setup
            .clone()
            .server_port(server)
            .port(recorder)
            .start(&self.footage);
    }

    /// What a client is to be told.
    fn expected(&self, cameras: &[&str]) -> Value {
        let uri = format!("http://localhost:{}/", self.recorder);
        json!({ "recorders": [{ "uri": uri, "host": "localhost", "cameras": cameras }] })
    }
}

const OURS: &str = "seamline//ServerConnector";
const THEIRS: &str = "vmshost//ServerConnector";

/// One request on a connection of its own; the answer with its head.
fn raw(port: u16, request: &str) -> String {
    let mut stream = connected(port);
    let sent = stream.write_all(request.as_bytes());
    sent.expect("the face reads");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn connected(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the face listens");
    let patient = stream.set_read_timeout(Some(SOON));
    patient.expect("a socket has a patience");
    stream
}

//! A client of an ImageServer, driven order by order: see `imageserver_client.py`.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};

use crate::{clock::monotonic, program::Program};

/// Longer than a client waits for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// One client; dropping it closes its connections.
#[derive(Debug)]
pub struct Client {
    program: Program,
}

impl Client {
    /// Connects to a port.
    pub fn open(port: u16) -> Self {
        let mut client = Self {
            program: Program::lab("imageserver_client.py", &[]),
        };
        let opened = client.order(&json!({ "do": "open", "port": port }));
        assert_eq!(opened["opened"], true, "{opened}");
        client
    }

    /// As [`Self::open`], inside TLS; the certificate must be of this authority (a PEM file).
    pub fn open_sealed(port: u16, authority: &Path) -> Self {
        let mut client = Self {
            program: Program::lab("imageserver_client.py", &[]),
        };
        let opened = client.order(&json!({ "do": "open", "port": port, "tls": authority }));
        assert_eq!(opened["opened"], true, "{opened}");
        client
    }

    /// Does what the order says, and gives the answer to it.
    pub fn order(&mut self, order: &Value) -> Value {
        self.program.tell(&order.to_string());
        self.read()
    }

    /// Gives an order whose answer is waited for later.
    pub fn tell(&mut self, order: &Value) {
        self.program.tell(&order.to_string());
    }

    /// The next line.
    pub fn read(&self) -> Value {
        let line = self
            .program
            .line_until(monotonic() + ANSWER_WITHIN)
            .expect("an order is answered");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// Shows a token for a camera; native groups of pictures in several parts.
    pub fn connect(&mut self, camera: &str, token: &str) -> Value {
        self.order(&json!({ "do": "connect", "camera": camera, "token": token }))
    }

    /// Asks without parameters.
    pub fn ask(&mut self, method: &str) -> Value {
        self.order(&json!({ "do": "ask", "method": method }))
    }

    /// Asks for what is there at an instant.
    pub fn goto(&mut self, ms: i64) -> Value {
        self.order(&json!({ "do": "ask", "method": "goto", "time": ms }))
    }
}

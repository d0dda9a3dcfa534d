//! Programs that pass on connections, to measure Seamline against: found where Debian puts them, configured for one recorder.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::Context;

use crate::{net, relay::Relay};

const HAPROXY: &str = "/usr/sbin/haproxy";
const NGINX: &str = "/usr/sbin/nginx";
/// Where Debian has nginx's module for connections that are not HTTP; without it there the program has it built in.
const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
/// Connections beside those of the players.
const SPARE: usize = 64;

/// A program that rewrites nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passer {
    Haproxy,
    Nginx,
}

impl Passer {
    pub(crate) const ALL: [Self; 2] = [Self::Haproxy, Self::Nginx];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
        }
    }

    /// Where it is installed.
    pub(crate) fn program(self) -> Option<PathBuf> {
        let path = PathBuf::from(match self {
            Self::Haproxy => HAPROXY,
            Self::Nginx => NGINX,
        });
        path.exists().then_some(path)
    }

    /// Starts it before one recorder, as one thread.
    pub(crate) async fn start(
        self,
        program: &Path,
        recorder: SocketAddr,
        players: usize,
        core: Option<usize>,
    ) -> anyhow::Result<Relay> {
        let address = net::free_address()?;
        let folder = tempfile::tempdir()?;
        let connections = 2 * players + SPARE;
        let file = folder.path().join("peer.conf");
        let text = match self {
            Self::Haproxy => haproxy(address, recorder, connections),
            Self::Nginx => nginx(address, recorder, connections, folder.path()),
        };
        fs::write(&file, text)?;
        let mut command = Command::new(program);
        match self {
            Self::Haproxy => command.arg("-db").arg("-f").arg(&file),
            Self::Nginx => {
                let log = folder.path().join("error.log");
                command.arg("-p").arg(folder.path());
                command.arg("-c").arg(&file).arg("-e").arg(log)
            }
        };
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let relay = Relay::start(command, address, core, Some(folder)).await;
        relay.with_context(|| program.display().to_string())
    }
}

fn haproxy(listen: SocketAddr, recorder: SocketAddr, connections: usize) -> String {
    format!(
        r"global
    nbthread 1
    maxconn {connections}
defaults
    mode tcp
    timeout connect 5s
    timeout client 1m
    timeout server 1m
frontend players
    bind {listen}
    default_backend recorders
backend recorders
    server recorder {recorder}
"
    )
}

fn nginx(listen: SocketAddr, recorder: SocketAddr, connections: usize, folder: &Path) -> String {
    let folder = folder.display();
    let module = if Path::new(NGINX_STREAM).exists() {
        format!("load_module {NGINX_STREAM};\n")
    } else {
        String::new()
    };
    format!(
        r"{module}daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
events {{ worker_connections {connections}; }}
stream {{
    server {{
        listen {listen};
        proxy_pass {recorder};
    }}
}}
"
    )
}

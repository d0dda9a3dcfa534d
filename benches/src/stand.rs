//! What the load goes to: a proxy of ours before a recorder of ours, or a server that runs somewhere.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use serde::Serialize;
use tokio_rustls::rustls::{
    ClientConfig,
    pki_types::{CertificateDer, pem::PemObject},
};
use url::Url;

use crate::{
    crowd::Crowd,
    footage::{Footage, GROUP_US},
    login::Login,
    message::from_clock,
    net,
    player::{Rate, Via, Wish},
    process::{self, Watched},
    recorder,
    relay::{CAMERA, House, Relay},
    scenario::{Common, START_US},
};

/// A server that runs.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct TargetOptions {
    /// Put the load on a server that runs: rtsp://host:port/camera, or rtsps. More than once for several cameras, which take
    /// turns. What comes is checked for its order and its times, since its pictures are not known.
    #[arg(long, value_name = "URL", requires = "start")]
    target: Vec<Url>,
    /// Where its footage begins, such as 2026-11-22T10:00:00Z; each player starts two seconds behind the one before.
    #[arg(long, value_name = "TIME")]
    start: Option<String>,
    /// As whom it is played; the password is in `SEAMLINE_BENCH_PASSWORD`.
    #[arg(long)]
    user: Option<String>,
    /// Who signed its certificate, as PEM.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Its process, where it runs on this machine: for its CPU time and memory.
    #[arg(long)]
    pid: Option<u32>,
}

/// What carries the footage, as it is called on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Transport {
    Tcp,
    Udp,
    Tls,
    Http,
}

impl Transport {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Tls => "tls",
            Self::Http => "http",
        }
    }
}

/// Where players are sent.
#[derive(Debug)]
pub(crate) struct Stand {
    servers: Vec<Server>,
    start_us: i64,
    login: Option<Login>,
    trusted: Option<Arc<ClientConfig>>,
    /// What is known to be there.
    pub(crate) footage: Option<Arc<Footage>>,
    /// The process that is measured.
    pub(crate) watched: Option<Watched>,
    _relay: Option<Relay>,
}

#[derive(Debug)]
struct Server {
    address: SocketAddr,
    host: String,
    path: String,
}

/// Length of a clip over HTTP, in seconds.
const CLIP_S: u64 = 10;

impl Stand {
    /// The server that is named, or a proxy of ours with one camera of this footage, for so many players.
    pub(crate) async fn open(
        common: &Common,
        target: &TargetOptions,
        footage: Footage,
        players: usize,
    ) -> anyhow::Result<Self> {
        if !target.target.is_empty() {
            return Self::of_target(target);
        }
        let program = common.program()?;
        let core = process::part()?;
        let footage = Arc::new(footage);
        let recorder = recorder::start(&footage)?;
        let house = House {
            core,
            ..House::of(recorder, players)
        };
        let relay = Relay::seamline(&program, &house).await?;
        Ok(Self {
            servers: vec![Server {
                address: relay.address,
                host: relay.address.to_string(),
                path: CAMERA.to_owned(),
            }],
            start_us: START_US,
            login: None,
            trusted: relay
                .sealed
                .as_ref()
                .map(|(_, trusted)| Arc::clone(trusted)),
            footage: Some(footage),
            watched: Some(relay.process.watched()),
            _relay: Some(relay),
        })
    }

    fn of_target(options: &TargetOptions) -> anyhow::Result<Self> {
        let start = options.start.as_deref().unwrap_or_default();
        let start_us = from_clock(start).with_context(|| format!("{start} is no time in UTC"))?;
        let mut servers = Vec::new();
        for url in &options.target {
            let port = match url.scheme() {
                "rtsp" => 554,
                "rtsps" => 322,
                other => bail!("{other} is not played: rtsp or rtsps"),
            };
            let host = url.host_str().context("a URL without host")?;
            let port = url.port().unwrap_or(port);
            let mut found = std::net::ToSocketAddrs::to_socket_addrs(&(host, port))?;
            let address = found
                .find(SocketAddr::is_ipv4)
                .with_context(|| format!("{host} has no IPv4 address"))?;
            let query = url
                .query()
                .map_or_else(String::new, |query| format!("?{query}"));
            servers.push(Server {
                address,
                host: format!("{host}:{port}"),
                path: format!("{}{query}", url.path().trim_start_matches('/')),
            });
        }
        let login = options.user.clone().map(|name| Login {
            name,
            password: std::env::var("SEAMLINE_BENCH_PASSWORD").unwrap_or_default(),
        });
        let trusted = match &options.ca {
            Some(file) => {
                let found = CertificateDer::pem_file_iter(file)?;
                Some(net::trusting(found.collect::<Result<Vec<_>, _>>()?)?)
            }
            None => None,
        };
        Ok(Self {
            servers,
            start_us,
            login,
            trusted,
            footage: None,
            watched: options.pid.map(Watched),
            _relay: None,
        })
    }

    /// How a player gets there.
    pub(crate) fn via(&self, transport: Transport) -> anyhow::Result<Via> {
        Ok(match transport {
            Transport::Tcp => Via::Tcp,
            Transport::Udp => Via::Udp,
            Transport::Tls => {
                let trusted = self.trusted.clone().context("TLS wants --ca")?;
                Via::Tls(trusted)
            }
            Transport::Http => Via::Http { seconds: CLIP_S },
        })
    }

    /// What the player of that number wants.
    pub(crate) fn wish(&self, index: usize, rate: Rate, via: &Via) -> Wish {
        let server = &self.servers[index % self.servers.len()];
        Wish {
            server: server.address,
            host: server.host.clone(),
            path: server.path.clone(),
            start_us: Some(self.start_us + index as i64 * GROUP_US),
            rate,
            via: via.clone(),
            footage: self.footage.clone(),
            login: self.login.clone(),
            reads_per_s: None,
        }
    }

    /// Resident memory of what is measured, in KiB; 0 where it is not known.
    pub(crate) fn resident_kib(&self) -> f64 {
        let known = self.watched.and_then(|watched| watched.resident_kib().ok());
        known.unwrap_or(0) as f64
    }

    /// CPU time of what is measured; 0 where it is not known.
    pub(crate) fn cpu_s(&self) -> f64 {
        let known = self.watched.and_then(|watched| watched.cpu_s().ok());
        known.unwrap_or(0.0)
    }

    /// Plays once for nothing: what the first of all costs is not each one's share.
    pub(crate) async fn warm_up(&self) -> anyhow::Result<()> {
        let mut first = Crowd::new();
        first.add(&self.wish(0, Rate::Paced, &Via::Tcp)).await?;
        crate::clock::sleep(std::time::Duration::from_secs(1)).await;
        first.leave().await;
        crate::clock::sleep(std::time::Duration::from_millis(500)).await;
        Ok(())
    }
}

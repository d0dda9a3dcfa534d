//! Programs that stand where Seamline stands, to measure it against: found, configured for one recorder, started.

use std::{
    fmt::Write,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::Context;

use crate::{net, player::Rate, recorder, relay::Relay};

const HAPROXY: &str = "/usr/sbin/haproxy";
const NGINX: &str = "/usr/sbin/nginx";
/// Where Debian has nginx's module for connections that are not HTTP; without it there the program has it built in.
const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
/// Where it is kept what a program says that would drown what the bench says.
const SAID: &str = "said.txt";
/// Connections beside those of the players.
const SPARE: usize = 64;

/// Another program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Passes bytes on.
    Haproxy,
    /// Passes bytes on.
    Nginx,
    /// An RTSP server that plays an RTSP source on demand.
    MediaMtx,
    /// The same.
    Go2rtc,
    /// The same.
    Live555,
}

/// Players at most, of each kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Players {
    pub(crate) paced: usize,
    pub(crate) bulk: usize,
}

impl Players {
    pub(crate) fn most(self) -> usize {
        self.paced.max(self.bulk)
    }

    /// One source for each, those of paced players first.
    fn sources(self) -> impl Iterator<Item = String> {
        let paced = (0..self.paced).map(|index| format!("s{index}"));
        let bulk = (0..self.bulk).map(|index| format!("{}{index}", recorder::UNPACED));
        paced.chain(bulk)
    }
}

/// Where a peer's configuration puts it.
struct Place<'a> {
    listen: SocketAddr,
    sealed: SocketAddr,
    recorder: SocketAddr,
    players: Players,
    folder: &'a Path,
}

impl Place<'_> {
    /// What a peer that plays sources of its own calls each, and where it is.
    fn sources(&self) -> impl Iterator<Item = (String, String)> {
        let recorder = self.recorder;
        let named = self.players.sources();
        named.map(move |name| (name.clone(), format!("rtsp://{recorder}/{name}")))
    }
}

impl Peer {
    pub(crate) const ALL: [Self; 5] = [
        Self::Haproxy,
        Self::Nginx,
        Self::MediaMtx,
        Self::Go2rtc,
        Self::Live555,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::MediaMtx => "mediamtx",
            Self::Go2rtc => "go2rtc",
            Self::Live555 => "live555",
        }
    }

    /// How it is asked for its version.
    pub(crate) fn version_flag(self) -> Option<&'static str> {
        match self {
            Self::Haproxy | Self::Nginx => Some("-v"),
            Self::MediaMtx => Some("--version"),
            Self::Go2rtc => Some("-version"),
            // Would take it for the name of a stream.
            Self::Live555 => None,
        }
    }

    /// Where Debian installs it.
    pub(crate) fn installed(self) -> Option<PathBuf> {
        let path = PathBuf::from(match self {
            Self::Haproxy => HAPROXY,
            Self::Nginx => NGINX,
            Self::MediaMtx | Self::Go2rtc | Self::Live555 => return None,
        });
        path.exists().then_some(path)
    }

    /// It hands on bytes, and so whatever players ask for; others play a source of their own, at its pace.
    pub(crate) fn passes_bytes(self) -> bool {
        matches!(self, Self::Haproxy | Self::Nginx)
    }

    /// What it calls the streams of players of one kind, each with a source of its own.
    pub(crate) fn paths(self, players: Players, rate: Rate) -> Option<Vec<String>> {
        if self.passes_bytes() {
            return None;
        }
        let named = players.sources().enumerate().map(|(index, name)| {
            if self != Self::Live555 {
                name
            } else if players.paced + players.bulk == 1 {
                "proxyStream".to_owned()
            } else {
                format!("proxyStream-{}", index + 1)
            }
        });
        Some(match rate {
            Rate::Paced => named.take(players.paced).collect(),
            Rate::Bulk => named.skip(players.paced).collect(),
        })
    }

    /// Starts it before one recorder; where it can be told so, as one thread.
    pub(crate) async fn start(
        self,
        program: &Path,
        recorder: SocketAddr,
        players: Players,
        core: Option<usize>,
    ) -> anyhow::Result<Relay> {
        let folder = tempfile::tempdir()?;
        let place = Place {
            listen: net::free_address()?,
            sealed: net::free_address()?,
            recorder,
            players,
            folder: folder.path(),
        };
        let (certificate, key, trusted) = net::certificate()?;
        fs::write(folder.path().join("both.pem"), certificate + &key)?;
        let mut command = Command::new(program);
        let file = folder.path().join("peer.conf");
        match self {
            Self::Haproxy => {
                fs::write(&file, haproxy(&place))?;
                command.arg("-db").arg("-f").arg(&file);
            }
            Self::Nginx => {
                fs::write(&file, nginx(&place))?;
                let log = folder.path().join("error.log");
                command.arg("-p").arg(folder.path());
                command.arg("-c").arg(&file).arg("-e").arg(log);
            }
            Self::MediaMtx => {
                let file = folder.path().join("mediamtx.yml");
                fs::write(&file, mediamtx(&place))?;
                // Versions without it stop at settings that they do not know, and pass over such variables.
                command.env("MTX_MOQ", "no").arg(&file);
            }
            Self::Go2rtc => {
                let file = folder.path().join("go2rtc.yaml");
                fs::write(&file, go2rtc(&place))?;
                command.arg("-config").arg(&file);
            }
            Self::Live555 => {
                // It lists all streams, and says there why it ends.
                command.stderr(fs::File::create(folder.path().join(SAID))?);
                // From its sources over TCP.
                command.args(["-t", "-p", &place.listen.port().to_string()]);
                command.args(place.sources().map(|(_, url)| url));
            }
        }
        command.current_dir(folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let (listen, sealed) = (place.listen, place.sealed);
        let said = folder.path().join(SAID);
        let relay = Relay::start(command, listen, core, None).await;
        let relay = relay.with_context(|| {
            let said = fs::read_to_string(said).unwrap_or_default();
            let last = said.lines().last().unwrap_or_default();
            format!("{}: {last}", program.display())
        })?;
        let relay = relay.in_folder(folder);
        let takes_tls = self.passes_bytes();
        Ok(relay.sealed(takes_tls.then_some((sealed, trusted))))
    }
}

fn haproxy(place: &Place<'_>) -> String {
    let (listen, sealed, recorder) = (place.listen, place.sealed, place.recorder);
    let (folder, connections) = (place.folder.display(), 2 * place.players.most() + SPARE);
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
    bind {sealed} ssl crt {folder}/both.pem
    default_backend recorders
backend recorders
    server recorder {recorder}
"
    )
}

fn nginx(place: &Place<'_>) -> String {
    let (listen, sealed, recorder) = (place.listen, place.sealed, place.recorder);
    let (folder, connections) = (place.folder.display(), 4 * place.players.most() + SPARE);
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
    server {{
        listen {sealed} ssl;
        ssl_certificate {folder}/both.pem;
        ssl_certificate_key {folder}/both.pem;
        proxy_pass {recorder};
    }}
}}
"
    )
}

/// RTSP alone; each path fetches its source when somebody plays it, and lets go of it before the next program is measured.
fn mediamtx(place: &Place<'_>) -> String {
    let mut text = format!(
        "logLevel: warn\nlogDestinations: [stdout]\n\
         api: no\nmetrics: no\npprof: no\nplayback: no\nrtmp: no\nhls: no\nwebrtc: no\nsrt: no\n\
         rtsp: yes\nrtspTransports: [tcp]\nrtspEncryption: \"no\"\nrtspAddress: {}\n\
         paths:\n",
        place.listen
    );
    for (name, url) in place.sources() {
        let _ = writeln!(
            text,
            "  {name}:\n    source: {url}\n    rtspTransport: tcp\n    sourceOnDemand: yes\n    sourceOnDemandCloseAfter: 250ms"
        );
    }
    text
}

/// RTSP alone; it fetches sources on demand and over TCP by itself.
fn go2rtc(place: &Place<'_>) -> String {
    let mut text = format!(
        "log:\n  level: warn\napi:\n  listen: \"\"\nwebrtc:\n  listen: \"\"\nsrtp:\n  listen: \"\"\n\
         rtsp:\n  listen: \"{}\"\n  default_query: video\nstreams:\n",
        place.listen
    );
    for (name, url) in place.sources() {
        let _ = writeln!(text, "  {name}: {url}");
    }
    text
}

//! What stands between player and recorder: Seamline, or a plain copy loop to compare it with.

use std::{
    fmt::Write,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::rustls::ClientConfig;

use crate::{
    clock::{now, sleep},
    net,
    process::Process,
};

/// The camera, here and at the recorder.
pub(crate) const CAMERA: &str = "cam1";
/// One that its recorder sends at its own pace, whatever is asked.
pub(crate) const CLOCKED: &str = "clocked";
/// How long a child may take until it listens.
const START_WITHIN: Duration = Duration::from_secs(10);
/// What a copy loop reads at a time.
const COPY_BYTES: usize = 64 * 1024;

/// A running relay.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    /// Where it takes TLS, and what a player there trusts.
    pub(crate) sealed: Option<(SocketAddr, Arc<ClientConfig>)>,
    _folder: Option<TempDir>,
}

/// What Seamline stands before.
#[derive(Clone, Debug)]
pub(crate) struct House {
    /// Each one site's, best first.
    pub(crate) recorders: Vec<SocketAddr>,
    /// They say what they hold.
    pub(crate) listing: bool,
    /// Players have legs in common.
    pub(crate) shares: bool,
    pub(crate) cameras: usize,
    pub(crate) players: usize,
    pub(crate) core: Option<usize>,
}

impl House {
    /// One recorder and one camera.
    pub(crate) fn of(recorder: SocketAddr, players: usize) -> Self {
        Self {
            recorders: vec![recorder],
            listing: false,
            shares: false,
            cameras: 1,
            players,
            core: None,
        }
    }
}

impl Relay {
    /// Seamline before its recorders.
    pub(crate) async fn seamline(program: &Path, house: &House) -> anyhow::Result<Self> {
        let (command, address, folder, trusted) = Self::prepared(program, house)?;
        let relay = Self::start(command, address, house.core, Some(folder)).await;
        let relay = relay.with_context(|| program.display().to_string())?;
        Ok(relay.sealed(Some((address, trusted))))
    }

    /// Where it takes TLS.
    pub(crate) fn sealed(self, sealed: Option<(SocketAddr, Arc<ClientConfig>)>) -> Self {
        Self { sealed, ..self }
    }

    /// What is to live as long.
    pub(crate) fn in_folder(self, folder: TempDir) -> Self {
        Self {
            _folder: Some(folder),
            ..self
        }
    }

    /// All that it takes to start it.
    pub(crate) fn prepared(
        program: &Path,
        house: &House,
    ) -> anyhow::Result<(Command, SocketAddr, TempDir, Arc<ClientConfig>)> {
        let address = net::free_address()?;
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("seamline.toml");
        let (certificate, key, trusted) = net::certificate()?;
        fs::write(folder.path().join("cert.pem"), certificate)?;
        fs::write(folder.path().join("key.pem"), key)?;
        fs::write(&file, configuration(address, house, folder.path()))?;
        let mut command = Command::new(program);
        command
            .args(["serve", "--log-level", "warn", "-c"])
            .arg(&file);
        command.env_remove("RUST_LOG").stdin(Stdio::null());
        Ok((command, address, folder, trusted))
    }

    /// A plain copy loop before one recorder.
    pub(crate) async fn copy_loop(
        recorder: SocketAddr,
        core: Option<usize>,
    ) -> anyhow::Result<Self> {
        let address = net::free_address()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["copy-loop", &address.to_string(), &recorder.to_string()]);
        command.stdin(Stdio::null());
        Self::start(command, address, core, None).await
    }

    pub(crate) async fn start(
        command: Command,
        address: SocketAddr,
        core: Option<usize>,
        folder: Option<TempDir>,
    ) -> anyhow::Result<Self> {
        let mut process = Process::start(command, core)?;
        let deadline = now() + START_WITHIN;
        while TcpStream::connect(address).await.is_err() {
            if !process.runs() {
                bail!("ended before it listened");
            }
            if now() > deadline {
                bail!("does not listen on {address}");
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(Self {
            process,
            address,
            sealed: None,
            _folder: folder,
        })
    }
}

fn configuration(listen: SocketAddr, house: &House, folder: &Path) -> String {
    let folder = folder.display();
    let connections = house.players + 64;
    let mut text = format!(
        r#"listen = "{listen}"
[limits]
connections_max = {connections}
per_address_max = {connections}
[tls]
certificate = "{folder}/cert.pem"
key = "{folder}/key.pem"
[http]
spool = {{ folder = "{folder}" }}
"#
    );
    if house.shares {
        text.push_str("[policy]\nshare_legs = true\n");
    }
    let (mut copies, mut clocked) = (Vec::new(), Vec::new());
    for (index, recorder) in house.recorders.iter().enumerate() {
        let name = format!("far-end-{index}");
        let kind = if house.listing {
            format!("kind = \"seamline\"\nurl = \"http://{recorder}\"")
        } else {
            format!("kind = \"rtsp\"\nurl = \"rtsp://{recorder}/{{camera}}\"")
        };
        let _ = writeln!(text, "[[site]]\nname = \"site-{index}\"");
        let _ = writeln!(
            text,
            "[[recorder]]\nname = \"{name}\"\nsite = \"site-{index}\"\n{kind}"
        );
        copies.push(format!(r#"{{ recorder = "{name}", remote = "{CAMERA}" }}"#));
        clocked.push(format!(
            r#"{{ recorder = "{name}", remote = "{CLOCKED}" }}"#
        ));
    }
    let cameras = (1..=house.cameras).map(|camera| (format!("cam{camera}"), &copies));
    for (camera, copies) in cameras.chain([(CLOCKED.to_owned(), &clocked)]) {
        let _ = writeln!(
            text,
            "[[camera]]\nid = \"{camera}\"\ncopies = [{}]",
            copies.join(", ")
        );
    }
    text
}

/// The program to measure: as named, or beside this one.
pub(crate) fn program(named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let path = match named {
        Some(path) => path,
        None => std::env::current_exe()?.with_file_name("seamline"),
    };
    if !path.exists() {
        bail!(
            "{} does not exist: `cargo build --release -p seamline`, or name it with --seamline",
            path.display()
        );
    }
    Ok(path)
}

/// Passes on every connection to `recorder`: the least that a relay can do.
pub(crate) async fn copy(listen: SocketAddr, recorder: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (client, _) = listener.accept().await?;
        tokio::spawn(async move {
            let recorder = TcpStream::connect(recorder).await?;
            client.set_nodelay(true)?;
            recorder.set_nodelay(true)?;
            let (mut questions, mut answers_out) = client.into_split();
            let (mut answers, mut questions_out) = recorder.into_split();
            // Either side's end is the end of both: the sockets close when the halves are dropped.
            tokio::select! {
                ended = pass(&mut questions, &mut questions_out) => ended,
                ended = pass(&mut answers, &mut answers_out) => ended,
            }
        });
    }
}

async fn pass(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
) -> std::io::Result<()> {
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let bytes = from.read(&mut buffer).await?;
        if bytes == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..bytes]).await?;
    }
}

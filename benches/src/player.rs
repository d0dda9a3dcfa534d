//! A lean RTSP client that plays and checks what it receives.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use anyhow::{Context, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    sync::watch,
    task::JoinSet,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, pki_types::ServerName},
};

use crate::{
    checker::{Checker, Verdict},
    clock::now,
    footage::Footage,
    message::{Head, to_clock},
    net,
};

const BUFFER_BYTES: usize = 128 * 1024;

/// How footage is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rate {
    /// At the pace of its clock.
    Paced,
    /// As fast as it comes.
    Bulk,
}

/// What carries the footage.
#[derive(Clone, Debug)]
pub(crate) enum Via {
    /// The RTSP connection.
    Tcp,
    /// Datagrams beside it.
    Udp,
    /// The RTSP connection inside TLS, with what is trusted.
    Tls(Arc<ClientConfig>),
}

/// What to play.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) server: SocketAddr,
    pub(crate) camera: &'static str,
    /// Capture time, UTC in µs.
    pub(crate) start_us: i64,
    pub(crate) rate: Rate,
    pub(crate) via: Via,
}

/// A session that plays.
#[derive(Debug)]
pub(crate) struct Player {
    stream: Stream,
    /// Where media arrives beside the stream, and reports of it.
    media: Option<(UdpSocket, UdpSocket)>,
    buffer: Box<[u8]>,
    filled: usize,
    checker: Checker,
    received: Arc<AtomicU64>,
    url: String,
    /// PLAY was answered.
    playing: bool,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Sealed(Box<TlsStream<TcpStream>>),
}

impl Stream {
    async fn sealed(stream: TcpStream, trusted: &Arc<ClientConfig>) -> anyhow::Result<Self> {
        let name = ServerName::try_from(net::TLS_NAME)?;
        let sealed = TlsConnector::from(Arc::clone(trusted)).connect(name, stream);
        Ok(Self::Sealed(Box::new(sealed.await.context("TLS")?)))
    }

    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer).await,
            Self::Sealed(stream) => stream.read(buffer).await,
        }
    }

    async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes).await,
            Self::Sealed(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }
}

impl Player {
    /// Connects and asks to play; returns with the answer to PLAY.
    pub(crate) async fn open(
        wish: &Wish,
        footage: &Arc<Footage>,
        received: &Arc<AtomicU64>,
    ) -> anyhow::Result<Self> {
        let stream = net::connect(wish.server).await.context("connecting")?;
        let (stream, scheme) = match &wish.via {
            Via::Tcp | Via::Udp => (Stream::Plain(stream), "rtsp"),
            Via::Tls(trusted) => (Stream::sealed(stream, trusted).await?, "rtsps"),
        };
        let media = match &wish.via {
            Via::Udp => Some((net::receiver()?, net::receiver()?)),
            Via::Tcp | Via::Tls(_) => None,
        };
        let mut player = Self {
            stream,
            media,
            buffer: vec![0; BUFFER_BYTES].into(),
            filled: 0,
            checker: Checker::new(Arc::clone(footage)),
            received: Arc::clone(received),
            url: format!("{scheme}://{}/{}", wish.server, wish.camera),
            playing: false,
        };
        let url = player.url.clone();
        player
            .request(
                &format!("DESCRIBE {url}"),
                "CSeq: 1\r\nAccept: application/sdp",
            )
            .await?;
        let transport = match &player.media {
            None => "Transport: RTP/AVP/TCP;unicast;interleaved=0-1".to_owned(),
            Some((media, control)) => {
                let (media, control) = (media.local_addr()?.port(), control.local_addr()?.port());
                format!("Transport: RTP/AVP;unicast;client_port={media}-{control}")
            }
        };
        let session = player
            .request(
                &format!("SETUP {url}/trackID=1"),
                &format!("CSeq: 2\r\n{transport}"),
            )
            .await?
            .context("SETUP gave no session")?;
        let mut headers = format!(
            "CSeq: 3\r\nSession: {session}\r\nRequire: onvif-replay\r\nRange: clock={}-",
            to_clock(wish.start_us)
        );
        if wish.rate == Rate::Bulk {
            headers.push_str("\r\nRate-Control: no");
        }
        player.request(&format!("PLAY {url}"), &headers).await?;
        player.playing = true;
        Ok(player)
    }

    /// Plays until the first whole picture; gives back when it was there.
    pub(crate) async fn first_picture(&mut self) -> anyhow::Result<Instant> {
        loop {
            self.check()?;
            if self.checker.verdict.pictures > 0 {
                return Ok(now());
            }
            self.read().await?;
        }
    }

    /// What it has seen so far.
    pub(crate) fn verdict(&self) -> &Verdict {
        &self.checker.verdict
    }

    /// Plays until told to stop.
    pub(crate) async fn play(mut self, mut stop: watch::Receiver<bool>) -> Verdict {
        loop {
            let mut outcome = self.check();
            if outcome.is_ok() {
                tokio::select! {
                    () = async { drop(stop.wait_for(|stop| *stop).await) } => {
                        self.hang_up().await;
                        return self.checker.verdict;
                    }
                    read = self.read() => outcome = read.map_err(Into::into),
                }
            }
            if let Err(error) = outcome {
                let mut verdict = self.checker.verdict;
                verdict.faults += 1;
                verdict.first_fault.get_or_insert(format!("{error:#}"));
                return verdict;
            }
        }
    }

    /// Over UDP the server goes on for a minute unless it is told.
    async fn hang_up(&mut self) {
        if self.media.is_some() {
            let text = format!("TEARDOWN {} RTSP/1.0\r\nCSeq: 4\r\n\r\n", self.url);
            let mut answer = [0; 1];
            if self.stream.write_all(text.as_bytes()).await.is_ok() {
                let _ = self.stream.read(&mut answer).await;
            }
        }
    }

    /// Sends a request and awaits its answer; gives back the session it names.
    async fn request(&mut self, line: &str, headers: &str) -> anyhow::Result<Option<String>> {
        let text = format!("{line} RTSP/1.0\r\n{headers}\r\n\r\n");
        self.stream.write_all(text.as_bytes()).await?;
        loop {
            if let Some(head) = Head::read(&self.buffer[..self.filled]) {
                let whole = head.bytes + head.body_bytes();
                if self.filled >= whole {
                    if head.status() != Some(200) {
                        bail!("{line}: {}", head.start);
                    }
                    let session = head.header("Session");
                    let session =
                        session.map(|text| text.split(';').next().unwrap_or_default().to_owned());
                    self.take(whole);
                    return Ok(session);
                }
            }
            self.read().await.with_context(|| line.to_owned())?;
        }
    }

    /// Checks all frames that are whole.
    fn check(&mut self) -> anyhow::Result<()> {
        let now = now();
        let mut taken = 0;
        loop {
            let rest = &self.buffer[taken..self.filled];
            let &[magic, channel, high, low, ..] = rest else {
                break;
            };
            if magic != b'$' {
                bail!("bytes between frames");
            }
            let whole = 4 + usize::from(u16::from_be_bytes([high, low]));
            let Some(frame) = rest.get(4..whole) else {
                break;
            };
            if channel == 0 {
                self.checker.packet(frame, now);
            }
            taken += whole;
        }
        self.take(taken);
        Ok(())
    }

    async fn read(&mut self) -> io::Result<()> {
        if self.playing
            && let Some((media, _)) = &self.media
        {
            let mut bytes = media.recv(&mut self.buffer).await?;
            loop {
                self.checker.packet(&self.buffer[..bytes], now());
                self.received.fetch_add(bytes as u64, Ordering::Relaxed);
                match media.try_recv(&mut self.buffer) {
                    Ok(more) => bytes = more,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        }
        match self.stream.read(&mut self.buffer[self.filled..]).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            bytes => {
                self.filled += bytes;
                self.received.fetch_add(bytes as u64, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    fn take(&mut self, bytes: usize) {
        self.buffer.copy_within(bytes..self.filled, 0);
        self.filled -= bytes;
    }
}

/// Players at work.
#[derive(Debug)]
pub(crate) struct Crowd {
    players: JoinSet<Verdict>,
    stop: watch::Sender<bool>,
    received: Arc<AtomicU64>,
}

impl Crowd {
    pub(crate) fn new() -> Self {
        Self {
            players: JoinSet::new(),
            stop: watch::Sender::new(false),
            received: Arc::default(),
        }
    }

    /// Adds a player; returns when it plays.
    pub(crate) async fn add(&mut self, wish: &Wish, footage: &Arc<Footage>) -> anyhow::Result<()> {
        let player = Player::open(wish, footage, &self.received).await?;
        self.players.spawn(player.play(self.stop.subscribe()));
        Ok(())
    }

    /// Bytes received so far by all of them.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Sends all of them away; gives back what they have seen.
    pub(crate) async fn leave(mut self) -> Vec<Verdict> {
        self.stop.send_replace(true);
        let mut verdicts = Vec::new();
        while let Some(verdict) = self.players.join_next().await {
            verdicts.extend(verdict.ok());
        }
        verdicts
    }
}

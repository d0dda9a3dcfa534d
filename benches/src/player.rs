//! A lean RTSP client that plays and checks what it receives.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use tokio::{net::UdpSocket, sync::watch};
use tokio_rustls::rustls::ClientConfig;

use crate::{
    checker::{Checker, Verdict},
    clock::{now, sleep},
    footage::Footage,
    login::{Asked, Login},
    message::{Head, control, to_clock},
    net,
    wire::Stream,
};

const BUFFER_BYTES: usize = 128 * 1024;
/// What a player that reads slowly takes at a time.
const SIP_BYTES: usize = 4 * 1024;
/// Longer than this nothing is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

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
    /// Clips of so many seconds by `GET /get`, one after the other.
    Http { seconds: u64 },
}

/// What to play.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) server: SocketAddr,
    /// Host and port as the server is called.
    pub(crate) host: String,
    /// The camera's path, and a query where there is one.
    pub(crate) path: String,
    /// Capture time, UTC in µs; `None` for what comes.
    pub(crate) start_us: Option<i64>,
    pub(crate) rate: Rate,
    pub(crate) via: Via,
    /// What must come, where that is known.
    pub(crate) footage: Option<Arc<Footage>>,
    pub(crate) login: Option<Login>,
    /// Reads so many bytes a second, where it is slow.
    pub(crate) reads_per_s: Option<u64>,
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
    session: String,
    cseq: u32,
    login: Option<(Login, Option<Asked>)>,
    rate: Rate,
    reads_per_s: Option<u64>,
    /// PLAY was answered.
    playing: bool,
}

/// What is kept of an answer.
struct Answer {
    status: u16,
    start: String,
    session: Option<String>,
    base: Option<String>,
    challenges: Vec<String>,
    body: String,
}

/// Waits for as long as a sip takes of so many bytes a second; room for one.
pub(crate) async fn sip(room: &mut [u8], per_s: u64) -> &mut [u8] {
    sleep(Duration::from_secs_f64(SIP_BYTES as f64 / per_s as f64)).await;
    let sip = room.len().min(SIP_BYTES);
    &mut room[..sip]
}

impl Player {
    /// Connects and asks to play; returns with the answer to PLAY.
    pub(crate) async fn open(wish: &Wish, received: &Arc<AtomicU64>) -> anyhow::Result<Self> {
        tokio::time::timeout(PATIENCE, Self::connect(wish, received))
            .await
            .context("no answer")?
    }

    async fn connect(wish: &Wish, received: &Arc<AtomicU64>) -> anyhow::Result<Self> {
        let asked = now();
        let (trusted, scheme) = match &wish.via {
            Via::Tls(trusted) => (Some(trusted), "rtsps"),
            Via::Tcp | Via::Udp | Via::Http { .. } => (None, "rtsp"),
        };
        let stream = Stream::open(wish.server, &wish.host, trusted).await?;
        let media = match &wish.via {
            Via::Udp => Some((net::receiver()?, net::receiver()?)),
            Via::Tcp | Via::Tls(_) | Via::Http { .. } => None,
        };
        let mut checker = Checker::new(wish.footage.clone(), wish.start_us, asked);
        // Who hands on live streams leaves out what players do not take in time.
        checker.may_drop = wish.start_us.is_none();
        let mut player = Self {
            stream,
            media,
            buffer: vec![0; BUFFER_BYTES].into(),
            filled: 0,
            checker,
            received: Arc::clone(received),
            url: format!("{scheme}://{}/{}", wish.host, wish.path),
            session: String::new(),
            cseq: 0,
            login: wish.login.clone().map(|login| (login, None)),
            rate: wish.rate,
            reads_per_s: None,
            playing: false,
        };
        let url = player.url.clone();
        let described = player
            .request("DESCRIBE", &url, "Accept: application/sdp\r\n")
            .await?;
        let base = described.base.as_deref().unwrap_or(&url);
        let track = control(&described.body, base);
        let transport = match &player.media {
            None => "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n".to_owned(),
            Some((media, control)) => {
                let (media, control) = (media.local_addr()?.port(), control.local_addr()?.port());
                format!("Transport: RTP/AVP;unicast;client_port={media}-{control}\r\n")
            }
        };
        let set_up = player.request("SETUP", &track, &transport).await?;
        player.session = set_up.session.context("SETUP gave no session")?;
        let headers = player.play_headers(wish.start_us);
        player.request("PLAY", &url, &headers).await?;
        player.reads_per_s = wish.reads_per_s;
        player.playing = true;
        Ok(player)
    }

    fn play_headers(&self, start_us: Option<i64>) -> String {
        let Some(start_us) = start_us else {
            return String::new();
        };
        let mut headers = format!(
            "Require: onvif-replay\r\nRange: clock={}-\r\n",
            to_clock(start_us)
        );
        if self.rate == Rate::Bulk {
            headers.push_str("Rate-Control: no\r\n");
        }
        headers
    }

    /// Plays until the first whole picture since it was asked for; gives back when it was there.
    pub(crate) async fn first_picture(&mut self) -> anyhow::Result<Instant> {
        let before = self.checker.verdict.first_ms.len();
        tokio::time::timeout(
            PATIENCE,
            self.until(|checker| checker.verdict.first_ms.len() > before),
        )
        .await
        .context("no picture")??;
        Ok(now())
    }

    /// Plays on for a while.
    pub(crate) async fn play_for(&mut self, span: Duration) -> anyhow::Result<()> {
        tokio::select! {
            played = self.until(|_| false) => played,
            () = sleep(span) => Ok(()),
        }
    }

    /// Plays until `enough`.
    pub(crate) async fn until(&mut self, enough: impl Fn(&Checker) -> bool) -> anyhow::Result<()> {
        loop {
            self.check()?;
            if enough(&self.checker) {
                return Ok(());
            }
            self.read().await?;
        }
    }

    /// Goes to another time; returns with the answer.
    pub(crate) async fn seek(&mut self, start_us: i64) -> anyhow::Result<()> {
        let (asked, url) = (now(), self.url.clone());
        let headers = self.play_headers(Some(start_us)) + "Immediate: yes\r\n";
        let answered = self.request("PLAY", &url, &headers);
        tokio::time::timeout(PATIENCE, answered)
            .await
            .context("a seek is not answered")??;
        self.checker.restart(start_us, asked);
        Ok(())
    }

    /// What is left out or comes again is from now on counted, and no fault.
    pub(crate) fn counts_only(&mut self) {
        self.checker.counts_only = true;
    }

    /// Waits so far do not count.
    pub(crate) fn forget_waits(&mut self) {
        self.checker.verdict.stall_ms_max = 0.0;
    }

    /// Since when the pictures of the recorder come whose pictures come now.
    pub(crate) fn mark_since(&self) -> Option<Instant> {
        self.checker.mark.map(|(_, since)| since)
    }

    /// What it has seen so far.
    pub(crate) fn verdict(&self) -> &Verdict {
        &self.checker.verdict
    }

    /// Plays until told to stop.
    pub(crate) async fn play(mut self, mut stop: watch::Receiver<bool>) -> Verdict {
        let outcome = tokio::select! {
            () = async { drop(stop.wait_for(|stop| *stop).await) } => Ok(()),
            ended = self.until(|_| false) => ended,
        };
        if let Err(error) = outcome {
            self.checker.verdict.fault(format!("{error:#}"));
        } else {
            self.hang_up().await;
        }
        self.checker.verdict
    }

    /// Over UDP the server goes on for a minute unless it is told.
    async fn hang_up(&mut self) {
        if self.media.is_some() {
            let text = format!(
                "TEARDOWN {} RTSP/1.0\r\nCSeq: {}\r\nSession: {}\r\n\r\n",
                self.url,
                self.cseq + 1,
                self.session
            );
            let mut answer = [0; 1];
            if self.stream.write_all(text.as_bytes()).await.is_ok() {
                let _ = self.stream.read(&mut answer).await;
            }
        }
    }

    /// Sends a request and awaits its answer, showing who asks where that is wanted.
    async fn request(&mut self, method: &str, uri: &str, headers: &str) -> anyhow::Result<Answer> {
        let mut answer = self.ask(method, uri, headers).await?;
        if let (401, Some((_, asked))) = (answer.status, &mut self.login) {
            let challenge = answer
                .challenges
                .first()
                .context("401 without a challenge")?;
            *asked = Some(Asked::read(challenge)?);
            answer = self.ask(method, uri, headers).await?;
        }
        if answer.status != 200 {
            bail!("{method}: {}", answer.start);
        }
        Ok(answer)
    }

    async fn ask(&mut self, method: &str, uri: &str, headers: &str) -> anyhow::Result<Answer> {
        self.cseq += 1;
        let mut text = format!(
            "{method} {uri} RTSP/1.0\r\nCSeq: {}\r\n{headers}",
            self.cseq
        );
        if !self.session.is_empty() {
            text.extend(["Session: ", &self.session, "\r\n"]);
        }
        if let Some((login, Some(asked))) = &mut self.login {
            let shown = asked.show(login, method, uri)?;
            text.extend(["Authorization: ", &shown, "\r\n"]);
        }
        text += "\r\n";
        self.stream.write_all(text.as_bytes()).await?;
        loop {
            // What was under way before the answer.
            self.check()?;
            if let Some(answer) = self.answer()? {
                return Ok(answer);
            }
            self.read_stream()
                .await
                .with_context(|| method.to_owned())?;
        }
    }

    /// The answer at the front of what was read, once it is whole.
    fn answer(&mut self) -> anyhow::Result<Option<Answer>> {
        let read = &self.buffer[..self.filled];
        if read.first() == Some(&b'$') {
            return Ok(None);
        }
        let Some(head) = Head::read(read) else {
            return Ok(None);
        };
        let whole = head.bytes + head.body_bytes();
        let Some(body) = read.get(head.bytes..whole) else {
            return Ok(None);
        };
        let session = head.header("Session");
        let answer = Answer {
            status: head.status().context("no answer of RTSP")?,
            start: head.start.to_owned(),
            session: session.map(|text| text.split(';').next().unwrap_or_default().to_owned()),
            base: head.header("Content-Base").map(str::to_owned),
            challenges: head
                .headers("WWW-Authenticate")
                .map(str::to_owned)
                .collect(),
            body: String::from_utf8_lossy(body).into_owned(),
        };
        self.take(whole);
        Ok(Some(answer))
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
                // An answer, while one is awaited; whatever else it is shows when nobody takes it.
                if self.playing && !rest.starts_with(b"RTSP") {
                    bail!("bytes between frames");
                }
                break;
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
        self.read_stream().await
    }

    async fn read_stream(&mut self) -> io::Result<()> {
        let mut room = &mut self.buffer[self.filled..];
        if let Some(per_s) = self.reads_per_s {
            room = sip(room, per_s).await;
        }
        match self.stream.read(room).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            bytes => {
                self.filled += bytes;
                self.received.fetch_add(bytes as u64, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    fn take(&mut self, bytes: usize) {
        if bytes > 0 {
            self.buffer.copy_within(bytes..self.filled, 0);
            self.filled -= bytes;
        }
    }
}

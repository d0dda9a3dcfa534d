//! A lean client of an ImageServer, as far as scrubbing goes: what comes is checked byte count by byte count and time by time.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    checker::Verdict,
    clock::now,
    footage::PICTURE_US,
    image_site::{
        CAMERA, FIRST_MS, GROUP_MS, Groups, HEADER_BYTES, LAST_MS, PICTURES, TOKEN, key_before,
    },
    net,
};

/// As long as clients wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
const READ_BYTES: usize = 64 * 1024;
const PICTURE_MS: i64 = PICTURE_US / 1_000;

/// A connection to a recorder's port, which has let us in.
#[derive(Debug)]
pub(crate) struct ImagePlayer {
    stream: TcpStream,
    /// What came, and how much of it was looked at.
    read: Vec<u8>,
    at: usize,
    number: u32,
    current_ms: i64,
    groups: Arc<Groups>,
    received: Arc<AtomicU64>,
    pub(crate) verdict: Verdict,
}

impl ImagePlayer {
    /// Connects and shows the token; `None` where nobody is let in, as long as it is not known where the recorder is.
    pub(crate) async fn open(
        server: SocketAddr,
        groups: &Arc<Groups>,
        received: &Arc<AtomicU64>,
    ) -> anyhow::Result<Option<Self>> {
        let mut player = Self {
            stream: net::connect(server).await.context("connecting")?,
            read: Vec::with_capacity(READ_BYTES),
            at: 0,
            number: 0,
            current_ms: FIRST_MS,
            groups: Arc::clone(groups),
            received: Arc::clone(received),
            verdict: Verdict::default(),
        };
        let shown = format!(
            "<username>a</username><password>a</password><cameraid>{CAMERA}</cameraid><alwaysstdjpeg>no</alwaysstdjpeg>\
             <connectparam>id={CAMERA}&amp;connectiontoken={TOKEN}</connectparam><clientcapabilities><privacymask>no</privacymask>\
             <multipartdata>yes</multipartdata><datarestriction>no</datarestriction></clientcapabilities>"
        );
        player.send("connect", &shown).await?;
        let answer = tokio::time::timeout(PATIENCE, player.head()).await;
        let answer = answer.context("no answer to connect")??;
        Ok(answer
            .contains("<connected>yes</connected>")
            .then_some(player))
    }

    /// Asks for what is there at an instant; gives back how long it took until all of it was there.
    pub(crate) async fn goto(&mut self, ms: i64) -> anyhow::Result<f64> {
        let expected = key_before(ms);
        self.timed("goto", &format!("<time>{ms}</time>"), expected)
            .await
    }

    /// Asks for the next group.
    pub(crate) async fn next(&mut self) -> anyhow::Result<f64> {
        let expected = (self.current_ms + GROUP_MS).min(LAST_MS);
        self.timed("next", "", expected).await
    }

    /// Asks for so many groups at once, as clients do that play; gives back how long it took until all of them were there.
    pub(crate) async fn steps(&mut self, count: u32) -> anyhow::Result<f64> {
        let (asked, first) = (now(), self.number + 1);
        let answered = async {
            for _ in 0..count {
                self.send("next", "").await?;
            }
            for number in first..first + count {
                self.current_ms = (self.current_ms + GROUP_MS).min(LAST_MS);
                self.group(self.current_ms, number).await?;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(PATIENCE, answered)
            .await
            .context("steps are not answered")??;
        Ok(now().saturating_duration_since(asked).as_secs_f64() * 1e3)
    }

    async fn timed(&mut self, method: &str, elements: &str, expected: i64) -> anyhow::Result<f64> {
        let asked = now();
        let answered = async {
            self.send(method, elements).await?;
            self.group(expected, self.number).await
        };
        tokio::time::timeout(PATIENCE, answered)
            .await
            .with_context(|| format!("{method} is not answered"))??;
        self.current_ms = expected;
        let took_ms = now().saturating_duration_since(asked).as_secs_f64() * 1e3;
        self.verdict.first_ms.push(took_ms);
        Ok(took_ms)
    }

    async fn send(&mut self, method: &str, elements: &str) -> anyhow::Result<()> {
        self.number += 1;
        let call = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><methodcall><requestid>{}</requestid><methodname>{method}</methodname>{elements}</methodcall>\r\n\r\n",
            self.number
        );
        self.stream
            .write_all(call.as_bytes())
            .await
            .context("asking")
    }

    /// One answer: the group that was asked for, and whole.
    async fn group(&mut self, expected: i64, asked: u32) -> anyhow::Result<()> {
        let head = self.head().await?;
        ensure!(
            head.starts_with("ImageResponse\r\n"),
            "no picture: {head:.100}"
        );
        let number = |name: &str| -> anyhow::Result<i64> {
            let line = head
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            Ok(line.with_context(|| format!("no {name}"))?.parse()?)
        };
        ensure!(
            number("RequestId")? == i64::from(asked),
            "another's answer: {head}"
        );
        let (before, next) = (
            (expected - GROUP_MS).max(FIRST_MS),
            (expected + GROUP_MS).min(LAST_MS),
        );
        let told = [number("Prev")?, number("Current")?, number("Next")?];
        ensure!(
            told == [before, expected, next],
            "{told:?} where {expected} is"
        );
        let (_, boundary) = head
            .split_once("boundary=")
            .context("not in several parts")?;
        let boundary = boundary
            .split(';')
            .next()
            .unwrap_or_default()
            .trim_matches('"');
        let (part, end) = (format!("--{boundary}"), format!("--{boundary}--"));
        for index in 0..PICTURES {
            ensure!(self.line().await? == part, "no part {index}");
            let head = self.head().await?;
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("Content-length: "));
            let length: usize = length.context("a part without length")?.parse()?;
            let wanted = self.groups.picture_bytes(index).unwrap_or(0) + HEADER_BYTES;
            ensure!(
                length == wanted,
                "picture {index} of {length} bytes, and not of {wanted}"
            );
            self.fill(length + 2).await?;
            let (key_ms, at_ms) = times(&self.read[self.at..]).context("no picture")?;
            let wanted = expected + index as i64 * PICTURE_MS;
            ensure!(
                (key_ms, at_ms) == (expected, wanted),
                "picture {index} of {at_ms} in the group of {key_ms}"
            );
            self.at += length + 2;
            self.verdict.pictures += 1;
        }
        if self.line().await? != end || !self.line().await?.is_empty() {
            bail!("more parts than pictures");
        }
        Ok(())
    }

    /// What stands before the next empty line, which is taken with it.
    async fn head(&mut self) -> anyhow::Result<String> {
        self.until(b"\r\n\r\n").await
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        self.until(b"\r\n").await
    }

    async fn until(&mut self, mark: &[u8]) -> anyhow::Result<String> {
        loop {
            let found = self.read[self.at..]
                .windows(mark.len())
                .position(|bytes| bytes == mark);
            if let Some(found) = found {
                let end = self.at + found;
                let text = String::from_utf8_lossy(&self.read[self.at..end]).into_owned();
                self.at = end + mark.len();
                return Ok(text);
            }
            self.more().await?;
        }
    }

    async fn fill(&mut self, bytes: usize) -> anyhow::Result<()> {
        while self.read.len() < self.at + bytes {
            self.more().await?;
        }
        Ok(())
    }

    async fn more(&mut self) -> anyhow::Result<()> {
        if self.at == self.read.len() {
            self.read.clear();
            self.at = 0;
        } else if self.at > READ_BYTES {
            self.read.drain(..self.at);
            self.at = 0;
        }
        self.read.reserve(READ_BYTES);
        let read = self.stream.read_buf(&mut self.read).await?;
        ensure!(read > 0, "closed by the server");
        self.received.fetch_add(read as u64, Ordering::Relaxed);
        Ok(())
    }
}

/// The times of a group and of a picture of it, in a header of GenericByteData.
fn times(header: &[u8]) -> Option<(i64, i64)> {
    let eight = |at: usize| Some(i64::from_be_bytes(header.get(at..at + 8)?.try_into().ok()?));
    (header.get(..2)? == [0, 0x10]).then_some(())?;
    Some((eight(12)?, eight(20)?))
}

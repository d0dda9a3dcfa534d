//! A lean HTTP client that fetches clips one after the other and checks them as they come.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use anyhow::{Context, bail};
use tokio::sync::watch;

use crate::{
    checker::Verdict,
    clock::now,
    message::{Head, to_iso},
    movie::Movie,
    player::{Wish, sip},
    wire::Stream,
};

const BUFFER_BYTES: usize = 128 * 1024;

/// Fetches clips of so many seconds until told to stop.
pub(crate) async fn play(
    wish: Wish,
    seconds: u64,
    received: Arc<AtomicU64>,
    mut stop: watch::Receiver<bool>,
) -> Verdict {
    let mut verdict = Verdict::default();
    let mut start_us = wish.start_us.unwrap_or_default();
    loop {
        let mut movie = Movie::new(wish.footage.clone(), start_us, now());
        let outcome = tokio::select! {
            () = async { drop(stop.wait_for(|stop| *stop).await) } => None,
            outcome = clip(&wish, start_us, seconds, &received, &mut movie) => Some(outcome),
        };
        let over = !matches!(outcome, Some(Ok(())));
        if let Some(Err(error)) = outcome {
            movie.verdict.fault(format!("{error:#}"));
        }
        if !over && wish.footage.is_some() && movie.verdict.pictures != seconds * 25 {
            let pictures = movie.verdict.pictures;
            movie
                .verdict
                .fault(format!("{pictures} pictures in {seconds} s"));
        }
        verdict = Verdict::merged([verdict, movie.verdict]);
        if over {
            return verdict;
        }
        start_us += seconds as i64 * 1_000_000;
    }
}

/// Fetches one clip.
async fn clip(
    wish: &Wish,
    start_us: i64,
    seconds: u64,
    received: &AtomicU64,
    movie: &mut Movie,
) -> anyhow::Result<()> {
    let mut stream = Stream::open(wish.server, &wish.host, None).await?;
    let request = format!(
        "GET /get?path={}&start={}&duration={seconds}&format=fmp4 HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        wish.path,
        to_iso(start_us),
        wish.host
    );
    stream.write_all(request.as_bytes()).await?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut read = Vec::new();
    let mut body: Option<Body> = None;
    loop {
        let room = match wish.reads_per_s {
            Some(per_s) => sip(&mut buffer, per_s).await,
            None => &mut buffer,
        };
        let bytes = stream.read(room).await?;
        if bytes == 0 {
            bail!("the body is cut off");
        }
        received.fetch_add(bytes as u64, Ordering::Relaxed);
        let now = now();
        if let Some(body) = &mut body {
            if body.take(&buffer[..bytes], movie, now)? {
                return Ok(());
            }
            continue;
        }
        read.extend_from_slice(&buffer[..bytes]);
        let Some(head) = Head::read(&read) else {
            continue;
        };
        if head.status() != Some(200) {
            bail!("GET: {}", head.start);
        }
        let chunked = head
            .header("Transfer-Encoding")
            .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
        let mut begun = match head.header("Content-Length") {
            Some(length) if !chunked => Body::Counted(length.parse().context("length")?),
            _ if chunked => Body::Chunked {
                state: Chunk::Size(Vec::new()),
            },
            _ => bail!("a body without length"),
        };
        if begun.take(&read[head.bytes..], movie, now)? {
            return Ok(());
        }
        body = Some(begun);
    }
}

/// How much of the body is still to come.
#[derive(Debug)]
enum Body {
    Counted(usize),
    Chunked { state: Chunk },
}

#[derive(Debug)]
enum Chunk {
    /// The line that says how long the next is.
    Size(Vec<u8>),
    Data(usize),
    /// The line end behind one, and whether it was the last.
    End(usize, bool),
}

impl Body {
    /// Hands on what belongs to the body; whether that was all.
    fn take(&mut self, bytes: &[u8], movie: &mut Movie, now: Instant) -> anyhow::Result<bool> {
        let state = match self {
            Self::Counted(rest) => {
                let there = bytes.len().min(*rest);
                movie.take(&bytes[..there], now)?;
                *rest -= there;
                return Ok(*rest == 0);
            }
            Self::Chunked { state } => state,
        };
        let mut rest = bytes;
        while !rest.is_empty() {
            match state {
                Chunk::Size(line) => {
                    line.push(rest[0]);
                    rest = &rest[1..];
                    if line.ends_with(b"\r\n") {
                        let text = std::str::from_utf8(line)?.trim();
                        let text = text.split(';').next().unwrap_or_default();
                        let size = usize::from_str_radix(text, 16).context("size of a chunk")?;
                        *state = match size {
                            0 => Chunk::End(2, true),
                            size => Chunk::Data(size),
                        };
                    }
                }
                Chunk::Data(size) => {
                    let there = rest.len().min(*size);
                    movie.take(&rest[..there], now)?;
                    rest = &rest[there..];
                    *size -= there;
                    if *size == 0 {
                        *state = Chunk::End(2, false);
                    }
                }
                Chunk::End(left, last) => {
                    let there = rest.len().min(*left);
                    rest = &rest[there..];
                    *left -= there;
                    if *left == 0 {
                        if *last {
                            return Ok(true);
                        }
                        *state = Chunk::Size(Vec::new());
                    }
                }
            }
        }
        Ok(false)
    }
}

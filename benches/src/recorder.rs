//! The far end: a recorder that costs little itself, so that what stands in front of it is what is measured.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    clock::{now, sleep_until},
    footage::{Footage, GROUP_US, PICTURE_US},
    message::{Head, to_clock},
    net,
};

/// What is prepared ahead of a write where nobody asks for pacing.
const AHEAD_BYTES: usize = 128 * 1024;
const REQUEST_BYTES: usize = 16 * 1024;

/// Serves the footage, whatever the camera's name, to any number of clients; gives back its address.
pub(crate) fn start(footage: &Arc<Footage>) -> io::Result<SocketAddr> {
    let listener = net::listen()?;
    let address = listener.local_addr()?;
    let footage = Arc::clone(footage);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let session = Session::new(stream, Arc::clone(&footage));
            // A client that goes away in mid-play is how most of them end.
            tokio::spawn(async move { drop(session.serve().await) });
        }
    });
    Ok(address)
}

struct Session {
    stream: TcpStream,
    footage: Arc<Footage>,
    read: Vec<u8>,
    out: Vec<u8>,
    /// Of `out`.
    written: usize,
    play: Option<Play>,
    sequence: u16,
    over: bool,
}

/// Media under way.
struct Play {
    /// The next picture, counted from 1970.
    next: i64,
    /// When the next picture is due; `None` for as fast as the client reads.
    due: Option<Instant>,
}

impl Session {
    fn new(stream: TcpStream, footage: Arc<Footage>) -> Self {
        Self {
            stream,
            footage,
            read: Vec::new(),
            out: Vec::new(),
            written: 0,
            play: None,
            sequence: 0,
            over: false,
        }
    }

    async fn serve(mut self) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        let mut block = vec![0; REQUEST_BYTES];
        loop {
            self.fill();
            if self.over && self.out.is_empty() {
                return Ok(());
            }
            let due = self.play.as_ref().and_then(|play| play.due);
            let rests = self.out.is_empty();
            let (mut reader, mut writer) = self.stream.split();
            tokio::select! {
                biased;
                wrote = writer.write(&self.out[self.written..]), if !rests => {
                    self.written += wrote?;
                    if self.written == self.out.len() {
                        self.out.clear();
                        self.written = 0;
                    }
                }
                got = reader.read(&mut block) => match got? {
                    0 => return Ok(()),
                    bytes => {
                        self.read.extend_from_slice(&block[..bytes]);
                        self.answer_all();
                    }
                },
                () = sleep_until(due.unwrap_or_else(now)), if rests && due.is_some() => {}
            }
        }
    }

    /// Prepares the pictures that are due.
    fn fill(&mut self) {
        let Some(play) = self.play.as_mut().filter(|_| self.out.is_empty()) else {
            return;
        };
        let until = match play.due {
            Some(_) => 1,
            None => AHEAD_BYTES,
        };
        while self.out.len() < until {
            if let Some(due) = &mut play.due {
                if *due > now() {
                    return;
                }
                *due += Duration::from_micros(PICTURE_US as u64);
            }
            self.footage
                .append(play.next, &mut self.sequence, &mut self.out);
            play.next += 1;
        }
    }

    fn answer_all(&mut self) {
        let read = std::mem::take(&mut self.read);
        let mut rest = &read[..];
        loop {
            // Receiver reports are of no interest.
            let report = match rest {
                [b'$', _, high, low, ..] => {
                    Some(4 + usize::from(u16::from_be_bytes([*high, *low])))
                }
                _ => None,
            };
            let head = Head::read(rest).filter(|_| report.is_none());
            let whole = report.or(head.as_ref().map(|head| head.bytes + head.body_bytes()));
            let Some(after) = whole.and_then(|whole| rest.get(whole..)) else {
                break;
            };
            if let Some(head) = head {
                self.answer(&head);
            }
            rest = after;
        }
        self.read = rest.to_vec();
    }

    fn answer(&mut self, head: &Head<'_>) {
        let mut headers = vec![format!("CSeq: {}", head.header("CSeq").unwrap_or("0"))];
        let mut body = String::new();
        if head.header("Session").is_some() || head.method() == "SETUP" {
            headers.push("Session: 1;timeout=60".into());
        }
        match head.method() {
            "OPTIONS" => {
                headers.push("Public: DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER".into());
            }
            "DESCRIBE" => {
                let uri = head.start.split(' ').nth(1).unwrap_or_default();
                headers.push(format!("Content-Base: {}/", uri.trim_end_matches('/')));
                headers.push("Content-Type: application/sdp".into());
                body = Footage::sdp();
                headers.push(format!("Content-Length: {}", body.len()));
            }
            "SETUP" => headers.push("Transport: RTP/AVP/TCP;unicast;interleaved=0-1".into()),
            "PLAY" => {
                let start = Footage::key_before(head.range_start().unwrap_or(0));
                let paced = head.header("Rate-Control") != Some("no");
                let next = start * GROUP_US / PICTURE_US;
                headers.push(format!("Range: clock={}-", to_clock(next * PICTURE_US)));
                if !paced {
                    headers.push("Rate-Control: no".into());
                }
                self.play = Some(Play {
                    next,
                    due: paced.then(now),
                });
            }
            "TEARDOWN" => {
                self.play = None;
                self.over = true;
            }
            _ => {}
        }
        let text = format!("RTSP/1.0 200 OK\r\n{}\r\n\r\n{body}", headers.join("\r\n"));
        self.out.extend_from_slice(text.as_bytes());
    }
}

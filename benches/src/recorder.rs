//! The far end: a recorder that costs little itself, so that what stands in front of it is what is measured.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    clock::{monotonic_ns, now, sleep_until},
    footage::{Footage, GROUP_US},
    message::{Head, to_clock, to_iso},
    net,
    relay::CLOCKED,
    scenario::START_US,
};

/// How paths begin whose footage is sent as fast as it is read, also to who cannot ask for that.
pub(crate) const UNPACED: &str = "unpaced";
/// What is prepared ahead of a write where nobody asks for pacing.
const AHEAD_BYTES: usize = 128 * 1024;
const REQUEST_BYTES: usize = 16 * 1024;
/// How much of its footage it lists.
const LISTED_US: i64 = 3_600_000_000;

/// What it holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holds {
    /// The first `held_us` of every `every_us`, counted from 1970; what lies between is a hole.
    pub(crate) held_us: i64,
    pub(crate) every_us: i64,
}

impl Holds {
    /// Without holes.
    pub(crate) const ALL: Self = Self {
        held_us: GROUP_US,
        every_us: GROUP_US,
    };

    /// The first picture at or behind one that is held, `picture_us` being from one to the next.
    fn next_held(self, picture: i64, picture_us: i64) -> i64 {
        let at_us = picture * picture_us;
        if at_us.rem_euclid(self.every_us) < self.held_us {
            return picture;
        }
        (at_us.div_euclid(self.every_us) + 1) * self.every_us / picture_us
    }
}

/// What was asked of it.
#[derive(Debug, Default)]
pub(crate) struct Books {
    open: AtomicUsize,
    peak: AtomicUsize,
    plays: AtomicUsize,
    requests: AtomicUsize,
    /// Writes what happens to standard output, for a parent that reads it.
    aloud: bool,
}

impl Books {
    pub(crate) fn aloud() -> Self {
        Self {
            aloud: true,
            ..Self::default()
        }
    }

    /// Most sessions that played at once.
    pub(crate) fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// How often footage was asked for.
    pub(crate) fn plays(&self) -> usize {
        self.plays.load(Ordering::Relaxed)
    }

    /// Requests of any kind.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    fn plays_now(&self, first: bool) {
        self.plays.fetch_add(1, Ordering::Relaxed);
        if first {
            let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
            self.peak.fetch_max(open, Ordering::Relaxed);
        }
        if self.aloud {
            println!("play {}", monotonic_ns());
        }
    }
}

/// A recorder's side.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) footage: Arc<Footage>,
    pub(crate) holds: Holds,
    pub(crate) books: Arc<Books>,
}

/// Serves the footage without holes, whatever the camera's name, to any number of clients; gives back its address.
pub(crate) fn start(footage: &Arc<Footage>) -> io::Result<SocketAddr> {
    let site = Site {
        footage: Arc::clone(footage),
        holds: Holds::ALL,
        books: Arc::default(),
    };
    serve(net::listen(None)?, site)
}

/// The same with holes and books.
pub(crate) fn serve(listener: TcpListener, site: Site) -> io::Result<SocketAddr> {
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let session = Session::new(stream, site.clone());
            // A client that goes away in mid-play is how most of them end.
            tokio::spawn(async move { drop(session.serve().await) });
        }
    });
    Ok(address)
}

struct Session {
    stream: TcpStream,
    site: Site,
    read: Vec<u8>,
    out: Vec<u8>,
    /// Of `out`.
    written: usize,
    play: Option<Play>,
    sequence: u16,
    over: bool,
    /// It has played.
    counted: bool,
}

/// Media under way.
struct Play {
    /// The next picture, counted from 1970.
    next: i64,
    /// When the next picture is due; `None` for as fast as the client reads.
    due: Option<Instant>,
}

impl Session {
    fn new(stream: TcpStream, site: Site) -> Self {
        Self {
            stream,
            site,
            read: Vec::new(),
            out: Vec::new(),
            written: 0,
            play: None,
            sequence: 0,
            over: false,
            counted: false,
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
        let picture_us = self.site.footage.picture_us();
        while self.out.len() < until {
            if let Some(due) = &mut play.due {
                if *due > now() {
                    return;
                }
                *due += Duration::from_micros(picture_us as u64);
            }
            self.site
                .footage
                .append(play.next, &mut self.sequence, &mut self.out);
            play.next = self.site.holds.next_held(play.next + 1, picture_us);
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
        self.site.books.requests.fetch_add(1, Ordering::Relaxed);
        if head.method() == "GET" {
            let body = if head.start.contains("/timeline") {
                timeline(self.site.holds)
            } else {
                "{}".to_owned()
            };
            let text = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            self.out.extend_from_slice(text.as_bytes());
            return;
        }
        let mut headers = vec![format!("CSeq: {}", head.header("CSeq").unwrap_or("0"))];
        let mut body = String::new();
        if head.header("Session").is_some() || head.method() == "SETUP" {
            headers.push("Session: 1;timeout=60".into());
        }
        match head.method() {
            "OPTIONS" => {
                headers
                    .push("Public: DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN, GET_PARAMETER".into());
            }
            "DESCRIBE" => {
                headers.push(format!(
                    "Content-Base: {}/",
                    head.uri().trim_end_matches('/')
                ));
                headers.push("Content-Type: application/sdp".into());
                body = Footage::sdp();
                headers.push(format!("Content-Length: {}", body.len()));
            }
            "SETUP" => headers.push("Transport: RTP/AVP/TCP;unicast;interleaved=0-1".into()),
            "PLAY" => {
                let start = Footage::key_before(head.range_start().unwrap_or(0));
                let within = |what: &str| head.uri().split('/').any(|part| part.starts_with(what));
                let paced = within(CLOCKED)
                    || head.header("Rate-Control") != Some("no") && !within(UNPACED);
                let picture_us = self.site.footage.picture_us();
                let holds = self.site.holds;
                let next = holds.next_held(start * GROUP_US / picture_us, picture_us);
                self.site.books.plays_now(!self.counted);
                self.counted = true;
                headers.push(format!("Range: clock={}-", to_clock(next * picture_us)));
                if !paced {
                    headers.push("Rate-Control: no".into());
                }
                self.play = Some(Play {
                    next,
                    due: paced.then(now),
                });
            }
            // Proxies that keep their sources open pause them while nobody plays.
            "PAUSE" => self.play = None,
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

impl Drop for Session {
    fn drop(&mut self) {
        if self.counted {
            self.site.books.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// As another Seamline says what a camera has: the hour that scenarios play in.
fn timeline(holds: Holds) -> String {
    let span = |kind: &str, from: i64, to: i64| {
        format!(
            r#"{{"kind":"{kind}","from":"{}","to":"{}"}}"#,
            to_iso(from),
            to_iso(to)
        )
    };
    let ends = START_US + LISTED_US;
    let mut spans = Vec::new();
    if holds.held_us >= holds.every_us {
        spans.push(span("leg", START_US, ends));
    } else {
        let mut at = START_US - START_US.rem_euclid(holds.every_us);
        while at < ends {
            spans.push(span("leg", at, at + holds.held_us));
            spans.push(span("hole", at + holds.held_us, at + holds.every_us));
            at += holds.every_us;
        }
    }
    format!(
        r#"{{"merged":[{}],"copies":[],"instances":[]}}"#,
        spans.join(",")
    )
}

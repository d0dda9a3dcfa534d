//! Listings that lie: what a recorder says that it holds, over HTTP, whatever it does hold.

use std::{
    collections::HashMap,
    fmt::Write as _,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    ops::Range,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use super::footage::{PICTURE_MS, PICTURES, captured};

/// How a listing lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Not at all.
    None,
    /// Everything is held, from long before the scene to long after it.
    Boasts,
    /// Of each second the last part is a hole that is none.
    Holes,
    /// Each stretch three times, overlapping, the last one first.
    Heaped,
    /// All of it an hour later than it is.
    HourOff,
    /// Besides what is true: 1970, 2106, no length at all.
    Absurd,
    /// Stretches that end before they begin.
    Reversed,
    /// A million stretches.
    Million,
    /// A well-formed beginning, and more of it for ever.
    Endless,
    /// Half an answer, then silence on an open connection.
    Half,
    /// Nothing is held, it says.
    Empty,
    /// Silence.
    Hangs,
    /// Text of another kind.
    Nonsense,
    /// The first page again and again.
    Repeats,
    /// Another page for ever, each with something new in it.
    Pages,
    /// All of it, and never a word that this was all.
    NeverDone,
    /// Most of it, then a refusal.
    FaultMid,
    /// A search that has no name.
    NoToken,
    /// What it holds as it is, but from 1970 to 2106.
    Bounds,
    /// Its clock stands in 1970.
    Clock,
}

/// All that are told in one answer.
pub const LIES: [Lie; 13] = [
    Lie::None,
    Lie::Boasts,
    Lie::Holes,
    Lie::Heaped,
    Lie::HourOff,
    Lie::Absurd,
    Lie::Reversed,
    Lie::Million,
    Lie::Endless,
    Lie::Half,
    Lie::Empty,
    Lie::Hangs,
    Lie::Nonsense,
];

/// How long a silent one keeps a connection.
pub(super) const SILENCE: Duration = Duration::from_secs(20);
const HOUR_MS: i64 = 3_600_000;

/// Listings of many recorders behind one port, in the words of Nx: `recordedTimePeriods` of a `cameraId`.
#[derive(Debug)]
pub struct Notices {
    port: u16,
    of: Arc<Mutex<HashMap<String, Notice>>>,
}

/// What a recorder holds, and how it lies about that.
#[derive(Clone, Debug)]
pub(super) struct Notice {
    lie: Lie,
    held: Vec<Range<u32>>,
}

impl Default for Notices {
    fn default() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
        let address = listener.local_addr();
        let port = address.expect("a bound socket has an address").port();
        let of: Arc<Mutex<HashMap<String, Notice>>> = Arc::default();
        let all = Arc::clone(&of);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let all = Arc::clone(&all);
                thread::spawn(move || drop(serve(stream, &all)));
            }
        });
        Self { port, of }
    }
}

impl Notices {
    /// What this recorder holds, and how it tells.
    pub fn post(&self, name: &str, held: &[Range<u32>], lie: Lie) {
        let notice = Notice::new(lie, held);
        let mut of = self.of.lock().expect("no thread panics while it looks");
        of.insert(name.to_owned(), notice);
    }

    /// Where to ask.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Notice {
    pub(super) fn new(lie: Lie, held: &[Range<u32>]) -> Self {
        Self {
            lie,
            held: held.to_vec(),
        }
    }

    /// What is said to be held: from when, and how long, in milliseconds.
    pub(super) fn periods(&self) -> Vec<(i64, i64)> {
        let length = |stretch: &Range<u32>| i64::from(stretch.end - stretch.start) * PICTURE_MS;
        let truth = self
            .held
            .iter()
            .map(|stretch| (captured(stretch.start), length(stretch)));
        let whole = i64::from(PICTURES) * PICTURE_MS;
        match self.lie {
            Lie::Boasts => vec![(captured(0) - HOUR_MS, whole + 2 * HOUR_MS)],
            Lie::Holes => (0..whole / 1000)
                .map(|second| (captured(0) + second * 1000, 700))
                .collect(),
            Lie::Heaped => {
                let heaped = truth.flat_map(|(from, length)| {
                    let half = length / 2;
                    [(from, length), (from + half / 2, half), (from, half)]
                });
                let mut heaped: Vec<_> = heaped.collect();
                heaped.reverse();
                heaped
            }
            Lie::HourOff => truth
                .map(|(from, length)| (from + HOUR_MS, length))
                .collect(),
            Lie::Absurd => {
                let absurd = [
                    (0, 1),
                    (0, 0),
                    (4_294_967_295_000, 1000),
                    (captured(700), 0),
                ];
                truth.chain(absurd).collect()
            }
            Lie::Reversed => truth
                .map(|(from, length)| (from + length, -length))
                .collect(),
            Lie::Million => (0..1_000_000)
                .map(|nth| (captured(0) + nth * PICTURE_MS, PICTURE_MS / 2))
                .collect(),
            Lie::Empty => Vec::new(),
            _ => truth.collect(),
        }
    }
}

fn serve(mut stream: TcpStream, all: &Mutex<HashMap<String, Notice>>) -> std::io::Result<()> {
    stream.set_write_timeout(Some(SILENCE))?;
    stream.set_read_timeout(Some(SILENCE))?;
    let mut buffer = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = buffer.drain(..end + 4).collect();
                break String::from_utf8_lossy(&head).into_owned();
            }
            let mut block = [0; 1024];
            let read = stream.read(&mut block)?;
            if read == 0 {
                return Ok(());
            }
            buffer.extend_from_slice(&block[..read]);
        };
        let target = head.split(' ').nth(1).unwrap_or_default();
        let named = target
            .split(['?', '&'])
            .find_map(|part| part.strip_prefix("cameraId="));
        let notice = {
            let all = all.lock().expect("no thread panics while it looks");
            named.and_then(|name| all.get(name).cloned())
        };
        match notice {
            Some(notice) => tell(&mut stream, &notice)?,
            // A ping, of no one in particular.
            None => answer(&mut stream, "{}")?,
        }
    }
}

fn answer(stream: &mut TcpStream, body: &str) -> std::io::Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

fn tell(stream: &mut TcpStream, notice: &Notice) -> std::io::Result<()> {
    let mut body = String::from(r#"{"error":"0","reply":["#);
    for (nth, (from, length)) in notice.periods().into_iter().enumerate() {
        let comma = if nth > 0 { "," } else { "" };
        let _ = write!(
            body,
            r#"{comma}{{"startTimeMs":{from},"durationMs":{length}}}"#
        );
    }
    body.push_str("]}");
    match notice.lie {
        Lie::Nonsense => answer(stream, "<html>It works!</html>"),
        Lie::Hangs => hang(stream),
        Lie::Half => {
            let length = body.len();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes())?;
            stream.write_all(&body.as_bytes()[..length / 2])?;
            hang(stream)
        }
        Lie::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            let open = body.trim_end_matches("]}");
            write!(stream, "{:x}\r\n{open}\r\n", open.len())?;
            let more = r#",{"startTimeMs":1,"durationMs":1}"#.repeat(1000);
            loop {
                write!(stream, "{:x}\r\n{more}\r\n", more.len())?;
            }
        }
        _ => answer(stream, &body),
    }
}

/// Says nothing more until the other side gives up.
pub(super) fn hang(stream: &mut TcpStream) -> std::io::Result<()> {
    while stream.read(&mut [0; 1024])? > 0 {}
    Err(std::io::ErrorKind::ConnectionAborted.into())
}

//! A recorder of made footage that follows a script: RTSP replay by absolute time, as much of it as a proxy asks for.

use std::{
    collections::HashMap,
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use socket2::SockRef;

use super::{
    footage::{PICTURE_MS, captured},
    script::{Door, Part, Phase, Play},
};
use crate::clock::{from_range_time, monotonic, range_time, wall_ms};

/// How long a connection may be silent, or take nothing, before the recorder forgets it.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a recorder that holds pictures back looks whether it still does.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Many recorders behind one port: the first element of a path is a recorder, and its only camera.
#[derive(Debug)]
pub struct Stage {
    port: u16,
    parts: Arc<Mutex<HashMap<String, Arc<Role>>>>,
}

/// A part, and how far it has come.
#[derive(Debug)]
struct Role {
    part: Part,
    connections: AtomicUsize,
    plays: AtomicUsize,
    /// The first picture that it holds back for now.
    held_back: AtomicU32,
}

impl Default for Stage {
    fn default() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
        let port = listener
            .local_addr()
            .expect("a bound socket has an address")
            .port();
        let parts: Arc<Mutex<HashMap<String, Arc<Role>>>> = Arc::default();
        let cast = Arc::clone(&parts);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let cast = Arc::clone(&cast);
                thread::spawn(move || Connection::new(stream, cast).serve());
            }
        });
        Self { port, parts }
    }
}

impl Stage {
    /// Puts a recorder on the stage.
    pub fn play(&self, name: &str, part: Part) {
        let role = Role {
            part,
            connections: AtomicUsize::new(0),
            plays: AtomicUsize::new(0),
            held_back: AtomicU32::new(u32::MAX),
        };
        self.parts
            .lock()
            .expect("no thread panics while it looks")
            .insert(name.to_owned(), Arc::new(role));
    }

    /// How often a recorder was asked to play.
    pub fn plays(&self, name: &str) -> usize {
        let parts = self.parts.lock().expect("no thread panics while it looks");
        parts[name].plays.load(Ordering::Relaxed)
    }

    /// A recorder keeps this picture and all behind it to itself, whoever plays, until it is told otherwise.
    pub fn hold_back(&self, name: &str, from: u32) {
        let parts = self.parts.lock().expect("no thread panics while it looks");
        parts[name].held_back.store(from, Ordering::Relaxed);
    }

    /// Where all of them are.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where a recorder is.
    pub fn url(&self, name: &str) -> String {
        format!("rtsp://127.0.0.1:{}/{name}", self.port)
    }
}

impl Role {
    fn check_flap(&self) -> Result<(), End> {
        let down = self.part.flaps && wall_ms() / 1000 % 2 == 1;
        if down { Err(End::Reset) } else { Ok(()) }
    }
}

struct Connection {
    stream: TcpStream,
    cast: Arc<Mutex<HashMap<String, Arc<Role>>>>,
    role: Option<Arc<Role>>,
    door: Door,
    buffer: Vec<u8>,
    sequence: u16,
}

/// Why a connection ends.
enum End {
    /// As the script or the other side wants it.
    Over,
    /// With RST.
    Reset,
}

impl From<std::io::Error> for End {
    fn from(_: std::io::Error) -> Self {
        Self::Over
    }
}

struct Request {
    method: String,
    uri: String,
    head: String,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'));
        let found = lines.find(|(have, _)| have.trim().eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim())
    }

    fn phase(&self) -> Option<Phase> {
        Some(match self.method.as_str() {
            "OPTIONS" => Phase::Options,
            "DESCRIBE" => Phase::Describe,
            "SETUP" => Phase::Setup,
            "PLAY" => Phase::Play,
            _ => return None,
        })
    }
}

impl Connection {
    fn new(stream: TcpStream, cast: Arc<Mutex<HashMap<String, Arc<Role>>>>) -> Self {
        Self {
            stream,
            cast,
            role: None,
            door: Door::Open,
            buffer: Vec::new(),
            sequence: 7,
        }
    }

    fn serve(mut self) {
        if let Err(End::Reset) = self.run() {
            // No lingering: what is unsent is thrown away, and RST tells.
            drop(SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)));
        }
    }

    fn run(&mut self) -> Result<(), End> {
        self.stream.set_nodelay(true)?;
        self.stream.set_write_timeout(Some(PATIENCE))?;
        loop {
            let request = self.request(PATIENCE)?.ok_or(End::Over)?;
            // A knock at the port is no one's.
            if request.method == "OPTIONS" && self.name_of(&request).is_none() {
                self.answer(&request, 200, &["Public: OPTIONS"], "")?;
                continue;
            }
            let role = self.enter(&request)?;
            role.check_flap()?;
            if let Some(phase) = request.phase() {
                self.pass(phase, &request)?;
            }
            let part = &role.part;
            match request.method.as_str() {
                "OPTIONS" => self.answer(
                    &request,
                    200,
                    &["Public: DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER"],
                    "",
                )?,
                "DESCRIBE" => {
                    let base = format!("Content-Base: {}/", request.uri.trim_end_matches('/'));
                    self.answer(
                        &request,
                        200,
                        &[&base, "Content-Type: application/sdp"],
                        &part.encoder.sdp(),
                    )?;
                }
                "SETUP" => self.answer(
                    &request,
                    200,
                    &[
                        "Session: 1;timeout=60",
                        "Transport: RTP/AVP/TCP;unicast;interleaved=0-1",
                    ],
                    "",
                )?,
                "PLAY" => self.play(&role, &request)?,
                "TEARDOWN" => {
                    self.answer(&request, 200, &["Session: 1"], "")?;
                    return Ok(());
                }
                _ => self.answer(&request, 200, &["Session: 1"], "")?,
            }
        }
    }

    /// The recorder that the first request is for; from then on its door is this connection's.
    fn enter(&mut self, request: &Request) -> Result<Arc<Role>, End> {
        if let Some(role) = &self.role {
            return Ok(Arc::clone(role));
        }
        let role = self.name_of(request).ok_or(End::Over)?;
        let nth = role.connections.fetch_add(1, Ordering::Relaxed);
        self.door = *nth_or_last(&role.part.doors, nth);
        self.role = Some(Arc::clone(&role));
        self.pass(Phase::Connect, request)?;
        Ok(role)
    }

    fn name_of(&self, request: &Request) -> Option<Arc<Role>> {
        let path = request.uri.split('?').next().unwrap_or_default();
        let name = path.split('/').nth(3).unwrap_or_default();
        let cast = self.cast.lock().expect("no thread panics while it looks");
        cast.get(name).cloned()
    }

    /// What the script has for this phase.
    fn pass(&mut self, now: Phase, request: &Request) -> Result<(), End> {
        match self.door {
            Door::Reset(phase) if phase == now => Err(End::Reset),
            Door::Close(phase) if phase == now => Err(End::Over),
            Door::Hang(phase) if phase == now => self.hang(),
            Door::Status(phase, status) if phase == now => {
                self.answer(request, status, &[], "")?;
                Err(End::Over)
            }
            _ => Ok(()),
        }
    }

    /// Says nothing until the other side gives up.
    fn hang(&mut self) -> Result<(), End> {
        while self.request(PATIENCE)?.is_some() {}
        Err(End::Over)
    }

    fn play(&mut self, role: &Role, request: &Request) -> Result<(), End> {
        let nth = role.plays.fetch_add(1, Ordering::Relaxed);
        let play = *nth_or_last(&role.part.plays, nth);
        let part = &role.part;
        let range = request
            .header("Range")
            .and_then(|range| range.strip_prefix("clock="));
        let ranged = range.and_then(|range| from_range_time(range.split('-').next()?));
        let asked = position(&request.uri)
            .or(ranged)
            .unwrap_or_else(|| captured(0));
        let asked = (asked - captured(0)).div_euclid(PICTURE_MS);
        // Not before the scene, and at the picture that is shown at that instant.
        let asked = asked.max(0) as u32;
        let start = part
            .held
            .iter()
            .find(|stretch| stretch.end > asked)
            .map(|stretch| part.encoder.key_before(asked).max(stretch.start));
        let Some(mut next) = start else {
            return Ok(self.answer(request, 457, &["Session: 1"], "")?);
        };
        if let Play::Late(pictures) = play {
            // Never by less than three pictures: a start that is late by two is within the phase of two cameras' clocks.
            let late = (next + pictures).max(asked + 3);
            next = part.encoder.key_before(late + part.encoder.group - 1);
        }
        let date = |index: u32| match play {
            Play::Live => wall_ms() + i64::from(index - next) * PICTURE_MS,
            Play::Shifted(by) => captured(index) + by,
            Play::Stepped(after, by) if index >= next + after => captured(index) + by,
            _ => captured(index),
        };
        let range = format!("Range: clock={}-", range_time(captured(next)));
        self.answer(
            request,
            200,
            &["Session: 1", &range, "Rate-Control: no"],
            "",
        )?;
        let end = part.held.last().map_or(0, |stretch| stretch.end);
        let (mut sent, mut sent_bytes, begun) = (0_u32, 0_u32, monotonic());
        let mut block = Vec::new();
        for index in next..end {
            role.check_flap()?;
            let (skipped, over) = match play {
                Play::Skips(after, pictures) => {
                    let at = part
                        .encoder
                        .key_before(next + after + pictures + part.encoder.group);
                    ((next + after..at).contains(&index), false)
                }
                Play::Silent(pictures) | Play::Close(pictures) | Play::Bye(pictures) => {
                    (false, sent >= pictures)
                }
                _ => (false, false),
            };
            if over {
                break;
            }
            if skipped || !part.holds(index) {
                continue;
            }
            while index >= role.held_back.load(Ordering::Relaxed) {
                self.attend(LOOK_EVERY)?;
            }
            block.clear();
            part.encoder
                .frames(index, date(index), &mut self.sequence, &mut block);
            if let Play::Reset(bytes, wait) = play
                && sent_bytes + block.len() as u32 > bytes
            {
                self.stream
                    .write_all(&block[..(bytes - sent_bytes) as usize])?;
                thread::sleep(wait);
                return Err(End::Reset);
            }
            self.stream.write_all(&block)?;
            sent_bytes += block.len() as u32;
            sent += 1;
            if let Some(rate) = part.rate {
                let due = begun + Duration::from_secs(1) * sent / rate;
                thread::sleep(due.saturating_sub(monotonic()));
            }
            self.attend(Duration::ZERO)?;
        }
        match play {
            Play::Silent(_) => self.hang(),
            Play::Close(_) => Err(End::Over),
            _ => {
                // BYE of the sender, as recorders send it at their end.
                self.stream
                    .write_all(&[b'$', 1, 0, 8, 0x81, 203, 0, 1, b'l', b'i', b'a', b'r'])?;
                Ok(())
            }
        }
    }

    /// Whoever asks in mid play, at the latest within this time, is answered, and whoever leaves is left.
    fn attend(&mut self, within: Duration) -> Result<(), End> {
        let mut within = within;
        while let Some(request) = self.request(within)? {
            self.answer(&request, 200, &["Session: 1"], "")?;
            if request.method == "TEARDOWN" {
                return Err(End::Over);
            }
            within = Duration::ZERO;
        }
        Ok(())
    }

    fn answer(
        &mut self,
        to: &Request,
        status: u16,
        headers: &[&str],
        body: &str,
    ) -> std::io::Result<()> {
        let cseq = to.header("CSeq").unwrap_or("0");
        let mut text = format!("RTSP/1.0 {status} So\r\nCSeq: {cseq}\r\n");
        for header in headers {
            text += header;
            text += "\r\n";
        }
        let length = body.len();
        let text = format!("{text}Content-Length: {length}\r\n\r\n{body}");
        self.stream.write_all(text.as_bytes())
    }

    /// The next request within this time; `None` when none came.
    fn request(&mut self, within: Duration) -> Result<Option<Request>, End> {
        let deadline = monotonic() + within;
        loop {
            while self.buffer.first() == Some(&b'$') {
                let Some(&[_, _, high, low]) = self.buffer.first_chunk::<4>() else {
                    break;
                };
                let length = 4 + usize::from(u16::from_be_bytes([high, low]));
                if self.buffer.len() < length {
                    break;
                }
                self.buffer.drain(..length);
            }
            let end = self.buffer.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.drain(..end + 4);
                let mut words = head.split(' ').map(str::to_owned);
                return Ok(Some(Request {
                    method: words.next().unwrap_or_default(),
                    uri: words.next().unwrap_or_default(),
                    head,
                }));
            }
            let left = deadline.saturating_sub(monotonic());
            self.stream.set_nonblocking(left.is_zero())?;
            if !left.is_zero() {
                self.stream.set_read_timeout(Some(left))?;
            }
            let mut block = [0; 4096];
            let read = self.stream.read(&mut block);
            self.stream.set_nonblocking(false)?;
            match read {
                Ok(0) => return Err(End::Over),
                Ok(count) => self.buffer.extend_from_slice(&block[..count]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The time in a URL, as Nx has it.
fn position(uri: &str) -> Option<i64> {
    let (_, query) = uri.split_once("?pos=")?;
    let digits = query.split(|byte: char| !byte.is_ascii_digit()).next()?;
    digits.parse().ok()
}

fn nth_or_last<T>(of: &[T], nth: usize) -> &T {
    of.get(nth)
        .or(of.last())
        .expect("a script has at least one")
}

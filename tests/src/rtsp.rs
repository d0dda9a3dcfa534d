//! A small RTSP client of the tests' own: requests, responses and interleaved frames over one TCP connection.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use socket2::{Domain, Socket, Type};

use crate::clock::monotonic;

/// How long a response may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Connects from this address.
pub fn connect_from(address: &str, to: SocketAddr) -> TcpStream {
    let from = SocketAddr::new(address.parse().expect("an address"), 0);
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)
        .and_then(|socket| {
            socket.bind(&from.into())?;
            socket.connect(&to.into())?;
            Ok(socket)
        })
        .unwrap_or_else(|error| panic!("{to} from {address}: {error}"));
    socket.into()
}

/// A response.
#[derive(Clone, Debug)]
pub struct Response {
    /// 200 is good.
    pub status: u16,
    /// In the order received.
    pub headers: Vec<(String, String)>,
    /// Empty when there is none.
    pub body: String,
}

impl Response {
    /// The first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(have, _)| have.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// An interleaved frame.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Even: RTP, odd: RTCP, as this client sets up.
    pub channel: u8,
    /// Without the four bytes in front.
    pub bytes: Vec<u8>,
    /// On the monotonic clock.
    pub arrival: Duration,
}

/// What a server sends.
#[derive(Clone, Debug)]
pub enum Message {
    /// Answer to a request.
    Response(Response),
    /// Media.
    Frame(Frame),
    /// The server closed the connection.
    Closed,
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    socket: TcpStream,
    buffer: Vec<u8>,
    cseq: u32,
    session: Option<String>,
    /// Frames that came while a response was awaited.
    pub frames: Vec<Frame>,
}

impl Client {
    /// Connects to the host of an `rtsp://` URL.
    pub fn connect(url: &str) -> Self {
        let authority = url.split('/').nth(2).expect("an URL has a host");
        let socket = TcpStream::connect(authority).unwrap_or_else(|error| panic!("{url}: {error}"));
        Self::on(socket)
    }

    /// As [`Self::connect`], from this address.
    pub fn connect_from(address: &str, url: &str) -> Self {
        let authority = url.split('/').nth(2).expect("an URL has a host");
        let to = authority.parse().expect("ours are addresses");
        Self::on(connect_from(address, to))
    }

    fn on(socket: TcpStream) -> Self {
        Self {
            socket,
            buffer: Vec::new(),
            cseq: 0,
            session: None,
            frames: Vec::new(),
        }
    }

    /// Sends a request and waits for its response; frames in between are kept in [`Self::frames`].
    pub fn request(&mut self, method: &str, url: &str, headers: &[(&str, &str)]) -> Response {
        self.send(method, url, headers);
        let deadline = monotonic() + ANSWER_WITHIN;
        loop {
            match self.next(deadline) {
                Some(Message::Response(response)) => {
                    if let Some(session) = response.header("Session") {
                        self.session = session.split(';').next().map(str::to_owned);
                    }
                    return response;
                }
                Some(Message::Frame(frame)) => self.frames.push(frame),
                Some(Message::Closed) => panic!("closed instead of an answer to {method} {url}"),
                None => panic!("no answer to {method} {url} within {ANSWER_WITHIN:?}"),
            }
        }
    }

    /// Sends a request and does not wait.
    pub fn send(&mut self, method: &str, url: &str, headers: &[(&str, &str)]) {
        self.cseq += 1;
        let mut lines = vec![
            format!("{method} {url} RTSP/1.0"),
            format!("CSeq: {}", self.cseq),
        ];
        lines.extend(
            headers
                .iter()
                .map(|(name, value)| format!("{name}: {value}")),
        );
        lines.extend(
            self.session
                .iter()
                .map(|session| format!("Session: {session}")),
        );
        let text = lines.join("\r\n") + "\r\n\r\n";
        self.socket
            .write_all(text.as_bytes())
            .expect("the server reads");
    }

    /// Sends bytes as they are; a server that has already closed is no error.
    pub fn raw(&mut self, bytes: &[u8]) -> bool {
        self.socket.write_all(bytes).is_ok()
    }

    /// The session that the server named.
    pub fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// Says it belongs to this session from now on.
    pub fn claim(&mut self, session: Option<&str>) {
        self.session = session.map(str::to_owned);
    }

    /// The next response, whatever media comes in between; `None` when the server closes first.
    pub fn answer(&mut self) -> Option<Response> {
        let deadline = monotonic() + ANSWER_WITHIN;
        loop {
            match self.next(deadline) {
                Some(Message::Response(response)) => return Some(response),
                Some(Message::Frame(frame)) => self.frames.push(frame),
                Some(Message::Closed) => return None,
                None => panic!("neither an answer nor an end within {ANSWER_WITHIN:?}"),
            }
        }
    }

    /// Takes so many bytes off the wire and no more; how many there were.
    pub fn sip(&mut self, count: usize) -> usize {
        let mut drops = vec![0; count];
        self.socket
            .set_read_timeout(Some(ANSWER_WITHIN))
            .expect("a positive timeout is fine");
        let read = self.socket.read(&mut drops).unwrap_or(0);
        self.buffer.extend_from_slice(&drops[..read]);
        read
    }

    /// The number of the latest request.
    pub fn cseq(&self) -> u32 {
        self.cseq
    }

    /// The next message, `None` when none came until `deadline` (monotonic).
    pub fn next(&mut self, deadline: Duration) -> Option<Message> {
        loop {
            if let Some(message) = self.take() {
                return Some(message);
            }
            let left = deadline
                .checked_sub(monotonic())
                .filter(|left| !left.is_zero())?;
            self.socket
                .set_read_timeout(Some(left))
                .expect("a positive timeout is fine");
            let mut block = [0; 16_384];
            match self.socket.read(&mut block) {
                Ok(0) => return Some(Message::Closed),
                Ok(count) => self.buffer.extend_from_slice(&block[..count]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return None;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Some(Message::Closed),
            }
        }
    }

    /// A whole message out of the buffer.
    fn take(&mut self) -> Option<Message> {
        if self.buffer.first() == Some(&b'$') {
            let head = self.buffer.get(..4)?;
            let (channel, length) = (head[1], usize::from(u16::from_be_bytes([head[2], head[3]])));
            let bytes = self.buffer.get(4..4 + length)?.to_vec();
            self.buffer.drain(..4 + length);
            return Some(Message::Frame(Frame {
                channel,
                bytes,
                arrival: monotonic(),
            }));
        }
        let end = self
            .buffer
            .windows(4)
            .position(|bytes| bytes == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let status_line = lines.next().unwrap_or_default();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
            .collect();
        let status = status_line
            .split(' ')
            .nth(1)
            .and_then(|word| word.parse().ok());
        let status = status.unwrap_or_else(|| panic!("not a response: {status_line}"));
        let mut response = Response {
            status,
            headers,
            body: String::new(),
        };
        let length = response
            .header("Content-Length")
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        let body = self.buffer.get(end + 4..end + 4 + length)?;
        response.body = String::from_utf8_lossy(body).into_owned();
        self.buffer.drain(..end + 4 + length);
        Some(Message::Response(response))
    }
}

//! RTSP over WebSocket (ONVIF Streaming, 5.1.1): binary messages with the bytes of an RTSP connection in them.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::task::{Context, Poll};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWriteExt;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Error, Message};

use super::super::link::Link;
use super::ONVIF_PROTOCOL;

/// Longest message of a client: a request with the longest body, or frames.
const MESSAGE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Room for reading; clients say little.
const READ_BYTES: usize = 4 * 1024;
/// Messages are put together until they come to this, then written.
const WRITE_BYTES: usize = 128 * 1024;
/// Messages without footage or requests in them (pings, and empty ones) that are read in one go.
const EMPTY_MESSAGES_MAX: usize = 64;
/// Bytes of a client's key before its base64 (RFC 6455 §4.1).
const KEY_BYTES: usize = 16;

/// One connection inside WebSocket.
pub(in crate::inbound) struct WebSocket {
    socket: tungstenite::WebSocket<Pipe>,
    /// Something is to be flushed.
    holds_back: bool,
    /// What came with the request may hold messages already; afterwards the socket alone says so.
    primed: bool,
    peer: SocketAddr,
    local: SocketAddr,
}

/// Whether a text is a key that a client may send.
pub(super) fn is_key(text: &str) -> bool {
    STANDARD
        .decode(text)
        .is_ok_and(|key| key.len() == KEY_BYTES)
}

impl WebSocket {
    /// Answers the request with this key.
    pub(super) async fn accept(mut link: Link, key: &str) -> io::Result<Self> {
        let accept = derive_accept_key(key.as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {ONVIF_PROTOCOL}\r\n\r\n"
        );
        link.write_all(answer.as_bytes()).await?;
        link.flush().await?;
        let (peer, local) = (link.peer(), link.local());
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(WRITE_BYTES * 2)
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let pipe = Pipe {
            link,
            read: BytesMut::new(),
        };
        Ok(WebSocket {
            socket: tungstenite::WebSocket::from_raw_socket(pipe, Role::Server, Some(config)),
            holds_back: false,
            primed: true,
            peer,
            local,
        })
    }

    pub(in crate::inbound) fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub(in crate::inbound) fn is_sealed(&self) -> bool {
        self.socket.get_ref().link.is_sealed()
    }

    pub(in crate::inbound) fn local(&self) -> SocketAddr {
        self.local
    }

    pub(in crate::inbound) fn poll_read_ready(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.primed {
            return Poll::Ready(Ok(()));
        }
        self.socket.get_mut().link.poll_read_ready(cx)
    }

    pub(in crate::inbound) fn poll_write_ready(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.socket.get_mut().link.poll_write_ready(cx)
    }

    /// As [`Link::try_read`], one message at a time.
    pub(in crate::inbound) fn try_read(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        for _ in 0..EMPTY_MESSAGES_MAX {
            // Whether this message is the last that came is not told: the next read finds out.
            self.primed = false;
            match self.socket.read() {
                Ok(Message::Binary(bytes)) if bytes.is_empty() => {}
                Ok(Message::Binary(bytes)) => {
                    self.primed = true;
                    into.extend_from_slice(&bytes);
                    return Ok(bytes.len());
                }
                Ok(Message::Text(_)) => {
                    let _ = self.socket.close(Some(CloseFrame {
                        code: CloseCode::Unsupported,
                        reason: "RTSP comes in binary messages".into(),
                    }));
                    let _ = self.socket.flush();
                    return Err(ErrorKind::InvalidData.into());
                }
                // Its answer waits to be flushed.
                Ok(_) => self.holds_back = true,
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => return Ok(0),
                Err(Error::Io(error)) => return Err(error),
                Err(error) => return Err(io::Error::new(ErrorKind::InvalidData, error)),
            }
        }
        // There is more of it: it is read after everybody else had their turn.
        self.primed = true;
        Err(ErrorKind::WouldBlock.into())
    }

    /// As [`Link::try_write`]: a message a slice, since each is whole frames or one message of RTSP.
    pub(in crate::inbound) fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.try_flush()?;
        let mut taken = 0;
        for slice in slices {
            let message = Message::Binary(Bytes::copy_from_slice(slice));
            self.socket.write(message).map_err(plain)?;
            taken += slice.len();
            if taken >= WRITE_BYTES {
                break;
            }
        }
        self.holds_back = true;
        match self.try_flush() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            Ok(()) | Err(_) => Ok(taken),
        }
    }

    pub(in crate::inbound) fn holds_back(&self) -> bool {
        self.holds_back || self.socket.get_ref().link.holds_back()
    }

    pub(in crate::inbound) fn try_flush(&mut self) -> io::Result<()> {
        if self.holds_back {
            match self.socket.flush() {
                Ok(()) | Err(Error::ConnectionClosed) => self.holds_back = false,
                Err(error) => return Err(plain(error)),
            }
        }
        self.socket.get_mut().link.try_flush()
    }
}

fn plain(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        error => io::Error::other(error),
    }
}

/// The link as tungstenite wants it.
struct Pipe {
    link: Link,
    read: BytesMut,
}

impl Read for Pipe {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.read.is_empty() && self.link.try_read(&mut self.read)? == 0 {
            return Ok(0);
        }
        let taken = self.read.len().min(buf.len());
        self.read
            .copy_to_slice(buf.get_mut(..taken).unwrap_or_default());
        Ok(taken)
    }
}

impl Write for Pipe {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.link.try_write(&[IoSlice::new(buf)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.link.try_flush()
    }
}

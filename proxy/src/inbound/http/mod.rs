//! HTTP on the port. Tunnels and WebSockets carry RTSP; everything else is the [`service`]'s.

mod base64;
mod batched;
mod cameras;
mod description;
mod errors;
mod events;
mod export;
mod gate;
mod get;
mod head;
mod health;
mod hls;
mod list;
mod metrics;
mod page;
mod passthrough;
mod patience;
mod ranges;
mod scrub;
mod service;
mod sessions;
mod settings;
mod snapshot;
mod timeline;
mod times;
mod tunnel;
mod websocket;

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

pub(super) use head::{Head, HeadError};
pub(super) use passthrough::headers;
pub use passthrough::{Rule, Target};
pub(super) use patience::Patient;
pub(super) use service::Service;
pub use settings::{Cors, HttpSettings};
pub(super) use tunnel::{Tunnel, Tunnels};
pub(super) use websocket::WebSocket;

use super::hall::Hall;
use super::link::Link;
use super::rtsp::Wire;

/// The tunnel's own media type.
const TUNNELLED: &str = "application/x-rtsp-tunnelled";
/// The subprotocol of RTSP over WebSocket (ONVIF Streaming, 5.1.1).
const ONVIF_PROTOCOL: &str = "rtsp.onvif.org";
/// Longest cookie of a tunnel; those of players have 16 to 23 characters.
const COOKIE_BYTES_MAX: usize = 256;

/// How long, and how much, a client that was refused may go on sending before its connection is closed.
const LINGER_MAX: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 64 * 1024;

/// What a request wants.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Errand {
    /// The half of a tunnel that we write to.
    Down { cookie: String },
    /// The half of a tunnel that we read from.
    Up { cookie: String },
    /// RTSP over WebSocket.
    WebSocket { key: String },
    /// Something that cannot be served, and its status.
    Refused(Status),
    /// Nothing of RTSP.
    Other,
}

/// A status line without its version.
type Status = &'static str;

const BAD_REQUEST: Status = "400 Bad Request";
const NOT_FOUND: Status = "404 Not Found";
const TOO_LONG: Status = "431 Request Header Fields Too Large";
const NOT_ALLOWED: Status = "405 Method Not Allowed";
const UPGRADE_REQUIRED: Status = "426 Upgrade Required\r\nSec-WebSocket-Version: 13";

/// Does what the request asks; gives back what RTSP is to be spoken over, if it is.
pub(super) async fn receive(
    link: Link,
    head: Head,
    hall: &Hall,
    mut shutdown: watch::Receiver<bool>,
) -> Option<Wire> {
    match errand(&head) {
        Errand::Other if hall.http_refused => {
            tracing::info!(peer = %link.peer(), method = head.method, path = head.path, "HTTP is switched off");
            refuse(link, NOT_FOUND).await;
            None
        }
        Errand::Other => {
            hall.service.serve(link, head, shutdown).await;
            None
        }
        errand => tokio::select! {
            wire = carry(link, &head, errand, hall) => wire,
            _ = shutdown.wait_for(|down| *down) => None,
        },
    }
}

/// Makes a connection ready to carry RTSP.
async fn carry(link: Link, head: &Head, errand: Errand, hall: &Hall) -> Option<Wire> {
    let peer = link.peer();
    match errand {
        Errand::Down { cookie } => hall.tunnels.down(link, cookie).await.map(Wire::tunnel),
        Errand::Up { cookie } => {
            hall.tunnels.up(link, cookie).await;
            None
        }
        Errand::WebSocket { key } => match WebSocket::accept(link, &key).await {
            Ok(socket) => Some(Wire::web_socket(socket)),
            Err(error) => {
                tracing::debug!(%peer, %error, "client gone");
                None
            }
        },
        Errand::Refused(status) => {
            tracing::info!(%peer, status, method = head.method, path = head.path, "HTTP request refused");
            refuse(link, status).await;
            None
        }
        Errand::Other => None,
    }
}

/// Answers a head that cannot be read.
pub(super) async fn refuse_head(link: Link, error: HeadError) {
    match error {
        HeadError::TooLong => refuse(link, TOO_LONG).await,
        HeadError::Malformed => refuse(link, BAD_REQUEST).await,
        HeadError::Gone => {}
    }
}

/// Answers with a status and closes. The client may be gone; that is its own affair.
pub(super) async fn refuse(mut link: Link, status: Status) {
    let reason = status.lines().next().unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{reason}\n",
        reason.len() + 1
    );
    if link.write_all(answer.as_bytes()).await.is_err() || link.shutdown().await.is_err() {
        return;
    }
    // What is closed with bytes unread is reset, and the answer is lost with it.
    let mut unread = BytesMut::with_capacity(LINGER_BYTES_MAX);
    let rest = async {
        while matches!(link.read_buf(&mut unread).await, Ok(1..)) && unread.len() < LINGER_BYTES_MAX
        {
        }
    };
    let _ = tokio::time::timeout(LINGER_MAX, rest).await;
}

fn errand(head: &Head) -> Errand {
    if let Some(cookie) = head.header("x-sessioncookie") {
        let usable = !cookie.is_empty()
            && cookie.len() <= COOKIE_BYTES_MAX
            && cookie.bytes().all(|byte| byte.is_ascii_graphic());
        let cookie = cookie.to_owned();
        return match head.method.as_str() {
            _ if !usable => Errand::Refused(BAD_REQUEST),
            "GET" => Errand::Down { cookie },
            "POST" => Errand::Up { cookie },
            _ => Errand::Refused(NOT_ALLOWED),
        };
    }
    if head.has_token("Accept", TUNNELLED) || head.has_token("Content-Type", TUNNELLED) {
        return Errand::Refused(BAD_REQUEST);
    }
    let upgrades =
        head.has_token("Upgrade", "websocket") && head.has_token("Connection", "upgrade");
    if !(upgrades && head.has_token("Sec-WebSocket-Protocol", ONVIF_PROTOCOL)) {
        return Errand::Other;
    }
    match head.header("Sec-WebSocket-Key") {
        _ if head.method != "GET" => Errand::Refused(NOT_ALLOWED),
        _ if head.header("Sec-WebSocket-Version") != Some("13") => {
            Errand::Refused(UPGRADE_REQUIRED)
        }
        Some(key) if websocket::is_key(key) => Errand::WebSocket {
            key: key.to_owned(),
        },
        _ => Errand::Refused(BAD_REQUEST),
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;

    fn asked(text: &str) -> Errand {
        let text = text.replace('\n', "\r\n") + "\r\n";
        let (head, _) = Head::parse(&mut BytesMut::from(text.as_str()))
            .unwrap()
            .unwrap();
        errand(&head)
    }

    #[test]
    fn players_tunnels_are_known() {
        // As FFmpeg, GStreamer and openRTSP write it.
        let ffmpeg = "GET /gate HTTP/1.1\nx-sessioncookie: 5f3a9c0d1e2b4a67\nAccept: application/x-rtsp-tunnelled\nRange: bytes=0-\n";
        let down = Errand::Down {
            cookie: "5f3a9c0d1e2b4a67".to_owned(),
        };
        assert_eq!(asked(ffmpeg), down);
        let gstreamer = "POST /gate HTTP/1.0\nX-SessionCookie: abcdefghijklmnopqrstuvw\nContent-Type: application/x-rtsp-tunnelled\nContent-Length: 32767\n";
        let up = Errand::Up {
            cookie: "abcdefghijklmnopqrstuvw".to_owned(),
        };
        assert_eq!(asked(gstreamer), up);
    }

    #[test]
    fn half_a_tunnel_is_refused() {
        let long = "x".repeat(COOKIE_BYTES_MAX + 1);
        for (request, status) in [
            (
                "GET / HTTP/1.0\nAccept: application/x-rtsp-tunnelled\n",
                BAD_REQUEST,
            ),
            ("GET / HTTP/1.0\nx-sessioncookie:\n", BAD_REQUEST),
            ("GET / HTTP/1.0\nx-sessioncookie: a b\n", BAD_REQUEST),
            (
                &*format!("GET / HTTP/1.0\nx-sessioncookie: {long}\n"),
                BAD_REQUEST,
            ),
            ("PUT / HTTP/1.0\nx-sessioncookie: a\n", NOT_ALLOWED),
        ] {
            assert_eq!(asked(request), Errand::Refused(status), "{request}");
        }
    }

    #[test]
    fn web_sockets_are_rtsp_only_by_onvifs_name() {
        let upgrade =
            "GET /ws HTTP/1.1\nHost: h\nUpgrade: WebSocket\nConnection: keep-alive, Upgrade\n";
        let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n";
        let version = "Sec-WebSocket-Version: 13\n";
        let protocol = "Sec-WebSocket-Protocol: chat, rtsp.onvif.org\n";
        let whole = asked(&[upgrade, key, version, protocol].concat());
        assert_eq!(
            whole,
            Errand::WebSocket {
                key: "dGhlIHNhbXBsZSBub25jZQ==".to_owned()
            }
        );
        assert_eq!(asked(&[upgrade, key, version].concat()), Errand::Other);
        let no_version = asked(&[upgrade, key, protocol].concat());
        assert_eq!(no_version, Errand::Refused(UPGRADE_REQUIRED));
        let no_key = asked(&[upgrade, version, protocol].concat());
        assert_eq!(no_key, Errand::Refused(BAD_REQUEST));
        assert_eq!(asked("GET /index.html HTTP/1.1\nHost: h\n"), Errand::Other);
    }
}

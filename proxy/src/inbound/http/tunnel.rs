//! RTSP over HTTP: a GET that we write to, a POST that we read from, tied by a cookie.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use smallvec::SmallVec;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::super::link::Link;
use super::base64::Decoder;
use super::{BAD_REQUEST, refuse};

/// How long one half waits for the other.
const ORPHAN_MAX: Duration = Duration::from_secs(10);

/// The answer to GET. Without a length it lasts as long as the connection; it names no other address to POST to.
const ANSWER: &[u8] =
    b"HTTP/1.0 200 OK\r\nConnection: close\r\nCache-Control: no-store\r\nPragma: no-cache\r\n\
    Content-Type: application/x-rtsp-tunnelled\r\n\r\n";

/// What ties two connections together. A cookie that somebody else guessed is of another address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    cookie: String,
    peer: IpAddr,
    sealed: bool,
}

/// Tunnels that are open, and halves that wait.
#[derive(Clone, Debug, Default)]
pub(in crate::inbound) struct Tunnels(Arc<DashMap<Key, Pair>>);

#[derive(Debug)]
struct Pair {
    /// Brings POSTs to the GET. One may wait while another is open: clients open the next when they close one.
    posts: mpsc::Sender<Link>,
    /// The end that the GET will take, while there is none.
    untaken: Option<mpsc::Receiver<Link>>,
}

impl Pair {
    fn new() -> (Self, mpsc::Receiver<Link>) {
        let (posts, coming) = mpsc::channel(1);
        let pair = Pair {
            posts,
            untaken: None,
        };
        (pair, coming)
    }
}

impl Tunnels {
    /// Answers a GET and waits for its POST.
    pub(super) async fn down(&self, mut link: Link, cookie: String) -> Option<Tunnel> {
        let peer = link.peer();
        let key = key(&link, cookie);
        let taken = match self.0.entry(key.clone()) {
            Entry::Occupied(mut pair) => pair.get_mut().untaken.take(),
            Entry::Vacant(place) => {
                let (pair, coming) = Pair::new();
                place.insert(pair);
                Some(coming)
            }
        };
        let Some(mut coming) = taken else {
            tracing::info!(%peer, "a second GET with one cookie");
            refuse(link, BAD_REQUEST).await;
            return None;
        };
        let place = Place {
            tunnels: self.0.clone(),
            key,
        };
        link.write_all(ANSWER).await.ok()?;
        link.flush().await.ok()?;
        let mut more = BytesMut::new();
        let post = tokio::select! {
            post = tokio::time::timeout(ORPHAN_MAX, coming.recv()) => post.ok().flatten(),
            // Its end, or something that no GET goes on with.
            _ = link.read_buf(&mut more) => None,
        };
        let Some(post) = post else {
            tracing::info!(%peer, "a tunnel's GET without its POST");
            return None;
        };
        tracing::debug!(%peer, "tunnel");
        Some(Tunnel {
            down: link,
            up: Some(post),
            coming,
            decoder: Decoder::default(),
            asides: Asides::default(),
            text: BytesMut::new(),
            _place: place,
        })
    }

    /// Brings a POST to its GET, or waits for that.
    pub(super) async fn up(&self, link: Link, cookie: String) {
        let peer = link.peer();
        let key = key(&link, cookie);
        let (posts, waits) = match self.0.entry(key.clone()) {
            Entry::Occupied(pair) => (pair.get().posts.clone(), false),
            Entry::Vacant(place) => {
                let (mut pair, coming) = Pair::new();
                pair.untaken = Some(coming);
                (place.insert(pair).posts.clone(), true)
            }
        };
        if let Err(refused) = posts.try_send(link) {
            tracing::info!(%peer, "more POSTs than a tunnel takes");
            refuse(refused.into_inner(), BAD_REQUEST).await;
            return;
        }
        if !waits {
            return;
        }
        tokio::time::sleep(ORPHAN_MAX).await;
        let orphan = self.0.remove_if(&key, |_, pair| {
            pair.untaken.is_some() && pair.posts.same_channel(&posts)
        });
        let link = orphan.and_then(|(_, pair)| pair.untaken?.try_recv().ok());
        if let Some(link) = link {
            tracing::info!(%peer, "a tunnel's POST without its GET");
            refuse(link, BAD_REQUEST).await;
        }
    }
}

fn key(link: &Link, cookie: String) -> Key {
    Key {
        cookie,
        peer: link.peer().ip().to_canonical(),
        sealed: link.is_sealed(),
    }
}

/// A tunnel's place in the table, given back with it.
struct Place {
    tunnels: Arc<DashMap<Key, Pair>>,
    key: Key,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.tunnels.remove(&self.key);
    }
}

/// Both halves.
pub(in crate::inbound) struct Tunnel {
    down: Link,
    /// `None` between two POSTs.
    up: Option<Link>,
    coming: mpsc::Receiver<Link>,
    decoder: Decoder,
    asides: Asides,
    /// What was read and is not decoded yet; kept for its room.
    text: BytesMut,
    _place: Place,
}

impl Tunnel {
    pub(in crate::inbound) fn peer(&self) -> SocketAddr {
        self.down.peer()
    }

    /// Both halves are, or neither is: an unlike half is not of this tunnel.
    pub(in crate::inbound) fn is_sealed(&self) -> bool {
        self.down.is_sealed()
    }

    pub(in crate::inbound) fn local(&self) -> SocketAddr {
        self.down.local()
    }

    /// The half that is written to.
    pub(in crate::inbound) fn down(&self) -> &Link {
        &self.down
    }

    /// The half that is written to.
    pub(in crate::inbound) fn down_mut(&mut self) -> &mut Link {
        &mut self.down
    }

    pub(in crate::inbound) fn poll_read_ready(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.down.poll_read_ready(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        loop {
            if let Some(up) = &mut self.up {
                return up.poll_read_ready(cx);
            }
            match self.coming.poll_recv(cx) {
                Poll::Ready(Some(post)) => {
                    self.up = Some(post);
                    self.decoder = Decoder::default();
                }
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// As [`Link::try_read`], decoded. The end is that of the GET: POSTs come and go.
    pub(in crate::inbound) fn try_read(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        self.text.clear();
        match self.down.try_read(&mut self.text) {
            Ok(0) => return Ok(0),
            Ok(_) => {
                self.asides.pass(&self.text)?;
                self.text.clear();
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        let Some(up) = &mut self.up else {
            return Err(ErrorKind::WouldBlock.into());
        };
        match up.try_read(&mut self.text) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(error),
            Ok(0) | Err(_) => {
                self.up = None;
                return Err(ErrorKind::WouldBlock.into());
            }
            Ok(_) => {}
        }
        let before = into.len();
        self.decoder
            .push(&self.text, into)
            .map_err(|garbage| io::Error::new(ErrorKind::InvalidData, garbage))?;
        match into.len() - before {
            0 => Err(ErrorKind::WouldBlock.into()),
            bytes => Ok(bytes),
        }
    }
}

/// Interleaved frames behind a GET, not encoded: live555 (openRTSP, VLC) sends its receiver reports there. They say nothing that taking
/// the media does not say. Nothing else belongs there, least of all the tunnel's own POST.
#[derive(Debug, Default)]
struct Asides {
    head: SmallVec<[u8; 4]>,
    /// What is left of the frame.
    left: usize,
}

impl Asides {
    fn pass(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while let Some((first, behind)) = bytes.split_first() {
            if self.left > 0 {
                let passed = self.left.min(bytes.len());
                self.left -= passed;
                bytes = bytes.get(passed..).unwrap_or_default();
                continue;
            }
            if self.head.is_empty() && *first != b'$' {
                return Err(ErrorKind::InvalidData.into());
            }
            self.head.push(*first);
            bytes = behind;
            if let [_, _, high, low] = *self.head {
                self.left = usize::from(u16::from_be_bytes([high, low]));
                self.head.clear();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_behind_a_get_are_passed_over_however_they_are_cut_and_nothing_else_is() {
        let frames = b"$\x01\0\x03RTP$\x03\0\0$\x01\0\x01$";
        for size in 1..=frames.len() {
            let mut asides = Asides::default();
            assert!(frames.chunks(size).all(|piece| asides.pass(piece).is_ok()));
            assert!(asides.pass(b"POST /gate HTTP/1.0").is_err(), "{size}");
        }
        assert!(Asides::default().pass(b"OPTIONS").is_err());
    }
}

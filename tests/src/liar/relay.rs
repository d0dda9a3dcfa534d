//! A way that delays and loses: TCP between two parties, each piece later than it was sent, some by as long as a lost segment takes
//! to be sent again.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use socket2::SockRef;

use super::Rng;
use crate::clock::monotonic;

/// What a way does to what is on it.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// From one end to the other.
    pub delay: Duration,
    /// One piece in so many is lost once.
    pub lost_one_in: u64,
    /// What that costs, and all that is behind it.
    pub again_after: Duration,
}

/// A listener that leads to another port.
#[derive(Debug)]
pub struct Relay {
    port: u16,
}

/// A piece, and when it arrives; none of the first is the end.
type Piece = (Vec<u8>, Duration);

impl Relay {
    /// A way to a port of this machine.
    pub fn to(port: u16, way: Way) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
        let address = listener.local_addr();
        let here = address.expect("a bound socket has an address").port();
        thread::spawn(move || {
            for (nth, near) in listener.incoming().map_while(Result::ok).enumerate() {
                let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else {
                    continue;
                };
                for (from, to, seed) in [(&near, &far, 2 * nth), (&far, &near, 2 * nth + 1)] {
                    let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else {
                        continue;
                    };
                    thread::spawn(move || carry(from, to, way, seed as u64));
                }
            }
        });
        Self { port: here }
    }

    /// Its near end.
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn carry(mut from: TcpStream, to: TcpStream, way: Way, seed: u64) {
    let rng = &mut Rng::new(seed);
    let (pieces, due) = channel::<Piece>();
    drop(to.set_nodelay(true));
    thread::spawn(move || hand_over(to, &due));
    let mut block = [0; 8192];
    let mut soonest = Duration::ZERO;
    loop {
        let (piece, over) = match from.read(&mut block) {
            Ok(0) | Err(_) => (Vec::new(), true),
            Ok(count) => (block[..count].to_vec(), false),
        };
        let mut arrives = monotonic() + way.delay;
        if rng.once_in(way.lost_one_in) {
            arrives += way.again_after;
        }
        soonest = soonest.max(arrives);
        if pieces.send((piece, soonest)).is_err() || over {
            return;
        }
    }
}

fn hand_over(mut to: TcpStream, due: &Receiver<Piece>) {
    while let Ok((piece, arrives)) = due.recv() {
        thread::sleep(arrives.saturating_sub(monotonic()));
        if piece.is_empty() {
            drop(to.shutdown(Shutdown::Write));
            return;
        }
        if to.write_all(&piece).is_err() {
            // Whoever sends on is told at once.
            drop(SockRef::from(&to).set_linger(Some(Duration::ZERO)));
            drop(to.shutdown(Shutdown::Both));
            return;
        }
    }
}

//! Pairs of ports for media: an even one for RTP, the next for RTCP (RFC 3550 §11).

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;

/// Whether media goes over UDP, and from which ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UdpSettings {
    /// Clients that ask for UDP get 461, and try TCP.
    pub refused: bool,
    /// Where pairs are taken from; the system's choice when not given.
    pub ports: Option<RangeInclusive<u16>>,
}

/// Tries to find a pair: others may be quicker.
const TRIES_MAX: usize = 512;

/// Binds a pair at `address`.
pub(super) fn bind_pair(
    address: IpAddr,
    ports: Option<&RangeInclusive<u16>>,
) -> io::Result<(UdpSocket, UdpSocket)> {
    let bind = |port: u16| UdpSocket::bind(SocketAddr::new(address, port));
    let Some(ports) = ports else {
        return bind_any(address);
    };
    let even = *ports.start() + ports.start() % 2;
    let pairs = usize::from(ports.end().saturating_sub(even).saturating_add(1) / 2);
    if pairs == 0 {
        return Err(io::ErrorKind::AddrNotAvailable.into());
    }
    let first = rand::random_range(0..pairs);
    let mut last = io::ErrorKind::AddrInUse.into();
    for step in 0..pairs.min(TRIES_MAX) {
        let port = even + 2 * ((first + step) % pairs) as u16;
        match bind(port).and_then(|rtp| Ok((rtp, bind(port + 1)?))) {
            Ok(pair) => return Ok(pair),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A pair of the system's choice: it chooses one port, the other is beside it.
fn bind_any(address: IpAddr) -> io::Result<(UdpSocket, UdpSocket)> {
    let bind = |port: u16| UdpSocket::bind(SocketAddr::new(address, port));
    let mut last = io::ErrorKind::AddrInUse.into();
    for _ in 0..TRIES_MAX {
        let one = bind(0)?;
        let port = one.local_addr()?.port();
        match bind(port ^ 1) {
            Ok(other) if port % 2 == 0 => return Ok((one, other)),
            Ok(other) => return Ok((other, one)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn ports((even, odd): &(UdpSocket, UdpSocket)) -> (u16, u16) {
        let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();
        (port(even), port(odd))
    }

    #[test]
    fn pairs_are_even_and_odd() {
        for _ in 0..20 {
            let (even, odd) = ports(&bind_pair(LOOPBACK, None).unwrap());
            assert_eq!((even % 2, odd), (0, even + 1));
        }
    }

    #[test]
    fn a_range_is_kept_and_runs_out() {
        let free = ports(&bind_pair(LOOPBACK, None).unwrap()).0;
        // From an odd port: only whole pairs count.
        let range = (free - 1)..=(free + 1);
        let only = bind_pair(LOOPBACK, Some(&range)).unwrap();
        assert_eq!(ports(&only), (free, free + 1));
        assert!(bind_pair(LOOPBACK, Some(&range)).is_err());
        drop(only);
        assert!(bind_pair(LOOPBACK, Some(&range)).is_ok());
        assert!(bind_pair(LOOPBACK, Some(&(free..=free))).is_err());
    }
}

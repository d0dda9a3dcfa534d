//! Sockets whose segments are those of an Ethernet.
//!
//! A write of 64 KiB on a loopback with its MTU of 65,536 leaves as 65,483 and 53 bytes and costs twice. Both far ends of
//! every relay that is measured limit their segments, so the relays themselves need no change.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener as StdListener},
};

use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// The segment of an Ethernet frame with TCP timestamps.
const SEGMENT_BYTES: u32 = 1_448;
const BACKLOG: u32 = 1_024;

/// Connects with small segments both ways.
pub(crate) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    SockRef::from(&socket).set_tcp_mss(SEGMENT_BYTES)?;
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Listens on a free port of the loopback, with small segments.
pub(crate) fn listen() -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    SockRef::from(&socket).set_tcp_mss(SEGMENT_BYTES)?;
    socket.bind(loopback(0))?;
    socket.listen(BACKLOG)
}

/// An address of the loopback that nobody listens on.
pub(crate) fn free_address() -> io::Result<SocketAddr> {
    StdListener::bind(loopback(0))?.local_addr()
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

//! Sockets whose segments are those of an Ethernet.
//!
//! A write of 64 KiB on a loopback with its MTU of 65,536 leaves as 65,483 and 53 bytes and costs twice. Both far ends of
//! every relay that is measured limit their segments, so the relays themselves need no change.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener as StdListener, UdpSocket as StdSocket},
    sync::Arc,
};

use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::CertificateDer};

/// The segment of an Ethernet frame with TCP timestamps.
const SEGMENT_BYTES: u32 = 1_448;
/// The names in the certificate.
const TLS_NAMES: [&str; 2] = ["localhost", "127.0.0.1"];
/// Asked for; the system gives less where it has a limit.
const RECEIVE_BYTES: usize = 4 * 1024 * 1024;
/// What the kernel holds of a recorder's footage until it is taken (twice, by its own count). Left to itself it comes to 2 MiB for
/// each connection, which elsewhere is the recorder's memory and here is the relay's too: TCP drops what comes once all have used up
/// what the machine has for it.
const SEND_BYTES: u32 = 128 * 1024;
const BACKLOG: u32 = 4_096;

/// Connects with small segments both ways.
pub(crate) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    SockRef::from(&socket).set_tcp_mss(SEGMENT_BYTES)?;
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Listens on the loopback with small segments: on a free port, or on the one that is named.
pub(crate) fn listen(address: Option<SocketAddr>) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    SockRef::from(&socket).set_tcp_mss(SEGMENT_BYTES)?;
    socket.set_send_buffer_size(SEND_BYTES)?;
    socket.set_reuseaddr(true)?;
    socket.bind(address.unwrap_or_else(|| loopback(0)))?;
    socket.listen(BACKLOG)
}

/// An address of the loopback that nobody listens on.
pub(crate) fn free_address() -> io::Result<SocketAddr> {
    StdListener::bind(loopback(0))?.local_addr()
}

/// A socket for media, with all the room that the system gives.
pub(crate) fn receiver() -> io::Result<UdpSocket> {
    let socket = StdSocket::bind(loopback(0))?;
    socket.set_nonblocking(true)?;
    SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BYTES)?;
    UdpSocket::from_std(socket)
}

/// A certificate of our own with its key, as PEM, and a client that trusts it.
pub(crate) fn certificate() -> anyhow::Result<(String, String, Arc<ClientConfig>)> {
    let made = rcgen::generate_simple_self_signed(TLS_NAMES.map(str::to_owned).to_vec())?;
    let trusted = trusting([made.cert.der().clone()])?;
    Ok((made.cert.pem(), made.signing_key.serialize_pem(), trusted))
}

/// A client that trusts these authorities.
pub(crate) fn trusting(
    authorities: impl IntoIterator<Item = CertificateDer<'static>>,
) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority)?;
    }
    let trusted = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(trusted))
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

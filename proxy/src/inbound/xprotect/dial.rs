//! Connections to servers of XProtect, plain or inside TLS.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use seamline_probes::xprotect::handshake_failure;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;

/// A connection.
pub(super) type Dialled = Box<dyn Duplex>;

/// Bytes both ways.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// Connects to an address of the configuration, or one that a site's management server told: inside TLS where it is `https`.
pub(super) async fn dial(url: &Url, tls: Arc<ClientConfig>) -> io::Result<Dialled> {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = url.port_or_known_default().unwrap_or(PORT);
    let stream = TcpStream::connect((host, port)).await?;
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "socket options");
    }
    if url.scheme() != "https" {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let sealed = TlsConnector::from(tls).connect(name, stream).await;
    let sealed = sealed.map_err(|error| io::Error::other(handshake_failure(&error)))?;
    Ok(Box::new(sealed))
}

/// Of a recorder whose address names none.
const PORT: u16 = 7563;

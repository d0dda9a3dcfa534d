//! The connection of a player: plain, or inside TLS.

use std::{io, net::SocketAddr, sync::Arc};

use anyhow::Context;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, pki_types::ServerName},
};

use crate::net;

#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Sealed(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Connects to a server that is called `host`, with or without its port; inside TLS where it is said who is trusted.
    pub(crate) async fn open(
        server: SocketAddr,
        host: &str,
        trusted: Option<&Arc<ClientConfig>>,
    ) -> anyhow::Result<Self> {
        let stream = net::connect(server).await.context("connecting")?;
        let Some(trusted) = trusted else {
            return Ok(Self::Plain(stream));
        };
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let name = ServerName::try_from(name.to_owned())?;
        let sealed = TlsConnector::from(Arc::clone(trusted)).connect(name, stream);
        Ok(Self::Sealed(Box::new(sealed.await.context("TLS")?)))
    }

    pub(crate) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer).await,
            Self::Sealed(stream) => stream.read(buffer).await,
        }
    }

    pub(crate) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes).await,
            Self::Sealed(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }
}

//! The port of a recorder, as clients see it: ImageServer and HTTP, told apart by their first byte, over all sites that record
//! the same cameras.

mod client;
mod grants;
mod http;
mod leg;
mod live;
mod pace;
mod reply;
mod sequences;
mod session;
mod soap;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use seamline_xprotect::relay::ConnectDocument;
use seamline_xprotect::{Call, Method};
use tokio::io::AsyncReadExt;
use tokio::sync::watch;

use self::client::{Client, Gone};
pub(super) use self::grants::Grants;
use self::live::Over;
use self::session::{Outcome, Session};
use super::super::link::Link;
use super::Face;
use crate::clock;

/// The first call must have come within this time.
const FIRST_CALL_WITHIN: Duration = Duration::from_secs(10);
/// Devices that one connection may be refused.
const REFUSALS_MAX: usize = 3;

/// Serves a connection to the recorder with this place among the ports, to its end.
pub(super) async fn serve(
    mut link: Link,
    face: Arc<Face>,
    port: usize,
    mut shutdown: watch::Receiver<bool>,
) {
    let peer = link.peer();
    let Ok(Ok(first)) = tokio::time::timeout(FIRST_CALL_WITHIN, first_byte(&mut link)).await else {
        tracing::debug!(%peer, "connection closed: said nothing within {FIRST_CALL_WITHIN:?}");
        return;
    };
    if first.is_some_and(|byte| byte.is_ascii_alphabetic()) {
        return http::serve(link, face, port, shutdown).await;
    }
    if let Err(error) = link.ask_whether_it_is_there() {
        tracing::debug!(%peer, %error, "socket options");
    }
    let mut client = Client::new(link);
    let ended = tokio::select! {
        ended = converse(&mut client, &face, port, peer) => ended,
        // Recordings are asked for call by call: the next one finds another process.
        _ = shutdown.wait_for(|down| *down) => Err(Ending::Shutdown),
    };
    match ended {
        Err(Ending::Gone(why @ (Gone::Closed | Gone::Io(_)))) => {
            tracing::debug!(%peer, %why, "connection closed");
        }
        Err(why) => tracing::info!(%peer, %why, "connection closed"),
        Ok(()) => tracing::debug!(%peer, "connection closed"),
    }
    client.close().await;
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
enum Ending {
    #[error(transparent)]
    Gone(#[from] Gone),
    #[error("the program stops")]
    Shutdown,
    #[error("it is not known where this recorder is")]
    Nowhere,
    #[error("the first call must be connect")]
    NotConnected,
    #[error("refused too often")]
    Refused,
    #[error("{0}")]
    Closed(String),
}

async fn converse(
    client: &mut Client,
    face: &Arc<Face>,
    port: usize,
    peer: SocketAddr,
) -> Result<(), Ending> {
    let mut session: Option<Session> = None;
    let mut refusals = 0;
    let mut waiting: Option<Bytes> = None;
    loop {
        let patience = session.is_none().then_some(FIRST_CALL_WITHIN);
        let document = match waiting.take() {
            Some(document) => document,
            None => client.call(patience).await?,
        };
        let call = Call::parse(&document).map_err(Gone::from)?;
        let id = call.request_id;
        let outcome = match (call.method, &mut session) {
            (Method::Connect(connect), _) => {
                // Another device: what was open is closed first.
                drop(session.take());
                let Some(recorder) = face.recorders.port(port) else {
                    let (what, now) = (format!("port {port}"), clock::now());
                    face.recorders.look_again(&what, now);
                    return Err(Ending::Nowhere);
                };
                let document = ConnectDocument::new(document, *connect);
                let connected =
                    Session::connect(Arc::clone(face), &recorder, peer, id, document).await;
                match connected {
                    Ok((connected, answer)) => {
                        session = Some(connected);
                        Outcome::Send(vec![answer])
                    }
                    Err(answer) => Outcome::Refuse(answer),
                }
            }
            (_, None) => return Err(Ending::NotConnected),
            (Method::Live { .. }, Some(session)) => {
                match live::serve(client, session, id, &document).await {
                    Over::Asked(document) => {
                        waiting = Some(document);
                        Outcome::Nothing
                    }
                    Over::Stopped => Outcome::Nothing,
                    Over::Gone(gone) => return Err(gone.into()),
                    Over::Close(why) => Outcome::Close(why),
                }
            }
            (method, Some(session)) => {
                // Only steps go on from each other at one recorder: wherever else a call goes, the answer before it may change.
                let steps = matches!(method, Method::Next(_) | Method::Previous(_));
                let alike = |call: &[u8]| Call::parse(call).is_ok_and(|call| call.method == method);
                let behind = if steps { client.alike(alike) } else { 0 };
                session.answer(id, &method, &document, behind).await
            }
        };
        match outcome {
            Outcome::Send(pieces) => client.send(&pieces).await?,
            Outcome::Nothing => {}
            Outcome::Refuse(answer) => {
                client.send(&[answer]).await?;
                refusals += 1;
                if refusals >= REFUSALS_MAX {
                    return Err(Ending::Refused);
                }
            }
            Outcome::Close(why) => return Err(Ending::Closed(why)),
        }
    }
}

async fn first_byte(link: &mut Link) -> std::io::Result<Option<u8>> {
    let mut first = BytesMut::new();
    link.read_buf(&mut first).await?;
    let byte = first.first().copied();
    link.unread(first);
    Ok(byte)
}

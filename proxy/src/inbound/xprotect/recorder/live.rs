//! What the camera sees now, relayed from the recorder that the client means; from another site while that is lost, where the
//! operator allows it.

use std::time::Duration;

use bytes::Bytes;
use seamline_xprotect::{Answer, Call, ImageHead, Incoming, Method, relay};

use super::client::{Client, Gone};
use super::leg::{Fail, Leg, Opening};
use super::session::{Session, answered};

/// Recorders say something at least every five seconds.
const SILENCE_MAX: Duration = Duration::from_secs(7);
/// Sites that are tried for one `live`.
const TRIES_MAX: usize = 16;

/// Why live pictures end.
pub(super) enum Over {
    /// The client asked for something else.
    Asked(Bytes),
    /// The client is gone.
    Gone(Gone),
    /// There are none any more.
    Close(String),
}

/// Sends live pictures until the client asks for something else.
pub(super) async fn serve(
    client: &mut Client,
    session: &mut Session,
    id: i64,
    document: &Bytes,
) -> Over {
    if !session.may_watch_live() {
        return Over::Close("the user may not see it live".to_owned());
    }
    let (_, home, _) = session.live_parts();
    let mut site = home;
    let mut failed = Vec::new();
    for _ in 0..TRIES_MAX {
        let (legs, _, opening) = session.live_parts();
        let Some(leg) = legs.get_mut(site) else {
            break;
        };
        let outcome = relay(client, leg, opening, id, document).await;
        // Pictures that were on their way would be taken for answers to what follows.
        leg.drop_wire();
        let error = match outcome {
            Ok(over) => return over,
            Err(error) => error,
        };
        if session.take(site, Err(error.clone())).is_err() {
            return Over::Close("its recorder does not let it in any more".to_owned());
        }
        failed.push(site);
        let legs = session.live_parts().0.len();
        let next = (0..legs).find(|ix| !failed.contains(ix));
        match next.filter(|_| session.live_fails_over()) {
            Some(next) => {
                tracing::info!(from = session.site(site), to = session.site(next), %error, "live goes on at another site");
                site = next;
            }
            None => break,
        }
    }
    Over::Close("no site has it live".to_owned())
}

async fn relay(
    client: &mut Client,
    leg: &mut Leg,
    opening: &Opening,
    id: i64,
    document: &Bytes,
) -> Result<Over, Fail> {
    let shift_ms = leg.shift_ms();
    let (wire, _) = leg.wire(opening).await?;
    let number = wire.server.number();
    let asked = relay::numbered(document, number);
    wire.server
        .send(&asked.map_err(|error| Fail::Barred(error.to_string()))?);
    let mut head: Option<ImageHead> = None;
    // A token that is renewed in between, and the number that its answer is to have.
    let mut updates: Vec<i64> = Vec::new();
    loop {
        let incoming = tokio::select! {
            incoming = tokio::time::timeout(SILENCE_MAX, wire.server.next()) => incoming,
            call = client.call(None) => {
                let call = match call {
                    Ok(call) => call,
                    Err(gone) => return Ok(Over::Gone(gone)),
                };
                match Call::parse(&call) {
                    Ok(Call { request_id, method: Method::ConnectUpdate(_) }) => {
                        let number = wire.server.number();
                        let asked = relay::numbered(&call, number);
                        wire.server.send(&asked.map_err(|error| Fail::Barred(error.to_string()))?);
                        updates.push(request_id);
                        continue;
                    }
                    Ok(_) => return Ok(Over::Asked(call)),
                    Err(error) => return Ok(Over::Gone(error.into())),
                }
            }
        };
        let incoming = incoming.map_err(|_| Fail::Lost("live pictures stopped".to_owned()))?;
        let pieces = match incoming.map_err(|error| Fail::Lost(error.to_string()))? {
            Incoming::Head(told) => {
                head = Some(told);
                continue;
            }
            Incoming::Body(_) => continue,
            Incoming::Document(document) => match Answer::parse(&document) {
                Ok(Answer::Status { .. }) => {
                    vec![document, Bytes::from_static(seamline_xprotect::TERMINATOR)]
                }
                Ok(Answer::Connected(_)) if !updates.is_empty() => {
                    vec![answered(&document, updates.remove(0))]
                }
                _ => vec![answered(&document, id)],
            },
            Incoming::End => {
                let Some(told) = head.take() else {
                    return Err(Fail::Lost("an answer without a head".to_owned()));
                };
                let moved = |ms: Option<i64>| ms.map(|ms| ms - shift_ms);
                let told = ImageHead {
                    request_id: told.request_id.map(|_| id),
                    prev_ms: moved(told.prev_ms),
                    current_ms: moved(told.current_ms),
                    next_ms: moved(told.next_ms),
                    ..told
                };
                let mut pieces = vec![Bytes::from(told.write())];
                pieces.extend(wire.server.kept().into_iter().map(|piece| {
                    if piece.is_body && shift_ms != 0 {
                        seamline_xprotect::gbd::shifted(&piece.bytes, -shift_ms)
                    } else {
                        piece.bytes
                    }
                }));
                pieces
            }
        };
        if let Err(gone) = client.send(&pieces).await {
            return Ok(Over::Gone(gone));
        }
    }
}

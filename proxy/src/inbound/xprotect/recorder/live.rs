//! What the camera sees now, relayed from the recorder that the client means; from another site while that is lost, where the
//! operator allows it.
//!
//! Pictures go on while a client shows another token, moves the camera, or asks what nobody here knows.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use seamline_xprotect::{Answer, Call, ImageHead, Incoming, Kept, Method, gbd, relay};

use super::client::{Client, Gone};
use super::leg::{Fail, Leg, Opening};
use super::session::{Outcome, Session, answered};
use crate::clock;

/// Recorders say something at least every five seconds.
const SILENCE_MAX: Duration = Duration::from_secs(7);
/// What a recorder says to `stop` is waited for no longer, where it says anything.
const STOPS_WITHIN: Duration = Duration::from_secs(1);
/// Calls during `live` that are not answered yet.
const ASIDES_MAX: usize = 64;

/// Why live pictures end.
pub(super) enum Over {
    /// The client asked for something else.
    Asked(Bytes),
    /// The client had enough, and its recorder knows.
    Stopped,
    /// The client is gone.
    Gone(Gone),
    /// There are none any more.
    Close(String),
}

/// Why a site's pictures are not passed on for now.
enum Halt {
    Over(Over),
    /// The client asked what is no matter of this site; its pictures go on behind that.
    Aside(Bytes),
}

/// What is under way at one site.
#[derive(Default)]
struct Feed {
    has_begun: bool,
    head: Option<ImageHead>,
    /// What was asked in between, by its number there, with the number that its answer is to have.
    asides: VecDeque<(i64, i64)>,
    /// The number of `stop` there, and until when it is waited for.
    stop: Option<(i64, Instant)>,
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
    let (mut site, mut feed) = (home, Feed::default());
    let mut failed = Vec::new();
    loop {
        let (legs, _, opening) = session.live_parts();
        let Some(leg) = legs.get_mut(site) else {
            break;
        };
        // Pictures that were on their way would be taken for answers to what follows: their connection ends with them.
        let error = match relay(client, leg, opening, id, document, &mut feed).await {
            Ok(Halt::Aside(call)) => match aside(client, session, &call).await {
                Ok(()) => continue,
                Err(over) => return over,
            },
            Ok(Halt::Over(over)) => {
                // One that has answered `stop` sends none any more.
                if !matches!(over, Over::Stopped) || feed.stop.is_some() {
                    leg.drop_wire();
                }
                return over;
            }
            Err(_) if feed.stop.is_some() => {
                leg.drop_wire();
                return Over::Stopped;
            }
            Err(error) => {
                leg.drop_wire();
                error
            }
        };
        feed = Feed::default();
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

/// Answers what is asked of the recorder that is meant, while another one's pictures are sent.
async fn aside(client: &mut Client, session: &mut Session, document: &Bytes) -> Result<(), Over> {
    let call = Call::parse(document).map_err(|error| Over::Gone(error.into()))?;
    match session
        .answer(call.request_id, &call.method, document, 0)
        .await
    {
        Outcome::Send(pieces) => client.send(&pieces).await.map_err(Over::Gone),
        Outcome::Refuse(answer) => client.send(&[answer]).await.map_err(Over::Gone),
        Outcome::Nothing => Ok(()),
        Outcome::Close(why) => Err(Over::Close(why)),
    }
}

async fn relay(
    client: &mut Client,
    leg: &mut Leg,
    opening: &Opening,
    id: i64,
    document: &Bytes,
    feed: &mut Feed,
) -> Result<Halt, Fail> {
    let (shift_ms, is_meant) = (leg.shift_ms(), leg.copy.is_primary);
    let (wire, _) = leg.wire(opening).await?;
    let numbered = |document: &Bytes, number: i64| {
        relay::numbered(document, number).map_err(|error| Fail::Barred(error.to_string()))
    };
    if !feed.has_begun {
        let number = wire.server.number();
        wire.server.send(&numbered(document, number)?);
        feed.has_begun = true;
    }
    loop {
        let left = match feed.stop {
            Some((_, until)) => until.saturating_duration_since(clock::now()),
            None => SILENCE_MAX,
        };
        let incoming = tokio::select! {
            incoming = tokio::time::timeout(left, wire.server.next()) => incoming,
            call = client.call(None) => {
                let call = match call {
                    Ok(call) => call,
                    Err(gone) => return Ok(Halt::Over(Over::Gone(gone))),
                };
                match Call::parse(&call) {
                    // Its answer, if it has one, is the client's to hear, behind the pictures that are on their way.
                    Ok(Call { request_id, method: Method::Stop })
                        if feed.stop.is_none() && is_meant =>
                    {
                        let number = wire.server.number();
                        wire.server.send(&numbered(&call, number)?);
                        feed.asides.push_back((number, request_id));
                        feed.stop = Some((number, clock::now() + STOPS_WITHIN));
                        continue;
                    }
                    Ok(Call { method, .. }) if is_aside(&method) && !is_meant => {
                        return Ok(Halt::Aside(call));
                    }
                    Ok(Call { request_id, method }) if is_aside(&method) => {
                        if feed.asides.len() >= ASIDES_MAX {
                            let why = "too many calls wait for their answer".to_owned();
                            return Ok(Halt::Over(Over::Close(why)));
                        }
                        let number = wire.server.number();
                        wire.server.send(&numbered(&call, number)?);
                        feed.asides.push_back((number, request_id));
                        continue;
                    }
                    Ok(_) => return Ok(Halt::Over(Over::Asked(call))),
                    Err(error) => return Ok(Halt::Over(Over::Gone(error.into()))),
                }
            }
        };
        if feed.stop.is_some() && (incoming.is_err() || left.is_zero()) {
            return Ok(Halt::Over(Over::Stopped));
        }
        let incoming = incoming.map_err(|_| Fail::Lost("live pictures stopped".to_owned()))?;
        let pieces = match incoming.map_err(|error| Fail::Lost(error.to_string()))? {
            Incoming::Head(told) => {
                feed.head = Some(told);
                continue;
            }
            Incoming::Body(_) => continue,
            Incoming::Document(document) => match Answer::parse(&document) {
                Ok(Answer::Status { .. }) => {
                    vec![document, Bytes::from_static(seamline_xprotect::TERMINATOR)]
                }
                said => {
                    let told = said.ok().and_then(|answer| answer.request_id());
                    let (pieces, is_last) = feed.said(&document, told, id);
                    if is_last {
                        return Ok(Halt::Over(match client.send(&pieces).await {
                            Ok(()) => Over::Stopped,
                            Err(gone) => Over::Gone(gone),
                        }));
                    }
                    pieces
                }
            },
            Incoming::End => {
                let Some(told) = feed.head.take() else {
                    return Err(Fail::Lost("an answer without a head".to_owned()));
                };
                picture(told, wire.server.kept(), shift_ms, id)
            }
        };
        if let Err(gone) = client.send(&pieces).await {
            return Ok(Halt::Over(Over::Gone(gone)));
        }
    }
}

impl Feed {
    /// A document under the number of who asked for it, and whether it is what ends the pictures.
    fn said(&mut self, document: &[u8], told: Option<i64>, id: i64) -> (Vec<Bytes>, bool) {
        let mut asides = self.asides.iter();
        let aside = asides.position(|(number, _)| Some(*number) == told);
        let aside = aside.and_then(|aside| self.asides.remove(aside));
        let is_last = self.stop.is_some_and(|(number, _)| Some(number) == told);
        if is_last {
            self.stop = None;
        }
        let theirs = aside.map_or(id, |(_, theirs)| theirs);
        (vec![answered(document, theirs)], is_last)
    }
}

/// A picture under the client's number, by the client's clock.
fn picture(told: ImageHead, kept: Vec<Kept>, shift_ms: i64, id: i64) -> Vec<Bytes> {
    let moved = |ms: Option<i64>| ms.map(|ms| ms - shift_ms);
    let head = ImageHead {
        request_id: told.request_id.map(|_| id),
        prev_ms: moved(told.prev_ms),
        current_ms: moved(told.current_ms),
        next_ms: moved(told.next_ms),
        ..told
    };
    let pieces = kept.into_iter().map(|piece| {
        if piece.is_body && shift_ms != 0 {
            gbd::shifted(&piece.bytes, -shift_ms)
        } else {
            piece.bytes
        }
    });
    std::iter::once(Bytes::from(head.write()))
        .chain(pieces)
        .collect()
}

/// What may be asked while live pictures go on: everything that asks for no others, and does not end them. `alarms` are those of all
/// sites, which is no matter of this connection.
fn is_aside(method: &Method) -> bool {
    match method {
        Method::ConnectUpdate(_) => true,
        Method::Other(name) => !name.eq_ignore_ascii_case("alarms"),
        _ => false,
    }
}

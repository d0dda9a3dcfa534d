//! Footage over WebSocket, for pages in which time is dragged to and fro: one connection, any number of seeks, fragmented MP4 as
//! Media Source Extensions take it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use seamline_media::Entry;
use seamline_media::mp4::{Fragment, Fragmented, Piece};
use seamline_routing::{CopyIx, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::gate::Admitted;
use super::hls::{Feed, NoFeed, Shot, fits, writer};
use super::service::Face;
use crate::cameras::CameraEntry;
use crate::clock;
use crate::journal::Journal;

pub(super) fn routes() -> OpenApiRouter<Arc<Face>> {
    OpenApiRouter::new().routes(routes!(scrub))
}

/// Footage is sent this far ahead of what is being shown, µs of it at normal speed.
const AHEAD_US: f64 = 5_000_000.0;
/// Speeds that browsers play.
const SPEEDS: std::ops::RangeInclusive<f64> = 0.0625..=16.0;
/// Longest message of a client.
const ASK_BYTES_MAX: usize = 4 * 1024;
/// A message must be taken in this time.
const TAKEN_WITHIN: Duration = Duration::from_secs(60);
/// A connection on which nothing plays and nothing is said is closed.
const IDLE_MAX: Duration = Duration::from_secs(300);

/// Footage of a camera over WebSocket, for scrubbing.
///
/// The client sends JSON text: `{"seek": "2026-01-01T12:00:00Z"}` begins to play there, `{"speed": 2}` and `{"pause": true}` say how fast
/// it shows what it gets; any of them together. The server sends JSON text with one member: `format` (`play`, `mime`) and `fragment` (`play`,
/// `from`, `until`, `site`, `sync`) each announce the binary message behind them, the head of an MP4 file or a fragment; `end` says why nothing
/// follows, `error` what is wrong with a question. `play` counts the seeks. Media time is UTC since 1970, so fragments of several seeks
/// lie on one axis. About five seconds are sent ahead of what is shown.
#[utoipa::path(
    get,
    path = "/v1/cameras/{camera}/scrub",
    params(("camera" = String, Path, description = "the camera's id")),
    responses(
        (status = 101, description = "the connection is a WebSocket"),
        (status = 400, description = "not a request for a WebSocket"),
        (status = 404, description = "no such camera")
    )
)]
async fn scrub(
    State(face): State<Arc<Face>>,
    admitted: Admitted<Nothing>,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Result<Response, super::errors::Problem> {
    let upgrade = upgrade.map_err(|why| super::errors::Problem::bad_request(why.body_text()))?;
    let viewer = Viewer {
        camera: admitted.camera,
        journal: admitted.visitor.journal(&face, "http/scrub"),
        play: 0,
        speed: 1.0,
        paused: false,
        state: Idle,
    };
    let upgrade = upgrade
        .max_message_size(ASK_BYTES_MAX)
        .max_frame_size(ASK_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |socket| viewer.serve(socket)))
}

/// No parameters.
#[derive(Deserialize)]
struct Nothing {}

/// What a client says.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    seek: Option<String>,
    speed: Option<f64>,
    pause: Option<bool>,
}

type Opening = Pin<Box<dyn Future<Output = Result<Box<Feed>, NoFeed>> + Send>>;

enum Stage {
    Idle,
    Opening(Opening),
    Playing(Box<Show>),
}
use Stage::{Idle, Opening as Opens, Playing};

/// Footage on its way.
struct Show {
    feed: Feed,
    writer: Fragmented,
    told: Vec<(usize, Arc<Entry>)>,
    origins: Origins,
    /// What is shown at an instant of ours, µs since 1970; what was sent lies ahead of it.
    anchor: (Instant, f64),
    sent_us: f64,
}

/// Which copy what is on its way is of. A fragment is whole when the next one has begun, which may be another copy's.
#[derive(Debug, Default)]
struct Origins(VecDeque<(i64, CopyIx)>);

/// Changes that wait for their fragments, which are a second long.
const ORIGINS_MAX: usize = 64;

impl Origins {
    /// A picture that is shown.
    fn note(&mut self, capture_us: i64, copy: CopyIx) {
        match self.0.back_mut() {
            Some((since_us, last)) if *last == copy => *since_us = capture_us.min(*since_us),
            _ => self.0.push_back((capture_us, copy)),
        }
        if self.0.len() > ORIGINS_MAX {
            self.0.pop_front();
        }
    }

    /// Whose a fragment is that begins at this instant.
    fn of(&self, from_us: i64) -> CopyIx {
        let before = self.0.iter().rfind(|(since_us, _)| *since_us <= from_us);
        let found = before.or_else(|| self.0.front());
        found.map_or(CopyIx(0), |(_, copy)| *copy)
    }
}

struct Viewer {
    camera: Arc<CameraEntry>,
    journal: Journal,
    /// Seeks so far.
    play: u64,
    speed: f64,
    paused: bool,
    state: Stage,
}

/// The client is gone, or does not take what is sent.
struct Gone;

impl Viewer {
    async fn serve(mut self, mut socket: WebSocket) {
        while self.step(&mut socket).await.is_ok() {}
    }

    async fn step(&mut self, socket: &mut WebSocket) -> Result<(), Gone> {
        let now = clock::now();
        let (speed, paused) = (self.speed, self.paused);
        let event = match &mut self.state {
            Idle => tokio::select! {
                message = socket.recv() => Event::Asked(message),
                () = tokio::time::sleep(IDLE_MAX) => return Err(Gone),
            },
            Opens(opening) => tokio::select! {
                message = socket.recv() => Event::Asked(message),
                opened = opening => Event::Opened(opened),
            },
            Playing(show) => match show.wait(now, speed, paused) {
                Some(Duration::ZERO) => tokio::select! {
                    message = socket.recv() => Event::Asked(message),
                    next = show.feed.next() => Event::Shot(next.map(Box::new)),
                },
                Some(wait) => tokio::select! {
                    message = socket.recv() => Event::Asked(message),
                    () = tokio::time::sleep(wait) => Event::Due,
                    () = show.feed.keep() => Event::Due,
                },
                None => tokio::select! {
                    message = socket.recv() => Event::Asked(message),
                    () = tokio::time::sleep(IDLE_MAX) => return Err(Gone),
                    () = show.feed.keep() => Event::Due,
                },
            },
        };
        match event {
            Event::Asked(None | Some(Err(_) | Ok(Message::Close(_)))) => Err(Gone),
            Event::Asked(Some(Ok(Message::Text(text)))) => self.asked(&text, socket).await,
            Event::Asked(Some(Ok(Message::Binary(_)))) => {
                self.tell(
                    socket,
                    json!({ "error": "text is understood, and no binary messages" }),
                )
                .await
            }
            Event::Asked(Some(Ok(_))) | Event::Due => Ok(()),
            Event::Opened(Ok(feed)) => {
                self.state = Playing(Box::new(Show::new(*feed)));
                Ok(())
            }
            Event::Opened(Err(why)) => {
                self.state = Idle;
                let why = match why {
                    NoFeed::Nothing => "no site holds footage of that time",
                    NoFeed::Outage => "no site that may hold it can be reached",
                };
                self.tell(socket, json!({ "end": { "play": self.play, "why": why } }))
                    .await
            }
            Event::Shot(next) => self.take(next, socket).await,
        }
    }

    async fn asked(&mut self, text: &str, socket: &mut WebSocket) -> Result<(), Gone> {
        let ask: Ask = match serde_json::from_str(text) {
            Ok(ask) => ask,
            Err(why) => return self.tell(socket, json!({ "error": why.to_string() })).await,
        };
        let seek = ask.seek.as_deref().map(Timestamp::parse_iso).transpose();
        let seek = match seek {
            Ok(seek) => seek,
            Err(why) => {
                return self
                    .tell(socket, json!({ "error": format!("seek: {why}") }))
                    .await;
            }
        };
        if ask.speed.is_some_and(|speed| !SPEEDS.contains(&speed)) {
            let range = format!("speed: {} to {}", SPEEDS.start(), SPEEDS.end());
            return self.tell(socket, json!({ "error": range })).await;
        }
        if let Playing(show) = &mut self.state {
            show.settle(clock::now(), self.speed, self.paused);
        }
        self.speed = ask.speed.unwrap_or(self.speed);
        self.paused = ask.pause.unwrap_or(self.paused);
        if let Some(from) = seek {
            self.play += 1;
            let (camera, journal) = (Arc::clone(&self.camera), self.journal.clone());
            self.state = Opens(Box::pin(async move {
                let feed = Feed::open(&camera, journal, (from, None), None, true).await;
                feed.map(Box::new)
            }));
        }
        Ok(())
    }

    async fn take(&mut self, next: Option<Box<Shot>>, socket: &mut WebSocket) -> Result<(), Gone> {
        let Playing(show) = &mut self.state else {
            return Ok(());
        };
        let over = next.is_none();
        let pieces = match next {
            Some(next) => show.push(*next),
            None => show.writer.finish(),
        };
        let mut messages = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Head(bytes) => {
                    let mime = show.mime();
                    messages.push((
                        json!({ "format": { "play": self.play, "mime": mime } }),
                        bytes,
                    ));
                }
                Piece::Fragment(fragment) => {
                    let (from, until) = fragment.captured_us;
                    show.sent(until as f64, clock::now());
                    let words = json!({ "fragment": {
                        "play": self.play,
                        "from": Timestamp::from_micros(from).to_string(),
                        "until": Timestamp::from_micros(until).to_string(),
                        "site": self.camera.site(show.origins.of(from)),
                        "sync": fragment.sync,
                    } });
                    messages.push((words, joined(fragment)));
                }
            }
        }
        for (words, bytes) in messages {
            self.tell(socket, words).await?;
            self.send(socket, Message::Binary(bytes)).await?;
        }
        if over {
            self.state = Idle;
            let words = json!({ "end": { "play": self.play, "why": "end of footage" } });
            self.tell(socket, words).await?;
        }
        Ok(())
    }

    async fn tell(&mut self, socket: &mut WebSocket, words: Value) -> Result<(), Gone> {
        self.send(socket, Message::Text(words.to_string().into()))
            .await
    }

    /// Sends, and keeps recorders' sessions while the client takes its time.
    async fn send(&mut self, socket: &mut WebSocket, message: Message) -> Result<(), Gone> {
        let sending = tokio::time::timeout(TAKEN_WITHIN, socket.send(message));
        let sent = match &mut self.state {
            Playing(show) => tokio::select! {
                sent = sending => sent,
                () = show.feed.keep() => return Err(Gone),
            },
            Idle | Opens(_) => sending.await,
        };
        match sent {
            Ok(Ok(())) => Ok(()),
            _ => Err(Gone),
        }
    }
}

enum Event {
    Asked(Option<Result<Message, axum::Error>>),
    Opened(Result<Box<Feed>, NoFeed>),
    Shot(Option<Box<Shot>>),
    Due,
}

impl Show {
    fn new(feed: Feed) -> Self {
        let writer = writer(feed.master());
        Show {
            origins: Origins::default(),
            feed,
            writer,
            told: Vec::new(),
            anchor: (clock::now(), f64::NEG_INFINITY),
            sent_us: f64::NEG_INFINITY,
        }
    }

    fn push(&mut self, shot: Shot) -> Vec<Piece> {
        if !fits(&shot.entry) {
            return Vec::new();
        }
        if shot.sample.track == self.feed.master() && !shot.sample.preroll {
            self.origins.note(shot.sample.capture_us, shot.copy);
        }
        let track = shot.sample.track;
        let known = self.told.iter().find(|(known, _)| *known == track);
        if known.is_none_or(|(_, entry)| *entry != shot.entry) {
            self.told.retain(|(known, _)| *known != track);
            self.told.push((track, Arc::clone(&shot.entry)));
            self.writer.format(track, shot.entry);
        }
        self.writer.push(shot.sample);
        self.writer.pop()
    }

    fn mime(&self) -> String {
        let mut entries: Vec<_> = self.told.iter().map(|(_, entry)| entry).collect();
        entries.sort_by_key(|entry| !entry.is_video());
        let codecs: Vec<String> = entries.iter().map(|entry| entry.codecs()).collect();
        format!("video/mp4; codecs=\"{}\"", codecs.join(","))
    }

    /// Footage up to this instant was sent.
    fn sent(&mut self, until_us: f64, now: Instant) {
        if !self.anchor.1.is_finite() {
            self.anchor = (now, until_us);
        }
        self.sent_us = self.sent_us.max(until_us);
    }

    /// What is being shown, as far as can be told from here: never more than was sent.
    fn shown_us(&self, now: Instant, speed: f64, paused: bool) -> f64 {
        let (since, at_us) = self.anchor;
        let speed = if paused { 0.0 } else { speed };
        let since_us = now.saturating_duration_since(since).as_secs_f64() * speed * 1e6;
        (at_us + since_us).min(self.sent_us)
    }

    /// The pace changes now.
    fn settle(&mut self, now: Instant, speed: f64, paused: bool) {
        self.anchor = (now, self.shown_us(now, speed, paused));
    }

    /// How long until more may be sent; none while nothing moves.
    fn wait(&self, now: Instant, speed: f64, paused: bool) -> Option<Duration> {
        if !self.sent_us.is_finite() {
            return Some(Duration::ZERO);
        }
        let ahead_us = self.sent_us - self.shown_us(now, speed, paused);
        let over_us = ahead_us - AHEAD_US * speed.max(1.0);
        if over_us <= 0.0 {
            return Some(Duration::ZERO);
        }
        (!paused).then(|| Duration::from_secs_f64(over_us / speed / 1e6).max(LOOK_EVERY))
    }
}

/// So that what is due in the next moment is not slept for.
const LOOK_EVERY: Duration = Duration::from_millis(10);

fn joined(fragment: Fragment) -> Bytes {
    let mut bytes = BytesMut::with_capacity(fragment.len_bytes());
    for chunk in fragment.chunks {
        bytes.extend_from_slice(&chunk);
    }
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fragment_is_of_the_copy_that_it_begins_with() {
        let mut origins = Origins::default();
        assert_eq!(origins.of(0), CopyIx(0));
        // Pictures that are shown in another order than they come, from one site, another, and the first again.
        for (capture_us, copy) in [(120, 1), (40, 1), (80, 1), (200, 0), (160, 0), (240, 1)] {
            origins.note(capture_us, CopyIx(copy));
        }
        for (from_us, copy) in [
            (0, 1),
            (40, 1),
            (159, 1),
            (160, 0),
            (239, 0),
            (240, 1),
            (900, 1),
        ] {
            assert_eq!(origins.of(from_us), CopyIx(copy), "{from_us}");
        }
        for change in 0..200 {
            origins.note(1_000 + change, CopyIx((change % 2) as u8));
        }
        assert!(origins.0.len() <= ORIGINS_MAX);
        assert_eq!(origins.of(1_199), CopyIx(1));
    }
}

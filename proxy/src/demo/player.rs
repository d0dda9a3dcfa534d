//! A small RTSP player: asks for a stretch at the pace of the clock and shows every packet to the judge.

use std::time::Duration;

use bytes::BytesMut;
use seamline_media::abac::Flags;
use seamline_media::rtcp;
use seamline_media::rtp::{Packet, unframe};
use seamline_routing::{TimeRange, Timestamp};
use seamline_rtsp::client::{
    ClientError, ClientEvent, Config, PlayRequest, ReplayClient, TrackChoice,
};
use seamline_rtsp::headers::{ClockTime, Range};
use seamline_rtsp::sdp::Media;
use seamline_rtsp::url::UrlError;
use seamline_rtsp::{FrameError, Framer, Incoming, RtspUrl};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::judge::Judge;
use crate::clock;

/// A server that says nothing for this long after all pictures came has said all.
const SILENCE: Duration = Duration::from_millis(500);

/// Why playing came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlayerError {
    /// The URL is none.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The connection broke.
    #[error("connection: {0}")]
    Connection(#[from] std::io::Error),
    /// The server closed the connection before the end.
    #[error("the server closed the connection")]
    Closed,
    /// The server does not keep to the protocol.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The server refused.
    #[error(transparent)]
    Refused(#[from] ClientError),
    /// There is nothing to look at.
    #[error("the server offers no video")]
    NoVideo,
}

/// Plays `window` of `url` to its end. `shown` is told the capture time of each picture.
pub(super) async fn play(
    url: &str,
    window: TimeRange,
    judge: &mut Judge,
    mut shown: impl FnMut(Timestamp),
) -> Result<(), PlayerError> {
    let url = RtspUrl::parse(url)?;
    let mut stream = TcpStream::connect((url.host(), url.port())).await?;
    stream.set_nodelay(true)?;
    let clock = |at: Timestamp| Some(ClockTime::from_micros(at.as_micros()));
    let range = Range::Clock {
        start: clock(window.start()),
        end: clock(window.end()),
    };
    let mut client = ReplayClient::new(Config {
        tracks: TrackChoice::Named,
        play: Some(PlayRequest {
            range: Some(range),
            ..PlayRequest::default()
        }),
        ..Config::new(url)
    });
    let (mut framer, mut buf) = (Framer::new(), BytesMut::new());
    loop {
        while let Some(event) = client.poll_event() {
            match event {
                ClientEvent::Described(description) => {
                    let video = description
                        .tracks
                        .iter()
                        .position(|track| track.media == Media::Video);
                    client.set_up(&[video.ok_or(PlayerError::NoVideo)?])?;
                }
                ClientEvent::EndOfStream => return Ok(()),
                _ => {}
            }
        }
        while let Some(bytes) = client.poll_transmit() {
            stream.write_all(&bytes).await?;
        }
        match framer.next(&mut buf)? {
            Some(Incoming::Frame { channel, bytes }) => {
                let Some(track) = client.tracks().first() else {
                    continue;
                };
                let over = if channel == track.rtp_channel {
                    let Ok(packet) = Packet::parse_frame(&bytes) else {
                        continue;
                    };
                    judge
                        .packet(&packet, clock::now())
                        .into_iter()
                        .for_each(&mut shown);
                    packet.marker
                        && packet
                            .replay()
                            .is_some_and(|replay| replay.flags.contains(Flags::TERMINAL))
                } else {
                    channel == track.rtcp_channel
                        && unframe(&bytes).is_ok_and(|packet| rtcp::parse(packet).goodbye)
                };
                if over {
                    client.teardown();
                    while let Some(bytes) = client.poll_transmit() {
                        stream.write_all(&bytes).await?;
                    }
                    return Ok(());
                }
            }
            Some(Incoming::Response(response)) => client.handle_response(&response)?,
            Some(Incoming::Request(request)) => client.handle_request(&request)?,
            None => match timeout(SILENCE, stream.read_buf(&mut buf)).await {
                Ok(Ok(0)) => {
                    return if judge.is_complete() {
                        Ok(())
                    } else {
                        Err(PlayerError::Closed)
                    };
                }
                Ok(read) => {
                    read?;
                }
                Err(_) if judge.is_complete() => return Ok(()),
                Err(_) => {}
            },
        }
    }
}

//! An XProtect site: its management server tells of recorders and cameras, its recorders of what they hold.

mod coverage;
mod imageserver;
mod site;
mod windows;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use seamline_archive::TrackFormat;
use seamline_routing::{Coverage, Timestamp};
use seamline_rtsp::sdp::Description;
use seamline_xprotect::{
    Extras, Incoming, Method,
    gbd::{self, Codec, Packet, Video},
};
use tokio::time::timeout;
use url::Url;

pub use imageserver::ImageServer;
pub use site::{Opened, Site, Token, recorder_url};

pub use crate::http::handshake_failure;
use crate::{
    archive::describe_tracks,
    build_error::BuildError,
    clock::Clock,
    http::HttpConfig,
    pairing::channel_source,
    recorder::{Answer, CoverageQuery, MediaSource, ProbeError, Recorder, RemoteCamera},
};

/// A site that can be asked.
#[derive(Debug)]
pub struct XProtectRecorder {
    site: Arc<Site>,
    clock: Clock,
}

impl XProtectRecorder {
    /// Checks the URL and reads the password.
    pub fn new(config: &HttpConfig, clock: Clock) -> Result<Self, BuildError> {
        config.takes(&[])?;
        Ok(Self {
            site: Arc::new(Site::new(config)?),
            clock,
        })
    }

    async fn describe(&self, remote: &str) -> Result<Description, ProbeError> {
        let mut opened = self.site.open(remote).await?;
        // The newest picture: cameras are set up anew now and then.
        opened.server.ask(Method::End);
        let picture = timeout(FIRST_PICTURE, first_picture(&mut opened.server));
        let picture = picture.await.map_err(|_| ProbeError::Timeout)??;
        describe_picture(&picture)
            .ok_or_else(|| ProbeError::protocol(format!("{} cannot be played", picture.codec)))
    }

    async fn inventory(&self) -> Result<Vec<RemoteCamera>, ProbeError> {
        let configuration = self.site.configuration(true).await?;
        let mut cameras = Vec::new();
        for recorder in &configuration.recorders {
            for camera in &recorder.cameras {
                let uri = recorder
                    .hardware_of(camera)
                    .map(|hardware| hardware.uri.as_str())
                    .filter(|uri| !uri.is_empty());
                // Encoders have several cameras at one address: the channel tells them apart, also where each site has but one.
                let source = uri.zip(camera.channel);
                cameras.push(RemoteCamera {
                    remote: camera.id.as_str().into(),
                    name: (!camera.name.is_empty()).then(|| camera.name.as_str().into()),
                    source: source
                        .map(|(uri, channel)| channel_source(&origin(uri), channel).into()),
                    address: uri.map(Into::into),
                    location: (!recorder.name.is_empty()).then(|| recorder.name.as_str().into()),
                    ..RemoteCamera::default()
                });
            }
        }
        Ok(cameras)
    }
}

impl Recorder for XProtectRecorder {
    fn lists_coverage(&self) -> bool {
        true
    }

    fn coverage(&self, query: CoverageQuery) -> Answer<'_, Coverage> {
        Box::pin(coverage::list(&self.site, query, self.clock.now()))
    }

    fn ping(&self) -> Answer<'_, ()> {
        Box::pin(self.site.ping())
    }

    fn describe(&self, remote: Arc<str>) -> Answer<'_, Description> {
        Box::pin(async move { self.describe(&remote).await })
    }

    fn media(&self) -> MediaSource {
        MediaSource::XProtect(Arc::clone(&self.site))
    }

    fn inventory(&self) -> Option<Answer<'_, Vec<RemoteCamera>>> {
        Some(Box::pin(self.inventory()))
    }
}

/// A device by its scheme, host and port: with what path it is asked is each site's own matter.
fn origin(uri: &str) -> String {
    match Url::parse(uri) {
        Ok(url) if url.has_host() => url.origin().ascii_serialization(),
        _ => uri.trim_end_matches('/').to_owned(),
    }
}

/// The first key picture that comes.
async fn first_picture(server: &mut ImageServer) -> Result<Video, ProbeError> {
    loop {
        match server.next().await? {
            Incoming::Body(body) if body.is_empty() => return Err(ProbeError::NotFound),
            Incoming::Body(body) => {
                if let Some(picture) = pictures(&body)?.into_iter().find(Video::is_key) {
                    return Ok(picture);
                }
            }
            Incoming::Document(document) => {
                let said = String::from_utf8_lossy(&document).into_owned();
                return Err(ProbeError::protocol(format!(
                    "instead of a picture: {said}"
                )));
            }
            Incoming::Head(_) | Incoming::End => {}
        }
    }
}

/// The pictures of a body. A bare JPEG file has no time of its own, and is left to who knows that of its head.
pub fn pictures(body: &Bytes) -> Result<Vec<Video>, ProbeError> {
    let mut found = Vec::new();
    for packet in gbd::packets(body).map_err(|error| ProbeError::protocol(error.to_string()))? {
        match packet {
            Packet::Video(video) => found.push(video),
            Packet::Block(block) => {
                let what = format!(
                    "a block of {} of an older recorder, which is not played",
                    block.codec
                );
                return Err(ProbeError::protocol(what));
            }
            Packet::Jpeg(payload) => found.push(Video {
                codec: Codec::Jpeg,
                sequence: 0,
                flags: 1,
                sync_ms: 0,
                picture_ms: 0,
                payload,
            }),
            Packet::Audio(_) | Packet::Metadata(_) => {}
        }
    }
    Ok(found)
}

/// What a key picture tells of its track; `None` for a codec that is not played.
pub fn describe_picture(picture: &Video) -> Option<Description> {
    let units = gbd::nal_units(&picture.payload);
    let of = |kind: &dyn Fn(u8) -> bool| -> Vec<Bytes> {
        let first = |unit: &&Bytes| unit.first().is_some_and(|byte| kind(*byte));
        units.iter().filter(first).cloned().collect()
    };
    // Where the size is not stated nobody reads it.
    let (width, height) = (0, 0);
    let format = match picture.codec {
        Codec::H264 => TrackFormat::H264 {
            nal_length_bytes: 4,
            sps: of(&|byte| byte & 0x1F == 7),
            pps: of(&|byte| byte & 0x1F == 8),
            width,
            height,
        },
        Codec::H265 => TrackFormat::H265 {
            nal_length_bytes: 4,
            vps: of(&|byte| byte >> 1 & 0x3F == 32),
            sps: of(&|byte| byte >> 1 & 0x3F == 33),
            pps: of(&|byte| byte >> 1 & 0x3F == 34),
            width,
            height,
        },
        Codec::Jpeg => TrackFormat::Jpeg { width, height },
        Codec::Other(_) => return None,
    };
    Some(describe_tracks(&[format]))
}

/// Asks for the group of pictures at or before an instant.
pub fn goto(at: Timestamp, extras: Extras) -> Method {
    Method::Goto {
        time_ms: at.as_unix_ms().max(0),
        extras,
    }
}

/// Until the first picture, when a camera is described.
const FIRST_PICTURE: Duration = Duration::from_secs(5);

//! The kinds of recorder: their configuration, and the one place where they are made.

use std::sync::Arc;

use serde::Deserialize;

use crate::{
    archive::{ArchiveConfig, ArchiveRecorder},
    axis::AxisRecorder,
    build_error::BuildError,
    clock::Clock,
    dahua::DahuaRecorder,
    files::FilesRecorder,
    hikvision::HikvisionRecorder,
    hls::HlsRecorder,
    http::HttpConfig,
    mediamtx::MediaMtxRecorder,
    nx::NxRecorder,
    onvif::OnvifRecorder,
    recorder::Recorder,
    rtsp::{RtspConfig, RtspRecorder},
    seamline::SeamlineRecorder,
    xprotect::XProtectRecorder,
    zone::Zone,
};

/// A recorder as configured; `kind` says which.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[non_exhaustive]
pub enum RecorderConfig {
    /// A folder of MP4 files.
    Archive(ArchiveConfig),
    /// An Axis camera with edge storage.
    Axis(HttpConfig),
    /// A Dahua recorder.
    Dahua(HttpConfig),
    /// Folders of MP4 files behind a web server.
    Files(HttpConfig),
    /// A Hikvision recorder.
    Hikvision(HttpConfig),
    /// Anything that offers HLS of what it recorded.
    Hls(HttpConfig),
    /// `MediaMTX`'s playback server.
    MediaMtx(HttpConfig),
    /// An Nx media server.
    Nx(HttpConfig),
    /// A device with ONVIF's recording services (Profile G).
    Onvif(HttpConfig),
    /// Any recorder that replays by RTSP and lists nothing.
    Rtsp(RtspConfig),
    /// Another Seamline.
    Seamline(HttpConfig),
    /// A site of Milestone XProtect.
    XProtect(HttpConfig),
}

impl RecorderConfig {
    /// The vendor whose URLs it is asked by, and the zone of its times where one is configured.
    pub fn dialect(&self) -> Option<(&'static str, Option<&Zone>)> {
        match self {
            Self::Axis(_) => Some(("axis", None)),
            Self::Dahua(config) => Some(("dahua", config.zone.as_ref())),
            Self::Nx(_) => Some(("nx", None)),
            Self::Hikvision(config) => Some(("hikvision", config.zone.as_ref())),
            Self::Archive(_)
            | Self::Files(_)
            | Self::Hls(_)
            | Self::MediaMtx(_)
            | Self::Onvif(_)
            | Self::Rtsp(_)
            | Self::Seamline(_)
            | Self::XProtect(_) => None,
        }
    }
}

impl RecorderConfig {
    /// Its kind, as it is configured.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Archive(_) => "archive",
            Self::Axis(_) => "axis",
            Self::Dahua(_) => "dahua",
            Self::Files(_) => "files",
            Self::Hikvision(_) => "hikvision",
            Self::Hls(_) => "hls",
            Self::MediaMtx(_) => "mediamtx",
            Self::Nx(_) => "nx",
            Self::Onvif(_) => "onvif",
            Self::Rtsp(_) => "rtsp",
            Self::Seamline(_) => "seamline",
            Self::XProtect(_) => "xprotect",
        }
    }

    /// Whether files besides the configuration say how it is asked; what is in them may change.
    pub fn reads_files(&self) -> bool {
        match self {
            Self::Archive(_) => false,
            Self::Rtsp(config) => config.reads_files(),
            Self::Axis(config)
            | Self::Dahua(config)
            | Self::Files(config)
            | Self::Hikvision(config)
            | Self::Hls(config)
            | Self::MediaMtx(config)
            | Self::Nx(config)
            | Self::Onvif(config)
            | Self::Seamline(config)
            | Self::XProtect(config) => config.reads_files(),
        }
    }

    /// Where it is, for people: a folder, or a URL without what may be secret in it: user, password and query.
    pub fn address(&self) -> String {
        let url = match self {
            Self::Archive(config) => return config.path.display().to_string(),
            Self::Axis(config)
            | Self::Dahua(config)
            | Self::Files(config)
            | Self::Hikvision(config)
            | Self::Hls(config)
            | Self::MediaMtx(config)
            | Self::Nx(config)
            | Self::Onvif(config)
            | Self::Seamline(config)
            | Self::XProtect(config) => &config.url,
            Self::Rtsp(config) => &config.url,
        };
        let url = url.split(['?', '#']).next().unwrap_or_default();
        let Some((scheme, rest)) = url.split_once("://") else {
            return url.to_owned();
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let host = authority.rsplit('@').next().unwrap_or_default();
        format!("{scheme}://{host}{path}")
    }
}

/// Makes a recorder. Reads its password, contacts nobody.
pub fn build(config: &RecorderConfig, clock: Clock) -> Result<Arc<dyn Recorder>, BuildError> {
    Ok(match config {
        RecorderConfig::Archive(config) => Arc::new(ArchiveRecorder::new(config, clock)?),
        RecorderConfig::Axis(config) => Arc::new(AxisRecorder::new(config, clock)?),
        RecorderConfig::Dahua(config) => Arc::new(DahuaRecorder::new(config, clock)?),
        RecorderConfig::Files(config) => Arc::new(FilesRecorder::new(config, clock)?),
        RecorderConfig::Nx(config) => Arc::new(NxRecorder::new(config, clock)?),
        RecorderConfig::Hikvision(config) => Arc::new(HikvisionRecorder::new(config, clock)?),
        RecorderConfig::Hls(config) => Arc::new(HlsRecorder::new(config, clock)?),
        RecorderConfig::MediaMtx(config) => Arc::new(MediaMtxRecorder::new(config, clock)?),
        RecorderConfig::Onvif(config) => Arc::new(OnvifRecorder::new(config, clock)?),
        RecorderConfig::Seamline(config) => Arc::new(SeamlineRecorder::new(config, clock)?),
        RecorderConfig::Rtsp(config) => Arc::new(RtspRecorder::new(config, clock)?),
        RecorderConfig::XProtect(config) => Arc::new(XProtectRecorder::new(config, clock)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<RecorderConfig, toml::de::Error> {
        toml::from_str(text)
    }

    fn built(text: &str) -> Result<Arc<dyn Recorder>, BuildError> {
        build(&parse(text).unwrap(), Clock::System)
    }

    #[test]
    fn each_kind_is_made_from_its_table() {
        for (text, lists) in [
            (
                "kind = 'archive'\npath = '/srv/video'\npattern = '{camera}/%Y%m%dT%H%M%SZ'",
                true,
            ),
            (
                "kind = 'archive'\npath = 'x'\npattern = '%s'\nzone = 'Europe/Zurich'\njoin_ms = 50",
                true,
            ),
            (
                "kind = 'mediamtx'\nurl = 'http://nvr:9996'\nusername = 'u'\npassword = 'p'",
                true,
            ),
            (
                "kind = 'seamline'\nurl = 'https://region:8554'\nusername = 'u'\npassword = 'p'",
                true,
            ),
            (
                "kind = 'hls'\nurl = 'https://nvr/vod/{camera}/start/{start:s}/end/{end:s}/index.m3u8'",
                true,
            ),
            (
                "kind = 'files'\nurl = 'http://nvr/motion'\npattern = '{camera}/%Y%m%d%H%M%S.mp4'\nzone = 'Europe/Zurich'",
                true,
            ),
            (
                "kind = 'onvif'\nurl = 'http://nvr'\ntrust_addresses = true",
                true,
            ),
            (
                "kind = 'hikvision'\nurl = 'http://nvr'\nzone = 'Europe/Zurich'",
                true,
            ),
            ("kind = 'dahua'\nurl = 'http://nvr:8080'", true),
            (
                "kind = 'axis'\nurl = 'http://cam'\nrtsp = 'rtsp://cam:5540'",
                true,
            ),
            ("kind = 'nx'\nurl = 'http://nvr:7001'", true),
            (
                "kind = 'xprotect'\nurl = 'https://vms'\nusername = 'u'\npassword = 'p'",
                true,
            ),
            ("kind = 'rtsp'\nurl = 'rtsp://nvr/{camera}'", false),
            ("kind = 'rtsp'\nurl = 'rtsps://nvr/{camera}'", false),
            (
                "kind = 'rtsp'\nurl = 'rtsp://nvr'\nlive = 'rtsps://nvr:5322'\ninsecure = true",
                false,
            ),
            (
                "kind = 'hikvision'\nurl = 'https://nvr'\nrtsp = 'rtsps://nvr'",
                true,
            ),
            (
                "kind = 'rtsp'\nurl = 'rtsp://nvr/{camera}?s={start:%Y%m%dT%H%M%SZ}'\nzone = 'Asia/Tokyo'",
                false,
            ),
        ] {
            assert_eq!(built(text).unwrap().lists_coverage(), lists, "{text}");
        }
    }

    #[test]
    fn misspelt_and_foreign_fields_are_refused() {
        for text in [
            "kind = 'rtsp'\nurl = 'rtsp://nvr'\nuser = 'u'",
            "kind = 'rtsp'\nurl = 'rtsp://nvr'\npattern = '%s'",
            "kind = 'archive'\npath = '/srv'",
            "kind = 'hikvision'\nurl = 'http://nvr'\nchannel = 1",
            "url = 'rtsp://nvr'",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused_before_it_is_tried() {
        for (text, reason) in [
            (
                "kind = 'archive'\npath = 'x'\npattern = 'video'",
                "does not determine a time",
            ),
            (
                "kind = 'archive'\npath = 'x'\npattern = '%s'\nzone = 'Mars/Base'",
                "unknown time zone",
            ),
            ("kind = 'mediamtx'\nurl = 'ftp://nvr'", "http://host:port"),
            ("kind = 'onvif'\nurl = 'rtsp://nvr'", "http://host"),
            (
                "kind = 'nx'\nurl = 'http://nvr'\nzone = 'UTC'",
                "`zone` means nothing",
            ),
            (
                "kind = 'onvif'\nurl = 'http://nvr'\nrtsp = 'rtsp://nvr'",
                "`rtsp` means nothing",
            ),
            (
                "kind = 'axis'\nurl = 'https://nvr'\npin_sha256 = 'ab'",
                "64 hexadecimal digits",
            ),
            (
                "kind = 'nx'\nurl = 'https://nvr'\nca_file = '/nonexistent/ca'",
                "/nonexistent/ca",
            ),
            (
                "kind = 'onvif'\nurl = 'http://u:p@nvr'",
                "in their own fields",
            ),
            (
                "kind = 'mediamtx'\nurl = 'http://u:p@nvr'",
                "in their own fields",
            ),
            (
                "kind = 'hls'\nurl = 'http://nvr/{camera}/{start:%H}.m3u8'",
                "date and a time of day",
            ),
            ("kind = 'rtsp'\nurl = 'http://nvr'", "url"),
            (
                "kind = 'rtsp'\nurl = 'rtsp://nvr/{camera}?s={start:%H%M}'",
                "date and a time of day",
            ),
            (
                "kind = 'rtsp'\nurl = 'rtsp://nvr/{camera}'\nzone = 'UTC'",
                "a zone is that of times in the URL",
            ),
            ("kind = 'hikvision'\nurl = 'rtsp://nvr'", "http://host:port"),
            (
                "kind = 'dahua'\nurl = 'http://nvr'\nrtsp = 'rtsp://u:p@nvr'",
                "in their own fields",
            ),
            (
                "kind = 'axis'\nurl = 'http://cam'\nrtsp = 'rtsp://cam/live'",
                "rtsp://host:port",
            ),
            (
                "kind = 'rtsp'\nurl = 'rtsp://nvr'\ninsecure = true",
                "insecure: only rtsps:// shows a certificate",
            ),
            (
                "kind = 'rtsp'\nurl = 'rtsps://nvr'\nca_file = '/nonexistent/ca'",
                "/nonexistent/ca",
            ),
            (
                "kind = 'rtsp'\nurl = 'rtsp://u:p@nvr'",
                "in their own fields",
            ),
            (
                "kind = 'rtsp'\nurl = 'rtsp://nvr'\npassword = 'p'",
                "needs a username",
            ),
            (
                "kind = 'rtsp'\nurl = 'rtsp://nvr'\nusername = 'u'\npassword = 'p'\npassword_env = 'P'",
                "only one of",
            ),
            (
                "kind = 'rtsp'\nurl = 'rtsp://nvr'\nusername = 'u'\npassword_file = '/nonexistent/p'",
                "/nonexistent/p",
            ),
            (
                "kind = 'rtsp'\nurl = 'rtsp://nvr'\nusername = 'u'\npassword_env = 'SEAMLINE_NOT_SET'",
                "SEAMLINE_NOT_SET",
            ),
        ] {
            let Err(error) = built(text) else {
                panic!("{text}");
            };
            let error = error.to_string();
            assert!(error.contains(reason), "{text}: {error}");
            assert!(!error.contains("u:p"), "{error}");
        }
    }
}

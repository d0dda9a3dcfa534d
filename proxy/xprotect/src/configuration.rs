//! What a management server tells of its recorders, cameras and hardware.

use seamline_xml::{Element, Limits, Markup};
use serde::{Deserialize, Serialize};

use crate::soap::{self, SERVER};

/// A whole configuration: one may be many megabytes.
pub const LIMITS: Limits = Limits {
    bytes: 48 << 20,
    elements: 1_000_000,
    // Licences and descriptions come along.
    text: 4 << 20,
};

/// The body of `GetConfiguration`.
pub fn request(token: &str) -> Vec<u8> {
    soap::request(SERVER, "GetConfiguration", [Markup::text("token", token)])
}

/// What a user may see of a site.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// In the server's order.
    pub recorders: Vec<RecordingServer>,
}

/// A recording server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingServer {
    /// Its GUID.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// Where it is reached: `http://host:7563/`, or `https` for TLS.
    pub uri: String,
    /// Its cameras.
    pub cameras: Vec<Camera>,
    /// What they hang on.
    pub hardware: Vec<Hardware>,
    /// Its microphones, speakers and sources of metadata: each is a device of its own, recorded by itself.
    #[serde(default)]
    pub others: Vec<Camera>,
}

/// A camera.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Camera {
    /// Its GUID.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// GUID of its hardware.
    pub hardware: String,
    /// Its channel there, from 0.
    pub channel: Option<u32>,
    /// Whether recordings may be played (`Browse`); `None` where nothing is said.
    pub may_play: Option<bool>,
    /// Whether what it sees now may be watched (`Live`); likewise.
    #[serde(default)]
    pub may_live: Option<bool>,
    /// Whether it may be told what is recorded (`GetSequences`); likewise.
    #[serde(default)]
    pub may_list: Option<bool>,
}

/// A device on the network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hardware {
    /// Its GUID.
    pub id: String,
    /// Where the recorder reaches it.
    pub uri: String,
}

impl Configuration {
    /// Reads a `GetConfigurationResult`. What has no id is left out.
    pub fn read(result: &Element) -> Self {
        let recorders = result.child("Recorders").into_iter();
        Self {
            recorders: recorders
                .flat_map(|recorders| recorders.all("RecorderInfo"))
                .map(RecordingServer::read)
                .collect(),
        }
    }
}

impl Configuration {
    /// Reads what is told of one recorder, or of a list of them, in the result of an operation.
    pub fn of_recorders(result: &Element) -> Self {
        let listed: Vec<_> = result
            .all("RecorderInfo")
            .map(RecordingServer::read)
            .collect();
        let recorders = if listed.is_empty() {
            vec![RecordingServer::read(result)]
        } else {
            listed
        };
        Self { recorders }
    }

    /// The camera of this GUID, or another device of it, or else the only camera of this name; and who records it.
    pub fn camera(&self, remote: &str) -> Result<Option<(&RecordingServer, &Camera)>, Ambiguous> {
        let all = || {
            let recorders = self.recorders.iter();
            recorders.flat_map(|recorder| {
                recorder
                    .cameras
                    .iter()
                    .map(move |camera| (recorder, camera))
            })
        };
        if let Some(found) = all().find(|(_, camera)| camera.id.eq_ignore_ascii_case(remote)) {
            return Ok(Some(found));
        }
        let other = self.recorders.iter().find_map(|recorder| {
            let mut others = recorder.others.iter();
            let found = others.find(|other| other.id.eq_ignore_ascii_case(remote));
            found.map(|found| (recorder, found))
        });
        if other.is_some() {
            return Ok(other);
        }
        let mut named = all().filter(|(_, camera)| camera.name == remote);
        let found = named.next();
        if named.next().is_some() {
            return Err(Ambiguous(remote.to_owned()));
        }
        Ok(found)
    }

    /// The recorder of this GUID, or else the only one of this name.
    pub fn recorder(&self, remote: &str) -> Result<Option<&RecordingServer>, Ambiguous> {
        let mut by_id = self.recorders.iter();
        if let Some(found) = by_id.find(|recorder| recorder.id.eq_ignore_ascii_case(remote)) {
            return Ok(Some(found));
        }
        let mut named = self.recorders.iter().filter(|found| found.name == remote);
        let found = named.next();
        if named.next().is_some() {
            return Err(Ambiguous(remote.to_owned()));
        }
        Ok(found)
    }
}

/// Several are called so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("several are called {0:?}: name the GUID")]
pub struct Ambiguous(pub String);

impl RecordingServer {
    fn read(info: &Element) -> Self {
        let text = |name: &str| info.text(name).unwrap_or_default().to_owned();
        let inner = |list: &str| info.child(list).into_iter();
        Self {
            id: text("RecorderId"),
            name: text("Name"),
            uri: text("WebServerUri"),
            cameras: inner("Cameras")
                .flat_map(|list| list.all("CameraInfo"))
                .filter_map(|info| Camera::read(info, "CameraSecurity"))
                .collect(),
            others: OTHERS
                .iter()
                .flat_map(|(list, item, security)| {
                    let listed = inner(list).flat_map(move |list| list.all(item));
                    listed.filter_map(move |info| Camera::read(info, security))
                })
                .collect(),
            hardware: inner("Hardware")
                .flat_map(|list| list.all("HardwareInfo"))
                .filter_map(Hardware::read)
                .collect(),
        }
    }

    /// The hardware of a camera.
    pub fn hardware_of(&self, camera: &Camera) -> Option<&Hardware> {
        self.hardware
            .iter()
            .find(|hardware| hardware.id.eq_ignore_ascii_case(&camera.hardware))
    }
}

impl Camera {
    fn read(info: &Element, security: &str) -> Option<Self> {
        let text = |name: &str| info.text(name).unwrap_or_default().to_owned();
        let said = |right: &str| {
            let said = info.at(&[security, right])?.value()?;
            Some(said.eq_ignore_ascii_case("true"))
        };
        Some(Self {
            id: info.text("DeviceId")?.to_owned(),
            name: text("Name"),
            hardware: text("HardwareId"),
            channel: info
                .text("DeviceIndex")
                .and_then(|index| index.parse().ok()),
            may_play: said("Browse"),
            may_live: said("Live"),
            may_list: said("GetSequences"),
        })
    }
}

/// Devices that are no cameras: their list, one of it, and what the user may do with it.
const OTHERS: [(&str, &str, &str); 3] = [
    (
        "MetadataDevices",
        "MetadataDeviceInfo",
        "MetadataDeviceSecurity",
    ),
    ("Microphones", "MicrophoneInfo", "MicrophoneSecurity"),
    ("Speakers", "SpeakerInfo", "SpeakerSecurity"),
];

impl Hardware {
    fn read(info: &Element) -> Option<Self> {
        Some(Self {
            id: info.text("HardwareId")?.to_owned(),
            uri: info.text("Uri").unwrap_or_default().to_owned(),
        })
    }
}

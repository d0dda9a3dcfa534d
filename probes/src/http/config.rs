//! Where a recorder's HTTP service is and who it is asked as: the fields that all kinds with one share.

use std::path::PathBuf;

use serde::Deserialize;

use super::Trust;
use crate::{
    kinds::{BuildError, Login, LoginFields, Secret},
    zone::Zone,
};

/// Where a recorder's HTTP service is. Which of the fields behind the password a kind takes is that kind's matter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// `http://host[:port]` or `https://host[:port]`; of some kinds with a path.
    pub url: String,
    /// User name.
    #[serde(default)]
    pub username: Option<String>,
    /// Password in clear.
    #[serde(default)]
    pub password: Option<Secret>,
    /// File that holds the password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Environment variable that holds the password.
    #[serde(default)]
    pub password_env: Option<String>,
    /// PEM file of the authorities that its certificate is held against, instead of those that browsers know.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// SHA-256 of its certificate in hexadecimal digits, with or without colons: no other is accepted, and this one
    /// whoever signed it.
    #[serde(default)]
    pub pin_sha256: Option<String>,
    /// Any certificate is accepted: whoever is on the way can read and change everything.
    #[serde(default)]
    pub insecure: bool,
    /// `rtsp://host[:port]` of the streams, or `rtsps://`, where it is not where the kind has it.
    #[serde(default)]
    pub rtsp: Option<String>,
    /// The zone of its times. Found out when not given.
    #[serde(default)]
    pub zone: Option<Zone>,
    /// How files are named, see [`seamline_archive::Pattern`]; `{camera}` stands for the copy's own name.
    #[serde(default)]
    pub pattern: Option<String>,
    /// Connects to whatever addresses the device names. Otherwise only to the host of `url`.
    #[serde(default)]
    pub trust_addresses: bool,
    /// The port of its RTSP server, where it names another than leads there.
    #[serde(default)]
    pub rtsp_port: Option<u16>,
}

impl HttpConfig {
    /// Refuses what the kind knows nothing to do with. `fields` are those that it takes besides address, login and trust.
    pub(crate) fn takes(&self, fields: &[&'static str]) -> Result<(), BuildError> {
        let given = [
            ("rtsp", self.rtsp.is_some()),
            ("zone", self.zone.is_some()),
            ("pattern", self.pattern.is_some()),
            ("trust_addresses", self.trust_addresses),
            ("rtsp_port", self.rtsp_port.is_some()),
        ];
        let foreign = given
            .into_iter()
            .find(|(field, given)| *given && !fields.contains(field));
        match foreign {
            Some((field, _)) => Err(BuildError::Foreign(field)),
            None => Ok(()),
        }
    }

    /// Whose certificates are accepted.
    pub(crate) fn trust(&self) -> Trust<'_> {
        Trust {
            url: &self.url,
            ca_file: self.ca_file.as_deref(),
            pin_sha256: self.pin_sha256.as_deref(),
            insecure: self.insecure,
        }
    }

    /// Reads the password.
    pub(crate) fn login(&self) -> Result<Option<Login>, BuildError> {
        let fields = LoginFields {
            username: self.username.as_deref(),
            password: self.password.as_ref(),
            password_file: self.password_file.as_ref(),
            password_env: self.password_env.as_deref(),
        };
        fields.read()
    }
}

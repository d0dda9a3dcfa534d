//! Where a recorder's HTTP service is: the fields that all kinds with one share.

use serde::Deserialize;

use crate::{build_error::BuildError, service_config::service_config, zone::Zone};

service_config! {
    /// Where a recorder's HTTP service is. Which of the fields behind the password a kind takes is that kind's matter.
    #[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
    pub struct HttpConfig {
        /// `http://host[:port]` or `https://host[:port]`; of some kinds with a path.
        pub url: String,
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
}

//! What the operator writes: one TOML file, read whole, with every error named by its line.
//!
//! [`Config::load`] gives settings that can be used as they are: names are resolved, recorders are made, passwords are read.

mod aliases;
mod auth;
mod check;
mod document;
mod duration;
mod http;
mod model;
mod passthrough;
mod policy;
mod problems;
mod xprotect;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use seamline_evidence::SigningKey;
use seamline_probes::{Clock, Recorder, RecorderConfig, Zone};
use seamline_routing::{Camera, Policy, RecorderId, SiteId};
use serde::Deserialize;

use crate::inbound::{Dialects, Doors, FaceSettings, Limits, Settings};
pub use auth::Auth;
pub(crate) use auth::is_user_name;
pub use problems::{LoadError, Problem, Problems};

/// Where clients connect when nothing else is said.
pub const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8554);
/// Longest configuration file that is read.
pub const FILE_BYTES_MAX: u64 = 16 << 20;

/// A whole configuration without errors.
pub struct Config {
    /// Where clients connect.
    pub listen: Vec<SocketAddr>,
    /// What they may have there.
    pub inbound: Settings,
    /// How logs are written.
    pub log: Log,
    /// Who may watch.
    pub auth: Auth,
    /// The sites, best first.
    pub sites: Vec<SiteId>,
    /// The recorders, as the file has them.
    pub recorders: Vec<RecorderEntry>,
    /// The cameras, as the file has them.
    pub cameras: Vec<CameraSettings>,
    /// The policy of cameras that have none of their own.
    pub policy: Policy,
    /// The cameras' names in vendors' URLs.
    pub dialects: Dialects,
    /// What clients of XProtect see in place of its management servers.
    pub faces: Vec<FaceSettings>,
    /// What the manifests of exports are signed with.
    pub evidence_key: Option<SigningKey>,
}

impl Config {
    /// What of this configuration cannot take the place of `before` while the program runs, by the names that the file has.
    pub fn needs_restart(&self, before: &Fixed) -> Vec<&'static str> {
        let now = Fixed::of(self);
        let same = [
            ("listen", now.listen == before.listen),
            ("[limits]", now.limits == before.limits),
            ("[log]", now.log == before.log),
            (
                "primary, management and listen of [[xprotect]]",
                now.doors == before.doors,
            ),
        ];
        let differs = same.into_iter().filter(|(_, same)| !same);
        differs.map(|(name, _)| name).collect()
    }

    /// What an operator should know about who can come in how, and to what.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = self.auth.remarks(self.inbound.certificates.is_some());
        if self.auth.users.is_empty() && !self.inbound.http.passthrough.is_empty() {
            let open = "no [[user]]: anybody may use the recorders' own services that [[passthrough]] relays";
            remarks.push(open.to_owned());
        }
        remarks
    }
}

/// What a program that runs keeps as it was when it was started.
#[derive(Debug)]
pub struct Fixed {
    listen: Vec<SocketAddr>,
    limits: Limits,
    log: Log,
    doors: Vec<Doors>,
}

impl Fixed {
    /// That of a configuration.
    pub fn of(config: &Config) -> Self {
        Fixed {
            listen: config.listen.clone(),
            limits: config.inbound.limits,
            log: config.log.clone(),
            doors: config.faces.iter().map(FaceSettings::doors).collect(),
        }
    }
}

/// A recorder that can be asked.
#[derive(Clone)]
pub struct RecorderEntry {
    /// Its name.
    pub id: RecorderId,
    /// Where it is.
    pub site: SiteId,
    /// The vendor whose URLs it is asked by, and the zone of its times where one is configured.
    pub dialect: Option<(&'static str, Option<Zone>)>,
    /// Its kind, as it is configured.
    pub kind: &'static str,
    /// Where it is, without credentials.
    pub address: String,
    /// How it is asked, as it is configured.
    pub config: RecorderConfig,
    /// What asks it.
    pub recorder: Arc<dyn Recorder>,
}

/// A camera, its copies in order of priority.
#[derive(Clone, Debug)]
pub struct CameraSettings {
    /// The camera.
    pub camera: Camera,
    /// Its own policy, or the common one.
    pub policy: Policy,
}

/// How logs are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Their form.
    pub format: LogFormat,
    /// What is logged: a level, or directives such as `info,seamline_probes=debug`.
    pub level: String,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// An object a line.
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Log {
            format: LogFormat::default(),
            level: "info".to_owned(),
        }
    }
}

impl Config {
    /// Reads a file. Passwords are read from where it says, recorders are not contacted.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        Self::load_with(path, true)
    }

    /// As [`Config::load`], where it is still to be found out which cameras there are.
    pub fn load_without_cameras(path: &Path) -> Result<Self, LoadError> {
        Self::load_with(path, false)
    }

    fn load_with(path: &Path, wants_cameras: bool) -> Result<Self, LoadError> {
        let unreadable = |source| LoadError::Unreadable {
            path: path.to_path_buf(),
            source,
        };
        let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
        if bytes > FILE_BYTES_MAX {
            return Err(LoadError::TooLong {
                path: path.to_path_buf(),
                bytes,
            });
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        Ok(Self::parse_with(
            &text,
            &path.display().to_string(),
            Clock::System,
            wants_cameras,
        )?)
    }

    /// Reads the text of a file that errors call `name`.
    pub fn parse(text: &str, name: &str, clock: Clock) -> Result<Self, Problems> {
        Self::parse_with(text, name, clock, true)
    }

    fn parse_with(
        text: &str,
        name: &str,
        clock: Clock,
        wants_cameras: bool,
    ) -> Result<Self, Problems> {
        if let Some(document) = document::read_by_cameras(text) {
            let mut problems = Problems::new("", "");
            let config = check::check(document, clock, &mut problems);
            if problems.is_empty() {
                return Ok(config);
            }
        }
        let mut problems = Problems::new(name, text);
        let Some(document) = document::read(text, &mut problems) else {
            return Err(problems);
        };
        if wants_cameras && document.cameras.is_empty() {
            problems.add(&(0..0), "no [[camera]]: there is nothing to play");
        }
        let config = check::check(document, clock, &mut problems);
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(problems)
        }
    }
}

#[cfg(test)]
mod tests;

//! The tables of the file as they are written, before names are resolved.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use seamline_probes::Zone;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::LogFormat;
use super::duration::Humane;
use super::policy::PolicyTable;

/// The keys outside of every table.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TopTable {
    pub(super) listen: Option<Addresses>,
    pub(super) udp: Option<bool>,
    pub(super) udp_ports: Option<Spanned<String>>,
}

/// One address, or a list of them.
#[derive(Debug)]
pub(super) struct Addresses(pub(super) Vec<SocketAddr>);

impl<'de> Deserialize<'de> for Addresses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Addresses;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address such as \"0.0.0.0:554\", or a list of them")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Addresses, E> {
                let address = text.parse().map_err(|_| {
                    E::custom(format!(
                        "{text:?} is no address with a port, such as \"0.0.0.0:554\""
                    ))
                })?;
                Ok(Addresses(vec![address]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Addresses, A::Error> {
                let mut addresses = Vec::new();
                while let Some(Addresses(next)) = list.next_element()? {
                    addresses.extend(next);
                }
                if addresses.is_empty() {
                    return Err(de::Error::custom("the list of addresses is empty"));
                }
                Ok(Addresses(addresses))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

/// `[tls]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsTable {
    pub(super) certificate: Option<Spanned<PathBuf>>,
    pub(super) key: Option<Spanned<PathBuf>>,
}

/// `[evidence]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EvidenceTable {
    pub(super) key_file: Option<Spanned<PathBuf>>,
}

/// `[limits]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsTable {
    pub(super) connections_max: Option<NonZeroUsize>,
    pub(super) per_address_max: Option<NonZeroUsize>,
    pub(super) drain: Option<Humane>,
}

/// `[log]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogTable {
    pub(super) format: Option<LogFormat>,
    pub(super) level: Option<Spanned<String>>,
}

/// `[dialects]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DialectsTable {
    pub(super) zone: Option<Zone>,
    #[serde(default)]
    pub(super) hikvision_z: HikvisionZ,
}

/// What Hikvision's `Z` means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum HikvisionZ {
    #[default]
    Utc,
    Local,
}

/// `[[site]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SiteTable {
    pub(super) name: Spanned<String>,
}

/// What every `[[recorder]]` has; the rest is its kind's.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecorderHead {
    pub(super) name: Spanned<String>,
    pub(super) site: Spanned<String>,
}

/// `[[camera]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CameraTable {
    pub(super) id: Spanned<String>,
    pub(super) name: Option<String>,
    pub(super) copies: Spanned<Vec<Spanned<CopyTable>>>,
    pub(super) priority: Option<Vec<Spanned<String>>>,
    pub(super) aliases: Option<Vec<Spanned<String>>>,
    pub(super) zone: Option<Zone>,
    /// Most cameras have none of their own, and thousands are held at once.
    pub(super) policy: Option<Box<PolicyTable>>,
}

/// One of a camera's `copies`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CopyTable {
    pub(super) recorder: Spanned<String>,
    pub(super) remote: Spanned<String>,
    pub(super) clock_offset_ms: Option<Spanned<i64>>,
}

//! Names resolved, passwords read, recorders made; whatever does not fit is reported where it stands.

use std::collections::HashMap;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::sync::Arc;

use seamline_archive::PatternError;
use seamline_evidence::SigningKey;
use seamline_probes::{BuildError, Clock, kinds};
use seamline_routing::camera::COPIES_MAX;
use seamline_routing::{Camera, CameraId, CopyRef, Policy, SiteId};
use toml::Spanned;
use tracing_subscriber::EnvFilter;

use super::aliases::Aliases;
use super::auth;
use super::document::{Document, Entry, RecorderTable};
use super::http;
use super::model::{CameraTable, CopyTable, LimitsTable, LogTable, SiteTable, TlsTable};
use super::passthrough;
use super::problems::Problems;
use super::xprotect;
use super::{CameraSettings, Config, LISTEN, Log, RecorderEntry};
use crate::inbound::is_reserved;
use crate::inbound::{Certificates, HttpSettings, Limits, Settings, TlsError, UdpSettings};

/// Longest name of anything.
const NAME_BYTES_MAX: usize = 256;
/// A recorder's clock further off than this is a typing error: ten years.
const CLOCK_OFFSET_MS_MAX: u64 = 10 * 366 * 86_400_000;

/// The configuration of a document, without what has errors; those go to `problems`.
pub(super) fn check(document: Document, clock: Clock, problems: &mut Problems) -> Config {
    let Document {
        top,
        auth,
        http,
        limits,
        log,
        tls,
        evidence,
        policy,
        dialects,
        passthrough,
        xprotect: faces,
        users,
        sites,
        recorders,
        cameras,
    } = document;
    let policy = policy.over(Policy::default());
    let mut checker = Checker { problems };
    let site_names = checker.names("site", &sites);
    let recorder_names = checker.names("recorder", &recorders);
    let camera_names = checker.names("camera", &cameras);
    let user_names: Vec<String> = checker.names("user", &users).into_keys().collect();

    let sites: Vec<SiteId> = sites
        .into_iter()
        .filter_map(|entry| checker.site(entry.table?))
        .collect();
    let recorders: Vec<RecorderEntry> = recorders
        .into_iter()
        .filter_map(|entry| checker.recorder(entry.table?, &entry.span, &site_names, clock))
        .collect();
    let names = Names {
        recorders: &recorder_names,
        sites: &site_names,
    };
    let pairs = recorders.iter().map(|entry| (entry.id.as_str(), entry));
    let by_name: HashMap<_, _> = pairs.collect();
    let mut aliases = Aliases::new(&dialects);
    let cameras: Vec<CameraSettings> = cameras
        .into_iter()
        .filter_map(|entry| {
            let mut table = entry.table?;
            let (listed, zone) = (table.aliases.take(), table.zone.take());
            let settings = checker.camera(table, &names, &sites, &by_name, policy)?;
            let listed = listed.unwrap_or_default();
            aliases.add(
                &settings.camera,
                zone.as_ref(),
                &listed,
                &by_name,
                checker.problems,
            );
            Some(settings)
        })
        .collect();
    let log = checker.log(log);
    let certificates = checker.certificates(tls);
    let evidence_key = evidence
        .key_file
        .and_then(|path| checker.evidence_key(&path));
    let camera_ids: Vec<&str> = camera_names.keys().map(String::as_str).collect();
    let users = users
        .into_iter()
        .filter_map(|entry| Some((entry.table?, entry.span)))
        .collect();
    let udp = UdpSettings {
        refused: top.udp == Some(false),
        ports: top.udp_ports.and_then(|ports| checker.ports(&ports)),
    };
    let auth = auth::check(auth, users, &camera_ids, problems);
    let relayed = passthrough
        .into_iter()
        .filter_map(|entry| Some((entry.table?, entry.span)))
        .collect();
    let passthrough = passthrough::check(relayed, &recorders, &sites, &user_names, problems);
    let faces = faces.into_iter().filter_map(|entry| entry.table).collect();
    let listen = top.listen.map_or_else(|| vec![LISTEN], |listen| listen.0);
    let faces = xprotect::check(faces, &listen, &recorders, problems);
    let http = HttpSettings {
        passthrough,
        ..http::check(&http, problems)
    };
    Config {
        listen,
        inbound: Settings {
            limits: limits_of(&limits),
            certificates,
            udp,
            http,
        },
        log,
        auth,
        sites,
        recorders,
        cameras,
        policy,
        dialects: aliases.done(),
        faces,
        evidence_key,
    }
}

/// Names that are defined, also those of tables with errors.
type Defined = HashMap<String, Range<usize>>;

struct Names<'a> {
    recorders: &'a Defined,
    sites: &'a Defined,
}

struct Checker<'p> {
    problems: &'p mut Problems,
}

impl Checker<'_> {
    fn wrong(&mut self, span: &Range<usize>, message: impl Into<String>) {
        self.problems.add(span, message);
    }

    /// The names of a kind of table, each only once.
    fn names<T>(&mut self, kind: &str, entries: &[Entry<T>]) -> Defined {
        let mut defined = Defined::new();
        for name in entries.iter().filter_map(|entry| entry.name.as_ref()) {
            match defined.get(name.get_ref()) {
                Some(first) => {
                    let line = self.problems.line(first);
                    self.wrong(
                        &name.span(),
                        format!("{kind} {:?} is already on line {line}", name.get_ref()),
                    );
                }
                None => {
                    defined.insert(name.get_ref().clone(), name.span());
                }
            }
        }
        defined
    }

    /// Whether a name can be shown and typed.
    fn is_name(&mut self, kind: &str, name: &Spanned<String>) -> bool {
        let text = name.get_ref();
        let fits = !text.is_empty()
            && text.len() <= NAME_BYTES_MAX
            && text.trim() == text
            && !text.contains(char::is_control);
        if !fits {
            self.wrong(
                &name.span(),
                format!("{text:?} cannot be the name of a {kind}"),
            );
        }
        fits
    }

    fn known(&mut self, kind: &str, name: &Spanned<String>, defined: &Defined) -> bool {
        let known = defined.contains_key(name.get_ref());
        if !known {
            self.wrong(
                &name.span(),
                format!("there is no {kind} {:?}", name.get_ref()),
            );
        }
        known
    }

    fn site(&mut self, table: SiteTable) -> Option<SiteId> {
        self.is_name("site", &table.name)
            .then(|| SiteId::from(table.name.into_inner()))
    }

    fn recorder(
        &mut self,
        table: RecorderTable,
        span: &Range<usize>,
        sites: &Defined,
        clock: Clock,
    ) -> Option<RecorderEntry> {
        let RecorderTable { head, config, keys } = table;
        let dialect = config
            .dialect()
            .map(|(dialect, zone)| (dialect, zone.cloned()));
        let fits = self.is_name("recorder", &head.name) & self.known("site", &head.site, sites);
        let recorder = match kinds::build(&config, clock) {
            Ok(recorder) => recorder,
            Err(error) => {
                let place = places(&error)
                    .iter()
                    .find_map(|place| keys.iter().find(|(key, _)| key == place));
                self.wrong(place.map_or(span, |(_, span)| span), error.to_string());
                return None;
            }
        };
        fits.then(|| RecorderEntry {
            id: head.name.into_inner().into(),
            site: head.site.into_inner().into(),
            dialect,
            kind: config.kind(),
            address: config.address(),
            config,
            recorder,
        })
    }

    fn camera(
        &mut self,
        table: CameraTable,
        names: &Names<'_>,
        sites: &[SiteId],
        recorders: &HashMap<&str, &RecorderEntry>,
        common: Policy,
    ) -> Option<CameraSettings> {
        let mut fits = self.is_camera_id(&table.id);
        let order = self.site_order(
            table.priority.as_deref().unwrap_or_default(),
            names.sites,
            sites,
        );
        let count = table.copies.get_ref().len();
        if count == 0 || count > COPIES_MAX {
            let span = table.copies.span();
            self.wrong(
                &span,
                format!("a camera has 1 to {COPIES_MAX} copies, this one has {count}"),
            );
            fits = false;
        }
        let mut copies: Vec<CopyRef> = Vec::with_capacity(count);
        for copy in table.copies.into_inner() {
            let span = copy.span();
            let Some(copy) = self.copy(copy.into_inner(), names, recorders) else {
                fits = false;
                continue;
            };
            if copies
                .iter()
                .any(|other| other.recorder == copy.recorder && other.remote == copy.remote)
            {
                self.wrong(
                    &span,
                    format!(
                        "{:?} of recorder {:?} is already a copy of this camera",
                        &*copy.remote, copy.recorder
                    ),
                );
                fits = false;
            }
            copies.push(copy);
        }
        if !fits {
            return None;
        }
        // Copies of one site stay in the order in which they are written.
        copies.sort_by_key(|copy| order.iter().position(|site| *site == copy.site));
        let id = table.id.into_inner();
        let name: Arc<str> = table.name.as_deref().unwrap_or(&id).into();
        let camera = Camera {
            id: CameraId::from(id),
            name,
            copies,
        };
        Some(CameraSettings {
            camera,
            policy: table.policy.map_or(common, |own| own.over(common)),
        })
    }

    fn copy(
        &mut self,
        table: CopyTable,
        names: &Names<'_>,
        recorders: &HashMap<&str, &RecorderEntry>,
    ) -> Option<CopyRef> {
        let mut fits = self.known("recorder", &table.recorder, names.recorders);
        if table.remote.get_ref().is_empty() || table.remote.get_ref().contains(char::is_control) {
            self.wrong(
                &table.remote.span(),
                "the recorder's own name of the camera is needed",
            );
            fits = false;
        }
        let clock_offset_ms = table.clock_offset_ms.map_or(0, |offset| {
            if offset.get_ref().unsigned_abs() > CLOCK_OFFSET_MS_MAX {
                self.wrong(
                    &offset.span(),
                    "a clock that is off by more than ten years is none",
                );
                fits = false;
            }
            offset.into_inner()
        });
        let entry = recorders.get(table.recorder.get_ref().as_str())?;
        fits.then(|| CopyRef {
            site: entry.site.clone(),
            recorder: entry.id.clone(),
            remote: table.remote.into_inner().into(),
            clock_offset_us: clock_offset_ms.saturating_mul(1000),
        })
    }

    /// All sites in a camera's order: those that it names, then the others.
    fn site_order(
        &mut self,
        named: &[Spanned<String>],
        defined: &Defined,
        sites: &[SiteId],
    ) -> Vec<SiteId> {
        let mut order: Vec<SiteId> = Vec::with_capacity(sites.len());
        for name in named {
            if !self.known("site", name, defined) {
                continue;
            }
            let site = SiteId::from(name.get_ref().as_str());
            if order.contains(&site) {
                self.wrong(
                    &name.span(),
                    format!("site {:?} is named twice", name.get_ref()),
                );
            }
            order.push(site);
        }
        let others = sites
            .iter()
            .filter(|site| !order.contains(site))
            .cloned()
            .collect::<Vec<_>>();
        order.extend(others);
        order
    }

    /// Whether clients can put the id into the path of a URL, apart from the path's own words.
    fn is_camera_id(&mut self, id: &Spanned<String>) -> bool {
        if !self.is_name("camera", id) {
            return false;
        }
        let text = id.get_ref();
        let reserved = |part: &str| matches!(part, "" | "." | "..") || is_reserved(part);
        let fits = !text.contains('\\') && !text.split('/').any(reserved);
        if !fits {
            self.wrong(
                &id.span(),
                format!("{text:?} cannot be part of a URL's path"),
            );
        }
        fits
    }

    /// A range with at least one even port and the next.
    fn ports(&mut self, text: &Spanned<String>) -> Option<RangeInclusive<u16>> {
        let range = text.get_ref().split_once('-').and_then(|(first, last)| {
            let first: u16 = first.trim().parse().ok()?;
            let last: u16 = last.trim().parse().ok()?;
            let even = first.checked_add(first % 2)?;
            (first > 0 && even < last).then_some(first..=last)
        });
        if range.is_none() {
            self.wrong(
                &text.span(),
                "udp_ports is a range with an even port and the next, such as \"30000-30999\"",
            );
        }
        range
    }

    fn certificates(&mut self, table: TlsTable) -> Option<Arc<Certificates>> {
        let (certificate, key) = match (table.certificate, table.key) {
            (Some(certificate), Some(key)) => (certificate, key),
            (Some(alone), None) | (None, Some(alone)) => {
                self.wrong(&alone.span(), "TLS takes a certificate and its key");
                return None;
            }
            (None, None) => return None,
        };
        match Certificates::load(certificate.get_ref(), key.get_ref()) {
            Ok(certificates) => Some(Arc::new(certificates)),
            Err(error) => {
                let span = match error {
                    TlsError::Certificate { .. } => certificate.span(),
                    TlsError::Key { .. } | TlsError::Pair(_) => key.span(),
                };
                self.wrong(&span, error.to_string());
                None
            }
        }
    }

    /// The key that exports are signed with.
    fn evidence_key(&mut self, path: &Spanned<PathBuf>) -> Option<SigningKey> {
        let pem = std::fs::read(path.get_ref()).map_err(|error| error.to_string());
        let key = pem.and_then(|pem| SigningKey::from_pem(&pem).map_err(|error| error.to_string()));
        key.map_err(|error| {
            let name = path.get_ref().display();
            self.wrong(&path.span(), format!("key_file {name}: {error}"));
        })
        .ok()
    }

    fn log(&mut self, table: LogTable) -> Log {
        let mut log = Log {
            format: table.format.unwrap_or_default(),
            ..Log::default()
        };
        if let Some(level) = table.level {
            if EnvFilter::try_new(level.get_ref()).is_err() {
                self.wrong(
                    &level.span(),
                    format!(
                        "{:?} is no level such as \"info\", nor a list of them",
                        level.get_ref()
                    ),
                );
            }
            log.level = level.into_inner();
        }
        log
    }
}

fn limits_of(table: &LimitsTable) -> Limits {
    let defaults = Limits::default();
    Limits {
        connections_max: table
            .connections_max
            .map_or(defaults.connections_max, Into::into),
        per_address_max: table
            .per_address_max
            .map_or(defaults.per_address_max, Into::into),
        drain: table.drain.map_or(defaults.drain, |drain| drain.0),
    }
}

/// The keys of a recorder that an error may be about, the likeliest first.
fn places(error: &BuildError) -> &[&'static str] {
    match error {
        BuildError::Url { .. } => &["url"],
        BuildError::Pattern(PatternError::Zone { .. }) | BuildError::Zone(_) => &["zone"],
        BuildError::Pattern(_) => &["pattern"],
        BuildError::Foreign(field) | BuildError::Trust(field, _) => std::slice::from_ref(field),
        BuildError::Login(_) => &["password", "password_file", "password_env"],
        BuildError::PasswordFile { .. } => &["password_file"],
        BuildError::PasswordEnv { .. } => &["password_env"],
    }
}

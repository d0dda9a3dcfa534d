//! `[[xprotect]]`: a management server of XProtect and its recorders, as clients such as Smart Client see them here.

use std::net::SocketAddr;
use std::path::PathBuf;

use seamline_probes::MediaSource;
use serde::Deserialize;
use toml::Spanned;

use super::RecorderEntry;
use super::model::Addresses;
use super::problems::Problems;
use crate::inbound::{FaceSettings, PortSettings, Server};

/// Most management servers that are stood in front of.
const FACES_MAX: usize = 16;
/// Most recorders of one.
const RECORDERS_MAX: usize = 256;

/// `[[xprotect]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct XProtectTable {
    primary: Spanned<String>,
    secondary: Option<Spanned<String>>,
    management: Spanned<Addresses>,
    public_host: Option<Spanned<String>>,
    cache: Option<PathBuf>,
    sessions_while_down: Option<Spanned<bool>>,
    #[serde(default = "yes")]
    live_failover: bool,
    #[serde(default)]
    recorder: Vec<Spanned<RecorderPortTable>>,
}

/// `[[xprotect.recorder]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecorderPortTable {
    recorder: Spanned<String>,
    listen: Spanned<Addresses>,
    public_port: Option<Spanned<u16>>,
}

const fn yes() -> bool {
    true
}

/// Reads the faces; addresses are those of no other.
pub(super) fn check(
    tables: Vec<XProtectTable>,
    listen: &[SocketAddr],
    recorders: &[RecorderEntry],
    problems: &mut Problems,
) -> Vec<FaceSettings> {
    if let Some(table) = tables.get(FACES_MAX) {
        let span = table.primary.span();
        problems.add(&span, format!("there are up to {FACES_MAX} [[xprotect]]"));
    }
    let mut taken = listen.to_vec();
    let faces = tables
        .into_iter()
        .filter_map(|table| face(table, recorders, &mut taken, problems));
    faces.collect()
}

fn face(
    table: XProtectTable,
    recorders: &[RecorderEntry],
    taken: &mut Vec<SocketAddr>,
    problems: &mut Problems,
) -> Option<FaceSettings> {
    let primary = server(&table.primary, recorders, problems);
    let secondary = table.secondary.as_ref();
    let secondary = secondary.and_then(|name| {
        if name.get_ref() == table.primary.get_ref() {
            problems.add(&name.span(), "the secondary is the primary");
            return None;
        }
        server(name, recorders, problems)
    });
    if let Some(host) = &table.public_host {
        let text = host.get_ref();
        if url::Host::parse(text).is_err() || text.contains(['/', '@', '?', '#']) {
            let what =
                format!("{text:?} is no host; ports are those of `listen`, or `public_port`");
            problems.add(&host.span(), what);
        }
    }
    if let Some(wanted) = table.sessions_while_down.as_ref()
        && *wanted.get_ref()
        && table.cache.is_none()
    {
        let what = "`cache` must be set: a folder for what users may see while the primary is down";
        problems.add(&wanted.span(), what);
    }
    let management = addresses(table.management, taken, problems);
    if let Some(more) = table.recorder.get(RECORDERS_MAX) {
        problems.add(
            &more.span(),
            format!("there are up to {RECORDERS_MAX} recorders"),
        );
    }
    let mut named: Vec<String> = Vec::new();
    let ports = table.recorder.into_iter().map(|port| {
        let port = port.into_inner();
        let recorder = port.recorder.get_ref();
        if recorder.is_empty() || named.contains(recorder) {
            let what = format!(
                "{recorder:?} is no recorder's GUID or name, or one that has its port already"
            );
            problems.add(&port.recorder.span(), what);
        }
        named.push(recorder.clone());
        if let Some(public) = &port.public_port
            && *public.get_ref() == 0
        {
            problems.add(&public.span(), "clients cannot connect to port 0");
        }
        PortSettings {
            listen: addresses(port.listen, taken, problems),
            recorder: port.recorder.into_inner(),
            public_port: port.public_port.map(Spanned::into_inner),
        }
    });
    let ports = ports.collect();
    Some(FaceSettings {
        primary: primary?,
        secondary,
        management,
        public_host: table.public_host.map(Spanned::into_inner),
        sessions_while_down: table.sessions_while_down.map_or_else(
            || table.cache.is_some(),
            |wanted| *wanted.get_ref() && table.cache.is_some(),
        ),
        cache: table.cache,
        live_failover: table.live_failover,
        ports,
    })
}

fn server(
    name: &Spanned<String>,
    recorders: &[RecorderEntry],
    problems: &mut Problems,
) -> Option<Server> {
    let text = name.get_ref();
    let Some(entry) = recorders.iter().find(|entry| entry.id.as_str() == text) else {
        problems.add(&name.span(), format!("there is no recorder {text:?}"));
        return None;
    };
    let MediaSource::XProtect(server) = entry.recorder.media() else {
        let what = format!("recorder {text:?} is not of the kind \"xprotect\"");
        problems.add(&name.span(), what);
        return None;
    };
    Some(Server {
        recorder: entry.id.clone(),
        site: entry.site.clone(),
        server,
    })
}

fn addresses(
    listed: Spanned<Addresses>,
    taken: &mut Vec<SocketAddr>,
    problems: &mut Problems,
) -> Vec<SocketAddr> {
    let span = listed.span();
    let listed = listed.into_inner().0;
    if listed.is_empty() {
        problems.add(&span, "an address is needed");
    }
    for address in &listed {
        if address.port() != 0 && taken.contains(address) {
            problems.add(&span, format!("{address} is listened on already"));
        }
        taken.push(*address);
    }
    listed
}

//! `mediaFileFind.cgi`: an object at the recorder that is made, asked page by page, and destroyed whatever happens.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use jiff::civil::DateTime;
use seamline_routing::{TimeRange, Timestamp};

use crate::{
    clock::monotonic,
    http::{Device, Reply},
    listing,
    recorder::ProbeError,
    zone::Zone,
};

/// A search object. Recorders have few of them: dropped, it is destroyed there.
pub(super) struct Finder {
    device: Arc<Device>,
    object: String,
}

/// What a search found.
pub(super) struct Found {
    pub(super) files: Vec<File>,
    /// The recorder's time of day.
    pub(super) there: Option<Timestamp>,
    /// Where there was no time for more, up to when it is whole.
    pub(super) whole_to: Option<Timestamp>,
}

/// One file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct File {
    pub(super) range: TimeRange,
    /// Still being written.
    pub(super) open: bool,
}

impl Finder {
    pub(super) async fn create(device: &Arc<Device>) -> Result<Self, ProbeError> {
        let reply = ask(device, "factory.create").await?;
        let text = text(&reply);
        let object = text.trim().strip_prefix("result=").map(str::trim);
        let is_token = |object: &&str| {
            !object.is_empty()
                && object.len() <= OBJECT_BYTES_MAX
                && object.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        let object = object.filter(is_token);
        let object = object.ok_or_else(|| ProbeError::protocol("factory.create: no object"))?;
        Ok(Self {
            device: Arc::clone(device),
            object: object.to_owned(),
        })
    }

    /// The files of a channel that touch `window`. `None` when the recorder refuses to look: some say so where there are none.
    pub(super) async fn find(
        &self,
        remote: &str,
        window: TimeRange,
        zone: &Zone,
        until: Instant,
    ) -> Result<Option<Found>, ProbeError> {
        let (channel, subtype) = remote.split_once('/').unwrap_or((remote, "0"));
        let time = |at: Timestamp| zone.local(at).strftime("%Y-%m-%d%%20%H:%M:%S").to_string();
        let stream = match subtype {
            "0" => String::new(),
            extra => format!("&condition.VideoStream=Extra{extra}"),
        };
        let request = format!(
            "findFile&object={}&condition.Channel={channel}&condition.StartTime={}&condition.EndTime={}&condition.Types[0]=dav{stream}",
            self.object,
            time(window.start()),
            time(window.end()),
        );
        let reply = match ask(&self.device, &request).await {
            Err(ProbeError::Protocol(_)) => return Ok(None),
            reply => reply?,
        };
        if !text(&reply).trim_start().starts_with("OK") {
            return Ok(None);
        }
        let mut found = Found {
            files: Vec::new(),
            there: reply.date,
            whole_to: None,
        };
        loop {
            let request = format!("findNextFile&object={}&count={PAGE}", self.object);
            let reply = ask(&self.device, &request).await?;
            let (count, files) = parse(&text(&reply), zone)?;
            found.files.extend(files);
            if count < PAGE {
                return Ok(Some(found));
            }
            if monotonic() >= until || found.files.len() >= FILES_MAX {
                found.whole_to = found.files.iter().map(|file| file.range.start()).max();
                return Ok(Some(found));
            }
        }
    }
}

impl Drop for Finder {
    fn drop(&mut self) {
        let (device, object) = (Arc::clone(&self.device), std::mem::take(&mut self.object));
        // Also where the question was given up in the middle.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                for action in ["close", "destroy"] {
                    if let Err(error) = ask(&device, &format!("{action}&object={object}")).await {
                        tracing::debug!(recorder = device.host(), action, %error, "search object");
                    }
                }
            });
        }
    }
}

async fn ask(device: &Device, action: &str) -> Result<Reply, ProbeError> {
    let path = format!("/cgi-bin/mediaFileFind.cgi?action={action}");
    let name = action.split('&').next().unwrap_or_default();
    device.get(&path).await?.success(name)
}

fn text(reply: &Reply) -> String {
    String::from_utf8_lossy(&reply.body).into_owned()
}

/// One page: how many files it says it has, and those. A file whose times cannot be read makes it unusable: what is left out
/// would pass for a gap.
pub(super) fn parse(text: &str, zone: &Zone) -> Result<(usize, Vec<File>), ProbeError> {
    let wrong = |what: &str| ProbeError::protocol(format!("findNextFile: {what}"));
    let mut count = None;
    let mut items: BTreeMap<usize, Item> = BTreeMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let Some((key, value)) = line.split_once('=') else {
            return Err(wrong("a line that is none"));
        };
        if key == "found" {
            count = value
                .trim()
                .parse::<usize>()
                .ok()
                .filter(|count| *count <= PAGE);
            continue;
        }
        let Some((number, field)) = key
            .strip_prefix("items[")
            .and_then(|rest| rest.split_once("]."))
        else {
            continue;
        };
        let number = number.parse::<usize>().ok().filter(|number| *number < PAGE);
        let item = items
            .entry(number.ok_or_else(|| wrong("an item out of place"))?)
            .or_default();
        match field {
            "StartTime" => item.start = value.trim().parse().ok(),
            "EndTime" => item.end = value.trim().parse().ok(),
            "StartTimeRealUTC" => item.start_utc = utc(value),
            "EndTimeRealUTC" => item.end_utc = utc(value),
            "FileState" => item.open = value.trim() == "Temporary",
            _ => {}
        }
    }
    let count = count.ok_or_else(|| wrong("no usable count"))?;
    if items.len() != count {
        return Err(wrong("another number of files than it says"));
    }
    let files = items.into_values().map(|item| {
        let range = match (item.start_utc, item.end_utc, item.start, item.end) {
            (Some(start), Some(end), ..) => Some(TimeRange::new(start, end)),
            (_, _, Some(start), Some(end)) => Some(listing::period(start, end, zone)),
            _ => None,
        };
        let range = range.ok_or_else(|| wrong("a file without its times"))?;
        Ok::<_, ProbeError>(range.map(|range| File {
            range,
            open: item.open,
        }))
    });
    // Files of no length are left behind by a loss of power.
    let files = files
        .filter_map(Result::transpose)
        .collect::<Result<_, _>>()?;
    Ok((count, files))
}

#[derive(Default)]
struct Item {
    start: Option<DateTime>,
    end: Option<DateTime>,
    /// As newer firmware tells besides.
    start_utc: Option<Timestamp>,
    end_utc: Option<Timestamp>,
    open: bool,
}

fn utc(text: &str) -> Option<Timestamp> {
    let local: DateTime = text.trim().trim_end_matches('Z').parse().ok()?;
    Some(Zone::UTC.read(local).earliest())
}

const PAGE: usize = 100;
const FILES_MAX: usize = 20_000;
const OBJECT_BYTES_MAX: usize = 64;

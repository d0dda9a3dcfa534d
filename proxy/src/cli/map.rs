//! `seamline map`: which cameras of two recorders belong together, as text that can be pasted into a configuration.

use std::collections::HashSet;
use std::fmt::Write;
use std::process::ExitCode;
use std::sync::Arc;

use seamline_probes::pairing::{Doubt, Evidence, Pair, Proposal, Single, propose, propose_within};
use seamline_probes::xprotect::Site;
use seamline_probes::{ClientOptions, ClockOffset, MediaSource, RecorderClient, RemoteCamera};
use seamline_routing::{Camera, RecorderId};
use seamline_xprotect::configuration::Configuration;

use super::{CliError, MapArgs};
use crate::config::{Config, RecorderEntry};

pub(super) async fn map(args: &MapArgs) -> Result<ExitCode, CliError> {
    if args.primary == args.secondary {
        return Err(CliError::SameRecorder);
    }
    let config = Config::load_without_cameras(&args.config.config)?;
    let side = |name: &str| {
        let entry = config
            .recorders
            .iter()
            .find(|entry| entry.id.as_str() == name);
        entry.ok_or_else(|| CliError::NoRecorder(name.to_owned()))
    };
    let (primary, secondary) = (side(&args.primary)?, side(&args.secondary)?);
    let (of_primary, of_secondary) = (primary.recorder.media(), secondary.recorder.media());
    let (primary, secondary) = tokio::try_join!(ask(primary), ask(secondary))?;
    let cameras: Vec<Camera> = config
        .cameras
        .into_iter()
        .map(|settings| settings.camera)
        .collect();
    let one_server = match (&of_primary, &of_secondary) {
        (MediaSource::XProtect(one), MediaSource::XProtect(other)) => {
            one.server() == other.server() || have_one_recorder(one, other).await
        }
        _ => false,
    };
    print!("{}", page(&primary, &secondary, &cameras, one_server));
    if let MediaSource::XProtect(server) = &of_primary
        && config
            .faces
            .iter()
            .all(|face| face.primary.recorder != primary.recorder)
        && let Ok(told) = server.configuration(false).await
    {
        let also = matches!(of_secondary, MediaSource::XProtect(_)) && !one_server;
        let secondary = also.then_some(&secondary.recorder);
        print!("{}", face(&primary.recorder, secondary, &told));
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether two addresses are one management server's, as `http` and `https` are: it tells of a recorder that the other tells of, too, at
/// the same address. Their ids alone say less: a site that was restored from another's backup has them all.
async fn have_one_recorder(one: &Site, other: &Site) -> bool {
    let (one, other) = (one.configuration(false), other.configuration(false));
    let Ok((one, other)) = tokio::try_join!(one, other) else {
        return false;
    };
    share_a_recorder(&one, &other)
}

fn share_a_recorder(one: &Configuration, other: &Configuration) -> bool {
    one.recorders.iter().any(|recorder| {
        let mut others = other.recorders.iter();
        others.any(|other| {
            other.id.eq_ignore_ascii_case(&recorder.id)
                && other.uri.eq_ignore_ascii_case(&recorder.uri)
        })
    })
}

/// What a recorder told.
struct Side {
    recorder: RecorderId,
    cameras: Arc<[RemoteCamera]>,
    clock: Option<ClockOffset>,
}

async fn ask(entry: &RecorderEntry) -> Result<Side, CliError> {
    let recorder = entry.id.clone();
    let failed = |why: String| CliError::Inventory {
        recorder: recorder.to_string(),
        why,
    };
    let client = RecorderClient::new(
        recorder.clone(),
        entry.recorder.clone(),
        ClientOptions::default(),
    );
    let cameras = client.inventory().await;
    let cameras = cameras.map_err(|error| failed(error.to_string()))?;
    let cameras = cameras
        .ok_or_else(|| failed("this kind of recorder does not tell which cameras it has".into()))?;
    let clock = client.clock_offset().await.ok().flatten();
    Ok(Side {
        recorder,
        cameras,
        clock,
    })
}

/// The whole answer: TOML, in which everything but what is certain is a comment. `one_server` tells both sides' cameras, each of which is
/// there twice.
fn page(primary: &Side, secondary: &Side, configured: &[Camera], one_server: bool) -> String {
    let proposal = if one_server {
        propose_within(&primary.cameras)
    } else {
        propose(&primary.cameras, &secondary.cameras)
    };
    let mut page = String::new();
    let mut say = |line: &str| {
        page.push_str(line);
        page.push('\n');
    };
    for side in [primary, secondary] {
        let count = side.cameras.len();
        let plural = if count == 1 { "" } else { "s" };
        say(&format!(
            "# {}: {count} camera{plural}{}",
            side.recorder,
            clock(side.clock)
        ));
    }
    if one_server {
        say(
            "# One management server: each camera belongs to the one that another of its recorders has.",
        );
    }
    let mut ids: HashSet<String> = configured
        .iter()
        .map(|camera| camera.id.to_string())
        .collect();
    for pair in &proposal.pairs {
        say("");
        say(&section(pair, primary, secondary, configured, &mut ids));
    }
    let singles = singles(&proposal, primary, secondary, one_server);
    if !singles.is_empty() {
        say("\n# Without a partner:");
        for line in &singles {
            say(line);
        }
    }
    page
}

/// For clients of XProtect: a port for each recorder of the primary, the usual one first.
fn face(primary: &RecorderId, secondary: Option<&RecorderId>, told: &Configuration) -> String {
    let mut text = format!(
        "\n# So that clients of XProtect log in here (deploy/XPROTECT.md).\n[[xprotect]]\nprimary = {}\n",
        quoted(primary.as_str())
    );
    if let Some(secondary) = secondary {
        let _ = writeln!(text, "secondary = {}", quoted(secondary.as_str()));
    }
    text.push_str("management = [\"0.0.0.0:80\", \"0.0.0.0:443\"]\n");
    for (ix, recorder) in told.recorders.iter().enumerate() {
        let port = usize::from(IMAGE_SERVER_PORT) + PORTS_APART * ix;
        let _ = write!(
            text,
            "[[xprotect.recorder]]\nrecorder = {}    # {}\nlisten = \"0.0.0.0:{port}\"\n",
            quoted(&recorder.id),
            recorder.name.replace(char::is_control, " ")
        );
    }
    text
}

/// Where recorders of XProtect listen, and how far the ports of several are apart here.
const IMAGE_SERVER_PORT: u16 = 7563;
const PORTS_APART: usize = 10;

fn clock(offset: Option<ClockOffset>) -> String {
    let Some(ClockOffset {
        micros,
        uncertainty,
    }) = offset
    else {
        return String::new();
    };
    let (seconds, within) = (micros as f64 / 1e6, uncertainty.as_secs_f64());
    format!(", clock {seconds:+.1} s from this machine's (within {within:.1} s)")
}

/// A camera of the configuration, or why it is none.
fn section(
    pair: &Pair,
    primary: &Side,
    secondary: &Side,
    configured: &[Camera],
    ids: &mut HashSet<String>,
) -> String {
    let (Some(one), Some(other)) = (
        primary.cameras.get(pair.primary),
        secondary.cameras.get(pair.secondary),
    ) else {
        return String::new();
    };
    let copies = [(&primary.recorder, one), (&secondary.recorder, other)];
    let named =
        |(recorder, camera): (&RecorderId, &RemoteCamera)| format!("{recorder} {}", shown(camera));
    let mut text = format!(
        "# {} and {}: same {}",
        named(copies[0]),
        named(copies[1]),
        shared(pair.by, one)
    );
    let known = configured.iter().find(|camera| {
        copies.iter().all(|(recorder, listed)| {
            let aliases = [
                Some(&listed.remote),
                listed.source.as_ref(),
                listed.name.as_ref(),
            ];
            let mut copies = camera.copies.iter();
            copies.any(|copy| copy.recorder == **recorder && aliases.contains(&Some(&copy.remote)))
        })
    });
    if let Some(camera) = known {
        let _ = write!(text, "; configured as {:?}", camera.id.as_str());
        return text;
    }
    for doubt in &pair.doubts {
        let _ = write!(text, "\n# {}", against(*doubt, pair.by, one, other));
    }
    let name = one
        .name
        .as_deref()
        .or(other.name.as_deref())
        .unwrap_or(&one.remote);
    let id = unused(&slug(name), ids);
    let mut lines = vec!["[[camera]]".to_owned(), format!("id = {}", quoted(&id))];
    if name != id {
        lines.push(format!("name = {}", quoted(name)));
    }
    lines.push("copies = [".to_owned());
    for (recorder, camera) in copies {
        let (recorder, remote) = (quoted(recorder.as_str()), quoted(&camera.remote));
        lines.push(format!(
            "    {{ recorder = {recorder}, remote = {remote} }},"
        ));
    }
    lines.push("]".to_owned());
    // What may be two cameras is for a person to decide.
    let prefix = if pair.doubts.iter().any(|doubt| doubt.is_grave()) {
        "#"
    } else {
        ""
    };
    for line in lines {
        let _ = write!(text, "\n{prefix}{line}");
    }
    text
}

fn shared(by: Evidence, camera: &RemoteCamera) -> String {
    let (what, text) = match by {
        Evidence::Source => ("source id", &camera.source),
        Evidence::Address => ("address", &camera.address),
        Evidence::Name => ("name", &camera.name),
    };
    format!("{what} {}", quoted(text.as_deref().unwrap_or_default()))
}

fn against(doubt: Doubt, by: Evidence, one: &RemoteCamera, other: &RemoteCamera) -> String {
    let both = |one: &Option<Arc<str>>, other: &Option<Arc<str>>| {
        let text = |text: &Option<Arc<str>>| quoted(text.as_deref().unwrap_or_default());
        format!("{} and {}", text(one), text(other))
    };
    match doubt {
        Doubt::Address => format!(
            "Doubtful: their addresses differ, {}.",
            both(&one.address, &other.address)
        ),
        Doubt::Source => format!(
            "Doubtful: their source ids differ, {}.",
            both(&one.source, &other.source)
        ),
        Doubt::Name => format!(
            "Doubtful: their names differ, {}, and {}.",
            both(&one.name, &other.name),
            match (by, &one.source) {
                (Evidence::Source, Some(source)) if !source.contains("://") => {
                    "many recorders use such a source id"
                }
                _ => "several cameras may be at one address",
            }
        ),
        Doubt::Codec => format!(
            "Their codecs differ, {}: playback cannot pass from one to the other.",
            both(&one.format, &other.format)
        ),
    }
}

fn singles(proposal: &Proposal, primary: &Side, secondary: &Side, one_server: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for (singles, here, there) in [
        (&proposal.primary, primary, secondary),
        (&proposal.secondary, secondary, primary),
    ] {
        for Single { at, ambiguous } in singles {
            let Some(camera) = here.cameras.get(*at) else {
                continue;
            };
            let why = match ambiguous {
                Some(by) => format!("several share its {}", shared(*by, camera)),
                None if one_server => {
                    "nothing at another of its recorders has its source id, address or name"
                        .to_owned()
                }
                None => format!(
                    "nothing at {} has its source id, address or name",
                    there.recorder
                ),
            };
            lines.push(format!("#   {} {}: {why}", here.recorder, shown(camera)));
        }
    }
    lines
}

/// A camera in a few words.
fn shown(camera: &RemoteCamera) -> String {
    let remote = quoted(&camera.remote);
    match &camera.name {
        Some(name) if *name != camera.remote => format!("{remote} ({name})"),
        _ => remote,
    }
}

/// As TOML writes a text.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// A name as part of a URL: letters and digits, and dashes between them.
fn slug(name: &str) -> String {
    let lower = name.to_lowercase();
    let words = lower.split(|letter: char| !letter.is_ascii_alphanumeric());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    if words.is_empty() {
        "camera".to_owned()
    } else {
        words.join("-")
    }
}

fn unused(id: &str, ids: &mut HashSet<String>) -> String {
    let numbered = (2_u64..).map(|number| format!("{id}-{number}"));
    let mut candidates = std::iter::once(id.to_owned()).chain(numbered);
    let unused = candidates
        .find(|id| !ids.contains(id))
        .unwrap_or_else(|| id.to_owned());
    ids.insert(unused.clone());
    unused
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use seamline_probes::Clock;
    use seamline_xprotect::configuration::RecordingServer;

    use super::*;

    fn camera(remote: &str, source: &str, address: &str, name: &str) -> RemoteCamera {
        let some = |text: &str| (!text.is_empty()).then(|| text.into());
        RemoteCamera {
            remote: remote.into(),
            source: some(source),
            address: some(address),
            name: some(name),
            ..RemoteCamera::default()
        }
    }

    fn side(recorder: &str, cameras: &[RemoteCamera]) -> Side {
        Side {
            recorder: recorder.into(),
            cameras: cameras.into(),
            clock: None,
        }
    }

    #[test]
    fn one_server_is_known_by_its_recorders() {
        let told = |id: &str, uri: &str| Configuration {
            recorders: vec![RecordingServer {
                id: id.to_owned(),
                uri: uri.to_owned(),
                ..RecordingServer::default()
            }],
        };
        let one = told("a1", "http://hall:7563/");
        assert!(share_a_recorder(&one, &told("A1", "http://HALL:7563/")));
        // Restored from its backup, elsewhere.
        assert!(!share_a_recorder(&one, &told("A1", "http://yard:7563/")));
        assert!(!share_a_recorder(&one, &told("b1", "http://hall:7563/")));
    }

    #[test]
    fn the_page_can_be_pasted() {
        let mut primary = side(
            "nvr-1",
            &[
                camera("REC1", "urn:cam:1", "", "Gate \"A\""),
                camera("REC2", "", "http://10.0.0.2/", "Yard"),
                camera("REC3", "", "http://10.0.0.3/", "Camera 3"),
                camera("REC4", "", "", "gate a"),
                camera("REC5", "", "", ""),
            ],
        );
        primary.clock = Some(ClockOffset {
            micros: 3_600_300_000,
            uncertainty: Duration::from_millis(1_010),
        });
        let mut moved = camera("B3", "", "http://10.9.0.3/", "Camera 3");
        moved.format = Some("H265 1x1".into());
        let secondary = side(
            "nvr-2",
            &[
                camera("A1", "urn:cam:1", "", "North gate"),
                camera("B2", "", "10.0.0.2", "yard"),
                moved,
                camera("B4", "", "", "Gate-A"),
                camera("B6", "urn:cam:6", "", ""),
            ],
        );
        let page = page(&primary, &secondary, &[], false);
        assert_eq!(
            page,
            r#"# nvr-1: 5 cameras, clock +3600.3 s from this machine's (within 1.0 s)
# nvr-2: 5 cameras

# nvr-1 "REC1" (Gate "A") and nvr-2 "A1" (North gate): same source id "urn:cam:1"
[[camera]]
id = "gate-a"
name = 'Gate "A"'
copies = [
    { recorder = "nvr-1", remote = "REC1" },
    { recorder = "nvr-2", remote = "A1" },
]

# nvr-1 "REC2" (Yard) and nvr-2 "B2" (yard): same address "http://10.0.0.2/"
[[camera]]
id = "yard"
name = "Yard"
copies = [
    { recorder = "nvr-1", remote = "REC2" },
    { recorder = "nvr-2", remote = "B2" },
]

# nvr-1 "REC3" (Camera 3) and nvr-2 "B3" (Camera 3): same name "Camera 3"
# Doubtful: their addresses differ, "http://10.0.0.3/" and "http://10.9.0.3/".
#[[camera]]
#id = "camera-3"
#name = "Camera 3"
#copies = [
#    { recorder = "nvr-1", remote = "REC3" },
#    { recorder = "nvr-2", remote = "B3" },
#]

# nvr-1 "REC4" (gate a) and nvr-2 "B4" (Gate-A): same name "gate a"
[[camera]]
id = "gate-a-2"
name = "gate a"
copies = [
    { recorder = "nvr-1", remote = "REC4" },
    { recorder = "nvr-2", remote = "B4" },
]

# Without a partner:
#   nvr-1 "REC5": nothing at nvr-2 has its source id, address or name
#   nvr-2 "B6": nothing at nvr-1 has its source id, address or name
"#
        );
        let head = "[[site]]\nname = 's'\n[[recorder]]\nname = 'nvr-1'\nsite = 's'\nkind = 'rtsp'\nurl = 'rtsp://a'\n\
            [[recorder]]\nname = 'nvr-2'\nsite = 's'\nkind = 'rtsp'\nurl = 'rtsp://b'\n";
        let config = Config::parse(&format!("{head}{page}"), "page", Clock::System);
        let cameras: Vec<Camera> = config
            .unwrap_or_else(|problems| panic!("{problems}"))
            .cameras
            .into_iter()
            .map(|settings| settings.camera)
            .collect();
        assert_eq!(cameras.len(), 3);
        // What is there already is not proposed again, and its id is not given to another.
        let again = super::page(&primary, &secondary, &cameras[..1], false);
        assert!(again.contains("configured as \"gate-a\""), "{again}");
        assert!(again.contains("id = \"gate-a-2\""), "{again}");
    }

    #[test]
    fn recorders_of_xprotect_each_have_a_port() {
        let recorder = |id: &str, name: &str| RecordingServer {
            id: id.to_owned(),
            name: name.to_owned(),
            ..RecordingServer::default()
        };
        let told = Configuration {
            recorders: vec![recorder("r-1", "Hall\n1"), recorder("r-2", "Hall 2")],
        };
        let page = face(&"vms".into(), Some(&"vms-b".into()), &told);
        let head = "[[site]]\nname = 's'\n[[recorder]]\nname = 'vms'\nsite = 's'\nkind = 'xprotect'\nurl = 'http://a'\n\
            [[recorder]]\nname = 'vms-b'\nsite = 's'\nkind = 'xprotect'\nurl = 'http://b'\n\
            [[camera]]\nid = 'gate'\ncopies = [{ recorder = 'vms', remote = '1' }]\n";
        let config = Config::parse(&format!("{head}{page}"), "page", Clock::System);
        let config = config.unwrap_or_else(|problems| panic!("{problems}\n{page}"));
        let ports = config
            .faces
            .first()
            .map(|face| &face.ports[..])
            .unwrap_or_default();
        let told: Vec<_> = ports
            .iter()
            .map(|port| (port.recorder.as_str(), port.told_port()))
            .collect();
        assert_eq!(told, [("r-1", 7563), ("r-2", 7573)]);
    }

    #[test]
    fn codecs_that_differ_are_told_and_pasted_all_the_same() {
        let coded = |format: &str| RemoteCamera {
            format: Some(format.into()),
            ..camera("R", "urn:cam:1", "", "")
        };
        let (one, other) = (
            side("a", &[coded("H264 1x1")]),
            side("b", &[coded("H265 1x1")]),
        );
        let page = page(&one, &other, &[], false);
        assert!(
            page.contains("Their codecs differ, \"H264 1x1\" and \"H265 1x1\""),
            "{page}"
        );
        assert!(
            page.contains("\n[[camera]]\nid = \"r\"\nname = \"R\""),
            "{page}"
        );
    }
}

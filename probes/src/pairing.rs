//! Which cameras of two recorders are the same: proposed by what both say of them. Pure.
//!
//! Two recordings are only taken for one camera's when what they share belongs to nobody else on either side. What speaks
//! against it is told beside it: wrong footage is worse than none.

use std::collections::HashMap;

use crate::recorder::RemoteCamera;

/// What shows that two cameras are the same, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evidence {
    /// The identity that the camera brings along.
    Source,
    /// Its hardware address, or else its host.
    Address,
    /// Its name.
    Name,
}

/// Two recordings of one camera.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Place in the primary's list.
    pub primary: usize,
    /// Place in the secondary's list.
    pub secondary: usize,
    /// What shows it.
    pub by: Evidence,
    /// What speaks against it.
    pub doubts: Vec<Doubt>,
}

/// What speaks against a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// Each recorder reaches its camera elsewhere.
    Address,
    /// The cameras bring other identities along.
    Source,
    /// They are called otherwise, and what they share other cameras may have too.
    Name,
    /// Their pictures have another codec: no seam between them can be played through.
    Codec,
}

impl Doubt {
    /// Whether these may be two cameras; otherwise it is one, with a flaw.
    pub fn is_grave(self) -> bool {
        self != Self::Codec
    }
}

/// A camera without a partner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Single {
    /// Place in its list.
    pub at: usize,
    /// What it shares with several cameras, so that it is not known which one it is; `None` when it shares nothing.
    pub ambiguous: Option<Evidence>,
}

/// What two lists come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proposal {
    /// In the order of the primary's list.
    pub pairs: Vec<Pair>,
    /// The primary's cameras without a partner.
    pub primary: Vec<Single>,
    /// The secondary's.
    pub secondary: Vec<Single>,
}

/// Proposes which cameras belong together.
pub fn propose(primary: &[RemoteCamera], secondary: &[RemoteCamera]) -> Proposal {
    let mut pairs: Vec<Pair> = Vec::new();
    let mut free = [vec![true; primary.len()], vec![true; secondary.len()]];
    let mut ambiguous = [vec![None; primary.len()], vec![None; secondary.len()]];
    for by in [Evidence::Source, Evidence::Address, Evidence::Name] {
        let mut known: HashMap<String, [Vec<usize>; 2]> = HashMap::new();
        for (side, cameras) in [primary, secondary].into_iter().enumerate() {
            let left = cameras.iter().enumerate().filter(|(at, _)| free[side][*at]);
            for (at, camera) in left {
                if let Some(key) = key(camera, by) {
                    known.entry(key).or_default()[side].push(at);
                }
            }
        }
        for [ours, theirs] in known.into_values() {
            match (&ours[..], &theirs[..]) {
                ([], _) | (_, []) => {}
                ([one], [other]) => {
                    (free[0][*one], free[1][*other]) = (false, false);
                    pairs.push(Pair {
                        primary: *one,
                        secondary: *other,
                        by,
                        doubts: doubts(&primary[*one], &secondary[*other], by),
                    });
                }
                _ => {
                    for (side, of_side) in [ours, theirs].into_iter().enumerate() {
                        for at in of_side {
                            ambiguous[side][at].get_or_insert(by);
                        }
                    }
                }
            }
        }
    }
    pairs.sort_by_key(|pair| pair.primary);
    let [primary, secondary] = [0, 1].map(|side| {
        let left = free[side].iter().enumerate().filter(|(_, free)| **free);
        let single = |(at, _)| Single {
            at,
            ambiguous: ambiguous[side][at],
        };
        left.map(single).collect()
    });
    Proposal {
        pairs,
        primary,
        secondary,
    }
}

/// Proposes which cameras of one list are the same: recorded twice by one management server, at two of its recorders. Of a pair, the
/// primary's is the one that stands before the other; who is alone is among the primary's.
pub fn propose_within(cameras: &[RemoteCamera]) -> Proposal {
    let mut proposal = Proposal::default();
    let mut free = vec![true; cameras.len()];
    let mut ambiguous = vec![None; cameras.len()];
    for by in [Evidence::Source, Evidence::Address, Evidence::Name] {
        let mut known: HashMap<String, Vec<usize>> = HashMap::new();
        let left = cameras.iter().enumerate().filter(|(at, _)| free[*at]);
        for (at, camera) in left {
            if let Some(key) = key(camera, by) {
                known.entry(key).or_default().push(at);
            }
        }
        for of_key in known.into_values() {
            match of_key[..] {
                [_] => {}
                [one, other] if cameras[one].location != cameras[other].location => {
                    (free[one], free[other]) = (false, false);
                    proposal.pairs.push(Pair {
                        primary: one,
                        secondary: other,
                        by,
                        doubts: doubts(&cameras[one], &cameras[other], by),
                    });
                }
                _ => {
                    for at in of_key {
                        ambiguous[at].get_or_insert(by);
                    }
                }
            }
        }
    }
    proposal.pairs.sort_by_key(|pair| pair.primary);
    let alone = (0..cameras.len()).filter(|at| free[*at]);
    proposal.primary = alone
        .map(|at| Single {
            at,
            ambiguous: ambiguous[at],
        })
        .collect();
    proposal
}

/// What a camera is recognised by; nothing where it says what any camera might.
fn key(camera: &RemoteCamera, by: Evidence) -> Option<String> {
    match by {
        Evidence::Source => source(camera),
        Evidence::Address => address(camera),
        Evidence::Name => {
            let name = camera.name.as_deref()?.to_lowercase();
            let words = name.split(|letter: char| !letter.is_alphanumeric());
            let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
            Some(words.join(" ")).filter(|name| !name.is_empty())
        }
    }
}

fn source(camera: &RemoteCamera) -> Option<String> {
    let text = camera.source.as_deref()?.trim().to_lowercase();
    let says_something = text
        .chars()
        .any(|letter| letter.is_alphanumeric() && letter != '0');
    (says_something && !is_local(&host(&text))).then_some(text)
}

/// A source that is a device's address and a channel of it.
pub(crate) fn channel_source(origin: &str, channel: u32) -> String {
    format!("{origin}{CHANNEL}{channel}")
}

/// The channel that a source names.
fn channel(source: &str) -> Option<&str> {
    source.rsplit_once(CHANNEL).map(|(_, channel)| channel)
}

/// Whether no two cameras in the world share it, unlike `VideoSource_1`.
fn is_unique(source: &str) -> bool {
    let digits = source.chars().filter(char::is_ascii_hexdigit).count();
    digits >= HARDWARE_DIGITS || source.contains("://") || source.starts_with("urn:")
}

/// A hardware address where one is named, else the host.
fn address(camera: &RemoteCamera) -> Option<String> {
    let texts = [camera.address.as_deref(), camera.source.as_deref()];
    if let Some(found) = texts.into_iter().flatten().find_map(hardware_address) {
        return Some(found);
    }
    let host = host(&camera.address.as_deref()?.trim().to_lowercase());
    (!is_local(&host)).then_some(host)
}

/// Six pairs of hexadecimal digits with colons or dashes between them.
fn hardware_address(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let long = HARDWARE_DIGITS + 5;
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    bytes.windows(long).enumerate().find_map(|(at, window)| {
        let separator = *window.get(2)?;
        let fits = matches!(separator, b':' | b'-')
            && window.iter().enumerate().all(|(at, byte)| match at % 3 {
                2 => *byte == separator,
                _ => byte.is_ascii_hexdigit(),
            });
        // Not a part of something longer; `mac:` before it ends in two digits, and is none.
        let after = at + long;
        let goes_on = bytes.get(after) == Some(&separator) && is_digit(after + 1);
        let before = |back: usize| at.checked_sub(back);
        let is_letter = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_alphanumeric);
        let began = before(1).is_some_and(|at| bytes.get(at) == Some(&separator))
            && before(2).is_some_and(is_digit)
            && before(3).is_some_and(is_digit)
            && !before(4).is_some_and(is_letter);
        let alone = !is_digit(after) && !goes_on && !began && !before(1).is_some_and(is_digit);
        let digits = window.iter().filter(|byte| byte.is_ascii_hexdigit());
        let digits: String = digits
            .map(|byte| byte.to_ascii_lowercase() as char)
            .collect();
        (fits && alone && digits.bytes().any(|digit| digit != b'0')).then_some(digits)
    })
}

/// The host of a URL, or of what has the form of its rest.
fn host(text: &str) -> String {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    if let Some(v6) = host.strip_prefix('[') {
        return v6.split(']').next().unwrap_or_default().to_owned();
    }
    match host.split_once(':') {
        // More than one colon: an IPv6 address that stands alone.
        Some((_, port)) if port.contains(':') => host.to_owned(),
        Some((name, _)) => name.to_owned(),
        None => host.to_owned(),
    }
}

/// An address that means "here" to whoever says it, or nothing.
fn is_local(host: &str) -> bool {
    let is_zero = !host.contains(|letter: char| letter.is_alphanumeric() && letter != '0');
    is_zero || matches!(host, "localhost" | "::1") || host.starts_with("127.")
}

fn doubts(one: &RemoteCamera, other: &RemoteCamera, by: Evidence) -> Vec<Doubt> {
    let differs = |by: Evidence| {
        let (one, other) = (key(one, by), key(other, by));
        one.zip(other).is_some_and(|(one, other)| one != other)
    };
    let sources = source(one).zip(source(other));
    let mut doubts = Vec::new();
    match by {
        Evidence::Source => {
            // Several devices may be behind one address, each with such a channel.
            let weak = sources
                .as_ref()
                .is_some_and(|(shared, _)| !is_unique(shared) || channel(shared).is_some());
            if weak && differs(Evidence::Name) {
                doubts.push(Doubt::Name);
            }
            if weak && differs(Evidence::Address) {
                doubts.push(Doubt::Address);
            }
        }
        Evidence::Address => {
            // Of a device with several, each recorder may have another.
            let channels = sources
                .as_ref()
                .and_then(|(one, other)| channel(one).zip(channel(other)));
            if channels.is_some_and(|(one, other)| one != other) {
                doubts.push(Doubt::Source);
            }
            if differs(Evidence::Name) {
                doubts.push(Doubt::Name);
            }
        }
        Evidence::Name => {
            if differs(Evidence::Address) {
                doubts.push(Doubt::Address);
            }
            if sources
                .is_some_and(|(one, other)| one != other && is_unique(&one) && is_unique(&other))
            {
                doubts.push(Doubt::Source);
            }
        }
    }
    let codec = |camera: &RemoteCamera| {
        let format = camera.format.as_deref()?;
        format.split(' ').next().map(str::to_owned)
    };
    if codec(one)
        .zip(codec(other))
        .is_some_and(|(one, other)| one != other)
    {
        doubts.push(Doubt::Codec);
    }
    doubts
}

/// Between a device's address and its channel.
const CHANNEL: &str = "#channel=";
/// Of a hardware address.
const HARDWARE_DIGITS: usize = 12;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn camera(source: &str, address: &str, name: &str) -> RemoteCamera {
        let some = |text: &str| (!text.is_empty()).then(|| text.into());
        RemoteCamera {
            remote: "r".into(),
            source: some(source),
            address: some(address),
            name: some(name),
            ..RemoteCamera::default()
        }
    }

    fn by(proposal: &Proposal) -> Vec<(usize, usize, Evidence)> {
        let pairs = proposal.pairs.iter();
        pairs
            .map(|pair| (pair.primary, pair.secondary, pair.by))
            .collect()
    }

    #[test]
    fn the_strongest_evidence_decides() {
        let primary = [
            camera("urn:uuid:1", "http://10.0.0.1/", "Gate"),
            camera("", "http://10.0.0.2:8080/onvif", "Yard"),
            camera("", "", "Roof - East"),
            camera("", "", "Cellar"),
        ];
        let secondary = [
            camera("", "", "roof east"),
            camera("URN:UUID:1 ", "http://10.9.0.1/", "Yard"),
            camera("", "10.0.0.2", "Gate"),
            camera("", "", "Attic"),
        ];
        let proposal = propose(&primary, &secondary);
        assert_eq!(
            by(&proposal),
            [
                (0, 1, Evidence::Source),
                (1, 2, Evidence::Address),
                (2, 0, Evidence::Name)
            ]
        );
        let doubts: Vec<_> = proposal.pairs.iter().map(|pair| &pair.doubts[..]).collect();
        assert_eq!(doubts, [&[][..], &[Doubt::Name], &[]]);
        let single = Single {
            at: 3,
            ambiguous: None,
        };
        assert_eq!(proposal.primary, proposal.secondary);
        assert_eq!(proposal.primary, [single]);
    }

    #[test]
    fn what_several_share_decides_nothing() {
        // One encoder with two channels, told apart by their names; two recordings of one camera, which are not.
        let primary = [
            camera("", "http://10.0.0.1/", "Left"),
            camera("", "http://10.0.0.1/", "Right"),
            camera("urn:cam:9", "", ""),
            camera("urn:cam:9", "", ""),
        ];
        let secondary = [
            camera("", "http://10.0.0.1/", "Right"),
            camera("", "http://10.0.0.1/", "Left"),
            camera("urn:cam:9", "", ""),
        ];
        let proposal = propose(&primary, &secondary);
        assert_eq!(
            by(&proposal),
            [(0, 1, Evidence::Name), (1, 0, Evidence::Name)]
        );
        let single = |at| Single {
            at,
            ambiguous: Some(Evidence::Source),
        };
        assert_eq!(proposal.primary, [single(2), single(3)]);
        assert_eq!(proposal.secondary, [single(2)]);
    }

    #[test]
    fn one_list_has_pairs_at_two_of_its_recorders() {
        let at = |hall: &str, source: &str, address: &str, name: &str| RemoteCamera {
            location: Some(hall.into()),
            ..camera(source, address, name)
        };
        let cameras = [
            at("A", "http://10.0.0.1#channel=0", "http://10.0.0.1/", "Gate"),
            at("A", "http://10.0.0.1#channel=1", "http://10.0.0.1/", "Yard"),
            at("A", "", "http://10.0.0.2/", "Roof"),
            at("A", "", "", "Lift"),
            at("A", "", "", "Lift"),
            at("A", "", "", "Door"),
            at("B", "", "http://10.0.0.2/", "Roof at night"),
            at(
                "B",
                "http://10.0.0.1#channel=1",
                "http://10.0.0.1/",
                "Yard 2",
            ),
            at(
                "B",
                "http://10.0.0.1#channel=0",
                "http://10.0.0.1/",
                "Gate 2",
            ),
            at("B", "", "", "door"),
        ];
        let proposal = propose_within(&cameras);
        assert_eq!(
            by(&proposal),
            [
                (0, 8, Evidence::Source),
                (1, 7, Evidence::Source),
                (2, 6, Evidence::Address),
                (5, 9, Evidence::Name),
            ]
        );
        assert!(proposal.secondary.is_empty());
        // Two of one recorder are two cameras, whatever they are called.
        let alone: Vec<_> = proposal
            .primary
            .iter()
            .map(|single| (single.at, single.ambiguous))
            .collect();
        let by_name = Some(Evidence::Name);
        assert_eq!(alone, [(3, by_name), (4, by_name)]);
    }

    #[test]
    fn what_any_camera_may_say_is_no_evidence() {
        for (source, address, name) in [
            ("", "http://127.0.0.1/", ""),
            ("http://localhost/cam", "", ""),
            ("00000000", "00:00:00:00:00:00", " - "),
            ("", "", ""),
        ] {
            let cameras = [camera(source, address, name)];
            assert_eq!(
                by(&propose(&cameras, &cameras)),
                [],
                "{source} {address} {name}"
            );
        }
    }

    #[test]
    fn hardware_addresses_are_found_wherever_they_are() {
        for (text, found) in [
            ("00:40:8C:12:34:56", Some("00408c123456")),
            ("urn:mac:00-40-8c-12-34-56/1", Some("00408c123456")),
            ("00:40:8C:12:34", None),
            ("00:40:8C:12:34:56:78", None),
            ("urn:mac:00:40:8C:12:34:56", Some("00408c123456")),
            ("00:40-8C:12:34:56", None),
        ] {
            assert_eq!(hardware_address(text).as_deref(), found, "{text}");
        }
        for (text, found) in [
            ("http://u:p@cam.local:80/x", "cam.local"),
            ("10.0.0.1:554", "10.0.0.1"),
            ("http://[fe80::1]:80/", "fe80::1"),
            ("fe80::1", "fe80::1"),
            ("", ""),
        ] {
            assert_eq!(host(text), found, "{text}");
        }
        let primary = [camera("", "http://10.0.0.1/?mac=00:40:8c:12:34:56", "A")];
        let secondary = [camera("00-40-8C-12-34-56", "http://10.9.9.9/", "B")];
        assert_eq!(
            by(&propose(&primary, &secondary)),
            [(0, 0, Evidence::Address)]
        );
    }

    #[test]
    fn what_speaks_against_a_pair_is_told() {
        let doubts = |one: RemoteCamera, other: RemoteCamera| {
            let proposal = propose(&[one], &[other]);
            proposal.pairs[0].doubts.clone()
        };
        let one = |address: &str| camera("urn:cam:1", address, "Camera 1");
        assert_eq!(
            doubts(
                camera("urn:cam:1", "10.0.0.1", "Camera 1"),
                camera("urn:cam:2", "10.0.0.2", "Camera 1")
            ),
            [Doubt::Address, Doubt::Source]
        );
        assert_eq!(doubts(one("10.0.0.1"), one("10.0.0.2")), []);
        // The first channel of any recorder.
        assert_eq!(
            doubts(
                camera("VideoSource_1", "", "Gate"),
                camera("VideoSource_1", "", "Roof")
            ),
            [Doubt::Name]
        );
        // Of a camera with two sensors, one is recorded here and the other there.
        let sensor = |scheme: &str, channel: u32, name: &str| {
            let address = format!("{scheme}://10.0.0.1");
            camera(&channel_source(&address, channel), &address, name)
        };
        let left = || sensor("http", 0, "Gate");
        assert_eq!(doubts(left(), sensor("http", 1, "Gate")), [Doubt::Source]);
        assert_eq!(
            doubts(left(), sensor("http", 1, "Roof")),
            [Doubt::Source, Doubt::Name]
        );
        assert_eq!(doubts(left(), sensor("https", 0, "Gate")), []);
        assert_eq!(doubts(left(), left()), []);
        assert_eq!(
            doubts(
                camera("", "10.0.0.1", "Gate"),
                camera("", "10.0.0.1", "Roof")
            ),
            [Doubt::Name]
        );
        // Two devices behind one gateway.
        let behind = |path: &str, name: &str| {
            camera("http://gw#channel=0", &format!("http://gw/{path}"), name)
        };
        assert_eq!(
            doubts(behind("cam1", "Gate"), behind("cam2", "Roof")),
            [Doubt::Name]
        );
        let coded = |format: &str| RemoteCamera {
            format: Some(format.into()),
            ..one("")
        };
        assert_eq!(doubts(coded("H264 1x1"), coded("H265 1x1")), [Doubt::Codec]);
        assert_eq!(doubts(coded("H264 1x1"), coded("H264 2x2")), []);
        assert!(Doubt::Name.is_grave() && !Doubt::Codec.is_grave());
    }

    proptest! {
        #[test]
        fn nobody_is_paired_twice_and_nobody_is_forgotten(
            primary in proptest::collection::vec(("[ab]?", "[ab]?", "[ab]?"), 0..8),
            secondary in proptest::collection::vec(("[ab]?", "[ab]?", "[ab]?"), 0..8),
        ) {
            let cameras = |of: &[(String, String, String)]| -> Vec<RemoteCamera> {
                of.iter().map(|(source, address, name)| camera(source, address, name)).collect()
            };
            let (primary, secondary) = (cameras(&primary), cameras(&secondary));
            let proposal = propose(&primary, &secondary);
            let mut ours: Vec<_> = proposal.pairs.iter().map(|pair| pair.primary).collect();
            ours.extend(proposal.primary.iter().map(|single| single.at));
            ours.sort_unstable();
            prop_assert_eq!(ours, (0..primary.len()).collect::<Vec<_>>());
            let mut theirs: Vec<_> = proposal.pairs.iter().map(|pair| pair.secondary).collect();
            theirs.extend(proposal.secondary.iter().map(|single| single.at));
            theirs.sort_unstable();
            prop_assert_eq!(theirs, (0..secondary.len()).collect::<Vec<_>>());
            for pair in &proposal.pairs {
                let shared = key(&primary[pair.primary], pair.by);
                prop_assert!(shared.is_some());
                prop_assert_eq!(shared, key(&secondary[pair.secondary], pair.by));
            }
            // The other way round it is the same.
            let turned = propose(&secondary, &primary);
            let mut turned: Vec<_> = turned.pairs.iter().map(|pair| (pair.secondary, pair.primary)).collect();
            turned.sort_unstable();
            let pairs: Vec<_> = proposal.pairs.iter().map(|pair| (pair.primary, pair.secondary)).collect();
            prop_assert_eq!(turned, pairs);
        }
    }
}

//! A viewer that knows every picture by its bytes, and says what it missed, saw twice, or could not have decoded.

use std::{collections::BTreeMap, fmt, ops::Range, time::Duration};

use super::{
    footage::{Encoder, Identity, PICTURE_MS, captured},
    script::{ENCODERS, Part},
};
use crate::{clock::monotonic, probe::Probe, stream::Packet};

/// A picture as it arrived.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    /// What its bytes tell.
    pub identity: Identity,
    /// What its header extension tells, UTC in milliseconds.
    pub capture_ms: i64,
}

/// What a viewer got of what it wished.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Pictures that the honest copy holds and that never came.
    pub lost: Vec<u32>,
    /// Pictures that the honest copy holds and that came more than once, whichever copy's.
    pub repeated: Vec<u32>,
    /// Anything else that must not be, in words.
    pub wrong: Vec<String>,
    /// Stretches of one copy.
    pub runs: Vec<(char, Range<u32>)>,
    /// From PLAY to the end.
    pub took: Duration,
}

impl Verdict {
    /// Whether every picture came once, in order and decodable.
    pub fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.repeated.is_empty() && self.wrong.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lost {:?}, repeated {:?}", self.lost, self.repeated)?;
        for wrong in &self.wrong {
            write!(f, "\n  {wrong}")?;
        }
        write!(f, "\n  in {} ms:", self.took.as_millis())?;
        for (copy, run) in &self.runs {
            write!(f, " {copy}{}..{}", run.start, run.end)?;
        }
        Ok(())
    }
}

/// Plays the pictures `wish` of a camera and judges what came against what `honest` holds of them.
pub fn watch(
    url: &str,
    wish: &Range<u32>,
    paced: bool,
    honest: &Part,
    within: Duration,
) -> Verdict {
    let begun = monotonic();
    let mut verdict = Verdict::default();
    let mut probe = Probe::open(url);
    let headers: &[_] = if paced {
        &[]
    } else {
        &[("Rate-Control", "no")]
    };
    let answer = probe.play(captured(wish.start), Some(captured(wish.end)), headers);
    if answer.status == 200 {
        if !probe.receive(within, |probe| probe.byes() > 0) {
            let end = if probe.closed { "closed" } else { "no end" };
            verdict.wrong.push(format!(
                "{end} after {:?}",
                monotonic().saturating_sub(begun)
            ));
        }
    } else if wish.clone().any(|index| honest.holds(index)) {
        verdict.wrong.push(format!("PLAY: {}", answer.status));
    }
    verdict.took = monotonic().saturating_sub(begun);
    judge_packets(&probe.tracks[0], wish, honest, &mut verdict);
    verdict
}

/// Judges what came of the pictures `wish` against what `honest` holds of them.
pub fn judge_packets(packets: &[Packet], wish: &Range<u32>, honest: &Part, verdict: &mut Verdict) {
    judge_stream(packets, verdict);
    let shown = pictures(packets, verdict);
    judge(&shown, wish, honest, verdict);
}

/// One SSRC and dense sequence numbers.
fn judge_stream(packets: &[Packet], verdict: &mut Verdict) {
    for pair in packets.windows(2) {
        let [before, after] = pair else { continue };
        if after.ssrc != before.ssrc || after.sequence != before.sequence.wrapping_add(1) {
            verdict.wrong.push(format!(
                "packet {} of {:x} follows {} of {:x}",
                after.sequence, after.ssrc, before.sequence, before.ssrc
            ));
        }
    }
}

/// The pictures in the order in which they came.
fn pictures(packets: &[Packet], verdict: &mut Verdict) -> Vec<Shown> {
    let mut shown = Vec::new();
    let mut fragments: Vec<u8> = Vec::new();
    for packet in packets {
        let nal = match packet.payload.first().map(|first| first & 0x1f) {
            Some(28) => {
                let [indicator, header, data @ ..] = &packet.payload[..] else {
                    continue;
                };
                if header & 0x80 != 0 {
                    fragments = vec![indicator & 0xe0 | header & 0x1f];
                }
                fragments.extend_from_slice(data);
                if header & 0x40 == 0 {
                    continue;
                }
                std::mem::take(&mut fragments)
            }
            Some(1 | 5) => packet.payload.clone(),
            // Parameter sets, alone or together.
            _ => continue,
        };
        let capture_ms = packet.onvif.map(|onvif| onvif.capture_ms);
        match (Encoder::identify(&ENCODERS, &nal), capture_ms) {
            (Some(identity), Some(capture_ms)) => shown.push(Shown {
                identity,
                capture_ms,
            }),
            (identity, _) => verdict.wrong.push(format!(
                "packet {}: {identity:?}, {} bytes, no whole and dated picture",
                packet.sequence,
                nal.len()
            )),
        }
    }
    shown
}

fn judge(shown: &[Shown], wish: &Range<u32>, honest: &Part, verdict: &mut Verdict) {
    let mut times: BTreeMap<u32, u32> = BTreeMap::new();
    let mut before: Option<Shown> = None;
    for picture in shown {
        let Identity {
            encoder,
            index,
            key,
        } = picture.identity;
        *times.entry(index).or_default() += 1;
        let off = picture.capture_ms - captured(index);
        if off != 0 {
            verdict
                .wrong
                .push(format!("picture {index} is dated {off} ms off"));
        }
        if let Some(before) = before {
            // One that came before is counted as repeated.
            let owed = times[&index] == 1 && wish.contains(&index) && honest.holds(index);
            if picture.capture_ms < before.capture_ms && owed {
                verdict.wrong.push(format!(
                    "picture {index} ({}) comes after {}, {} ms back",
                    encoder as char,
                    before.identity.index,
                    before.capture_ms - picture.capture_ms
                ));
            }
            let follows = before.identity.encoder == encoder && before.identity.index + 1 == index;
            if !key && !follows {
                verdict.wrong.push(format!(
                    "picture {index} ({}) cannot be decoded after {} ({})",
                    encoder as char, before.identity.index, before.identity.encoder as char
                ));
            }
        } else if !key {
            verdict.wrong.push(format!(
                "begins with picture {index}, which cannot be decoded"
            ));
        }
        match verdict.runs.last_mut() {
            Some((copy, run)) if *copy == encoder as char && run.end == index => run.end += 1,
            _ => verdict.runs.push((encoder as char, index..index + 1)),
        }
        before = Some(*picture);
    }
    verdict.repeated = times
        .iter()
        .filter(|(_, times)| **times > 1)
        .map(|(index, _)| *index)
        .filter(|index| wish.contains(index) && honest.holds(*index))
        .collect();
    verdict.lost = wish
        .clone()
        .filter(|index| honest.holds(*index) && !times.contains_key(index))
        .collect();
    let early = times
        .keys()
        .find(|index| **index + honest.encoder.group.max(10) < wish.start);
    let late = times.keys().find(|index| **index >= wish.end);
    if early.is_some() || late.is_some() {
        verdict
            .wrong
            .push(format!("outside of the wish: {early:?}, {late:?}"));
    }
}

/// So many milliseconds of footage.
pub fn milliseconds(pictures: usize) -> i64 {
    pictures as i64 * PICTURE_MS
}

//! One track of a client's session: its numbering, its clock and what it knows of its leg.

use smallvec::SmallVec;

use super::writer::{Flagging, Lead, MarkerRule, Writer};
use super::{How, OutTrack};
use crate::abac::Replay;
use crate::rewrite::Header;
use crate::timeline::{Timeline, ticks};
use crate::{Codec, Flags, Packets, ParameterSets, Unit, jpeg, ntp};

/// A picture this much before the latest one of its track is reordered; further back is a clock step.
const REORDER_US_MAX: u64 = 2_000_000;
/// What a capture time is moved by when the footage clock stands still or steps back.
const CLAMP_US: i64 = 1_000;
/// The recorder's RTP distances are kept while they stay within this part of a second of its capture
/// times.
const JITTER_PER_S: u32 = 200;

#[derive(Debug)]
pub(super) struct Track {
    pub(super) format: OutTrack,
    pub(super) next_seq: u16,
    pub(super) packets: u32,
    pub(super) octets: u32,
    /// RTP time of the last unit written; of reordered pictures that of the one shown last.
    last_time: Option<u32>,
    /// RTP time of the last preroll: all behind it is later.
    floor: Option<u32>,
    latest: Option<Latest>,
    /// Capture time of the last unit of this leg.
    last_capture_us: Option<i64>,
    /// RTP time of the leg and of the session, for keeping the leg's distances.
    pairing: Option<(u32, u32)>,
    leg: Leg,
    /// The next unit is the first of its PLAY.
    fresh: bool,
    /// The last unit was preroll.
    squeezed: bool,
    /// Tables that the client has been sent.
    tables: jpeg::Tables,
}

/// The unit with the greatest capture time of this PLAY.
#[derive(Clone, Copy, Debug)]
struct Latest {
    capture_us: i64,
    /// Its RTP time, when it was of this leg.
    rtp_time: Option<u32>,
}

/// What the track knows of its leg.
#[derive(Debug, Default)]
struct Leg {
    sets: ParameterSets,
    points: Points,
    /// Its sets differ from those announced.
    foreign_sets: bool,
    /// Units were written.
    begun: bool,
    /// Its pictures follow the last one written in the same elementary stream, in decoding order.
    goes_on: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Points {
    /// No random access point was written yet.
    #[default]
    None,
    /// Behind the first: what leads it has lost its references.
    First,
    /// Behind a later one.
    Later,
}

/// Where a unit goes.
pub(super) struct Place {
    pub(super) timestamp: u32,
    pub(super) media_us: i64,
    pub(super) clamped: bool,
    capture_us: i64,
}

impl Track {
    pub(super) fn new(format: OutTrack) -> Self {
        Self {
            next_seq: format.first_seq,
            packets: 0,
            octets: 0,
            last_time: None,
            floor: None,
            latest: None,
            last_capture_us: None,
            pairing: None,
            leg: Leg::default(),
            fresh: true,
            squeezed: false,
            tables: jpeg::Tables::default(),
            format: OutTrack {
                clock_rate: format.clock_rate.max(1),
                payload_type: format.payload_type & 0x7f,
                ..format
            },
        }
    }

    pub(super) fn start_play(&mut self) {
        self.latest = None;
        self.floor = None;
        self.last_capture_us = None;
        self.pairing = None;
        self.fresh = true;
        self.squeezed = false;
    }

    pub(super) fn begin_leg(&mut self, sets: ParameterSets) {
        self.leg = Leg {
            foreign_sets: sets != self.format.announced,
            sets,
            ..Leg::default()
        };
        self.pairing = None;
        self.last_capture_us = None;
        if let Some(latest) = &mut self.latest {
            latest.rtp_time = None;
        }
    }

    pub(super) fn goes_on(&mut self) {
        self.leg.goes_on = true;
        self.leg.points = Points::Later;
    }

    pub(super) fn decodable(&self, unit: &Unit) -> bool {
        match self.leg.points {
            Points::None => unit.random_access,
            Points::First => !unit.leading,
            Points::Later => true,
        }
    }

    pub(super) fn time_at(&self, media_us: i64) -> u32 {
        let ticks = ticks(media_us, self.format.clock_rate);
        self.format.first_rtptime.wrapping_add(ticks)
    }

    pub(super) fn marker_rule(&self) -> MarkerRule {
        let first_in_seam = self.fresh || !self.leg.begun;
        match self.format.codec {
            Codec::H264 | Codec::H265 | Codec::Jpeg | Codec::Metadata => MarkerRule::LastOnly,
            codec if codec.marks_talk_spurts() && first_in_seam => MarkerRule::First,
            _ => MarkerRule::Keep,
        }
    }

    /// Makes the tables of an MJPEG picture its own where the client knows others by the same name.
    pub(super) fn set_tables_apart(&mut self, packets: &mut Packets) -> bool {
        self.format.codec == Codec::Jpeg && self.tables.set_apart(packets)
    }

    /// C and D on the first packet, E on all, T on the last: GStreamer drops what follows a packet with T.
    pub(super) fn flags(&self, unit: &Unit, how: How) -> Flagging {
        let mut first = how.flags.without(Flags::CLEAN);
        if unit.random_access {
            first |= Flags::CLEAN;
        }
        if how.preroll && !self.squeezed {
            first |= Flags::DISCONTINUITY;
        }
        let ends = Flags::END | Flags::TERMINAL;
        let of = |flags: Flags, wanted: Flags| {
            if flags.contains(wanted) {
                wanted
            } else {
                Flags::NONE
            }
        };
        Flagging {
            first: first.without(ends),
            all: of(first, Flags::END),
            last: of(first, Flags::TERMINAL),
        }
    }

    pub(super) fn header(&self, place: &Place, flags: Flagging, cseq: u8) -> Header {
        Header {
            channel: self.format.channel_rtp,
            payload_type: self.format.payload_type,
            ssrc: self.format.ssrc,
            timestamp: place.timestamp,
            replay: Replay {
                ntp: ntp::from_unix_us(place.capture_us),
                flags: flags.all,
                cseq,
            },
        }
    }

    /// One tick behind the last unit, or at the start of the PLAY: the seam instant.
    pub(super) fn squeeze(&mut self, unit: &Unit, timeline: &Timeline) -> Place {
        let timestamp = match self.last_time {
            Some(last) if !self.fresh => last.wrapping_add(1),
            _ => self.time_at(timeline.start_media_us()),
        };
        self.last_time = Some(timestamp);
        self.floor = Some(timestamp);
        Place {
            timestamp,
            media_us: timeline.media_us(unit.capture_us),
            clamped: false,
            capture_us: unit.capture_us,
        }
    }

    /// Where the timeline has it.
    pub(super) fn place(&mut self, unit: &Unit, timeline: &mut Timeline) -> Place {
        let capture_us = if timeline.is_reverse() {
            unit.capture_us
        } else {
            self.advancing(unit)
        };
        if self.format.codec.is_picture() {
            if let Some(last_us) = self.last_capture_us {
                timeline.note_distance(capture_us.abs_diff(last_us));
            }
            self.last_capture_us = Some(capture_us);
        }
        let media_us = timeline.place(capture_us);
        let exact = self.time_at(media_us);
        let even = if timeline.keeps_distances() {
            self.even(unit.rtp_time, exact)
        } else {
            exact
        };
        let timestamp = self.above_floor(even);
        self.note_time(timestamp, timeline.is_reverse());
        Place {
            timestamp,
            media_us,
            clamped: capture_us != unit.capture_us,
            capture_us,
        }
    }

    /// What goes ahead of a unit: the parameter sets that it lacks, at the first random access point of a
    /// leg, and at each one while they are not the announced ones.
    pub(super) fn lead(&mut self, unit: &Unit) -> Lead {
        let codec = self.format.codec;
        if !unit.random_access || !codec.has_references() {
            return Lead::default();
        }
        let in_band = self.leg.sets.learn(codec, &unit.packets);
        if in_band.changed {
            self.leg.foreign_sets = self.leg.sets != self.format.announced;
        }
        let first = self.leg.points == Points::None;
        let sets = if first || self.leg.foreign_sets {
            self.leg.sets.lacking(in_band.contents).cloned().collect()
        } else {
            SmallVec::new()
        };
        Lead {
            sets,
            delimiter: in_band.opens_with_delimiter,
            sets_missing: first && !self.leg.sets.is_complete(codec),
        }
    }

    pub(super) fn note_written(&mut self, unit: &Unit, preroll: bool) {
        self.fresh = false;
        self.squeezed = preroll;
        self.leg.begun = true;
        if unit.random_access {
            let first = self.leg.points == Points::None;
            self.leg.points = if first { Points::First } else { Points::Later };
        }
    }

    pub(super) fn count(&mut self, writer: &Writer) {
        self.next_seq = writer.next_seq;
        self.packets = self.packets.wrapping_add(writer.packets as u32);
        self.octets = self.octets.wrapping_add(writer.octets as u32);
    }

    /// The unit's capture time, moved forward where it does not advance though the picture is not a
    /// reordered one: footage time never steps back in forward play.
    fn advancing(&mut self, unit: &Unit) -> i64 {
        let capture_us = match self.latest {
            Some(latest) if unit.capture_us <= latest.capture_us => {
                if self.is_reordered(unit, latest) {
                    return unit.capture_us;
                }
                latest.capture_us.saturating_add(CLAMP_US)
            }
            _ => unit.capture_us,
        };
        self.latest = Some(Latest {
            capture_us,
            rtp_time: Some(unit.rtp_time),
        });
        capture_us
    }

    fn is_reordered(&self, unit: &Unit, latest: Latest) -> bool {
        let shown_before = latest.rtp_time.map_or(self.leg.goes_on, |time| {
            (unit.rtp_time.wrapping_sub(time) as i32) < 0
        });
        let near = latest.capture_us.abs_diff(unit.capture_us) <= REORDER_US_MAX;
        self.format.codec.has_references() && shown_before && near
    }

    /// RTP time at the leg's own distance from the units before, as long as that agrees with `exact`:
    /// recorders round capture times more than RTP times.
    fn even(&mut self, rtp_time: u32, exact: u32) -> u32 {
        if let Some((leg, session)) = self.pairing {
            let even = session.wrapping_add(rtp_time.wrapping_sub(leg));
            let error = (even.wrapping_sub(exact) as i32).unsigned_abs();
            if error <= self.format.clock_rate / JITTER_PER_S {
                return even;
            }
        }
        self.pairing = Some((rtp_time, exact));
        exact
    }

    fn note_time(&mut self, timestamp: u32, reverse: bool) {
        let reorder = u64::from(self.format.clock_rate) * REORDER_US_MAX / 1_000_000;
        let reordered = self.format.codec.has_references() && !reverse;
        let behind = |last: u32| (1..reorder).contains(&u64::from(last.wrapping_sub(timestamp)));
        if self.fresh || !reordered || !self.last_time.is_some_and(behind) {
            self.last_time = Some(timestamp);
        }
    }

    /// Behind the preroll, whatever room the seam left it.
    fn above_floor(&mut self, timestamp: u32) -> u32 {
        let Some(floor) = self.floor else {
            return timestamp;
        };
        let above = timestamp.wrapping_sub(floor) as i32;
        if above > 0 {
            if above as u32 > self.format.clock_rate {
                self.floor = None;
            }
            return timestamp;
        }
        let timestamp = floor.wrapping_add(1);
        self.floor = Some(timestamp);
        timestamp
    }
}

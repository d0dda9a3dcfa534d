//! Joins legs into the one stream of a client's session: one source, one numbering, one timeline.

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;
use thiserror::Error;

use crate::abac::Replay;
use crate::parameter_sets::InBand;
use crate::rewrite::{self, Header, Turn};
use crate::timeline::{Timeline, ticks};
use crate::{Codec, Contents, Flags, OutQueue, Pacing, Packets, ParameterSets, Unit, ntp, rtcp};

/// A picture this much before the latest one of its track is reordered; further back is a clock step.
const REORDER_US_MAX: u64 = 2_000_000;
/// What a capture time is moved by when the footage clock stands still or steps back.
const CLAMP_US: i64 = 1_000;
/// The recorder's RTP distances are kept while they stay this near to its capture times.
const JITTER_PER_S: u32 = 200;

/// One track of the client's session, fixed at SETUP for its whole life.
#[derive(Clone, Debug)]
pub struct OutTrack {
    /// Interleaved channel of RTP.
    pub channel_rtp: u8,
    /// Interleaved channel of RTCP.
    pub channel_rtcp: u8,
    /// Payload type of our SDP, below 128.
    pub payload_type: u8,
    /// Our source.
    pub ssrc: u32,
    /// First sequence number; not 0 or 1, which retina suspects.
    pub first_seq: u16,
    /// RTP time of media time zero; not 0, which FFmpeg ignores in RTP-Info.
    pub first_rtptime: u32,
    /// RTP clock rate in Hz; zero is read as one.
    pub clock_rate: u32,
    /// Payload format.
    pub codec: Codec,
    /// The parameter sets of our SDP.
    pub announced: ParameterSets,
}

/// A PLAY of the client.
#[derive(Clone, Copy, Debug)]
pub struct Play {
    /// Low byte of the client's `CSeq`.
    pub cseq: u8,
    /// Rate control.
    pub pacing: Pacing,
    /// Footage seconds per second; negative in reverse.
    pub scale: f64,
    /// Capture time (UTC in µs) of the start that the reply's `Range` names.
    pub start_us: i64,
    /// Whether every packet must carry the replay extension. Otherwise it stays where it is.
    pub extension: bool,
}

/// What RTP-Info says of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpInfo {
    /// Sequence number of the next packet.
    pub seq: u16,
    /// RTP time of the start of the PLAY.
    pub rtptime: u32,
}

/// A leg about to be written.
#[derive(Clone, Debug, Default)]
pub struct LegFormat {
    /// Parameter sets of the recorder's SDP, by track of the session; empty where unknown.
    pub parameter_sets: Vec<ParameterSets>,
    /// Where the footage goes on (capture time, UTC in µs) when a hole was skipped before this leg.
    pub discontinuity: Option<i64>,
}

/// How a unit is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct How {
    /// Sent only so that what follows decodes: squeezed into the seam instant.
    pub preroll: bool,
    /// E, D and T to set. C is set by what the unit is; the recorder's own flags do not pass.
    pub flags: Flags,
}

impl How {
    /// In its place, without flags.
    pub const NORMAL: Self = Self {
        preroll: false,
        flags: Flags::NONE,
    };
    /// Squeezed into the seam instant; D on the first is set by itself.
    pub const PREROLL: Self = Self {
        preroll: true,
        flags: Flags::NONE,
    };
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Media time in µs since the first PLAY of the session; with [`Pacing::Unpaced`] since its reference.
    pub media_us: i64,
    /// RTP time of the unit.
    pub rtp_time: u32,
    /// Packets, inserted parameter sets included.
    pub packets: usize,
    /// Decoding starts here and neither the unit nor the leg has the parameter sets for it.
    pub sets_missing: bool,
}

/// Why a unit was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// The session has no such track.
    #[error("no such track in the session")]
    Track,
    /// It has no packets.
    #[error("a unit without packets")]
    Empty,
}

/// Counters of one session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpliceCounts {
    /// Units written.
    pub units: u64,
    /// Units whose packets had to be built anew: no extension, a foreign one, contributing sources.
    pub rebuilt_units: u64,
    /// Parameter sets inserted.
    pub sets_inserted: u64,
    /// Random access points that needed sets which nobody knew.
    pub sets_missing: u64,
    /// Capture times moved because the footage clock stood still or stepped back.
    pub clamped: u64,
}

/// The outgoing side of one client session.
#[derive(Debug)]
pub struct Splice {
    tracks: Vec<Track>,
    timeline: Timeline,
    cseq: u8,
    extension: bool,
    cname: String,
    counts: SpliceCounts,
}

#[derive(Debug)]
struct Track {
    format: OutTrack,
    next_seq: u16,
    packets: u32,
    octets: u32,
    /// RTP time of the last unit written.
    last_time: Option<u32>,
    /// The greatest capture time written in this PLAY, and its unit's RTP time.
    latest: Option<Latest>,
    last_capture_us: Option<i64>,
    /// RTP time of the leg and of the session, for keeping the leg's distances.
    pairing: Option<(u32, u32)>,
    leg: Leg,
    /// The next unit is the first of its PLAY.
    fresh: bool,
    /// The last unit was preroll.
    squeezed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Latest {
    capture_us: i64,
    rtp_time: u32,
    leg_rtp: bool,
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
struct Place {
    timestamp: u32,
    capture_us: i64,
    media_us: i64,
}

impl Splice {
    /// A session with these tracks, in the order of our SDP.
    pub fn new(tracks: Vec<OutTrack>) -> Self {
        let cname = format!(
            "{:08x}@seamline",
            tracks.first().map_or(0, |track| track.ssrc)
        );
        Self {
            tracks: tracks.into_iter().map(Track::new).collect(),
            timeline: Timeline::new(),
            cseq: 0,
            extension: false,
            cname,
            counts: SpliceCounts::default(),
        }
    }

    /// Begins a PLAY: the first, one after PAUSE, or a seek. Numbering goes on where it was.
    pub fn start_play(&mut self, play: Play) {
        self.cseq = play.cseq;
        self.extension = play.extension;
        self.timeline.start(play.pacing, play.scale, play.start_us);
        for track in &mut self.tracks {
            track.latest = None;
            track.last_capture_us = None;
            track.pairing = None;
            track.fresh = true;
            track.squeezed = false;
        }
    }

    /// RTP-Info of the PLAY just begun; `None` without such a track.
    pub fn rtp_info(&self, track: usize) -> Option<RtpInfo> {
        let track = self.tracks.get(track)?;
        Some(RtpInfo {
            seq: track.next_seq,
            rtptime: track.time_at(self.timeline.start_media_us()),
        })
    }

    /// The units written from here on come from another leg.
    pub fn begin_leg(&mut self, leg: LegFormat) {
        self.timeline.seam(leg.discontinuity);
        let mut sets = leg.parameter_sets.into_iter();
        for track in &mut self.tracks {
            let sets = sets.next().unwrap_or_default();
            track.leg = Leg {
                foreign_sets: sets != track.format.announced,
                sets,
                ..Leg::default()
            };
            track.pairing = None;
            track.last_capture_us = None;
            if let Some(latest) = &mut track.latest {
                latest.leg_rtp = false;
            }
        }
    }

    /// Whether a unit decodes after what was written of this leg: not before its first random access
    /// point, and not when it leads that point. The owner drops the others.
    pub fn decodable(&self, unit: &Unit) -> bool {
        let Some(track) = self.tracks.get(unit.track) else {
            return false;
        };
        match track.leg.points {
            Points::None => unit.random_access,
            Points::First => !unit.leading,
            Points::Later => true,
        }
    }

    /// Media time in µs at which a unit would be due if it were written next.
    pub fn media_us(&self, unit: &Unit) -> i64 {
        self.timeline.media_us(unit.capture_us)
    }

    /// Rewrites a unit for the client and appends it to `out`.
    pub fn write(&mut self, unit: Unit, how: How, out: &mut OutQueue) -> Result<Written, Refused> {
        if unit.packets.is_empty() {
            return Err(Refused::Empty);
        }
        let first_in_seam = self.first_in_seam(unit.track);
        let place = if how.preroll {
            self.squeeze(&unit)
        } else {
            self.place(&unit)
        }
        .ok_or(Refused::Track)?;
        let track = self.tracks.get_mut(unit.track).ok_or(Refused::Track)?;
        let mut later = how.flags.without(Flags::CLEAN | Flags::DISCONTINUITY);
        let mut first = how.flags.without(Flags::CLEAN);
        if unit.random_access {
            first |= Flags::CLEAN;
        }
        if how.preroll && !track.squeezed {
            first |= Flags::DISCONTINUITY;
        }
        track.squeezed = how.preroll;
        track.fresh = false;
        later = later.without(Flags::CLEAN);

        let in_band = track.learn(&unit);
        let sets = track.due_sets(&unit, in_band.as_ref());
        let complete = in_band
            .as_ref()
            .is_none_or(|found| track.is_complete(found.contents));
        let sets_missing = track.pass_point(&unit) && !complete;
        let mut writer = Writer {
            header: Header {
                channel: track.format.channel_rtp,
                payload_type: track.format.payload_type & 0x7f,
                ssrc: track.format.ssrc,
                timestamp: place.timestamp,
                replay: Replay {
                    ntp: ntp::from_unix_us(place.capture_us),
                    flags: later,
                    cseq: self.cseq,
                },
            },
            next_seq: track.next_seq,
            first: Some(first),
            extension: self.extension,
            combined: track.format.codec == Codec::Other,
            marker: track.format.marker_rule(first_in_seam),
            packets: 0,
            octets: 0,
            rebuilt: false,
        };
        let delimiter_first = in_band.is_some_and(|found| found.opens_with_delimiter);
        writer.unit(unit.packets, &sets, delimiter_first, out);
        track.next_seq = writer.next_seq;
        track.packets = track.packets.wrapping_add(writer.packets as u32);
        track.octets = track.octets.wrapping_add(writer.octets as u32);
        self.counts.units += 1;
        self.counts.rebuilt_units += u64::from(writer.rebuilt);
        self.counts.sets_inserted += sets.len() as u64;
        self.counts.sets_missing += u64::from(sets_missing);
        Ok(Written {
            media_us: place.media_us,
            rtp_time: place.timestamp,
            packets: writer.packets,
            sets_missing,
        })
    }

    /// A sender report of `track`: `now_us` is the wall clock (UTC in µs), `media_us` the media time due
    /// now. Without rate control both times are zero, as ONVIF demands.
    pub fn sender_report(&self, track: usize, now_us: i64, media_us: i64) -> Option<BytesMut> {
        let track = self.tracks.get(track)?;
        let sender = self.sender(track, now_us, media_us);
        Some(rtcp::sender_report(
            track.format.channel_rtcp,
            sender,
            &self.cname,
        ))
    }

    /// The goodbye of `track`; players end when they have it for every track.
    pub fn goodbye(&self, track: usize, now_us: i64, media_us: i64) -> Option<BytesMut> {
        let track = self.tracks.get(track)?;
        let sender = self.sender(track, now_us, media_us);
        Some(rtcp::goodbye(
            track.format.channel_rtcp,
            sender,
            &self.cname,
        ))
    }

    /// Counters since SETUP.
    pub fn counts(&self) -> &SpliceCounts {
        &self.counts
    }

    fn sender(&self, track: &Track, now_us: i64, media_us: i64) -> rtcp::Sender {
        let (ntp, rtp_time) = if self.timeline.is_rate_controlled() {
            (ntp::from_unix_us(now_us), track.time_at(media_us))
        } else {
            (0, 0)
        };
        let Track {
            packets,
            octets,
            ref format,
            ..
        } = *track;
        rtcp::Sender {
            ssrc: format.ssrc,
            ntp,
            rtp_time,
            packets,
            octets,
        }
    }

    fn first_in_seam(&self, track: usize) -> bool {
        self.tracks
            .get(track)
            .is_some_and(|track| track.fresh || !track.leg.begun)
    }

    /// One tick behind the last unit, or at the start of the PLAY: the seam instant.
    fn squeeze(&mut self, unit: &Unit) -> Option<Place> {
        let start_us = self.timeline.start_media_us();
        let track = self.tracks.get_mut(unit.track)?;
        let timestamp = match track.last_time {
            Some(last) if !track.fresh => last.wrapping_add(1),
            _ => track.time_at(start_us),
        };
        track.last_time = Some(timestamp);
        let media_us = self.timeline.media_us(unit.capture_us);
        Some(Place {
            timestamp,
            capture_us: unit.capture_us,
            media_us,
        })
    }

    fn place(&mut self, unit: &Unit) -> Option<Place> {
        let reverse = self.timeline.is_reverse();
        let track = self.tracks.get_mut(unit.track)?;
        let capture_us = if reverse {
            unit.capture_us
        } else {
            track.monotonic(unit, &mut self.counts)
        };
        if track.format.codec.has_references() {
            if let Some(last_us) = track.last_capture_us {
                self.timeline.note_distance(capture_us.abs_diff(last_us));
            }
            track.last_capture_us = Some(capture_us);
        }
        let media_us = self.timeline.place(capture_us);
        let keep_distances = self.timeline.is_rate_controlled() && self.timeline.is_plain();
        let timestamp = track.timestamp(unit.rtp_time, media_us, keep_distances);
        Some(Place {
            timestamp,
            capture_us,
            media_us,
        })
    }
}

impl OutTrack {
    /// The marker of all but the last packet, and of the last; `None` keeps the recorder's.
    fn marker_rule(&self, first_in_seam: bool) -> MarkerRule {
        match self.codec {
            Codec::H264 | Codec::H265 => MarkerRule::LastOnly,
            codec if codec.marks_talk_spurts() && first_in_seam => MarkerRule::First,
            Codec::Aac | Codec::G711 | Codec::Other => MarkerRule::Keep,
        }
    }
}

impl Track {
    fn new(format: OutTrack) -> Self {
        Self {
            next_seq: format.first_seq,
            packets: 0,
            octets: 0,
            last_time: None,
            latest: None,
            last_capture_us: None,
            pairing: None,
            leg: Leg::default(),
            fresh: true,
            squeezed: false,
            format: OutTrack {
                clock_rate: format.clock_rate.max(1),
                ..format
            },
        }
    }

    fn time_at(&self, media_us: i64) -> u32 {
        self.format
            .first_rtptime
            .wrapping_add(ticks(media_us, self.format.clock_rate))
    }

    /// The unit's capture time, moved forward where it does not advance though the picture is not a
    /// reordered one.
    fn monotonic(&mut self, unit: &Unit, counts: &mut SpliceCounts) -> i64 {
        let Some(latest) = self.latest else {
            self.latest = Some(Latest {
                capture_us: unit.capture_us,
                rtp_time: unit.rtp_time,
                leg_rtp: true,
            });
            return unit.capture_us;
        };
        let behind = unit.capture_us <= latest.capture_us;
        let reordered = latest.leg_rtp
            && self.format.codec.has_references()
            && (unit.rtp_time.wrapping_sub(latest.rtp_time) as i32) < 0
            && latest.capture_us.abs_diff(unit.capture_us) <= REORDER_US_MAX;
        if behind && reordered {
            return unit.capture_us;
        }
        counts.clamped += u64::from(behind);
        let capture_us = if behind {
            latest.capture_us.saturating_add(CLAMP_US)
        } else {
            unit.capture_us
        };
        self.latest = Some(Latest {
            capture_us,
            rtp_time: unit.rtp_time,
            leg_rtp: true,
        });
        capture_us
    }

    /// RTP time of a unit at `media_us`, at the leg's own distance from the unit before where it agrees.
    fn timestamp(&mut self, rtp_time: u32, media_us: i64, keep_distances: bool) -> u32 {
        let exact = self.time_at(media_us);
        let kept = self
            .pairing
            .filter(|_| keep_distances)
            .map(|(leg, session)| session.wrapping_add(rtp_time.wrapping_sub(leg)))
            .filter(|kept| {
                (kept.wrapping_sub(exact) as i32).unsigned_abs()
                    <= self.format.clock_rate / JITTER_PER_S
            });
        let mut timestamp = kept.unwrap_or_else(|| {
            self.pairing = Some((rtp_time, exact));
            exact
        });
        if self.squeezed
            && let Some(last) = self.last_time
            && (timestamp.wrapping_sub(last) as i32) <= 0
        {
            timestamp = last.wrapping_add(1);
        }
        self.last_time = Some(timestamp);
        timestamp
    }

    /// Parameter sets that a random access point brings along.
    fn learn(&mut self, unit: &Unit) -> Option<InBand> {
        if !unit.random_access || !self.format.codec.has_references() {
            return None;
        }
        let in_band = self.leg.sets.learn(self.format.codec, &unit.packets);
        if in_band.contents.has(Contents::SPS) || in_band.contents.has(Contents::PPS) {
            self.leg.foreign_sets = self.leg.sets != self.format.announced;
        }
        Some(in_band)
    }

    /// The sets to send ahead of a unit: those it lacks, at the first random access point of a leg, and
    /// at each one while they are not the announced ones.
    fn due_sets(&self, unit: &Unit, in_band: Option<&InBand>) -> SmallVec<[Bytes; 4]> {
        let due = unit.random_access && (self.leg.points == Points::None || self.leg.foreign_sets);
        match in_band {
            Some(found) if due => self.leg.sets.lacking(found.contents).cloned().collect(),
            _ => SmallVec::new(),
        }
    }

    fn is_complete(&self, _contents: Contents) -> bool {
        self.leg.sets.is_complete(self.format.codec)
    }

    /// Notes the unit as written; whether it was the first random access point of the leg.
    fn pass_point(&mut self, unit: &Unit) -> bool {
        self.leg.begun = true;
        if !unit.random_access {
            return false;
        }
        let first = self.leg.points == Points::None;
        self.leg.points = if first { Points::First } else { Points::Later };
        first
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MarkerRule {
    LastOnly,
    First,
    Keep,
}

/// Writes the packets of one unit.
struct Writer {
    header: Header,
    next_seq: u16,
    /// Flags of the unit's first packet, until it is written.
    first: Option<Flags>,
    extension: bool,
    combined: bool,
    marker: MarkerRule,
    packets: usize,
    octets: usize,
    rebuilt: bool,
}

impl Writer {
    fn unit(
        &mut self,
        mut packets: Packets,
        sets: &[Bytes],
        delimiter_first: bool,
        out: &mut OutQueue,
    ) {
        if !sets.is_empty() {
            if delimiter_first && let Some(delimiter) = packets.take_first() {
                let mut alone = Packets::new();
                alone.push(delimiter);
                self.packets(alone, false, out);
            }
            let mut built = BytesMut::new();
            for set in sets {
                let turn = self.turn(Some(false));
                rewrite::build(&mut built, set, &self.header, turn, self.extension);
                self.octets += set.len();
            }
            out.push_bytes(built);
        }
        self.packets(packets, true, out);
    }

    fn packets(&mut self, mut packets: Packets, last: bool, out: &mut OutQueue) {
        let (extension, combined) = (self.extension, self.combined);
        let count = packets.count();
        let marker_at = |rule: MarkerRule, index: usize| match rule {
            MarkerRule::LastOnly => Some(last && index + 1 == count),
            MarkerRule::First => Some(index == 0),
            MarkerRule::Keep => None,
        };
        if packets
            .iter()
            .all(|frame| rewrite::fits(frame, extension, combined))
        {
            for (index, frame) in packets.iter_mut().enumerate() {
                let turn = self.turn(marker_at(self.marker, index));
                self.octets += rewrite::in_place(frame, &self.header, turn);
            }
            packets
                .into_chunks()
                .for_each(|chunk| out.push_bytes(chunk));
            return;
        }
        self.rebuilt = true;
        let mut built = BytesMut::with_capacity(packets.len_bytes() + count * crate::abac::BYTES);
        for (index, frame) in packets.iter().enumerate() {
            let turn = self.turn(marker_at(self.marker, index));
            self.octets +=
                rewrite::rebuild(&mut built, frame, &self.header, turn, extension).unwrap_or(0);
        }
        out.push_bytes(built);
    }

    fn turn(&mut self, marker: Option<bool>) -> Turn {
        let sequence = self.next_seq;
        self.next_seq = sequence.wrapping_add(1);
        self.packets += 1;
        Turn {
            sequence,
            marker,
            flags: self.first.take().unwrap_or(self.header.replay.flags),
        }
    }
}

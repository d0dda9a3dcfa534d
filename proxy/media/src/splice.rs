//! Joins legs into the one stream of a client's session: one source, one numbering, one timeline.

mod track;
mod writer;

use bytes::BytesMut;
use thiserror::Error;

use crate::timeline::Timeline;
use crate::{Codec, Flags, OutQueue, Pacing, ParameterSets, Unit, jpeg, ntp, rtcp};
use track::Track;
use writer::Writer;

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
    /// Longest RTP packet, headers included: NAL units that are longer are sent in fragments.
    pub packet_bytes_max: usize,
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
    /// A step of this much footage (µs) is a hole, which rate-controlled media time closes up: more than the longest distance of
    /// two pictures that are to be sent.
    pub hole_us: i64,
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
    /// MJPEG pictures whose quantization tables two recorders give one name.
    pub tables_set_apart: u64,
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
        self.timeline
            .start(play.pacing, play.scale, play.start_us, play.hole_us);
        self.tracks.iter_mut().for_each(Track::start_play);
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
            track.begin_leg(sets.next().unwrap_or_default());
        }
    }

    /// In reverse: a hole was skipped, and the footage goes on at `from_us` (capture time), which is shown first of what follows.
    pub fn skip_hole(&mut self, from_us: i64) {
        self.timeline.seam(Some(from_us));
    }

    /// The leg that was begun last goes on in the same elementary stream as the one before it: no picture of it is preroll,
    /// and the first may be shown before the last one written.
    pub fn goes_on(&mut self) {
        self.tracks.iter_mut().for_each(Track::goes_on);
    }

    /// Whether a unit decodes after what was written of this leg: not before its first random access
    /// point, and not when it leads that point. The owner drops the others.
    pub fn decodable(&self, unit: &Unit) -> bool {
        self.tracks
            .get(unit.track)
            .is_some_and(|track| track.decodable(unit))
    }

    /// Media time in µs at which a unit would be due if it were written next.
    pub fn media_us(&self, unit: &Unit) -> i64 {
        self.media_us_at(unit.capture_us)
    }

    /// As [`Self::media_us`], of what is captured at an instant.
    pub fn media_us_at(&self, capture_us: i64) -> i64 {
        self.timeline.media_us(capture_us)
    }

    /// Rewrites a unit for the client and appends it to `out`.
    pub fn write(
        &mut self,
        mut unit: Unit,
        how: How,
        out: &mut OutQueue,
    ) -> Result<Written, Refused> {
        if unit.packets.is_empty() {
            return Err(Refused::Empty);
        }
        let track = self.tracks.get_mut(unit.track).ok_or(Refused::Track)?;
        let marker = track.marker_rule();
        let flags = track.flags(&unit, how);
        let place = if how.preroll {
            track.squeeze(&unit, &self.timeline)
        } else {
            track.place(&unit, &mut self.timeline)
        };
        let lead = track.lead(&unit);
        self.counts.tables_set_apart += u64::from(track.set_tables_apart(&mut unit.packets));
        track.note_written(&unit, how.preroll);

        let header = track.header(&place, flags, self.cseq);
        let mut writer = Writer::new(
            header,
            track.next_seq,
            flags,
            marker,
            self.extension,
            &track.format,
        );
        writer.combined = track.format.codec == Codec::Jpeg && jpeg::needs_extension(&unit.packets);
        writer.unit(unit.packets, &lead, out);
        track.count(&writer);
        self.counts.units += 1;
        self.counts.clamped += u64::from(place.clamped);
        self.counts.rebuilt_units += u64::from(writer.rebuilt);
        self.counts.sets_inserted += lead.sets.len() as u64;
        self.counts.sets_missing += u64::from(lead.sets_missing);
        Ok(Written {
            media_us: place.media_us,
            rtp_time: place.timestamp,
            packets: writer.packets,
            sets_missing: lead.sets_missing,
        })
    }

    /// Counts a unit that leaves by another way than as packets: it has its place in time, and nothing is written.
    pub fn pass(&mut self, unit: &Unit, how: How) -> Result<Written, Refused> {
        let track = self.tracks.get_mut(unit.track).ok_or(Refused::Track)?;
        let place = if how.preroll {
            track.squeeze(unit, &self.timeline)
        } else {
            track.place(unit, &mut self.timeline)
        };
        track.note_written(unit, how.preroll);
        self.counts.units += 1;
        self.counts.clamped += u64::from(place.clamped);
        Ok(Written {
            media_us: place.media_us,
            rtp_time: place.timestamp,
            packets: 0,
            sets_missing: false,
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
}

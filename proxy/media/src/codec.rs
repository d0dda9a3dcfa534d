//! What a track carries and what is known of the recorder's way to send it.

/// Codecs whose payload is read. Others pass through: every unit of theirs is a random access point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// RFC 6184.
    H264,
    /// RFC 7798.
    H265,
    /// RFC 3640, `mode=AAC-hbr`.
    Aac,
    /// PCMU and PCMA, RFC 3551: every packet stands alone and the marker starts a talk spurt.
    G711,
    /// Anything else: one unit per timestamp and marker.
    Other,
}

impl Codec {
    /// From the encoding name of an SDP `rtpmap`, in any case.
    pub fn from_encoding(name: &str) -> Self {
        const NAMES: [(&str, Codec); 6] = [
            ("H264", Codec::H264),
            ("H265", Codec::H265),
            ("HEVC", Codec::H265),
            ("MPEG4-GENERIC", Codec::Aac),
            ("PCMU", Codec::G711),
            ("PCMA", Codec::G711),
        ];
        NAMES
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map_or(Self::Other, |&(_, codec)| codec)
    }

    /// Whether pictures refer to each other, so that decoding starts only at random access points.
    pub fn has_references(self) -> bool {
        matches!(self, Self::H264 | Self::H265)
    }

    /// Whether the marker starts a talk spurt rather than ends a unit.
    pub(crate) fn marks_talk_spurts(self) -> bool {
        self == Self::G711
    }
}

/// What a recorder does with the marker bit. Learned per track; hand it to the next leg of the same
/// recorder and its first unit need not wait for the packet behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Markers {
    /// Not seen yet: a unit ends when the timestamp changes.
    #[default]
    Unknown,
    /// Exactly on the last packet of each unit: the unit ends there.
    Trusted,
    /// Set in mid-unit (per slice or per NAL): only the timestamp counts.
    Ignored,
}

/// One track of a leg.
#[derive(Clone, Copy, Debug)]
pub struct TrackFormat {
    /// Payload format.
    pub codec: Codec,
    /// RTP clock rate in Hz; zero is read as one.
    pub clock_rate: u32,
    /// Payload type of the recorder's SDP; packets of others are dropped.
    pub payload_type: u8,
    /// What earlier legs taught about the marker.
    pub markers: Markers,
}

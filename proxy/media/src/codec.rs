//! What a track carries and what is known of the recorder's way to send it.

/// Codecs whose payload is read. Others pass through: every unit of theirs is a random access point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// RFC 6184.
    H264,
    /// RFC 7798.
    H265,
    /// RFC 2435: every picture stands alone.
    Jpeg,
    /// RFC 3640, `mode=AAC-hbr`.
    Aac,
    /// PCMU and PCMA, RFC 3551: every packet stands alone and the marker starts a talk spurt.
    G711,
    /// RFC 3551 §4.5.4, of any rate, in either order of its bits: every packet stands alone.
    G726,
    /// RFC 7587: every packet stands alone and says itself what it is.
    Opus,
    /// ONVIF metadata, plain or packed: XML documents, each over one or more packets.
    Metadata,
    /// Anything else: one unit per timestamp and marker.
    Other,
}

impl Codec {
    /// From the encoding name of an SDP `rtpmap`, in any case.
    pub fn from_encoding(name: &str) -> Self {
        const NAMES: [(&str, Codec); 20] = [
            ("H264", Codec::H264),
            ("H265", Codec::H265),
            ("HEVC", Codec::H265),
            ("JPEG", Codec::Jpeg),
            ("MPEG4-GENERIC", Codec::Aac),
            ("PCMU", Codec::G711),
            ("PCMA", Codec::G711),
            ("G721", Codec::G726),
            ("G726-16", Codec::G726),
            ("G726-24", Codec::G726),
            ("G726-32", Codec::G726),
            ("G726-40", Codec::G726),
            ("AAL2-G726-16", Codec::G726),
            ("AAL2-G726-24", Codec::G726),
            ("AAL2-G726-32", Codec::G726),
            ("AAL2-G726-40", Codec::G726),
            ("OPUS", Codec::Opus),
            ("VND.ONVIF.METADATA", Codec::Metadata),
            ("VND.ONVIF.METADATA+GZIP", Codec::Metadata),
            ("VND.ONVIF.METADATA.EXI.EXT", Codec::Metadata),
        ];
        // Versions of the EXI name differ in what follows `exi`.
        let family = "vnd.onvif.metadata";
        let is_metadata = || {
            name.get(..family.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(family))
        };
        NAMES
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|&(_, codec)| codec)
            .or(is_metadata().then_some(Self::Metadata))
            .unwrap_or(Self::Other)
    }

    /// Whether units are pictures.
    pub fn is_picture(self) -> bool {
        matches!(self, Self::H264 | Self::H265 | Self::Jpeg)
    }

    /// Whether pictures refer to each other, so that decoding starts only at random access points.
    pub fn has_references(self) -> bool {
        matches!(self, Self::H264 | Self::H265)
    }

    /// Whether every packet is a unit; the marker then starts a talk spurt rather than ends a unit.
    pub(crate) fn marks_talk_spurts(self) -> bool {
        matches!(self, Self::G711 | Self::G726 | Self::Opus)
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

//! Parameter sets of a video track: from SDP, MP4 configuration records and the stream itself.

use base64::Engine;
use base64::engine::{
    DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD,
};
use bytes::Bytes;
use smallvec::SmallVec;

use crate::nal::Nal;
use crate::rtp::Packet;
use crate::{Codec, Contents, Fragments, Packets, h264, h265};

/// Bytes of one set.
const SET_BYTES_MAX: usize = 16 * 1024;
/// Sets of one kind.
const SETS_MAX: usize = 32;

/// Cameras write base64 with and without its padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// NAL units without start codes or lengths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ParameterSets {
    /// Video parameter sets; H.265 only.
    pub vps: Vec<Bytes>,
    /// Sequence parameter sets.
    pub sps: Vec<Bytes>,
    /// Picture parameter sets.
    pub pps: Vec<Bytes>,
}

/// What a unit brings along.
pub(crate) struct InBand {
    pub(crate) contents: Contents,
    /// Its sets are not those known before.
    pub(crate) changed: bool,
    /// Its first packet is a delimiter without picture data.
    pub(crate) opens_with_delimiter: bool,
}

impl ParameterSets {
    /// From the `fmtp` parameters of an SDP; what is missing or not base64 is left out.
    pub fn from_fmtp(codec: Codec, fmtp: &[(String, String)]) -> Self {
        let value = |name: &str| {
            fmtp.iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map_or("", |(_, value)| value.as_str())
        };
        let mut sets = Self::default();
        match codec {
            Codec::H264 => sets.add_base64(codec, value("sprop-parameter-sets")),
            Codec::H265 => {
                for name in ["sprop-vps", "sprop-sps", "sprop-pps"] {
                    sets.add_base64(codec, value(name));
                }
            }
            _ => {}
        }
        sets
    }

    /// From an `avcC` record (ISO 14496-15), with the number of bytes of each NAL length in samples.
    pub fn from_avcc(record: &[u8]) -> Option<(Self, u8)> {
        let (&[1, _, _, _, lengths, sps_count], rest) = record.split_first_chunk::<6>()? else {
            return None;
        };
        let mut sets = Self::default();
        let rest = sets.add_sized(Codec::H264, u16::from(sps_count & 0x1f), rest)?;
        let (&pps_count, rest) = rest.split_first()?;
        sets.add_sized(Codec::H264, u16::from(pps_count), rest)?;
        Some((sets, (lengths & 3) + 1))
    }

    /// From an `hvcC` record (ISO 14496-15), with the number of bytes of each NAL length in samples.
    pub fn from_hvcc(record: &[u8]) -> Option<(Self, u8)> {
        let (head, mut rest) = record.split_first_chunk::<23>()?;
        let &[1, .., lengths, arrays] = head else {
            return None;
        };
        let mut sets = Self::default();
        for _ in 0..arrays {
            let (&[_, count0, count1], after) = rest.split_first_chunk::<3>()?;
            rest = sets.add_sized(Codec::H265, u16::from_be_bytes([count0, count1]), after)?;
        }
        Some((sets, (lengths & 3) + 1))
    }

    /// The `fmtp` parameters that announce these sets, in the order to write them.
    pub fn to_fmtp(&self, codec: Codec) -> Vec<(String, String)> {
        let mut fmtp = Vec::new();
        let mut put = |name: &str, value: String| fmtp.push((name.to_owned(), value));
        match codec {
            Codec::H264 => {
                put("packetization-mode", "1".to_owned());
                if let Some(&[_, profile, constraints, level]) =
                    self.sps.first().and_then(|sps| sps.first_chunk::<4>())
                {
                    put(
                        "profile-level-id",
                        format!("{profile:02X}{constraints:02X}{level:02X}"),
                    );
                }
                if !self.sps.is_empty() {
                    put(
                        "sprop-parameter-sets",
                        list(self.sps.iter().chain(&self.pps)),
                    );
                }
            }
            Codec::H265 => {
                for (name, sets) in [
                    ("sprop-vps", &self.vps),
                    ("sprop-sps", &self.sps),
                    ("sprop-pps", &self.pps),
                ] {
                    if !sets.is_empty() {
                        put(name, list(sets));
                    }
                }
            }
            _ => {}
        }
        fmtp
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.vps.is_empty() && self.sps.is_empty() && self.pps.is_empty()
    }

    /// Whether a decoder of `codec` has all that it needs.
    pub fn is_complete(&self, codec: Codec) -> bool {
        let video = !self.sps.is_empty() && !self.pps.is_empty();
        match codec {
            Codec::H264 => video,
            Codec::H265 => video && !self.vps.is_empty(),
            _ => true,
        }
    }

    /// Adds one NAL when it is a parameter set of `codec`, new, and within the limits.
    pub fn add(&mut self, codec: Codec, nal: &[u8]) {
        let Some(sets) = kind_of(codec, nal).and_then(|kind| self.of_kind_mut(kind)) else {
            return;
        };
        if nal.len() <= SET_BYTES_MAX
            && sets.len() < SETS_MAX
            && sets.iter().all(|known| known != nal)
        {
            sets.push(Bytes::copy_from_slice(nal));
        }
    }

    /// Looks through a unit; sets of a kind that it brings replace those known.
    pub(crate) fn learn(&mut self, codec: Codec, packets: &Packets) -> InBand {
        let mut fragments = Fragments::default();
        let mut found: SmallVec<[(Contents, &[u8]); 4]> = SmallVec::new();
        let mut in_band = InBand {
            contents: Contents::NONE,
            changed: false,
            opens_with_delimiter: false,
        };
        for (index, frame) in packets.iter().enumerate() {
            let Ok(packet) = Packet::parse_frame(frame) else {
                continue;
            };
            let mut here = Contents::NONE;
            visit(codec, packet.payload, &mut fragments, |nal, meaning| {
                here |= meaning;
                // No more than are kept: a unit may hold a million, and each is held against those before it.
                let of_kind = || found.iter().filter(|(of, _)| *of == meaning);
                if let (Contents::VPS | Contents::SPS | Contents::PPS, Some(whole)) =
                    (meaning, nal.whole)
                    && whole.len() <= SET_BYTES_MAX
                    && of_kind().count() < SETS_MAX
                    && of_kind().all(|(_, known)| *known != whole)
                {
                    found.push((meaning, whole));
                }
            });
            in_band.contents |= here;
            in_band.opens_with_delimiter |=
                index == 0 && here.has(Contents::DELIMITER) && !here.has(Contents::SLICE);
        }
        for kind in [Contents::VPS, Contents::SPS, Contents::PPS] {
            let Some(known) = self.of_kind_mut(kind) else {
                continue;
            };
            let sent = || found.iter().filter(|(of, _)| *of == kind);
            if sent().next().is_some()
                && !sent()
                    .map(|(_, nal)| *nal)
                    .eq(known.iter().map(|set| &set[..]))
            {
                *known = sent().map(|(_, nal)| Bytes::copy_from_slice(nal)).collect();
                in_band.changed = true;
            }
        }
        in_band
    }

    /// The sets of the kinds that a unit with `contents` lacks, in the order to send them.
    pub(crate) fn lacking(&self, contents: Contents) -> impl Iterator<Item = &Bytes> {
        [
            (Contents::VPS, &self.vps),
            (Contents::SPS, &self.sps),
            (Contents::PPS, &self.pps),
        ]
        .into_iter()
        .filter(move |(kind, _)| !contents.has(*kind))
        .flat_map(|(_, sets)| sets)
    }

    /// All of them, in the order to send them.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = &Bytes> {
        self.lacking(Contents::NONE)
    }

    /// Whether a NAL unit is one.
    pub(crate) fn is_set(codec: Codec, nal: &[u8]) -> bool {
        kind_of(codec, nal).is_some()
    }

    /// Adds so many that stand one behind another, each behind its length; what follows them.
    fn add_sized<'a>(&mut self, codec: Codec, count: u16, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let mut rest = bytes;
        for _ in 0..count {
            let (&size, after) = rest.split_first_chunk::<2>()?;
            let (nal, after) = after.split_at_checked(usize::from(u16::from_be_bytes(size)))?;
            self.add(codec, nal);
            rest = after;
        }
        Some(rest)
    }

    fn add_base64(&mut self, codec: Codec, list: &str) {
        for text in list.split(',').map(str::trim).take(3 * SETS_MAX) {
            if text.len() <= SET_BYTES_MAX * 2
                && let Ok(nal) = LENIENT.decode(text)
            {
                self.add(codec, &nal);
            }
        }
    }

    fn of_kind_mut(&mut self, kind: Contents) -> Option<&mut Vec<Bytes>> {
        match kind {
            Contents::VPS => Some(&mut self.vps),
            Contents::SPS => Some(&mut self.sps),
            Contents::PPS => Some(&mut self.pps),
            _ => None,
        }
    }
}

/// An error ends one packet only; the assembler has counted it.
fn visit<'a>(
    codec: Codec,
    payload: &'a [u8],
    fragments: &mut Fragments,
    mut each: impl FnMut(Nal<'a>, Contents),
) {
    let _ = match codec {
        Codec::H264 => h264::visit(payload, fragments, |nal| each(nal, h264::meaning(&nal))),
        Codec::H265 => h265::visit(payload, fragments, |nal| each(nal, h265::meaning(&nal))),
        _ => Ok(()),
    };
}

fn kind_of(codec: Codec, nal: &[u8]) -> Option<Contents> {
    let &header = nal.first()?;
    match (codec, header & 0x1f, (header >> 1) & 0x3f) {
        (Codec::H264, h264::SPS, _) | (Codec::H265, _, h265::SPS) => Some(Contents::SPS),
        (Codec::H264, h264::PPS, _) | (Codec::H265, _, h265::PPS) => Some(Contents::PPS),
        (Codec::H265, _, h265::VPS) => Some(Contents::VPS),
        _ => None,
    }
}

fn list<'a>(sets: impl IntoIterator<Item = &'a Bytes>) -> String {
    sets.into_iter()
        .map(|set| STANDARD.encode(set))
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Frame, Framing, Packetizer, Unit};

    const SPS: &[u8] = &[0x67, 0x64, 0x00, 0x28, 0xac];
    const PPS: &[u8] = &[0x68, 0xee, 0x3c, 0x80];

    fn h264() -> ParameterSets {
        let mut sets = ParameterSets::default();
        sets.add(Codec::H264, SPS);
        sets.add(Codec::H264, PPS);
        sets
    }

    /// A picture of these NAL units.
    fn unit(annex_b: &[u8]) -> Unit {
        let frame = Frame {
            data: annex_b,
            framing: Framing::AnnexB,
            capture_us: 0,
            rtp_time: 0,
            sync: true,
            flags: crate::Flags::NONE,
        };
        Packetizer::new(0, Codec::H264, 96).unit(&frame).unwrap()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn sdp_both_ways() {
        let fmtp = h264().to_fmtp(Codec::H264);
        let expected = [
            ("packetization-mode", "1"),
            ("profile-level-id", "640028"),
            ("sprop-parameter-sets", "Z2QAKKw=,aO48gA=="),
        ];
        assert_eq!(fmtp, pairs(&expected));
        assert_eq!(ParameterSets::from_fmtp(Codec::H264, &fmtp), h264());
    }

    #[test]
    fn sloppy_sdp_is_read() {
        let fmtp = pairs(&[("Sprop-Parameter-Sets", "Z2QAKKw, aO48gA ,,!!!,Z2QAKKw=")]);
        assert_eq!(ParameterSets::from_fmtp(Codec::H264, &fmtp), h264());
        assert!(ParameterSets::from_fmtp(Codec::G711, &fmtp).is_empty());
    }

    #[test]
    fn h265_sdp_both_ways() {
        let mut sets = ParameterSets::default();
        for nal in [
            &[0x40, 1, 12][..],
            &[0x42, 1, 13],
            &[0x44, 1, 14],
            &[0x26, 1, 15],
        ] {
            sets.add(Codec::H265, nal);
        }
        assert!(sets.is_complete(Codec::H265));
        assert_eq!((sets.vps.len(), sets.sps.len(), sets.pps.len()), (1, 1, 1));
        assert_eq!(
            ParameterSets::from_fmtp(Codec::H265, &sets.to_fmtp(Codec::H265)),
            sets
        );
    }

    #[test]
    fn configuration_records() {
        let avcc = [
            &[1, 0x64, 0, 0x28, 0xff, 0xe1, 0, 5][..],
            SPS,
            &[1, 0, 4],
            PPS,
            &[0xfd],
        ]
        .concat();
        assert_eq!(ParameterSets::from_avcc(&avcc), Some((h264(), 4)));
        for length in 0..avcc.len() - 1 {
            assert_eq!(ParameterSets::from_avcc(&avcc[..length]), None);
        }
        let mut hvcc = vec![1];
        hvcc.resize(21, 0);
        hvcc.extend_from_slice(&[0xf3, 2]);
        hvcc.extend_from_slice(&[0xa0, 0, 1, 0, 3, 0x40, 1, 12, 0xa1, 0, 1, 0, 3, 0x42, 1, 13]);
        let (sets, length_bytes) = ParameterSets::from_hvcc(&hvcc).unwrap();
        assert_eq!((sets.vps.len(), sets.sps.len(), length_bytes), (1, 1, 4));
        assert_eq!(ParameterSets::from_hvcc(&hvcc[..hvcc.len() - 1]), None);
    }

    #[test]
    fn the_stream_replaces_what_it_brings() {
        let new_pps = [0x68, 0xcf];
        let data = [&[0, 0, 1][..], &new_pps, &[0, 0, 1, 0x65, 0x88, 0x84]].concat();
        let unit = unit(&data);
        let mut sets = h264();
        let in_band = sets.learn(Codec::H264, &unit.packets);
        assert!(in_band.changed && !in_band.opens_with_delimiter);
        assert_eq!((&sets.sps[0][..], &sets.pps[0][..]), (SPS, &new_pps[..]));
        assert!(sets.lacking(in_band.contents).eq(&sets.sps));
        assert!(!sets.learn(Codec::H264, &unit.packets).changed);
    }

    #[test]
    fn limits_hold() {
        let mut sets = ParameterSets::default();
        sets.add(Codec::H264, &vec![0x67; SET_BYTES_MAX + 1]);
        assert!(sets.is_empty());
        for id in 0..=255 {
            sets.add(Codec::H264, &[0x67, id]);
        }
        assert_eq!(sets.sps.len(), SETS_MAX);
    }

    /// Were each held against all before it, this would take minutes.
    #[test]
    fn a_unit_of_a_million_sets_costs_as_much_as_one_of_few() {
        let mut data = Vec::new();
        for id in 0..400_000_u32 {
            data.extend_from_slice(&[0, 0, 1, 0x67]);
            // No byte of it is zero, so that none is taken for a start code.
            data.extend((0..4).map(|place| (id >> (5 * place)) as u8 & 0x1f | 0x20));
        }
        data.extend_from_slice(&[0, 0, 1, 0x65, 0x88, 0x84]);
        let unit = unit(&data);
        let mut sets = h264();
        assert!(sets.learn(Codec::H264, &unit.packets).changed);
        assert_eq!((sets.sps.len(), &sets.pps[0][..]), (SETS_MAX, PPS));
    }
}

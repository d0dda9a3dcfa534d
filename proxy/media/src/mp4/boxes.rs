//! The boxes of a file's head: sample entries, tracks, edit lists.

use mp4_atom::{
    Audio, Avc1, Avcc, AvccExt, Codec as SampleEntry, Compressor, Dinf, Dops, Dref, Edts, Elst,
    ElstEntry, Encode, FixedPoint, Fl32, Fl64, FourCC, Ftyp, Hdlr, Hvc1, HvcCArray, Hvcc, Jpeg,
    Mdhd, Mdia, Minf, Moov, Mp4a, Opus, Pasp, Smhd, Stbl, Tkhd, Trak, Url, Visual, Vmhd,
};

use crate::sps::{Sps, profile_tier_level};
use crate::{Entry, ParameterSets};

/// Ticks a second of the movie as a whole.
pub(super) const MOVIE_TICKS: u32 = 90_000;
/// NAL units stand behind lengths of four bytes.
const LENGTH_BYTES: u8 = 4;

/// What the tracks of a file share.
pub(super) struct TrackHead<'a> {
    /// Counted from 1.
    pub(super) id: u32,
    /// The first entry: size, handler and timescale are its.
    pub(super) entry: &'a Entry,
    /// Ticks of the track before media time zero.
    pub(super) lead: i64,
    /// Decode time of the first sample, where the sample table cannot say it and begins at zero.
    pub(super) first: i64,
    /// Ticks of the track that are shown; 0 where that is not known yet.
    pub(super) shown: u64,
}

pub(super) fn ftyp(fragmented: bool) -> Ftyp {
    let brands: &[&[u8; 4]] = if fragmented {
        &[b"isom", b"iso6", b"mp41", b"mp42"]
    } else {
        &[b"isom", b"iso2", b"avc1", b"mp41"]
    };
    Ftyp {
        major_brand: FourCC::new(if fragmented { b"iso6" } else { b"isom" }),
        minor_version: 512,
        compatible_brands: brands.iter().map(|brand| FourCC::new(brand)).collect(),
    }
}

/// A track around its sample tables.
pub(super) fn trak(head: &TrackHead<'_>, stbl: Stbl) -> Trak {
    let video = head.entry.size();
    let (width, height) = video.unwrap_or_default();
    let timescale = head.entry.timescale();
    let movie = |ticks: u64| {
        let scaled = u128::from(ticks) * u128::from(MOVIE_TICKS) / u128::from(timescale.max(1));
        u64::try_from(scaled).unwrap_or(u64::MAX)
    };
    let edit = |ticks: u64, media_time: Option<u64>| ElstEntry {
        segment_duration: movie(ticks),
        media_time,
        media_rate: FixedPoint::new(1, 0),
    };
    // Media time zero is `lead`, and the table begins with `first`.
    let late = (head.first - head.lead).max(0) as u64;
    let hidden = (head.lead - head.first).max(0) as u64;
    let mut entries = Vec::new();
    if late > 0 {
        entries.push(edit(late, None));
    }
    if late > 0 || hidden > 0 {
        entries.push(edit(head.shown - late.min(head.shown), Some(hidden)));
    }
    let edits = (late > 0 || hidden > 0).then_some(Edts {
        elst: Some(Elst { entries }),
    });
    Trak {
        tkhd: Tkhd {
            track_id: head.id,
            duration: movie(head.shown),
            alternate_group: u16::from(video.is_none()),
            enabled: true,
            in_movie: true,
            volume: FixedPoint::new(u8::from(video.is_none()), 0),
            width: FixedPoint::new(width, 0),
            height: FixedPoint::new(height, 0),
            ..Tkhd::default()
        },
        edts: edits,
        mdia: Mdia {
            mdhd: Mdhd {
                timescale,
                duration: (head.shown + hidden).saturating_sub(late),
                language: "und".to_owned(),
                ..Mdhd::default()
            },
            hdlr: Hdlr {
                handler: FourCC::new(if video.is_some() { b"vide" } else { b"soun" }),
                name: if video.is_some() { "video" } else { "audio" }.to_owned(),
            },
            minf: Minf {
                vmhd: video.map(|_| Vmhd::default()),
                smhd: video.is_none().then(Smhd::default),
                dinf: Dinf {
                    dref: Dref {
                        entries: vec![Url::default().into()],
                    },
                },
                stbl,
                ..Minf::default()
            },
        },
        ..Trak::default()
    }
}

/// The sample entry of one way of coding.
pub(super) fn sample_entry(entry: &Entry) -> SampleEntry {
    match entry {
        Entry::H264 { sets, size } => SampleEntry::Avc1(Avc1 {
            visual: visual(*size),
            avcc: avcc(sets),
            pasp: aspect(sets.sps.first().and_then(|sps| Sps::h264(sps))),
            btrt: None,
            colr: None,
            taic: None,
            fiel: None,
            spatial: None,
        }),
        Entry::H265 { sets, size } => SampleEntry::Hvc1(Hvc1 {
            visual: visual(*size),
            hvcc: hvcc(sets),
            ..Hvc1::default()
        }),
        Entry::Jpeg { size } => SampleEntry::Jpeg(Jpeg {
            visual: visual(*size),
            ..Jpeg::default()
        }),
        Entry::Aac {
            config,
            sample_rate,
            channels,
        } => SampleEntry::Mp4a(mp4a(config, *sample_rate, *channels)),
        &Entry::G711 {
            a_law,
            sample_rate,
            channels,
        } => companded(a_law, sample_rate, channels),
        &Entry::Opus { channels } => SampleEntry::Opus(Opus {
            audio: audio(48_000, channels),
            dops: Dops {
                output_channel_count: channels as u8,
                // What encoders put ahead of the sound lies before any seam and any start in the middle.
                pre_skip: 0,
                input_sample_rate: 48_000,
                output_gain: 0,
                channel_mapping: None,
            },
            btrt: None,
        }),
    }
}

fn visual((width, height): (u16, u16)) -> Visual {
    Visual {
        data_reference_index: 1,
        width,
        height,
        horizresolution: FixedPoint::new(72, 0),
        vertresolution: FixedPoint::new(72, 0),
        frame_count: 1,
        compressor: Compressor::default(),
        depth: 24,
    }
}

fn audio(sample_rate: u32, channels: u16) -> Audio {
    Audio {
        data_reference_index: 1,
        channel_count: channels,
        sample_size: 16,
        // The field has 16 bits; a decoder goes by the configuration.
        sample_rate: FixedPoint::new(u16::try_from(sample_rate).unwrap_or(0), 0),
    }
}

fn aspect(sps: Option<Sps>) -> Option<Pasp> {
    let (h, v) = sps?.aspect;
    (h != v).then(|| Pasp {
        h_spacing: h.into(),
        v_spacing: v.into(),
    })
}

fn owned(sets: &[bytes::Bytes]) -> Vec<Vec<u8>> {
    sets.iter().map(|set| set.to_vec()).collect()
}

/// ISO/IEC 14496-15, 5.3.3.1.
fn avcc(sets: &ParameterSets) -> Avcc {
    let first = sets.sps.first();
    let [profile, compatibility, level] = first
        .and_then(|sps| sps.get(1..4)?.first_chunk::<3>().copied())
        .unwrap_or_default();
    let extended = !matches!(profile, 66 | 77 | 88);
    let ext = first
        .and_then(|sps| Sps::h264(sps))
        .filter(|_| extended)
        .map(|sps| AvccExt {
            chroma_format: sps.chroma_format,
            bit_depth_luma: sps.depth_luma,
            bit_depth_chroma: sps.depth_chroma,
            sequence_parameter_sets_ext: Vec::new(),
        });
    Avcc {
        configuration_version: 1,
        avc_profile_indication: profile,
        profile_compatibility: compatibility,
        avc_level_indication: level,
        length_size: LENGTH_BYTES,
        sequence_parameter_sets: owned(&sets.sps),
        picture_parameter_sets: owned(&sets.pps),
        ext,
    }
}

/// ISO/IEC 14496-15, 8.3.3.1.
fn hvcc(sets: &ParameterSets) -> Hvcc {
    let first = sets.sps.first();
    let tier = first
        .and_then(|sps| profile_tier_level(sps))
        .unwrap_or_default();
    let sps = first.and_then(|sps| Sps::h265(sps));
    let [head, c0, c1, c2, c3, f0, f1, f2, f3, f4, f5, level] = tier;
    let array = |kind, sets: &[bytes::Bytes]| HvcCArray {
        completeness: true,
        nal_unit_type: kind,
        nalus: owned(sets),
    };
    Hvcc {
        configuration_version: 1,
        general_profile_space: head >> 6,
        general_tier_flag: head & 0x20 != 0,
        general_profile_idc: head & 0x1f,
        general_profile_compatibility_flags: [c0, c1, c2, c3],
        general_constraint_indicator_flags: [f0, f1, f2, f3, f4, f5],
        general_level_idc: level,
        min_spatial_segmentation_idc: 0,
        parallelism_type: 0,
        chroma_format_idc: sps.map_or(1, |sps| sps.chroma_format),
        bit_depth_luma_minus8: sps.map_or(0, |sps| sps.depth_luma - 8),
        bit_depth_chroma_minus8: sps.map_or(0, |sps| sps.depth_chroma - 8),
        avg_frame_rate: 0,
        constant_frame_rate: 0,
        num_temporal_layers: sps.map_or(1, |sps| sps.temporal_layers),
        temporal_id_nested: sps.is_some_and(|sps| sps.temporal_nested),
        length_size_minus_one: LENGTH_BYTES - 1,
        arrays: vec![
            array(32, &sets.vps),
            array(33, &sets.sps),
            array(34, &sets.pps),
        ],
    }
}

fn mp4a(config: &[u8], sample_rate: u32, channels: u16) -> Mp4a {
    use mp4_atom::esds::{DecoderConfig, DecoderSpecific, EsDescriptor, SLConfig};
    Mp4a {
        audio: audio(sample_rate, channels),
        esds: mp4_atom::Esds {
            es_desc: EsDescriptor {
                es_id: 1,
                depends_on_es_id: None,
                url: None,
                ocr_es_id: None,
                stream_priority: 0,
                dec_config: DecoderConfig {
                    object_type_indication: 0x40,
                    stream_type: 5,
                    dec_specific: Some(DecoderSpecific {
                        raw: config.to_vec(),
                        ..DecoderSpecific::default()
                    }),
                    ..DecoderConfig::default()
                },
                sl_config: SLConfig::default(),
            },
        },
        btrt: None,
        taic: None,
    }
}

/// Stands for `ulaw` and `alaw`, which the library reads as unknown and does not write, until [`encode`] names them.
fn companded(a_law: bool, sample_rate: u32, channels: u16) -> SampleEntry {
    let audio = audio(sample_rate, channels);
    let (pcmc, chnl, btrt) = (None, None, None);
    if a_law {
        SampleEntry::Fl64(Fl64 {
            audio,
            pcmc,
            chnl,
            btrt,
        })
    } else {
        SampleEntry::Fl32(Fl32 {
            audio,
            pcmc,
            chnl,
            btrt,
        })
    }
}

/// Sample entries that stand for others: `ulaw` and `alaw` of `QuickTime`, which players of MP4 know too.
const NAMES: [(&[u8; 4], &[u8; 4]); 2] = [(b"fl32", b"ulaw"), (b"fl64", b"alaw")];

/// Writes `moov` behind what is there.
pub(super) fn encode(moov: &Moov, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    moov.encode(bytes).expect(super::UNENCODABLE);
    name(bytes.get_mut(start..).unwrap_or_default());
}

/// Gives sample entries their names.
fn name(boxes: &mut [u8]) {
    let mut rest = boxes;
    while let Some(&[s0, s1, s2, s3, kind @ ..]) = rest.first_chunk::<BOX_HEAD_BYTES>() {
        let length = u32::from_be_bytes([s0, s1, s2, s3]) as usize;
        let length = length.max(BOX_HEAD_BYTES);
        let Some((whole, behind)) = std::mem::take(&mut rest).split_at_mut_checked(length) else {
            return;
        };
        let (head, content) = whole.split_at_mut(BOX_HEAD_BYTES);
        match &kind {
            b"moov" | b"trak" | b"mdia" | b"minf" | b"stbl" => name(content),
            // Version, flags and a count come first.
            b"stsd" => name(content.get_mut(8..).unwrap_or_default()),
            _ => {}
        }
        if let Some((_, name)) = NAMES.iter().find(|(stand_in, _)| **stand_in == kind)
            && let Some(field) = head.get_mut(4..)
        {
            field.copy_from_slice(*name);
        }
        rest = behind;
    }
}

/// Length and name of a box.
const BOX_HEAD_BYTES: usize = 8;

//! Tiny MP4 files for the tests: one byte of "coding" a sample says which one it is.

use mp4_atom::{
    Audio, Avcc, Elst, ElstEntry, Encode, Mdhd, Mfhd, Mvhd, Stco, Stsc, StscEntry, Stss, Stsz,
    StszSamples, Stts, SttsEntry, Tfdt, Tfhd, Tkhd, Trex, Trun, TrunEntry,
};

/// Ticks a second of the video track; one frame is 40 ms.
pub(crate) const TIMESCALE: u32 = 90_000;
pub(crate) const FRAME_TICKS: u32 = 3_600;
pub(crate) const FRAME_US: i64 = 40_000;
/// Frames from one sync sample to the next.
pub(crate) const GROUP: usize = 5;

/// A box around the parts.
pub(crate) fn boxed(kind: [u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut out = Vec::with_capacity(body.len() + 8);
    out.extend((body.len() as u32 + 8).to_be_bytes());
    out.extend(kind);
    out.extend(body);
    out
}

fn coded(atom: &impl Encode) -> Vec<u8> {
    let mut out = Vec::new();
    atom.encode(&mut out).unwrap();
    out
}

pub(crate) fn ftyp() -> Vec<u8> {
    boxed(*b"ftyp", &[b"isom\0\0\x02\0isomiso6"])
}

fn avc1() -> Vec<u8> {
    let mut fixed = [0_u8; 78];
    fixed[7] = 1;
    fixed[24..28].copy_from_slice(&[1, 0x40, 0, 0xf0]);
    let avcc = Avcc::new(&[0x67, 0x64, 0, 0x0d, 1], &[0x68, 2]).unwrap();
    boxed(*b"avc1", &[&fixed, &coded(&avcc)])
}

fn ulaw() -> Vec<u8> {
    let mut fixed = Vec::new();
    let sound = Audio {
        data_reference_index: 1,
        channel_count: 1,
        sample_size: 16,
        sample_rate: 8_000.into(),
    };
    sound.encode(&mut fixed).unwrap();
    boxed(*b"ulaw", &[&fixed])
}

fn trak(id: u32, timescale: u32, entry: &[u8], tables: &[u8], edits: &[u8]) -> Vec<u8> {
    let tkhd = coded(&Tkhd {
        track_id: id,
        ..Tkhd::default()
    });
    let mdhd = coded(&Mdhd {
        timescale,
        language: "und".to_owned(),
        ..Mdhd::default()
    });
    let stsd = boxed(*b"stsd", &[&[0, 0, 0, 0, 0, 0, 0, 1], entry]);
    let stbl = boxed(*b"stbl", &[&stsd, tables]);
    let mdia = boxed(*b"mdia", &[&mdhd, &boxed(*b"minf", &[&stbl])]);
    boxed(*b"trak", &[&tkhd, edits, &mdia])
}

fn moov(traks: &[Vec<u8>], fragmented: bool) -> Vec<u8> {
    let mvhd = coded(&Mvhd {
        timescale: 1_000,
        ..Mvhd::default()
    });
    let mvex = if fragmented {
        let trex = Trex {
            track_id: 1,
            default_sample_duration: FRAME_TICKS,
            ..Trex::default()
        };
        boxed(*b"mvex", &[&coded(&trex)])
    } else {
        Vec::new()
    };
    boxed(*b"moov", &[&mvhd, &traks.concat(), &mvex])
}

/// A plain file of `frames` video frames, the sample `n` holding `size(n)` bytes of value `n`. With
/// `skip_ms` an edit list that hides that much of the beginning.
pub(crate) fn plain(frames: usize, skip_ms: u32) -> Vec<u8> {
    plain_with(frames, skip_ms, &[])
}

/// [`plain`] with a track of `sound`, one µ-law value a sample, behind the video.
pub(crate) fn plain_with(frames: usize, skip_ms: u32, sound: &[u8]) -> Vec<u8> {
    let (head, payload_at) = (ftyp(), ftyp().len() as u32 + 8);
    let payload: Vec<u8> = (0..frames).flat_map(frame).collect();
    let tables = [
        coded(&stts(frames, FRAME_TICKS)),
        coded(&Stss {
            entries: (0..frames as u32).step_by(GROUP).map(|n| n + 1).collect(),
        }),
        coded(&whole_chunk(frames)),
        coded(&Stsz {
            samples: StszSamples::Different {
                sizes: (0..frames).map(|n| frame(n).len() as u32).collect(),
            },
        }),
        coded(&Stco {
            entries: vec![payload_at],
        }),
    ]
    .concat();
    let edits = if skip_ms > 0 {
        let entry = ElstEntry {
            segment_duration: 0,
            media_time: Some(u64::from(skip_ms) * u64::from(TIMESCALE) / 1_000),
            media_rate: 1.into(),
        };
        boxed(
            *b"edts",
            &[&coded(&Elst {
                entries: vec![entry],
            })],
        )
    } else {
        Vec::new()
    };
    let mut traks = vec![trak(1, TIMESCALE, &avc1(), &tables, &edits)];
    if !sound.is_empty() {
        let tables = [
            coded(&stts(sound.len(), 1)),
            coded(&whole_chunk(sound.len())),
            coded(&Stsz {
                samples: StszSamples::Identical {
                    count: sound.len() as u32,
                    size: 1,
                },
            }),
            coded(&Stco {
                entries: vec![payload_at + payload.len() as u32],
            }),
        ]
        .concat();
        // In front of the video: the reader puts it behind.
        traks.insert(0, trak(2, 8_000, &ulaw(), &tables, &[]));
    }
    let mdat = boxed(*b"mdat", &[&payload, sound]);
    [head, mdat, moov(&traks, false)].concat()
}

/// Head of a fragmented file.
pub(crate) fn fragmented_head() -> Vec<u8> {
    let empty = [
        coded(&stts(0, 1)),
        coded(&Stsc::default()),
        coded(&Stsz::default()),
        coded(&Stco::default()),
    ]
    .concat();
    let traks = [trak(1, TIMESCALE, &avc1(), &empty, &[])];
    [ftyp(), moov(&traks, true)].concat()
}

/// One fragment with `count` frames from number `first` on; the first of each group is sync.
pub(crate) fn fragment(first: usize, count: usize) -> Vec<u8> {
    let payload: Vec<u8> = (first..first + count).flat_map(frame).collect();
    let build = |data_offset: i32| {
        let tfhd = Tfhd {
            track_id: 1,
            default_base_is_moof: true,
            ..Tfhd::default()
        };
        let tfdt = Tfdt {
            base_media_decode_time: first as u64 * u64::from(FRAME_TICKS),
        };
        let entries: Vec<TrunEntry> = (first..first + count)
            .map(|n| TrunEntry {
                size: Some(frame(n).len() as u32),
                flags: Some(if n.is_multiple_of(GROUP) {
                    0x0200_0000
                } else {
                    0x0101_0000
                }),
                ..TrunEntry::default()
            })
            .collect();
        let trun = Trun {
            data_offset: Some(data_offset),
            samples: entries.into(),
        };
        let traf = boxed(*b"traf", &[&coded(&tfhd), &coded(&tfdt), &coded(&trun)]);
        let mfhd = Mfhd {
            sequence_number: first as u32 + 1,
        };
        boxed(*b"moof", &[&coded(&mfhd), &traf])
    };
    let moof = build(build(0).len() as i32 + 8);
    [moof, boxed(*b"mdat", &[&payload])].concat()
}

/// A fragmented file of whole groups.
pub(crate) fn fragmented(groups: usize) -> Vec<u8> {
    let fragments = (0..groups).flat_map(|group| fragment(group * GROUP, GROUP));
    fragmented_head().into_iter().chain(fragments).collect()
}

/// Content of the frame with this number.
pub(crate) fn frame(number: usize) -> Vec<u8> {
    vec![number as u8; 3 + number % 4]
}

fn stts(count: usize, delta: u32) -> Stts {
    Stts {
        entries: vec![SttsEntry {
            sample_count: count as u32,
            sample_delta: delta,
        }],
    }
}

fn whole_chunk(count: usize) -> Stsc {
    Stsc {
        entries: vec![StscEntry {
            first_chunk: 1,
            samples_per_chunk: count as u32,
            sample_description_index: 1,
        }],
    }
}

//! Units as samples and files: no trace of packets is left, decode times rise, and what is written can be read.

use bytes::Bytes;
use mp4_atom::{Any, Decode, DecodeMaybe, Moof, Moov};
use proptest::prelude::*;
use seamline_media::mp4::{Fragmented, Holes, Origin, Piece, Settings, Whole};
use seamline_media::{
    Codec, Entry, Flags, Frame, Framing, Kind, LegFormat, Packetizer, ParameterSets, Sample,
    Sampler, Taken, Unit,
};

const START_US: i64 = 1_767_323_045_000_000;
/// x264, High, 1280x720, pictures reordered by up to two places.
const SPS: &[u8] = &[
    0x67, 0x64, 0x00, 0x1f, 0xac, 0xd9, 0x40, 0x50, 0x05, 0xbb, 0xff, 0x00, 0x03, 0x00, 0x04, 0x10,
    0x00, 0x00, 0x03, 0x00, 0x10, 0x00, 0x00, 0x03, 0x03, 0x20, 0xf1, 0x83, 0x19, 0x60,
];
const PPS: &[u8] = &[0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0];

fn unit(codec: Codec, nals: &[&[u8]], capture_us: i64, sync: bool) -> Unit {
    let mut data = Vec::new();
    for nal in nals {
        data.extend([0, 0, 0, 1]);
        data.extend(*nal);
    }
    let frame = Frame {
        data: &data,
        framing: Framing::AnnexB,
        capture_us,
        rtp_time: (capture_us * 9 / 100) as u32,
        sync,
        flags: Flags::NONE,
    };
    Packetizer::new(0, codec, 96)
        .unit(&frame)
        .expect("of our own making")
}

fn nals(sample: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = sample;
    let mut nals = Vec::new();
    while !rest.is_empty() {
        let (length, behind) = rest.split_first_chunk::<4>().expect("of our own making");
        let (nal, behind) = behind.split_at(u32::from_be_bytes(*length) as usize);
        nals.push(nal.to_vec());
        rest = behind;
    }
    nals
}

fn sampler(announced: &[&[u8]]) -> Sampler {
    let mut sets = ParameterSets::default();
    for set in announced {
        sets.add(Codec::H264, set);
    }
    let mut sampler = Sampler::new([Some(Kind::H264)]);
    sampler.begin_leg(&LegFormat {
        parameter_sets: vec![sets],
        discontinuity: None,
    });
    sampler
}

fn idr(size: usize) -> Vec<u8> {
    let mut nal = vec![0x65, 0x88];
    nal.resize(size.max(2), 0x5a);
    nal
}

#[test]
fn announced_or_in_band_gives_the_same_sample() {
    let picture = idr(4000);
    let sei: &[u8] = &[0x06, 5, 1, 9, 0x80];
    let aud: &[u8] = &[0x09, 0xf0];
    let ways = [
        (sampler(&[SPS, PPS]), vec![&picture[..]]),
        (sampler(&[]), vec![aud, SPS, PPS, &picture]),
        (sampler(&[SPS, PPS]), vec![SPS, PPS, SPS, &picture]),
    ];
    let mut all = Vec::new();
    for (mut source, nals) in ways {
        let taken = source
            .take(&unit(Codec::H264, &nals, START_US, true), false)
            .unwrap();
        let [Taken::Format { entry, .. }, Taken::Sample(sample)] = &taken[..] else {
            panic!("{taken:?}");
        };
        assert_eq!((entry.size(), sample.sync), (Some((1280, 720)), true));
        all.push(sample.data.clone());
    }
    assert!(all.iter().all(|data| *data == all[0]));
    assert_eq!(nals(&all[0]), [SPS.to_vec(), PPS.to_vec(), picture.clone()]);
    // Messages stay, in their place.
    let mut source = sampler(&[SPS, PPS]);
    let taken = source.take(&unit(Codec::H264, &[sei, &picture], START_US, true), false);
    let Taken::Sample(sample) = &taken.unwrap()[1] else {
        panic!("no sample");
    };
    assert_eq!(nals(&sample.data)[2], sei);
}

#[test]
fn without_parameter_sets_there_is_no_sample() {
    let mut source = sampler(&[]);
    let taken = source.take(&unit(Codec::H264, &[&idr(40)], START_US, true), false);
    assert!(taken.is_err());
}

/// The sound of most cameras, which the library behind the boxes reads and does not write.
#[test]
fn companded_sound_has_its_name_in_either_kind_of_file() {
    for (encoding, name) in [("PCMU", b"ulaw"), ("PCMA", b"alaw")] {
        let mut sampler = Sampler::new([Kind::of(encoding, 8_000, 1, &[])]);
        let settings = Settings {
            origin: Origin::First,
            holes: Holes::Close,
            master: 0,
        };
        let (mut fragments, mut whole) = (Fragmented::new(settings), Whole::new(settings));
        let mut taken: Vec<Taken> = sampler.formats().into_iter().collect();
        for nth in 0..50 {
            let frame = Frame {
                data: &[0x55; 160],
                framing: Framing::Raw,
                capture_us: START_US + nth * 20_000,
                rtp_time: (nth * 160) as u32,
                sync: true,
                flags: Flags::NONE,
            };
            let unit = Packetizer::new(0, Codec::G711, 0).unit(&frame).unwrap();
            taken.extend(sampler.take(&unit, false).unwrap());
        }
        for taken in taken {
            match taken {
                Taken::Format { track, entry } => {
                    fragments.format(track, entry.clone());
                    whole.format(track, entry);
                }
                Taken::Sample(sample) => {
                    fragments.push(sample.clone());
                    whole.push(sample);
                }
            }
        }
        let pieces = fragments.finish();
        let Some(Piece::Head(fragmented)) = pieces.first() else {
            panic!("no head");
        };
        let (_, plain) = whole.finish().unwrap().unwrap();
        for head in [fragmented, &plain] {
            let mut rest = &head[..];
            let moov = std::iter::from_fn(|| Any::decode_maybe(&mut rest).unwrap_or(None));
            let moov = moov.filter_map(|any| match any {
                Any::Moov(moov) => Some(moov),
                _ => None,
            });
            let [track] = &moov.last().unwrap().trak[..] else {
                panic!("one track");
            };
            let told = format!("{:?}", track.mdia.minf.stbl.stsd.codecs);
            let name = std::str::from_utf8(name).unwrap();
            assert!(told.contains(name), "{name}: {told}");
        }
    }
}

#[test]
fn frames_of_aac_come_out_of_their_packets() {
    let fmtp = vec![("config".to_owned(), "1190".to_owned())];
    let kind = Kind::of("mpeg4-generic", 48_000, 2, &fmtp);
    let mut sampler = Sampler::new([kind]);
    assert_eq!(sampler.formats().len(), 1);
    for size in [1, 700, 1400, 5000] {
        let data: Vec<u8> = (0..size).map(|at| at as u8).collect();
        let frame = Frame {
            data: &data,
            framing: Framing::Raw,
            capture_us: START_US,
            rtp_time: 0,
            sync: true,
            flags: Flags::NONE,
        };
        let unit = Packetizer::new(0, Codec::Aac, 97).unit(&frame).unwrap();
        let taken = sampler.take(&unit, false).unwrap();
        let [Taken::Sample(sample)] = &taken[..] else {
            panic!("{taken:?}");
        };
        assert_eq!(sample.data, data);
    }
}

fn entry() -> std::sync::Arc<Entry> {
    let mut sets = ParameterSets::default();
    sets.add(Codec::H264, SPS);
    sets.add(Codec::H264, PPS);
    Entry::of_sets(Codec::H264, &sets)
        .expect("of our own making")
        .into()
}

/// Pictures of groups of three, each shown in the order I B B P in time, decoded I P B B.
fn group(at_us: i64, sizes: &[usize]) -> Vec<Sample> {
    let places = [0, 3, 1, 2];
    sizes
        .iter()
        .enumerate()
        .map(|(index, size)| Sample {
            track: 0,
            capture_us: at_us + (index / 4 * 4 + places[index % 4]) as i64 * 40_000,
            sync: index == 0,
            preroll: false,
            data: Bytes::from(vec![index as u8; *size + 1]),
        })
        .collect()
}

fn settings(origin: Origin) -> Settings {
    Settings {
        origin,
        holes: Holes::Close,
        master: 0,
    }
}

/// What a reader of a fragmented file sees of one track: decode time, time shown, bytes.
fn read(pieces: &[Piece], track: u32) -> Vec<(u64, i64, Vec<u8>)> {
    let mut seen = Vec::new();
    for piece in pieces {
        let Piece::Fragment(fragment) = piece else {
            continue;
        };
        let bytes = fragment.chunks.concat();
        let mut rest = &bytes[..];
        let (mut moof_at, mut moof) = (0, None);
        while let Ok(Some(any)) = Any::decode_maybe(&mut rest) {
            match any {
                Any::Moof(found) => moof = Some::<Moof>(found),
                Any::Mdat(_) => {}
                _ => moof_at = bytes.len() - rest.len(),
            }
        }
        for traf in moof.expect("of our own making").traf {
            if traf.tfhd.track_id != track {
                continue;
            }
            let mut decode = traf.tfdt.expect("of our own making").base_media_decode_time;
            let run = &traf.trun[0];
            let mut at = moof_at + run.data_offset.expect("of our own making") as usize;
            for sample in &run.samples {
                let size = sample.size.expect("of our own making") as usize;
                let show = decode as i64 + sample.cts.expect("of our own making");
                seen.push((decode, show, bytes[at..at + size].to_vec()));
                decode += u64::from(sample.duration.expect("of our own making"));
                at += size;
            }
        }
    }
    seen
}

fn written(samples: &[Sample], origin: Origin) -> Vec<Piece> {
    let mut file = Fragmented::new(settings(origin));
    file.format(0, entry());
    let mut pieces = Vec::new();
    for sample in samples {
        file.push(sample.clone());
        pieces.extend(file.pop());
    }
    pieces.extend(file.finish());
    pieces
}

#[test]
fn golden_fragment() {
    let pieces = written(&group(START_US, &[3, 1, 1, 1]), Origin::First);
    let [Piece::Head(head), Piece::Fragment(fragment)] = &pieces[..] else {
        panic!("{pieces:?}");
    };
    assert_eq!(&head[4..8], b"ftyp");
    let mut rest = &head[..];
    let Ok(Some(Any::Ftyp(_))) = Any::decode_maybe(&mut rest) else {
        panic!("no ftyp");
    };
    let moov = Moov::decode(&mut rest).unwrap();
    // Two places of reordering are two ticks ahead, hidden by an edit list.
    let edit = &moov.trak[0]
        .edts
        .as_ref()
        .unwrap()
        .elst
        .as_ref()
        .unwrap()
        .entries[0];
    assert_eq!((edit.media_time, edit.segment_duration), (Some(2), 0));
    let seen = read(&pieces, 1);
    let times: Vec<_> = seen
        .iter()
        .map(|(decode, show, _)| (*decode, *show))
        .collect();
    assert_eq!(times, [(0, 2), (1, 10_802), (2, 3602), (3602, 7202)]);
    assert_eq!(&fragment.chunks[0][4..8], b"prft");
    assert!(fragment.sync);
    assert_eq!(fragment.captured_us, (START_US, START_US + 120_000));
}

proptest! {
    /// However pictures come, every one is in the file once, in its order, and decode times rise.
    #[test]
    fn fragments_hold_every_sample_once(
        groups in prop::collection::vec((prop::collection::vec(0usize..300, 1..40), 0i64..5, 0usize..6), 1..8),
        hidden: bool,
    ) {
        let mut samples = Vec::new();
        let mut at_us = START_US;
        for (sizes, hole_s, preroll) in groups {
            at_us += hole_s * 1_000_000;
            let first = samples.is_empty();
            for (index, mut sample) in group(at_us, &sizes).into_iter().enumerate() {
                sample.preroll = index < preroll.min(sizes.len() - 1);
                if sample.preroll && !first {
                    sample.capture_us -= 1_000_000;
                }
                samples.push(sample);
            }
            at_us += sizes.len().next_multiple_of(4) as i64 * 40_000;
        }
        let origin = if hidden { Origin::First } else { Origin::Segment(START_US - 1_000_000) };
        let pieces = written(&samples, origin);
        let seen = read(&pieces, 1);
        let data: Vec<&[u8]> = seen.iter().map(|(_, _, data)| &data[..]).collect();
        prop_assert_eq!(data, samples.iter().map(|sample| &sample.data[..]).collect::<Vec<_>>());
        for pair in seen.windows(2) {
            prop_assert!(pair[0].0 < pair[1].0, "decode times {} {}", pair[0].0, pair[1].0);
        }
        // In one file or in another, all bytes are the same.
        let again = written(&samples, origin);
        let bytes = |pieces: &[Piece]| pieces.iter().map(|piece| match piece {
            Piece::Head(head) => head.to_vec(),
            Piece::Fragment(fragment) => fragment.chunks.concat(),
        }).collect::<Vec<_>>();
        prop_assert_eq!(bytes(&pieces), bytes(&again));
    }

    /// A plain file says of every sample where it is and when it is decoded, as the fragments do.
    #[test]
    fn plain_files_say_the_same(groups in prop::collection::vec(prop::collection::vec(0usize..300, 1..40), 1..6)) {
        let mut samples = Vec::new();
        let mut at_us = START_US;
        for sizes in groups {
            samples.extend(group(at_us, &sizes));
            at_us += sizes.len().next_multiple_of(4) as i64 * 40_000;
        }
        let mut file = Whole::new(settings(Origin::First));
        file.format(0, entry());
        let mut media = Vec::new();
        for sample in &samples {
            file.push(sample.clone());
            media.extend(file.pop().unwrap());
        }
        let (last, head) = file.finish().unwrap().unwrap();
        media.extend(last);
        let bytes = [&head[..], &media.concat()].concat();
        let mut rest = &bytes[..];
        let _ = Any::decode_maybe(&mut rest).unwrap();
        let moov = Moov::decode(&mut rest).unwrap();
        let stbl = &moov.trak[0].mdia.minf.stbl;
        let chunks = &stbl.co64.as_ref().unwrap().entries;
        let per_chunk = |chunk: usize| {
            let entries = &stbl.stsc.entries;
            let entry = entries.iter().rev().find(|entry| entry.first_chunk as usize <= chunk + 1);
            entry.unwrap().samples_per_chunk as usize
        };
        let mp4_atom::StszSamples::Different { sizes } = &stbl.stsz.samples else {
            panic!("sizes differ");
        };
        let mut next = 0;
        for (chunk, at) in chunks.iter().enumerate() {
            let mut at = *at as usize;
            for _ in 0..per_chunk(chunk) {
                let size = sizes[next] as usize;
                prop_assert_eq!(&bytes[at..at + size], &samples[next].data[..]);
                at += size;
                next += 1;
            }
        }
        prop_assert_eq!(next, samples.len());
        let durations = stbl.stts.entries.iter().flat_map(|entry| (0..entry.sample_count).map(|_| u64::from(entry.sample_delta)));
        let decodes: Vec<u64> = durations.scan(0, |at, lasts| { let here = *at; *at += lasts; Some(here) }).collect();
        let pieces = written(&samples, Origin::First);
        let seen: Vec<u64> = read(&pieces, 1).iter().map(|(decode, _, _)| *decode).collect();
        prop_assert_eq!(decodes, seen);
    }
}

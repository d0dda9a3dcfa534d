//! Files whole, growing, damaged and lying.

use std::io::Cursor;

use proptest::prelude::*;

use super::*;
use crate::testing::{
    FRAME_TICKS, FRAME_US, GROUP, boxed, fragment, fragmented, fragmented_head, frame, ftyp, plain,
    plain_with,
};

fn read(bytes: &[u8]) -> Result<Segment, ArchiveError> {
    Segment::read(Path::new("gate/1.mp4"), &mut Cursor::new(bytes))
}

fn contents(bytes: &[u8], track: &Track) -> Vec<Vec<u8>> {
    let content = |sample: &Sample| {
        let start = sample.offset as usize;
        bytes[start..start + sample.size as usize].to_vec()
    };
    track.samples().iter().map(content).collect()
}

#[test]
fn a_plain_file_tells_each_sample() {
    let bytes = plain(12, 0);
    let segment = read(&bytes).unwrap();
    let track = &segment.tracks()[0];
    assert!(matches!(
        track.format(),
        TrackFormat::H264 { nal_length_bytes: 4, width: 320, height: 240, sps, pps }
            if sps[0][..] == [0x67, 0x64, 0, 0x0d, 1] && pps[0][..] == [0x68, 2]
    ));
    assert_eq!(
        contents(&bytes, track),
        (0..12).map(frame).collect::<Vec<_>>()
    );
    for (number, sample) in track.samples().iter().enumerate() {
        assert_eq!(sample.sync, number % GROUP == 0);
        assert_eq!(sample.duration, FRAME_TICKS);
        assert_eq!(
            segment.presentation_us(track, sample),
            number as i64 * FRAME_US
        );
    }
    assert_eq!(segment.extent_us(), Some((0, 12 * FRAME_US)));
}

#[test]
fn an_edit_list_hides_the_beginning() {
    let segment = read(&plain(12, 200)).unwrap();
    let track = &segment.tracks()[0];
    assert_eq!(
        segment.presentation_us(track, &track.samples()[0]),
        -200_000
    );
    assert_eq!(segment.extent_us(), Some((0, 7 * FRAME_US)));
}

#[test]
fn single_values_of_companded_audio_become_runs() {
    let sound: Vec<u8> = (0..400_u16).map(|value| value as u8).collect();
    let bytes = plain_with(5, 0, &sound);
    let segment = read(&bytes).unwrap();
    let [video, audio] = segment.tracks() else {
        panic!("two tracks");
    };
    assert!(video.format().is_video());
    let sizes: Vec<u32> = audio.samples().iter().map(|sample| sample.size).collect();
    assert_eq!(sizes, [160, 160, 80]);
    assert_eq!(contents(&bytes, audio).concat(), sound);
    assert_eq!(segment.presentation_us(audio, &audio.samples()[1]), 20_000);
}

#[test]
fn a_growing_file_is_continued_from_any_length() {
    let bytes = fragmented(4);
    let whole = read(&bytes).unwrap();
    assert_eq!(whole.tracks()[0].samples().len(), 4 * GROUP);
    let head = fragmented_head().len();
    for len in head..=bytes.len() {
        let mut segment = read(&bytes[..len]).unwrap();
        assert_eq!(segment.tracks()[0].samples().len() % GROUP, 0, "{len}");
        let news = segment.refresh(&mut Cursor::new(&bytes)).unwrap();
        assert_eq!(news, len < bytes.len());
        assert_eq!(segment.tracks()[0].samples(), whole.tracks()[0].samples());
        assert_eq!(segment.extent_us(), Some((0, 20 * FRAME_US)));
    }
    for len in 0..head {
        let error = read(&bytes[..len]).unwrap_err();
        assert!(error.to_string().contains("gate/1.mp4"), "{error}");
    }
}

#[test]
fn a_file_with_the_recording_s_clock_counts_from_its_first_picture() {
    let mut bytes = fragmented_head();
    bytes.extend(fragment(500, GROUP));
    let segment = read(&bytes).unwrap();
    assert_eq!(segment.extent_us(), Some((0, 5 * FRAME_US)));
}

#[test]
fn damage_behind_good_fragments_costs_only_what_is_behind_it() {
    let mut bytes = fragmented(2);
    bytes.extend(boxed(*b"moof", &[&boxed(*b"traf", &[b"??"])]));
    bytes.extend(fragment(10, GROUP));
    assert_eq!(read(&bytes).unwrap().tracks()[0].samples().len(), 10);
}

#[test]
fn what_is_no_recording_is_told_apart() {
    let text = read(b"not a recording at all").unwrap_err();
    assert!(matches!(text, ArchiveError::NotMp4 { .. }));
    let begun = read(&[ftyp(), boxed(*b"mdat", &[b"abc"])].concat()).unwrap_err();
    assert!(matches!(begun, ArchiveError::Unfinished { .. }));
    assert!(matches!(
        read(b"").unwrap_err(),
        ArchiveError::Unfinished { .. }
    ));
    let silent = read(&[ftyp(), boxed(*b"moov", &[])].concat()).unwrap_err();
    assert!(matches!(silent, ArchiveError::NoTrack { .. }));
}

#[test]
fn tables_that_lie_about_counts_end_at_the_file_s_length() {
    let bytes = plain(12, 0);
    for kind in [b"stts", b"stsc", b"stsz", b"stco", b"stss"] {
        let at = bytes.windows(4).position(|window| window == kind).unwrap();
        for field in (4..28).step_by(4) {
            let mut lie = bytes.clone();
            lie.iter_mut()
                .skip(at + field)
                .take(4)
                .for_each(|byte| *byte = 0xff);
            if let Ok(segment) = read(&lie) {
                assert!(segment.tracks()[0].samples().len() <= 12);
            }
        }
    }
}

proptest! {
    #[test]
    fn damaged_files_are_survived(
        base in prop::sample::select(vec![plain(12, 40), plain_with(7, 0, &[7; 300]), fragmented(3)]),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        len in any::<prop::sample::Index>(),
    ) {
        let mut bytes = base.clone();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(len.index(bytes.len() + 1).max(bytes.len() / 2));
        if let Ok(mut segment) = read(&bytes) {
            let _ = segment.refresh(&mut Cursor::new(&base));
            let longest = bytes.len().max(base.len()) as u64;
            for track in segment.tracks() {
                prop_assert!(track.samples().len() as u64 <= longest);
                for sample in track.samples() {
                    prop_assert!(sample.offset + u64::from(sample.size) <= longest);
                    let _ = segment.presentation_us(track, sample);
                }
            }
            let _ = segment.extent_us();
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        prop_assert!(read(&bytes).is_err());
        let _ = read(&[ftyp(), boxed(*b"moov", &[&bytes])].concat());
        let _ = read(&[fragmented_head(), boxed(*b"moof", &[&bytes]), bytes].concat());
    }
}

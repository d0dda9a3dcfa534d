//! Every picture of a group, against FFmpeg; and damaged groups.
//!
//! `data/group.<codec>` has twelve pictures of 64x48 with two B pictures between others (`ffmpeg -f lavfi -i testsrc2`, libx264 High and
//! libx265 Main, with delimiters); `data/group.<codec>.yuv` is what FFmpeg decodes of it, in the order in which it is shown.

use proptest::prelude::*;
use seamline_stills::{Codec, Picture, QUALITY, StillError, decode, jpeg};

const WIDTH: usize = 64;
const HEIGHT: usize = 48;

struct Group {
    codec: Codec,
    stream: &'static [u8],
    decoded: &'static [u8],
    /// For each picture in the order in which they are shown, its number in decoding order.
    shown: [usize; 12],
}

const H264: Group = Group {
    codec: Codec::H264,
    stream: include_bytes!("data/group.h264"),
    decoded: include_bytes!("data/group.h264.yuv"),
    shown: [0, 2, 3, 1, 5, 6, 4, 8, 9, 7, 11, 10],
};

const H265: Group = Group {
    codec: Codec::H265,
    stream: include_bytes!("data/group.hevc"),
    decoded: include_bytes!("data/group.hevc.yuv"),
    shown: [0, 3, 2, 1, 6, 5, 4, 9, 8, 7, 11, 10],
};

impl Group {
    /// The pictures in decoding order, as MP4 holds them.
    fn samples(&self) -> Vec<Vec<u8>> {
        let mut samples: Vec<Vec<u8>> = Vec::new();
        for nal in nals(self.stream) {
            let delimiter = match self.codec {
                Codec::H264 => nal[0] & 0x1f == 9,
                Codec::H265 => nal[0] >> 1 == 35,
            };
            if delimiter {
                samples.push(Vec::new());
                continue;
            }
            let sample = samples.last_mut().expect("a delimiter comes first");
            sample.extend((nal.len() as u32).to_be_bytes());
            sample.extend(nal);
        }
        samples
    }

    fn picture(&self, shown: usize) -> [&[u8]; 3] {
        let luma = WIDTH * HEIGHT;
        let frame = &self.decoded[shown * luma * 3 / 2..][..luma * 3 / 2];
        let (y, chroma) = frame.split_at(luma);
        let (u, v) = chroma.split_at(luma / 4);
        [y, u, v]
    }
}

/// The NAL units between start codes.
fn nals(stream: &[u8]) -> Vec<&[u8]> {
    let starts: Vec<usize> = (0..stream.len() - 2)
        .filter(|at| stream[*at..].starts_with(&[0, 0, 1]))
        .collect();
    let ends = starts[1..].iter().copied();
    starts
        .iter()
        .zip(ends.chain([stream.len()]))
        .map(|(start, end)| {
            let nal = &stream[start + 3..end];
            let zeros = nal.iter().rev().take_while(|byte| **byte == 0).count();
            &nal[..nal.len() - zeros]
        })
        .collect()
}

#[test]
fn every_picture_is_that_of_ffmpeg() {
    for group in [H264, H265] {
        let samples = group.samples();
        assert_eq!(samples.len(), group.shown.len());
        for (shown, decoded) in group.shown.into_iter().enumerate() {
            let fed = samples[..=decoded].iter().map(Vec::as_slice);
            let picture = decode(group.codec, fed).expect("it can be decoded");
            let expected = group.picture(shown);
            assert!(
                picture
                    .planes
                    .iter()
                    .zip(expected)
                    .all(|(ours, theirs)| ours == theirs),
                "{:?}: picture {shown}, number {decoded} of the stream",
                group.codec
            );
            let others = (0..12).filter(|other| *other != shown);
            let unique = others
                .into_iter()
                .all(|other| group.picture(other) != expected);
            assert!(unique, "another picture would not be noticed");
        }
    }
}

#[test]
fn a_still_is_a_jpeg_file_of_its_size() {
    let samples = H264.samples();
    let picture =
        decode(Codec::H264, samples.iter().map(Vec::as_slice)).expect("it can be decoded");
    assert!(!picture.full_range && !picture.bt709);
    let file = jpeg(&picture, QUALITY).expect("it can be encoded");
    assert!(file.starts_with(&[0xff, 0xd8, 0xff]) && file.ends_with(&[0xff, 0xd9]));
    // SOF0: precision, height, width, components, and the first one's id and sampling: 4:2:0.
    let frame = file
        .windows(2)
        .position(|pair| pair == [0xff, 0xc0])
        .expect("baseline");
    assert_eq!(file[frame + 4..frame + 12], [8, 0, 48, 0, 64, 3, 0, 0x22]);
}

#[test]
fn what_cannot_be_decoded_says_why() {
    for group in [H264, H265] {
        let none: [&[u8]; 0] = [];
        assert_eq!(decode(group.codec, none), Err(StillError::Nothing));
        // Without the picture that all others refer to, and without parameter sets.
        let samples = group.samples();
        let error = decode(group.codec, [samples[1].as_slice()]).unwrap_err();
        assert!(
            matches!(error, StillError::Undecodable(_) | StillError::Nothing),
            "{error}"
        );
    }
}

#[test]
fn monsters_are_refused_before_memory_is_asked_for() {
    // The profile, flags and level of a Baseline stream; then 2^15 by 2^15 pixels, 1 Gpx (ITU-T H.264, 7.3.2.1.1).
    let sps = [
        0x67,
        66,
        0,
        51,
        0b1111_1000,
        0b0000_0000,
        0b0100_0000,
        0b0000_0000,
        0b0010_0000,
        0b0000_0011,
        0b1000_0000,
    ];
    let sample = [&(sps.len() as u32).to_be_bytes()[..], &sps].concat();
    let error = decode(Codec::H264, [sample.as_slice()]).unwrap_err();
    assert!(
        matches!(error, StillError::TooLarge(_) | StillError::Undecodable(_)),
        "{error}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn damage_costs_no_more_than_the_picture(h265: bool, hits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12), until in 0_usize..12) {
        let group = if h265 { H265 } else { H264 };
        let mut samples = group.samples();
        for (at, value) in hits {
            let sample = at.index(samples.len());
            let bytes = &mut samples[sample];
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let decoded: Result<Picture, _> = decode(group.codec, samples[..=until].iter().map(Vec::as_slice));
        if let Ok(picture) = decoded {
            prop_assert!(jpeg(&picture, QUALITY).is_ok());
        }
    }
}

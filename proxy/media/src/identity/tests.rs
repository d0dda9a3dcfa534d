//! Equal pictures in other packets, and runs of pictures that do and do not go on.

use proptest::prelude::*;

use super::*;
use crate::{Flags, Frame, Framing, Packetizer};

fn packets(codec: Codec, nals: &[Vec<u8>]) -> Packets {
    let data: Vec<u8> = nals
        .iter()
        .flat_map(|nal| [&(nal.len() as u32).to_be_bytes()[..], nal].concat())
        .collect();
    let frame = Frame {
        data: &data,
        framing: Framing::LengthPrefixed(4),
        capture_us: 0,
        rtp_time: 0,
        sync: false,
        flags: Flags::NONE,
    };
    let unit = Packetizer::new(0, codec, 96).unit(&frame).unwrap();
    unit.packets
}

/// All NAL units in one aggregate.
fn aggregated(codec: Codec, nals: &[Vec<u8>]) -> Packets {
    let mut payload = match codec {
        Codec::H264 => vec![0x78],
        _ => vec![0x60, 1],
    };
    for nal in nals {
        payload.extend((nal.len() as u16).to_be_bytes());
        payload.extend(nal);
    }
    let mut frame = vec![b'$', 0, 0, 0, 0x80, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 9];
    frame.extend(payload);
    let length = (frame.len() - 4) as u16;
    frame[2..4].copy_from_slice(&length.to_be_bytes());
    let mut packets = Packets::new();
    packets.push(bytes::BytesMut::from(&frame[..]));
    packets
}

fn slice(codec: Codec, fill: u8, bytes: usize) -> Vec<u8> {
    let mut nal = match codec {
        Codec::H264 => vec![0x65, 0x88],
        _ => vec![19 << 1, 1, 0x80],
    };
    nal.resize(nal.len() + bytes, fill | 1);
    nal
}

fn extras(codec: Codec) -> Vec<Vec<u8>> {
    match codec {
        Codec::H264 => vec![
            vec![9, 0xf0],
            vec![0x67, 1, 2],
            vec![0x68, 1],
            vec![6, 5, 1, 7],
        ],
        _ => vec![
            vec![70, 1, 5],
            vec![64, 1, 9],
            vec![66, 1, 9],
            vec![68, 1, 9],
            vec![78, 1, 9],
        ],
    }
}

#[test]
fn packing_and_extras_do_not_count() {
    for codec in [Codec::H264, Codec::H265] {
        let slices = [slice(codec, 3, 900), slice(codec, 5, 400)];
        let all = [extras(codec), slices.to_vec()].concat();
        let bare = Identity::of(codec, &packets(codec, &slices)).unwrap();
        assert_eq!(Identity::of(codec, &packets(codec, &all)), Some(bare));
        assert_eq!(Identity::of(codec, &aggregated(codec, &all)), Some(bare));
        // One slice of the bytes of two is another picture.
        let joined = slices.concat();
        let other = Identity::of(codec, &packets(codec, &[joined])).unwrap();
        assert_ne!(other, bare);
        assert_eq!(Identity::of(codec, &packets(codec, &extras(codec))), None);
    }
    assert_eq!(
        Identity::of(Codec::Aac, &packets(Codec::H264, &extras(Codec::H264))),
        None
    );
}

fn run(content: impl IntoIterator<Item = u64>, offset_us: i64) -> Vec<Shown> {
    content
        .into_iter()
        .map(|number| Shown {
            identity: Identity {
                hash: number * 7,
                bytes: 1000,
            },
            capture_us: number as i64 * 40_000 + offset_us,
        })
        .collect()
}

#[test]
fn equal_since_the_point_goes_on() {
    let sent = run(0..100, 0);
    let same = |known, offset_us| Sameness::Same { known, offset_us };
    assert_eq!(goes_on(&sent, run(80..130, 3_000_000)), same(20, 3_000_000));
    assert_eq!(goes_on(&sent, run(99..100, -40)), same(1, -40));
    // Not all that was sent has arrived yet.
    assert_eq!(goes_on(&sent, run(80..99, 0)), Sameness::Unknown);
    assert_eq!(goes_on(&sent, []), Sameness::Unknown);
    // It begins with what was not sent, or one picture of those sent is another.
    assert_eq!(goes_on(&sent, run(100..130, 0)), Sameness::Different);
    assert_eq!(
        goes_on(&sent, run((80..90).chain(91..130), 0)),
        Sameness::Different
    );
    assert_eq!(goes_on(&[], run(80..130, 0)), Sameness::Different);
}

#[test]
fn small_pictures_prove_nothing() {
    let small = |mut shown: Vec<Shown>| {
        for picture in &mut shown {
            picture.identity.bytes = 12;
        }
        shown
    };
    assert_eq!(
        goes_on(&small(run(0..100, 0)), small(run(80..130, 0))),
        Sameness::Different
    );
    assert_eq!(align(&small(run(0..100, 0)), &small(run(80..130, 0))), None);
}

#[test]
fn a_loop_and_a_handful_prove_nothing() {
    let twice = [run(0..10, 0), run(0..10, 400_000)].concat();
    assert_eq!(align(&twice, &run(0..10, 0)), None);
    assert_eq!(align(&run(0..10, 0), &run(8..10, 0)), None);
    let torn = [run(0..10, 0), run(10..20, 5_000_000)].concat();
    assert_eq!(align(&run(0..20, 0), &torn), None);
}

proptest! {
    #[test]
    fn the_offset_is_found_through_jitter_and_strangers(
        offset_us in -10_000_000i64..10_000_000,
        overlap in 8u64..60,
        jitter in prop::collection::vec(-4_000i64..4_000, 100),
        strangers in prop::collection::btree_set(0usize..100, 0..4),
    ) {
        let ours = run(0..100, 0);
        let mut theirs = run(100 - overlap..200 - overlap, offset_us);
        for (shown, jitter) in theirs.iter_mut().zip(&jitter) {
            shown.capture_us += jitter;
        }
        // Pictures that carry another's content.
        for at in strangers {
            theirs[at].identity.hash += 3;
        }
        let found = align(&ours, &theirs).unwrap();
        prop_assert!((found.offset_us - offset_us).abs() <= 4_000, "{found:?}");
        prop_assert!(found.pairs as u64 + 4 >= overlap);
    }

    /// Against a naive model: the longest way to look for the one place where both agree to the end.
    #[test]
    fn going_on_is_what_a_naive_search_finds(
        sent in prop::collection::vec(0u64..6, 0..12),
        waiting in prop::collection::vec(0u64..6, 1..12),
    ) {
        let (ours, theirs) = (run(sent.clone(), 0), run(waiting.clone(), 0));
        let found = goes_on(&ours, theirs);
        let at = sent.iter().rposition(|number| *number == waiting[0]);
        let expected = match at {
            None => Sameness::Different,
            Some(at) => {
                let since = &sent[at..];
                let common = since.iter().zip(&waiting).take_while(|(a, b)| a == b).count();
                if common == since.len() {
                    Sameness::Same { known: common, offset_us: 0 }
                } else if common == waiting.len() {
                    Sameness::Unknown
                } else {
                    Sameness::Different
                }
            }
        };
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn any_packets_are_survived(payload in prop::collection::vec(any::<u8>(), 0..60)) {
        let mut frame = vec![b'$', 0, 0, 0, 0x80, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 9];
        frame.extend(payload);
        let length = (frame.len() - 4) as u16;
        frame[2..4].copy_from_slice(&length.to_be_bytes());
        let mut packets = Packets::new();
        packets.push(bytes::BytesMut::from(&frame[..]));
        for codec in [Codec::H264, Codec::H265, Codec::Jpeg] {
            let _ = Identity::of(codec, &packets);
        }
    }
}

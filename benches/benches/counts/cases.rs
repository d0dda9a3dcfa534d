//! The cases: each prepares its material, then does its work inside [`counted_section`].

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::Instant;

use bytes::BytesMut;
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use seamline_media::mp4::{Fragmented, Holes, Origin, Settings};
use seamline_media::{How, OutQueue, Taken};
use seamline_routing::{Policy, next_step};
use seamline_rtsp::{Framer, Incoming};
use seamline_xprotect as xprotect;

use crate::index::{Indexed, request};
use crate::stream::{PACKETS, PAYLOAD_BYTES, PICTURES, assembler, reads, sampler, splice, units};

/// One thing that is counted.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// How often the counted section does what the name says.
    pub(crate) times: u64,
    pub(crate) what: What,
    pub(crate) run: fn(),
}

/// What is counted of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Instructions,
    /// Lines of memory that lie in no cache, where that has room for what is used again and again.
    ColdLines,
}

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "packet framed",
        times: PICTURES * PACKETS,
        what: What::Instructions,
        run: framing,
    },
    Case {
        name: "picture assembled",
        times: PICTURES,
        what: What::Instructions,
        run: assembling,
    },
    Case {
        name: "picture spliced",
        times: PICTURES,
        what: What::Instructions,
        run: splicing,
    },
    Case {
        name: "picture queued and written",
        times: PICTURES,
        what: What::Instructions,
        run: queueing,
    },
    Case {
        name: "picture as sample",
        times: PICTURES,
        what: What::Instructions,
        run: sampling,
    },
    Case {
        name: "picture in fragmented MP4",
        times: PICTURES,
        what: What::Instructions,
        run: muxing,
    },
    Case {
        name: "index read",
        times: DECISIONS,
        what: What::Instructions,
        run: index_read,
    },
    Case {
        name: "next step",
        times: DECISIONS,
        what: What::Instructions,
        run: deciding,
    },
    Case {
        name: "100 cold decisions, lines",
        times: CAMERAS as u64 / 100,
        what: What::ColdLines,
        run: deciding_cold,
    },
    Case {
        name: "ImageServer picture framed",
        times: PICTURES,
        what: What::Instructions,
        run: images,
    },
    Case {
        name: "ImageServer document read",
        times: PICTURES,
        what: What::Instructions,
        run: documents,
    },
];

const DECISIONS: u64 = 1_000;
const PERIODS: i64 = 1_000;
/// What is kept of so many is more than the cache holds that lines are counted with.
const CAMERAS: usize = 400;

/// What is counted: everything from its call to its return.
#[inline(never)]
fn counted_section<T>(work: impl FnOnce() -> T) -> T {
    black_box(work())
}

fn framing() {
    let mut reads = reads();
    let mut framer = Framer::new();
    let whole = counted_section(|| {
        let mut whole = 0_u64;
        for read in &mut reads {
            while let Ok(Some(Incoming::Frame { bytes, .. })) = framer.next(read) {
                black_box(bytes);
                whole += 1;
            }
        }
        whole
    });
    assert_eq!(whole, PICTURES * PACKETS);
}

fn assembling() {
    let (mut reads, mut assembler) = (reads(), assembler());
    let mut units = VecDeque::with_capacity(PICTURES as usize);
    counted_section(|| {
        for read in &mut reads {
            while assembler.push_run(0, 0, read, &mut units) {}
        }
    });
    assert_eq!(units.len() as u64, PICTURES);
}

fn splicing() {
    let (units, mut splice) = (units(), splice());
    let mut out = OutQueue::new();
    counted_section(|| {
        for unit in units {
            black_box(splice.write(unit, How::NORMAL, &mut out).is_ok());
        }
    });
    assert!(out.len() > PICTURES as usize * PACKETS as usize * PAYLOAD_BYTES);
}

fn queueing() {
    let (units, mut splice) = (units(), splice());
    let mut queues: Vec<OutQueue> = units
        .into_iter()
        .map(|unit| {
            let mut out = OutQueue::new();
            splice.write(unit, How::NORMAL, &mut out).expect("written");
            out
        })
        .collect();
    counted_section(|| {
        for out in &mut queues {
            let mut slices = [std::io::IoSlice::new(&[]); 64];
            black_box(out.io_slices(&mut slices));
            out.advance(out.len());
        }
    });
    assert!(queues.iter().all(OutQueue::is_empty));
}

fn sampling() {
    let (units, mut sampler) = (units(), sampler());
    let taken = counted_section(|| {
        let taken = units.iter().map(|unit| sampler.take(unit, false));
        taken.flatten().count()
    });
    assert_eq!(taken as u64, PICTURES);
}

fn muxing() {
    let mut sampler = sampler();
    let harvests: Vec<Taken> = units()
        .iter()
        .flat_map(|unit| sampler.take(unit, false).expect("a sample"))
        .collect();
    let mut file = Fragmented::new(Settings {
        origin: Origin::First,
        holes: Holes::Close,
        master: 0,
    });
    let pieces = counted_section(|| {
        let mut pieces = Vec::new();
        for taken in harvests {
            match taken {
                Taken::Format { track, entry } => file.format(track, entry),
                Taken::Sample(sample) => file.push(sample),
            }
            pieces.extend(file.pop());
        }
        pieces.extend(file.finish());
        pieces
    });
    assert!(pieces.len() > 2);
}

fn index_read() {
    let (indexed, now) = indexed(2);
    let slot = indexed.index.camera(&indexed.ids[1]).expect("it is there");
    counted_section(|| {
        for _ in 0..DECISIONS {
            black_box(slot.facts(now).copies(|_| false).len());
        }
    });
}

fn deciding() {
    let (indexed, now) = indexed(2);
    let slot = indexed.index.camera(&indexed.ids[1]).expect("it is there");
    let policy = Policy::default();
    let facts = slot.facts(now);
    let copies = facts.copies(|_| false);
    counted_section(|| {
        for number in 0..DECISIONS as i64 {
            let wish = request(number * (indexed.span_us() / DECISIONS as i64));
            black_box(next_step(wish.at, &wish, &copies, None, &policy));
        }
    });
}

/// Each decision is about another camera, in no order.
fn deciding_cold() {
    let (indexed, _) = indexed(CAMERAS);
    let mut random = StdRng::seed_from_u64(0xc01d);
    let mut wishes: Vec<_> = (0..CAMERAS)
        .map(|camera| (camera, random.random_range(0..indexed.span_us())))
        .collect();
    wishes.shuffle(&mut random);
    let mut name = String::with_capacity(32);
    for (camera, offset_us) in wishes {
        // A request has just brought it.
        name.clone_from(&indexed.ids[camera]);
        counted_section(|| indexed.decide(&name, offset_us));
    }
}

fn images() {
    let body = vec![b'x'; 20_000];
    let mut read = BytesMut::new();
    for number in 0..PICTURES as i64 {
        let head = xprotect::ImageHead {
            request_id: Some(1),
            prev_ms: Some(1_704_067_200_000 + (number - 1) * 40),
            current_ms: Some(1_704_067_200_000 + number * 40),
            next_ms: Some(1_704_067_200_000 + (number + 1) * 40),
            content: xprotect::Content::Body {
                bytes: body.len(),
                kind: "application/x-genericbytedata-octet-stream".to_owned(),
            },
            privacy_mask: None,
            more: Vec::new(),
        };
        read.extend_from_slice(&head.write());
        read.extend_from_slice(&body);
        read.extend_from_slice(xprotect::TERMINATOR);
    }
    let mut framer = xprotect::Framer::default();
    let bodies = counted_section(|| {
        let mut bodies = 0_u64;
        while let Ok(Some(piece)) = framer.next(&mut read) {
            bodies += u64::from(matches!(black_box(piece), xprotect::Incoming::Body(_)));
        }
        bodies
    });
    assert_eq!(bodies, PICTURES);
}

fn documents() {
    let live = concat!(
        r#"<?xml version="1.0" encoding="UTF-8"?><methodresponse><requestid>0</requestid>"#,
        "<methodname>connect</methodname><connected>yes</connected><errorreason></errorreason>",
        "</methodresponse>"
    );
    let mut read = BytesMut::new();
    for _ in 0..PICTURES {
        read.extend_from_slice(live.as_bytes());
        read.extend_from_slice(xprotect::TERMINATOR);
    }
    let mut framer = xprotect::Framer::default();
    let answers = counted_section(|| {
        let mut answers = 0_u64;
        while let Ok(Some(xprotect::Incoming::Document(document))) = framer.next(&mut read) {
            answers += u64::from(black_box(xprotect::Answer::parse(&document)).is_ok());
        }
        answers
    });
    assert_eq!(answers, PICTURES);
}

fn indexed(cameras: usize) -> (Indexed, Instant) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be built");
    let _inside = runtime.enter();
    let now = now();
    (Indexed::new(cameras, PERIODS, now), now)
}

#[expect(
    clippy::disallowed_methods,
    reason = "health wants a moment to begin at"
)]
fn now() -> Instant {
    Instant::now()
}

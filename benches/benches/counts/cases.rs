//! The cases: each prepares its material, then does its work inside [`counted_section`].

use std::collections::{HashMap, VecDeque};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use seamline_media::mp4::{Fragmented, Holes, Origin, Settings};
use seamline_media::{
    Assembler, CaptureClock, Codec, How, Kind, LegFormat, Markers, OutQueue, OutTrack, Pacing,
    ParameterSets, Play, Sampler, Splice, Taken, TrackFormat, Unit,
};
use seamline_probes::{
    Answer, ClientOptions, CoverageQuery, Index, MediaSource, Recorder, RecorderClient,
};
use seamline_routing::{
    Camera, CopyIx, CopyRef, Coverage, Direction, Policy, RecorderId, Request, TimeRange,
    Timestamp, next_step,
};
use seamline_rtsp::sdp::Description;
use seamline_rtsp::{Framer, Incoming};

/// One thing that is counted.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// How often the counted section does what the name says.
    pub(crate) times: u64,
    pub(crate) run: fn(),
}

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "packet framed",
        times: PICTURES * PACKETS,
        run: framing,
    },
    Case {
        name: "picture assembled",
        times: PICTURES,
        run: assembling,
    },
    Case {
        name: "picture spliced",
        times: PICTURES,
        run: splicing,
    },
    Case {
        name: "picture queued and written",
        times: PICTURES,
        run: queueing,
    },
    Case {
        name: "picture as sample",
        times: PICTURES,
        run: sampling,
    },
    Case {
        name: "picture in fragmented MP4",
        times: PICTURES,
        run: muxing,
    },
    Case {
        name: "index read",
        times: DECISIONS,
        run: index_read,
    },
    Case {
        name: "next step",
        times: DECISIONS,
        run: deciding,
    },
];

const PICTURES: u64 = 100;
/// Packets of a picture: 20 kB, 25 times a second are 4 Mbit/s.
const PACKETS: u64 = 15;
const PAYLOAD_BYTES: usize = 1_380;
const DECISIONS: u64 = 1_000;
const PERIODS: i64 = 1_000;
const PERIOD_US: i64 = 600_000_000;
const START_US: i64 = 1_704_067_200_000_000;
const PICTURE_US: i64 = 40_000;
const GROUP: u64 = 50;
const READ_BYTES: usize = 64 * 1024;
const SETS: [&[u8]; 2] = [
    &[0x67, 0x42, 0x00, 0x0a, 0x96, 0x53, 0x05, 0x89, 0x88],
    &[0x68, 0xc9, 0x63, 0x88],
];

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
    with_index(|index, now| {
        let slot = index.camera("camera-1").expect("it is configured");
        counted_section(|| {
            for _ in 0..DECISIONS {
                black_box(slot.facts(now).copies(|_| false).len());
            }
        });
    });
}

fn deciding() {
    with_index(|index, now| {
        let slot = index.camera("camera-1").expect("it is configured");
        let policy = Policy::default();
        let facts = slot.facts(now);
        let copies = facts.copies(|_| false);
        counted_section(|| {
            for number in 0..DECISIONS as i64 {
                let at = START_US + number * (PERIODS * PERIOD_US / DECISIONS as i64);
                let request = Request {
                    at: Timestamp::from_micros(at),
                    until: None,
                    direction: Direction::Forward,
                };
                black_box(next_step(request.at, &request, &copies, None, &policy));
            }
        });
    });
}

/// A stream as reads bring it: whole frames up to 64 KiB.
fn reads() -> Vec<BytesMut> {
    let mut reads = Vec::new();
    let mut read = BytesMut::with_capacity(READ_BYTES);
    let mut sequence = 0_u16;
    for picture in 0..PICTURES {
        for packet in 0..PACKETS {
            let frame = frame(picture, packet, sequence);
            sequence = sequence.wrapping_add(1);
            if read.len() + frame.len() > READ_BYTES {
                reads.push(std::mem::replace(
                    &mut read,
                    BytesMut::with_capacity(READ_BYTES),
                ));
            }
            read.extend_from_slice(&frame);
        }
    }
    reads.push(read);
    reads
}

/// One packet of a picture that is one slice in fragments (FU-A), behind the sets where it is a key picture.
fn frame(picture: u64, packet: u64, sequence: u16) -> Vec<u8> {
    let key = picture.is_multiple_of(GROUP);
    let sets = if key { SETS.len() as u64 } else { 0 };
    let payload = if packet < sets {
        SETS[packet as usize].to_vec()
    } else {
        let first = u8::from(packet == sets) << 7;
        let last = u8::from(packet + 1 == PACKETS) << 6;
        let (nal, header): (u8, u8) = if key { (0x65, 0x7c) } else { (0x41, 0x5c) };
        let mut payload = vec![picture as u8 | 0x80; PAYLOAD_BYTES];
        payload[0] = header;
        payload[1] = first | last | nal & 0x1f;
        payload
    };
    let capture_us = START_US + picture as i64 * PICTURE_US;
    let mut rtp = vec![0x90, 0x60 | u8::from(packet + 1 == PACKETS) << 7];
    rtp.extend(sequence.to_be_bytes());
    rtp.extend(((capture_us * 9 / 100) as u32).to_be_bytes());
    rtp.extend(b"seam");
    rtp.extend([0xab, 0xac, 0, 3]);
    rtp.extend(seamline_media::ntp::from_unix_us(capture_us).to_be_bytes());
    rtp.extend([0; 4]);
    rtp.extend(payload);
    let mut frame = vec![b'$', 0];
    frame.extend((rtp.len() as u16).to_be_bytes());
    frame.extend(rtp);
    frame
}

fn assembler() -> Assembler {
    let format = TrackFormat {
        codec: Codec::H264,
        clock_rate: 90_000,
        payload_type: 96,
        markers: Markers::Trusted,
    };
    Assembler::new(vec![format], CaptureClock::new([90_000], START_US, 0, 1.0))
}

fn units() -> Vec<Unit> {
    let mut units = VecDeque::new();
    let mut assembler = assembler();
    for mut read in reads() {
        while assembler.push_run(0, 0, &mut read, &mut units) {}
    }
    units.into()
}

fn splice() -> Splice {
    let mut splice = Splice::new(vec![OutTrack {
        channel_rtp: 2,
        channel_rtcp: 3,
        payload_type: 100,
        ssrc: 7,
        first_seq: 65_000,
        first_rtptime: 1,
        clock_rate: 90_000,
        codec: Codec::H264,
        announced: ParameterSets::default(),
        packet_bytes_max: usize::MAX,
    }]);
    splice.start_play(Play {
        cseq: 1,
        pacing: Pacing::RateControlled,
        scale: 1.0,
        start_us: START_US,
        hole_us: 0,
        extension: true,
    });
    splice.begin_leg(LegFormat::default());
    splice
}

fn sampler() -> Sampler {
    let mut sampler = Sampler::new([Some(Kind::H264)]);
    sampler.begin_leg(&LegFormat::default());
    sampler
}

/// A camera with two copies of a thousand periods each.
fn with_index(work: impl FnOnce(&Index, Instant)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be built");
    // Clients of recorders want a runtime around them; nothing is ever asked.
    let _inside = runtime.enter();
    let now = now();
    let sites = ["primary", "secondary"];
    let recorders: HashMap<RecorderId, RecorderClient> = sites
        .iter()
        .map(|site| {
            let client =
                RecorderClient::new((*site).into(), Arc::new(Silent), ClientOptions::default());
            client.health().delivers(now);
            ((*site).into(), client)
        })
        .collect();
    let copies = sites.iter().map(|site| CopyRef {
        site: (*site).into(),
        recorder: (*site).into(),
        remote: "ch1".into(),
        clock_offset_us: 0,
    });
    let camera = Camera {
        id: "camera-1".into(),
        name: "camera-1".into(),
        copies: copies.collect(),
    };
    let index = Index::new([camera], &recorders, now).expect("all recorders are there");
    let slot = index.camera("camera-1").expect("it was just made");
    for copy in 0..sites.len() {
        let periods = (0..PERIODS).filter_map(|number| {
            let start = START_US + copy as i64 * 200_000_000 + number * PERIOD_US;
            TimeRange::new(
                Timestamp::from_micros(start),
                Timestamp::from_micros(start + PERIOD_US / 10 * 9),
            )
        });
        let listing = Coverage::new(
            TimeRange::ALL,
            periods.collect::<Vec<_>>(),
            Timestamp::EPOCH,
            false,
        );
        slot.listed(CopyIx(copy as u8), &listing, now);
    }
    work(&index, now);
}

/// A recorder that nobody asks.
#[derive(Debug)]
struct Silent;

impl Recorder for Silent {
    fn lists_coverage(&self) -> bool {
        true
    }

    fn coverage(&self, _: CoverageQuery) -> Answer<'_, Coverage> {
        Box::pin(std::future::pending())
    }

    fn ping(&self) -> Answer<'_, ()> {
        Box::pin(std::future::pending())
    }

    fn describe(&self, _: Arc<str>) -> Answer<'_, Description> {
        Box::pin(std::future::pending())
    }

    fn media(&self) -> MediaSource {
        MediaSource::None
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "health wants a moment to begin at"
)]
fn now() -> Instant {
    Instant::now()
}

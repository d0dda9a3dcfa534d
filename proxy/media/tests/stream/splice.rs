//! The client's stream over seams: numbering, times, flags, markers, parameter sets, preroll.

use crate::recorder::{AUD, IDR, P, PPS, Recorder, SPS, START_US, drain, out_track, read};
use bytes::Bytes;
use seamline_media::{
    Codec, Flags, How, LegFormat, OutQueue, Pacing, Packets, ParameterSets, Play, Refused, Splice,
    Unit, ntp, rtcp,
};

const FRAME_US: i64 = 40_000;

fn unit(us: i64, payloads: &[&[u8]], extension: bool) -> Unit {
    let mut recorder = Recorder::new();
    recorder.at(us);
    if !extension {
        recorder.next.replay = None;
    }
    for payload in payloads {
        recorder.send(payload, true);
    }
    let mut packets = Packets::new();
    let rtp_time = recorder.next.timestamp;
    recorder
        .frames()
        .into_iter()
        .for_each(|frame| packets.push(frame));
    Unit {
        track: 0,
        capture_us: START_US + us,
        rtp_time,
        random_access: payloads.contains(&IDR),
        leading: false,
        disposable: false,
        shown_early: false,
        refresh_pictures: 0,
        signed: false,
        flags: Flags::NONE,
        packets,
    }
}

fn play(pacing: Pacing, scale: f64) -> Play {
    Play {
        cseq: 0x2C,
        pacing,
        scale,
        start_us: START_US,
        hole_us: 0,
        extension: true,
    }
}

fn splice(pacing: Pacing, scale: f64) -> Splice {
    let mut splice = Splice::new(vec![
        out_track(Codec::H264, 0xCAFE),
        out_track(Codec::G711, 0xBEEF),
    ]);
    splice.start_play(play(pacing, scale));
    splice.begin_leg(LegFormat::default());
    splice
}

const UNPACED: Pacing = Pacing::Unpaced {
    reference_us: START_US,
};

fn sets() -> ParameterSets {
    ParameterSets {
        vps: Vec::new(),
        sps: vec![Bytes::from_static(SPS)],
        pps: vec![Bytes::from_static(PPS)],
    }
}

#[test]
fn sampling_instants_without_rate_control() {
    let mut splice = splice(UNPACED, 1.0);
    let mut out = OutQueue::new();
    assert_eq!(splice.rtp_info(0).unwrap().rtptime, 1_500_000_000);
    for (us, time) in [
        (FRAME_US, 1_500_003_600),
        (20 * 3_600_000_000, 3_685_032_704),
    ] {
        let written = splice
            .write(unit(us, &[P], true), How::NORMAL, &mut out)
            .unwrap();
        assert_eq!(written.rtp_time, time);
    }
    splice.start_play(play(UNPACED, 1.0));
    let written = splice
        .write(unit(-1_000_000, &[P], true), How::NORMAL, &mut out)
        .unwrap();
    assert_eq!(written.rtp_time, 1_499_910_000);
}

#[test]
fn playback_time_closes_holes_with_rate_control() {
    let mut splice = splice(Pacing::RateControlled, 1.0);
    let mut out = OutQueue::new();
    let mut media = |splice: &mut Splice, us| {
        assert_eq!(splice.media_us(&unit(us, &[P], true)), {
            let written = splice
                .write(unit(us, &[P], true), How::NORMAL, &mut out)
                .unwrap();
            assert_eq!(
                written.rtp_time,
                1_500_000_000 + (written.media_us * 9 / 100) as u32
            );
            written.media_us
        });
        splice.media_us(&unit(us, &[P], true))
    };
    assert_eq!(
        media(&mut splice, 700_000),
        0,
        "the first unit is where RTP-Info said"
    );
    assert_eq!(media(&mut splice, 740_000), FRAME_US);
    assert_eq!(
        media(&mut splice, 10_000_000),
        2 * FRAME_US,
        "a hole inside a leg"
    );
    assert_eq!(media(&mut splice, 10_040_000), 3 * FRAME_US);
    splice.begin_leg(LegFormat::default());
    assert_eq!(
        media(&mut splice, 10_080_000),
        4 * FRAME_US,
        "a seam without a hole"
    );
    splice.begin_leg(LegFormat {
        discontinuity: Some(START_US + 10_600_000),
        ..LegFormat::default()
    });
    assert_eq!(
        media(&mut splice, 10_600_000),
        5 * FRAME_US,
        "a seam over a hole"
    );
}

#[test]
fn playback_time_in_reverse_is_when_to_show() {
    let mut splice = splice(Pacing::RateControlled, -1.0);
    let mut out = OutQueue::new();
    let times: Vec<i64> = [-80_000, -40_000, -160_000, -120_000]
        .into_iter()
        .map(|us| {
            splice
                .write(unit(us, &[P], true), How::NORMAL, &mut out)
                .unwrap()
                .media_us
        })
        .collect();
    assert_eq!(times, [80_000, 40_000, 160_000, 120_000]);
}

#[test]
fn double_speed_halves_distances() {
    let mut splice = splice(Pacing::RateControlled, 2.0);
    let mut out = OutQueue::new();
    let times: Vec<i64> = (0..3)
        .map(|frame| {
            let unit = unit(frame * FRAME_US, &[P], true);
            splice.write(unit, How::NORMAL, &mut out).unwrap().media_us
        })
        .collect();
    assert_eq!(times, [0, 20_000, 40_000]);
}

#[test]
fn one_numbering_and_extension_with_the_clients_cseq() {
    let mut splice = splice(UNPACED, 1.0);
    let mut out = OutQueue::new();
    for (frame, extension) in [(0, true), (1, false), (2, true)] {
        let unit = unit(frame * FRAME_US, &[IDR, P, P], extension);
        splice.write(unit, How::NORMAL, &mut out).unwrap();
    }
    let got = read(&drain(&mut out, 7));
    assert_eq!(got.len(), 9);
    for (index, packet) in got.iter().enumerate() {
        assert_eq!(
            (packet.channel, packet.payload_type, packet.ssrc),
            (0, 100, 0xCAFE)
        );
        assert_eq!(packet.sequence, 65_000u16.wrapping_add(index as u16));
        assert_eq!(packet.marker, index % 3 == 2);
        let replay = packet.replay.unwrap();
        assert_eq!(replay.cseq, 0x2C);
        assert_eq!(
            replay.ntp,
            ntp::from_unix_us(START_US + index as i64 / 3 * FRAME_US)
        );
        assert_eq!(
            replay.flags,
            if index % 3 == 0 {
                Flags::CLEAN
            } else {
                Flags::NONE
            }
        );
    }
    assert_eq!(splice.counts().rebuilt_units, 1);
}

#[test]
fn bytes_stay_where_they_lie() {
    let mut splice = splice(UNPACED, 1.0);
    let unit = unit(0, &[IDR, P], true);
    let place = unit.packets.iter().next().unwrap().as_ptr();
    let mut out = OutQueue::new();
    splice.write(unit, How::NORMAL, &mut out).unwrap();
    let mut slices = [std::io::IoSlice::new(&[])];
    assert_eq!((out.io_slices(&mut slices), slices[0].as_ptr()), (1, place));
}

#[test]
fn flags_are_ours_and_lie_where_players_look() {
    let mut splice = splice(UNPACED, 1.0);
    let mut out = OutQueue::new();
    let mut last = unit(0, &[IDR, P], true);
    last.flags = Flags::END | Flags::TERMINAL;
    splice.write(last, How::NORMAL, &mut out).unwrap();
    let flags = Flags::END | Flags::TERMINAL | Flags::DISCONTINUITY;
    let how = How {
        flags,
        ..How::NORMAL
    };
    splice
        .write(unit(FRAME_US, &[P, P], true), how, &mut out)
        .unwrap();
    let got: Vec<u8> = read(&drain(&mut out, 1000))
        .iter()
        .map(|packet| packet.replay.unwrap().flags.bits())
        .collect();
    assert_eq!(got, [0x80, 0x00, 0x60, 0x50]);
}

#[test]
fn parameter_sets_go_ahead_of_the_first_point_of_a_leg() {
    let mut splice = splice(UNPACED, 1.0);
    splice.begin_leg(LegFormat {
        parameter_sets: vec![sets()],
        discontinuity: None,
    });
    let mut out = OutQueue::new();
    splice
        .write(unit(0, &[AUD, IDR], true), How::NORMAL, &mut out)
        .unwrap();
    let got = read(&drain(&mut out, 1000));
    let payloads: Vec<&[u8]> = got.iter().map(|packet| &packet.payload[..]).collect();
    assert_eq!(payloads, [AUD, SPS, PPS, IDR]);
    assert!(
        got.iter()
            .all(|packet| packet.timestamp == got[0].timestamp && packet.replay.is_some())
    );
    assert!(
        got.iter()
            .map(|packet| packet.marker)
            .eq([false, false, false, true])
    );
    assert!(
        got.windows(2)
            .all(|pair| pair[1].sequence == pair[0].sequence.wrapping_add(1))
    );
    assert_eq!(got[0].replay.unwrap().flags, Flags::CLEAN);
}

#[test]
fn sets_of_the_unit_itself_win_and_are_remembered() {
    let other = [0x67, 0x64, 0, 0x28, 1];
    let mut splice = splice(UNPACED, 1.0);
    splice.begin_leg(LegFormat {
        parameter_sets: vec![sets()],
        discontinuity: None,
    });
    let mut out = OutQueue::new();
    let first = splice
        .write(unit(0, &[&other, PPS, IDR], true), How::NORMAL, &mut out)
        .unwrap();
    assert_eq!(first.packets, 3);
    // They differ from those announced: late joiners of the stream need them again.
    let second = splice
        .write(unit(FRAME_US, &[IDR], true), How::NORMAL, &mut out)
        .unwrap();
    assert_eq!(second.packets, 3);
    let got = read(&drain(&mut out, 1000));
    assert_eq!(got[3].payload, other);
}

#[test]
fn announced_sets_go_once_a_leg() {
    let mut track = out_track(Codec::H264, 1);
    track.announced = sets();
    let mut splice = Splice::new(vec![track]);
    splice.start_play(play(UNPACED, 1.0));
    let mut out = OutQueue::new();
    let mut counts = Vec::new();
    for leg in 0..2 {
        splice.begin_leg(LegFormat {
            parameter_sets: vec![sets()],
            discontinuity: None,
        });
        for frame in 0..2 {
            let unit = unit((2 * leg + frame) * FRAME_US, &[IDR], true);
            counts.push(splice.write(unit, How::NORMAL, &mut out).unwrap().packets);
        }
    }
    assert_eq!(counts, [3, 1, 3, 1]);
}

#[test]
fn missing_sets_are_told() {
    let mut splice = splice(UNPACED, 1.0);
    let mut out = OutQueue::new();
    assert!(
        splice
            .write(unit(0, &[IDR], true), How::NORMAL, &mut out)
            .unwrap()
            .sets_missing
    );
}

#[test]
fn preroll_is_squeezed_into_the_seam() {
    for pacing in [UNPACED, Pacing::RateControlled] {
        let mut splice = splice(pacing, 1.0);
        let mut out = OutQueue::new();
        splice
            .write(unit(0, &[IDR], true), How::NORMAL, &mut out)
            .unwrap();
        splice
            .write(unit(FRAME_US, &[P], true), How::NORMAL, &mut out)
            .unwrap();
        splice.begin_leg(LegFormat::default());
        splice
            .write(unit(-FRAME_US, &[IDR], true), How::PREROLL, &mut out)
            .unwrap();
        splice
            .write(unit(0, &[P], true), How::PREROLL, &mut out)
            .unwrap();
        splice
            .write(unit(2 * FRAME_US, &[P], true), How::NORMAL, &mut out)
            .unwrap();
        let got = read(&drain(&mut out, 1000));
        let times: Vec<u32> = got
            .iter()
            .map(|packet| packet.timestamp - 1_500_000_000)
            .collect();
        assert_eq!(times, [0, 3600, 3601, 3602, 7200]);
        let flags: Vec<u8> = got
            .iter()
            .map(|packet| packet.replay.unwrap().flags.bits())
            .collect();
        assert_eq!(flags, [0x80, 0, 0xA0, 0, 0]);
        assert_eq!(splice.counts().clamped, 0);
    }
}

#[test]
fn preroll_of_a_fresh_play_starts_at_its_rtp_info() {
    let mut splice = splice(UNPACED, 1.0);
    let mut out = OutQueue::new();
    for (us, how) in [
        (-80_000, How::PREROLL),
        (-40_000, How::PREROLL),
        (0, How::NORMAL),
    ] {
        splice.write(unit(us, &[IDR], true), how, &mut out).unwrap();
    }
    splice
        .write(unit(FRAME_US, &[P], true), How::NORMAL, &mut out)
        .unwrap();
    let times: Vec<u32> = read(&drain(&mut out, 99))
        .iter()
        .map(|packet| packet.timestamp - 1_500_000_000)
        .collect();
    assert_eq!(times, [0, 1, 2, 3600]);
}

#[test]
fn footage_time_never_steps_back_at_a_seam() {
    let mut splice = splice(Pacing::RateControlled, 1.0);
    let mut out = OutQueue::new();
    splice
        .write(unit(FRAME_US, &[IDR], true), How::NORMAL, &mut out)
        .unwrap();
    splice.begin_leg(LegFormat::default());
    splice
        .write(unit(FRAME_US - 3000, &[IDR], true), How::NORMAL, &mut out)
        .unwrap();
    let got = read(&drain(&mut out, 1000));
    assert_eq!(
        got[1].replay.unwrap().ntp,
        ntp::from_unix_us(START_US + FRAME_US + 1000)
    );
    assert_eq!(got[1].timestamp - got[0].timestamp, 90);
    assert_eq!(splice.counts().clamped, 1);
}

#[test]
fn reordered_pictures_keep_their_times() {
    let mut splice = splice(Pacing::RateControlled, 1.0);
    let mut out = OutQueue::new();
    for frame in [0, 3, 1, 2] {
        let payload = if frame == 0 { IDR } else { P };
        splice
            .write(
                unit(frame * FRAME_US, &[payload], true),
                How::NORMAL,
                &mut out,
            )
            .unwrap();
    }
    let times: Vec<u32> = read(&drain(&mut out, 1000))
        .iter()
        .map(|packet| packet.timestamp - 1_500_000_000)
        .collect();
    assert_eq!(times, [0, 3 * 3600, 3600, 2 * 3600]);
    assert_eq!(splice.counts().clamped, 0);
}

#[test]
fn a_talk_spurt_starts_at_each_seam() {
    let mut splice = splice(Pacing::RateControlled, 1.0);
    let mut out = OutQueue::new();
    for leg in 0..2i64 {
        splice.begin_leg(LegFormat::default());
        for chunk in 0..2 {
            let mut unit = unit((2 * leg + chunk) * 20_000, &[&[0xff; 160]], true);
            unit.packets.iter_mut().for_each(|frame| frame[5] &= 0x7f);
            unit.track = 1;
            splice.write(unit, How::NORMAL, &mut out).unwrap();
        }
    }
    let markers: Vec<bool> = read(&drain(&mut out, 1000))
        .iter()
        .map(|packet| packet.marker)
        .collect();
    assert_eq!(markers, [true, false, true, false]);
}

#[test]
fn what_leads_the_first_point_of_a_leg_does_not_decode() {
    let mut splice = splice(UNPACED, 1.0);
    let mut out = OutQueue::new();
    let mut leading = unit(FRAME_US, &[P], true);
    leading.leading = true;
    assert!(!splice.decodable(&leading));
    assert!(!splice.decodable(&unit(FRAME_US, &[P], true)));
    splice
        .write(unit(0, &[IDR], true), How::NORMAL, &mut out)
        .unwrap();
    assert!(!splice.decodable(&leading));
    assert!(splice.decodable(&unit(FRAME_US, &[P], true)));
    splice
        .write(unit(2 * FRAME_US, &[IDR], true), How::NORMAL, &mut out)
        .unwrap();
    assert!(splice.decodable(&leading), "its references were sent");
}

#[test]
fn reports_say_now_or_nothing() {
    let mut splice = splice(Pacing::RateControlled, 1.0);
    let mut out = OutQueue::new();
    splice
        .write(unit(0, &[IDR, P], true), How::NORMAL, &mut out)
        .unwrap();
    let report = rtcp::parse(&splice.sender_report(0, START_US, FRAME_US).unwrap()[4..]);
    assert_eq!(
        report.sender,
        Some((0xCAFE, ntp::from_unix_us(START_US), 1_500_003_600))
    );
    splice.start_play(play(UNPACED, 1.0));
    let goodbye = rtcp::parse(&splice.goodbye(0, START_US, 0).unwrap()[4..]);
    assert_eq!(
        (goodbye.sender, goodbye.goodbye),
        (Some((0xCAFE, 0, 0)), true)
    );
}

#[test]
fn what_cannot_be_written_is_refused() {
    let mut splice = splice(UNPACED, 1.0);
    let mut out = OutQueue::new();
    let mut stranger = unit(0, &[IDR], true);
    stranger.track = 9;
    assert_eq!(
        splice.write(stranger, How::NORMAL, &mut out),
        Err(Refused::Track)
    );
    assert_eq!(
        splice.write(unit(0, &[], true), How::NORMAL, &mut out),
        Err(Refused::Empty)
    );
}

#[test]
fn what_no_datagram_takes_goes_in_fragments_of_one_numbering() {
    let mut track = out_track(Codec::H264, 1);
    track.packet_bytes_max = 1428;
    let mut splice = Splice::new(vec![track]);
    splice.start_play(play(UNPACED, 1.0));
    splice.begin_leg(LegFormat::default());
    let picture: Vec<u8> = std::iter::once(0x65)
        .chain((0..9000).map(|n| n as u8))
        .collect();
    let mut out = OutQueue::new();
    for us in [0, FRAME_US] {
        let unit = unit(us, &[SPS, PPS, &picture], true);
        let written = splice.write(unit, How::NORMAL, &mut out).unwrap();
        assert_eq!(written.packets, 2 + 9000_usize.div_ceil(1398));
    }
    let frames: Vec<Vec<u8>> = out.frames().map(<[u8]>::to_vec).collect();
    assert!(frames.iter().all(|frame| frame.len() <= 4 + 1428));
    let mut pictures = Vec::new();
    for (index, frame) in frames.iter().enumerate() {
        let packet = seamline_media::rtp::Packet::parse_frame(frame).unwrap();
        assert_eq!(packet.sequence, 65_000_u16.wrapping_add(index as u16));
        assert!(
            packet.replay().is_some(),
            "the extension is on every packet"
        );
        let last = packet.payload[0] & 0x1f == 28 && packet.payload[1] & 0x40 != 0;
        assert_eq!(packet.marker, last);
        if packet.payload[0] & 0x1f == 28 {
            if packet.payload[1] & 0x80 != 0 {
                pictures.push(vec![0x65]);
            }
            pictures
                .last_mut()
                .unwrap()
                .extend_from_slice(&packet.payload[2..]);
        }
    }
    assert_eq!(pictures, [picture.clone(), picture]);
}

#[test]
fn reordered_pictures_behind_an_exact_join_keep_their_times() {
    for joined in [true, false] {
        let mut splice = splice(UNPACED, 1.0);
        let mut out = OutQueue::new();
        for us in [0, 4 * FRAME_US] {
            splice
                .write(unit(us, &[P], true), How::NORMAL, &mut out)
                .unwrap();
        }
        splice.begin_leg(LegFormat::default());
        if joined {
            splice.goes_on();
            assert!(splice.decodable(&unit(2 * FRAME_US, &[P], true)));
        }
        for us in [2 * FRAME_US, FRAME_US] {
            splice
                .write(unit(us, &[P], true), How::NORMAL, &mut out)
                .unwrap();
        }
        let kept = splice.counts().clamped == 0;
        assert_eq!(kept, joined);
    }
}

#[test]
fn preroll_comes_behind_the_picture_that_is_shown_last() {
    let mut splice = splice(Pacing::RateControlled, 1.0);
    let mut out = OutQueue::new();
    let mut write = |splice: &mut Splice, frame: i64, how| {
        let unit = unit(frame * FRAME_US, &[P], true);
        splice.write(unit, how, &mut out).unwrap().rtp_time
    };
    // In decoding order: the last one is shown before the one ahead of it.
    write(&mut splice, 0, How::NORMAL);
    let shown_last = write(&mut splice, 3, How::NORMAL);
    write(&mut splice, 1, How::NORMAL);
    write(&mut splice, 2, How::NORMAL);
    splice.begin_leg(LegFormat::default());
    for tick in 1..3 {
        let preroll = write(&mut splice, tick, How::PREROLL);
        assert_eq!(preroll, shown_last + tick as u32);
    }
    assert!(write(&mut splice, 4, How::NORMAL) > shown_last + 2);
}

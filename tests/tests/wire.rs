//! What players rely on without saying so: the description, the clocks of RTP and RTCP, the stamps, RTP-Info.

use std::time::Duration;

use seamline_tests::{
    clock::{FRAME_MS, from_ntp, noon, wall_ms},
    footage::Recipe,
    probe::Probe,
    recorder::{Recorder, Setup},
    rtsp::{Client, Response},
    seamline::{Config, Seamline},
    stream::{assert_one_stream, assert_stamped, units},
};

const SOON: Duration = Duration::from_secs(30);

/// A primary with sound and without 4 s to 8 s, and a secondary with sound that holds everything.
fn two_sites() -> ([Recorder; 2], Seamline) {
    let recorders = [
        Setup::default()
            .without(noon(4.0), noon(8.0))
            .start(&Recipe::default().with_audio("g711").make()),
        Setup::default().start(&Recipe::secondary().with_audio("g711").make()),
    ];
    let config = Config::default()
        .site("primary", &recorders[0])
        .site("secondary", &recorders[1]);
    let seamline = config.serve();
    (recorders, seamline)
}

/// `seq` and `rtptime` of each track in RTP-Info, in its order.
fn rtp_info(response: &Response) -> Vec<(String, u16, u32)> {
    let header = response.header("RTP-Info").expect("an RTP-Info");
    header
        .split(',')
        .map(|entry| {
            let field = |name: &str| {
                let found = entry
                    .split(';')
                    .find_map(|part| part.trim().strip_prefix(name));
                found
                    .unwrap_or_else(|| panic!("no {name} in {entry}"))
                    .to_owned()
            };
            let number = |name: &str| field(name).parse::<u32>().expect("a number");
            (field("url="), number("seq=") as u16, number("rtptime="))
        })
        .collect()
}

#[test]
fn the_description_survives_every_way_of_joining_urls() {
    let (_recorders, seamline) = two_sites();
    for url in [
        seamline.url(),
        seamline.url_from(noon(2.0), Some(noon(6.0))),
    ] {
        let described =
            Client::connect(&url).request("DESCRIBE", &url, &[("Accept", "application/sdp")]);
        let base = described.header("Content-Base").expect("a Content-Base");
        assert!(base.ends_with('/') && !base.contains('?'), "{base}");
        for line in ["a=control:*", "a=control:trackID=1", "a=control:trackID=2"] {
            assert!(
                described.body.contains(line),
                "{line} in {}",
                described.body
            );
        }
        assert!(
            !described.body.contains("a=range:clock"),
            "plain players misread it: {}",
            described.body
        );
    }
}

#[test]
fn no_wish_is_read_as_none() {
    let (_recorders, seamline) = two_sites();
    for range in ["npt=0.000-", "npt=0-", "clock=19000101T000000Z-"] {
        let mut probe = Probe::open(&seamline.url_from(noon(2.0), None));
        let reply = probe.request("PLAY", &[("Require", "onvif-replay"), ("Range", range)]);
        assert_eq!(reply.status, 200, "{range}");
        assert!(
            probe.receive(SOON, |probe| probe.last_capture().is_some()),
            "{range}"
        );
        let first = units(&probe.tracks[0])[0].capture_ms;
        assert_eq!(first, Some(noon(1.52)), "{range}");
    }
}

#[test]
fn clocks_and_stamps_are_ours_in_both_modes() {
    let (_recorders, seamline) = two_sites();
    for paced in [false, true] {
        let mut probe = Probe::open(&seamline.url());
        let headers: &[(&str, &str)] = if paced {
            &[]
        } else {
            &[("Rate-Control", "no")]
        };
        let reply = probe.play(noon(3.0), Some(noon(8.5)), headers);
        assert_eq!(reply.status, 200);
        // The answer is whole before the first byte of media.
        assert!(probe.tracks.iter().all(Vec::is_empty) && probe.rtcp.is_empty());
        let cseq = probe.client.cseq();
        let info = rtp_info(&reply);
        probe.receive_to_end(SOON);
        probe.receive(Duration::from_millis(300), |_| false);
        let now_ms = wall_ms();
        assert_eq!(info.len(), 2, "one entry a track, in their order");
        for (track, packets) in probe.tracks.iter().enumerate() {
            assert_one_stream(packets);
            // 0xABAC of length 3 on every packet, with our client's CSeq.
            assert_stamped(packets, cseq);
            let (url, seq, rtptime) = &info[track];
            assert!(url.ends_with(&format!("/trackID={}", track + 1)), "{url}");
            assert_eq!(*seq, packets[0].sequence);
            assert_ne!(*rtptime, 0);
            if track == 0 {
                assert_eq!(*rtptime, packets[0].rtp_time);
            }
            let rate = if track == 0 { 90 } else { 8 };
            // Without a hole both modes count sampling instants: continuous over the seam.
            for pair in units(packets).windows(2) {
                let ticks = i64::from(pair[1].rtp_time.wrapping_sub(pair[0].rtp_time));
                let (Some(before), Some(after)) = (pair[0].capture_ms, pair[1].capture_ms) else {
                    panic!("a unit without a stamp");
                };
                let off = (ticks - (after - before) * rate).abs();
                assert!(
                    off <= 3 * rate || ticks == 1,
                    "{} ms are {ticks} ticks",
                    after - before
                );
            }
            for (ntp, rtp_time) in probe.reports(track) {
                if paced {
                    assert!(
                        (now_ms - from_ntp(ntp)).abs() < 20_000,
                        "an SR that is not of now"
                    );
                } else {
                    assert_eq!((ntp, rtp_time), (0, 0));
                }
            }
            // NTP and RTP time of all reports lie on one line, across the seam.
            if paced {
                let reports = probe.reports(track);
                assert!(reports.len() >= 2, "reports while playing");
                for pair in reports.windows(2) {
                    let wall_ms = from_ntp(pair[1].0) - from_ntp(pair[0].0);
                    let ticks = i64::from(pair[1].1.wrapping_sub(pair[0].1) as i32);
                    assert!(
                        (wall_ms * rate - ticks).abs() < 100 * rate,
                        "{wall_ms} ms are {ticks} ticks"
                    );
                }
            }
        }
        let last = units(&probe.tracks[0])
            .last()
            .and_then(|unit| unit.capture_ms);
        assert_eq!(last, Some(noon(8.5) - FRAME_MS + 20));
        assert_eq!(probe.byes(), 1);
    }
}

#[test]
fn a_second_play_replaces_the_first() {
    let (recorders, seamline) = two_sites();
    let mut probe = Probe::open(&seamline.url());
    assert_eq!(probe.play(noon(0.0), None, &[]).status, 200);
    probe.receive_until(noon(0.4), SOON);
    assert_eq!(probe.play(noon(20.0), Some(noon(21.0)), &[]).status, 200);
    let cseq = probe.client.cseq();
    probe.receive_to_end(SOON);
    let newer: Vec<_> = probe.tracks[0]
        .iter()
        .filter(|packet| packet.onvif.is_some_and(|onvif| onvif.cseq == cseq as u8))
        .collect();
    assert!(newer.iter().all(|packet| {
        packet
            .onvif
            .is_some_and(|onvif| (noon(19.0)..noon(21.0)).contains(&onvif.capture_ms))
    }));
    // Upstream asks for replay, whatever the client asked for.
    let asked: Vec<_> = recorders.iter().flat_map(Recorder::asked).collect();
    for event in &asked {
        if let seamline_tests::program::Event::Play { require, .. } = event {
            assert_eq!(require, "onvif-replay");
        }
    }
}

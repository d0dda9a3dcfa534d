//! A client at the controls: PAUSE, resume, seeks near and far, over seams, many in a row.

use std::time::Duration;

use seamline_tests::{
    clock::{FRAME_MS, iso, monotonic, noon},
    footage::{Footage, Recipe},
    player::Player,
    probe::Probe,
    recorder::{Recorder, Setup},
    report::{Report, judge},
    seamline::{Config, Seamline},
    stream::{Packet, Unit, assert_one_stream, uneven_steps, units},
};

const SOON: Duration = Duration::from_secs(30);

/// A primary without 4 s to 8 s, and a secondary that holds everything.
struct Scenario {
    footage: [Footage; 2],
    recorders: [Recorder; 2],
    seamline: Seamline,
}

impl Scenario {
    fn new() -> Self {
        let footage = [Recipe::default().make(), Recipe::secondary().make()];
        let recorders = [
            Setup::default()
                .without(noon(4.0), noon(8.0))
                .start(&footage[0]),
            Setup::default().start(&footage[1]),
        ];
        let config = Config::default()
            .policy("failback", "at-seam")
            .site("primary", &recorders[0])
            .site("secondary", &recorders[1]);
        let seamline = config.serve();
        Self {
            footage,
            recorders,
            seamline,
        }
    }

    /// Judges pictures that were shown without a seek in between.
    fn judge(&self, player: &Player, from: usize) -> Report {
        let sites = [
            ("primary", &self.footage[0]),
            ("secondary", &self.footage[1]),
        ];
        let report = judge(&player.pictures[from..], &sites);
        println!("{report}");
        report
    }
}

#[test]
fn gstreamer_pauses_and_goes_on_where_it_was() {
    let scenario = Scenario::new();
    let mut player = Player::onvif(&scenario.seamline.url(), noon(1.0));
    // The second time another encoder's copy plays: GStreamer would go on with the parameter sets of the description.
    for at in [3.0, 5.0] {
        player.watch_until(noon(at), SOON);
        player.tell("pause");
        // What was on its way still comes; then silence.
        player.watch(Duration::from_secs(2), |_| false);
        let held = player.pictures.len();
        player.watch(Duration::from_secs(1), |_| false);
        assert_eq!(player.pictures.len(), held, "footage while it is paused");
        player.tell("play");
    }
    player.watch_until(noon(9.0), SOON);
    let report = scenario.judge(&player, 0);
    report.assert_seamless();
    assert!(
        report.sites().starts_with(&["primary", "secondary"]),
        "{report}"
    );
    assert!(report.stall.0 > Duration::from_secs(2), "{report}");
}

#[test]
fn gstreamer_seeks_forward_and_back_across_a_seam() {
    let scenario = Scenario::new();
    let mut player = Player::onvif(&scenario.seamline.url(), noon(1.0));
    player.watch_until(noon(2.5), SOON);
    // Into the primary's gap, beyond it, and back before it: each with the seam that follows.
    for (to, until) in [(6.3, 7.5), (20.0, 21.5), (-4.0, -2.5), (3.2, 5.0)] {
        let before = player.pictures.len();
        player.tell(&format!("seek {}", iso(noon(to))));
        let shown = |player: &Player| {
            player.pictures[before..]
                .iter()
                .filter_map(|picture| picture.clock_ms)
                .any(|clock| (noon(until)..noon(until) + 1000).contains(&clock))
        };
        assert!(
            player.watch(SOON, shown),
            "seek to {to} does not arrive: {:?}",
            player.errors
        );
        let report = scenario.judge(&player, before + behind_seek(&player, before, noon(to)));
        report.assert_seamless();
    }
    assert_eq!(player.errors, [""; 0]);
}

/// The first picture of a seek to `to`, the key frame at or before it, counted from `before` on.
fn behind_seek(player: &Player, before: usize, to: i64) -> usize {
    let near = |clock: i64| (to - 2000..=to).contains(&clock);
    let mut rest = player.pictures[before..].iter();
    rest.position(|p| p.clock_ms.is_some_and(near))
        .unwrap_or_else(|| panic!("nothing was shown of {}", iso(to)))
}

/// The units of the play with this `CSeq`.
fn of_play(probe: &Probe, cseq: u32) -> Vec<Unit> {
    let mine = |packet: &&Packet| packet.onvif.is_some_and(|onvif| onvif.cseq == cseq as u8);
    let packets: Vec<_> = probe.tracks[0].iter().filter(mine).cloned().collect();
    units(&packets)
}

/// `seq=` of RTP-Info.
fn rtp_info(response: &seamline_tests::rtsp::Response, name: &str) -> u32 {
    let info = response.header("RTP-Info").expect("an RTP-Info");
    let word = info
        .split([';', ','])
        .find_map(|part| part.trim().strip_prefix(name));
    word.and_then(|word| word.parse().ok())
        .unwrap_or_else(|| panic!("no {name} in {info}"))
}

#[test]
fn twenty_seeks_in_a_row_leave_one_session_at_the_recorder() {
    let mut scenario = Scenario::new();
    for pace in [&[("Rate-Control", "no")][..], &[]] {
        let mut probe = Probe::open(&scenario.seamline.url());
        for step in 0..20_i32 {
            // Now here, now there, also in the gap; some before the one before has shown anything.
            let to = noon(f64::from(step * 7 % 40) + 0.5);
            let reply = probe.play(to, None, &[&[("Immediate", "yes")], pace].concat());
            assert_eq!(reply.status, 200);
            let cseq = probe.client.cseq();
            if step % 3 == 2 {
                continue;
            }
            let first = |probe: &Probe| !of_play(probe, cseq).is_empty();
            assert!(probe.receive(SOON, first), "seek {step} shows nothing");
            let packets: Vec<_> = probe.tracks[0]
                .iter()
                .filter(|packet| packet.onvif.is_some_and(|onvif| onvif.cseq == cseq as u8))
                .collect();
            assert_eq!(u32::from(packets[0].sequence), rtp_info(&reply, "seq="));
            assert_eq!(packets[0].rtp_time, rtp_info(&reply, "rtptime="));
            let unit = &of_play(&probe, cseq)[0];
            let capture = unit.capture_ms.expect("a stamp");
            assert!(
                (to - 2000..=to).contains(&capture),
                "{} for {}",
                iso(capture),
                iso(to)
            );
        }
        let cseq = probe.client.cseq();
        probe.receive(SOON, |probe| of_play(probe, cseq).len() > 30);
        assert_eq!(uneven_steps(&of_play(&probe, cseq), FRAME_MS), []);
        let ssrc = probe.tracks[0][0].ssrc;
        assert!(probe.tracks[0].iter().all(|packet| packet.ssrc == ssrc));
        // What was left was closed: at most what plays, and what was hedged a moment ago.
        let deadline = monotonic() + Duration::from_secs(10);
        let mut open = usize::MAX;
        while open > 2 && monotonic() < deadline {
            probe.receive(Duration::from_millis(200), |_| false);
            open = scenario.recorders.iter_mut().map(Recorder::sessions).sum();
        }
        assert!(open <= 2, "{open} sessions at the recorders");
        assert_eq!(probe.request("TEARDOWN", &[]).status, 200);
        while open > 0 && monotonic() < deadline {
            open = scenario.recorders.iter_mut().map(Recorder::sessions).sum();
        }
        assert_eq!(open, 0, "sessions at the recorders after TEARDOWN");
    }
}

#[test]
fn pause_and_play_on_the_wire() {
    let scenario = Scenario::new();
    let mut probe = Probe::open(&scenario.seamline.url());
    assert_eq!(probe.request("PAUSE", &[]).status, 455, "PAUSE before PLAY");
    assert_eq!(probe.play(noon(1.0), None, &[]).status, 200);
    probe.receive_until(noon(3.0), SOON);
    let paused = probe.request("PAUSE", &[]);
    assert_eq!(paused.status, 200);
    // What left before the answer was read is here; nothing comes behind it.
    let at = probe.last_capture().expect("stamps");
    let quiet = !probe.receive(Duration::from_millis(800), |probe| {
        probe.last_capture() > Some(at + FRAME_MS)
    });
    assert!(quiet, "footage while it is paused");
    // A PLAY without a range goes on; the answer says where.
    let resumed = probe.request("PLAY", &[("Require", "onvif-replay")]);
    assert_eq!(resumed.status, 200);
    let cseq = probe.client.cseq();
    probe.receive_until(noon(5.0), SOON);
    assert_one_stream(&probe.tracks[0]);
    assert_eq!(uneven_steps(&units(&probe.tracks[0]), FRAME_MS), []);
    let first = probe.tracks[0]
        .iter()
        .find(|packet| packet.onvif.is_some_and(|onvif| onvif.cseq == cseq as u8))
        .expect("packets of the resumed play");
    assert_eq!(u32::from(first.sequence), rtp_info(&resumed, "seq="));
    assert_eq!(first.rtp_time, rtp_info(&resumed, "rtptime="));
    // While it plays, a PLAY without a range says only that the client is there.
    assert_eq!(probe.request("PLAY", &[]).status, 200);
    probe.receive_until(noon(6.0), SOON);
    assert_one_stream(&probe.tracks[0]);
    // PAUSE and PLAY elsewhere: a seek.
    assert_eq!(probe.request("PAUSE", &[]).status, 200);
    let sought = probe.play(noon(30.0), Some(noon(31.0)), &[]);
    assert_eq!(sought.status, 200);
    let cseq = probe.client.cseq();
    probe.receive_to_end(SOON);
    let units = of_play(&probe, cseq);
    assert_eq!(
        units.last().and_then(|unit| unit.capture_ms),
        Some(noon(31.0) - FRAME_MS)
    );
    assert_eq!(uneven_steps(&units, FRAME_MS), []);
    // At its end the session is ready for another range.
    assert_eq!(probe.play(noon(10.0), Some(noon(11.0)), &[]).status, 200);
    probe.receive_until(noon(11.0) - FRAME_MS, SOON);
}

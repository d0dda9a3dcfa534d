//! Reverse play on the wire and in a player: groups last first, each forward, whatever serves them.

use std::{collections::BTreeSet, time::Duration};

use seamline_tests::{
    clock::{FRAME_MS, iso, noon},
    footage::Recipe,
    probe::Probe,
    recorder::Setup,
    seamline::Config,
    stream::{Packet, Unit, assert_one_stream, assert_stamped, units},
};

const SOON: Duration = Duration::from_secs(30);

/// What came backwards: its groups, as D tells them apart.
struct Rewound {
    groups: Vec<Vec<Unit>>,
}

impl Rewound {
    /// Panics unless D and C are on the first packet of each group, and nowhere else.
    fn of(packets: &[Packet], cseq: u32) -> Self {
        assert_one_stream(packets);
        assert_stamped(packets, cseq);
        let mut firsts = Vec::new();
        for (index, packet) in packets.iter().enumerate() {
            let onvif = packet.onvif.expect("all are stamped");
            assert_eq!(
                onvif.discontinuity(),
                onvif.clean_point(),
                "C or D alone on packet {}",
                packet.sequence
            );
            if onvif.discontinuity() {
                firsts.push(index);
            }
        }
        assert_eq!(firsts.first(), Some(&0), "does not begin with D");
        let ends = firsts.iter().skip(1).copied().chain([packets.len()]);
        let groups = firsts.iter().zip(ends);
        Self {
            groups: groups
                .map(|(from, to)| units(&packets[*from..to]))
                .collect(),
        }
    }

    fn captures(group: &[Unit]) -> Vec<i64> {
        group.iter().filter_map(|unit| unit.capture_ms).collect()
    }

    /// Panics unless every picture before `later` down to `earlier` came once, in order, but for what lies in `holes`.
    fn assert_whole(&self, later: i64, earlier: i64, holes: &[(i64, i64)]) {
        let mut shown = Vec::new();
        for group in &self.groups {
            let captures = Self::captures(group);
            let steps = captures.windows(2).all(|pair| pair[1] - pair[0] == FRAME_MS);
            assert!(steps, "uneven within a group: {:?}", said(&captures));
            shown.extend(captures.into_iter().rev());
        }
        let held = |at: i64| !holes.iter().any(|(from, to)| (*from..*to).contains(&at));
        let wanted: Vec<i64> = (0..=(later - earlier) / FRAME_MS)
            .map(|step| later - step * FRAME_MS)
            .filter(|at| held(*at))
            .collect();
        // Before the end of the range only what its pictures need to be decoded.
        let (inside, preroll): (Vec<i64>, Vec<i64>) =
            shown.iter().copied().partition(|at| *at >= earlier);
        let missing: BTreeSet<i64> = wanted
            .iter()
            .copied()
            .filter(|at| !inside.contains(at))
            .collect();
        assert!(missing.is_empty(), "missing {:?}", said(missing.iter()));
        assert_eq!(said(&inside), said(&wanted));
        let last = self.groups.last().map_or(0, Vec::len);
        assert!(preroll.len() < last, "goes on behind the range: {:?}", said(&preroll));
    }

    /// Capture times of the units with E, and of those with T.
    fn ends(&self) -> (Vec<i64>, Vec<i64>) {
        let flagged = |flag: fn(&Unit) -> bool| {
            let units = self.groups.iter().flatten().filter(|unit| flag(unit));
            units.filter_map(|unit| unit.capture_ms).collect()
        };
        (
            flagged(|unit| unit.onvif.is_some_and(|onvif| onvif.section_end())),
            flagged(|unit| unit.onvif.is_some_and(|onvif| onvif.terminal())),
        )
    }

    /// Panics unless RTP time follows the capture times at `ticks` a picture; negative where it says when each is shown.
    fn assert_rtp(&self, ticks: i64) {
        let units: Vec<&Unit> = self.groups.iter().flatten().collect();
        for pair in units.windows(2) {
            let rtp = i64::from(pair[1].rtp_time.wrapping_sub(pair[0].rtp_time) as i32);
            let captures = pair[1].capture_ms.zip(pair[0].capture_ms);
            let pictures = captures.map_or(0, |(after, before)| (after - before) / FRAME_MS);
            let error = (rtp - pictures * ticks).abs();
            assert!(error <= 2, "RTP time moves {rtp} over {pictures} pictures");
        }
    }
}

fn said<'a>(captures: impl IntoIterator<Item = &'a i64>) -> Vec<String> {
    captures.into_iter().map(|at| iso(*at)).collect()
}

#[test]
fn an_archive_and_a_recorder_play_backwards_alike() {
    let footage = Recipe::default().make();
    let recorder = Setup::default().start(&footage);
    let files = Recipe::default().mp4().make();
    let folder = files.archive_without(&[]);
    for config in [
        Config::default().archive("archive", folder.path()),
        Config::default().site("recorder", &recorder),
    ] {
        let seamline = config.serve();
        let mut probe = Probe::open(&seamline.url());
        let headers = [("Scale", "-1.0"), ("Rate-Control", "no")];
        let (later, earlier) = (noon(20.0), noon(9.0));
        let answer = probe.play(later, Some(earlier), &headers);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("Scale"), Some("-1.0"));
        assert_eq!(
            answer.header("Range"),
            Some("clock=20260101T120020Z-20260101T120009Z")
        );
        let cseq = probe.client.cseq();
        probe.receive_to_end(SOON);
        let rewound = Rewound::of(&probe.tracks[0], cseq);
        rewound.assert_whole(later, earlier, &[]);
        rewound.assert_rtp(3_600);
        let end = rewound.groups.last().and_then(|group| group.last());
        let end = end.and_then(|unit| unit.capture_ms).expect("units are dated");
        assert_eq!(rewound.ends(), (vec![end], vec![end]));
        let silent = probe.receive(Duration::from_secs(1), |probe| probe.byes() > 1);
        assert!(!silent && probe.byes() == 1, "{} BYE", probe.byes());
    }
}

//! When pictures come, by the player's clock: to few players one at a time, to a crowd two at a time, and to nobody all at once.
//!
//! What is looked at is how early they come. On a busy machine pictures come late and never early: that can hide what is looked for,
//! which is waited for, but shows nothing that is not there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use seamline_tests::{
    clock::{from_ntp, monotonic, poll, wall_ms},
    liar::{
        footage::{PICTURE_MS, captured},
        recorder::Stage,
        script::{ENCODERS, Part},
        viewer::{Verdict, judge_packets},
    },
    probe::Probe,
    seamline::{Config, Seamline},
    stream::units,
};

/// As long as the footage.
const WITHIN: Duration = Duration::from_secs(60);
/// One player fewer than are a crowd.
const FEW: usize = 15;
const CROWD: usize = 20;
/// How early a picture may come in a crowd.
const EARLY_MS: f64 = 45.0;
/// What a line is off by: stamps and clocks are read to the millisecond, and reports are dated a little before they are sent.
const UNSURE_MS: f64 = 10.0;
/// A picture that comes so early, and so soon behind the one before it, was sent together with it.
const PAIR_EARLY_MS: f64 = 20.0;
const PAIR_WITHIN_MS: f64 = 10.0;
/// Pairs that each player of a crowd must see.
const PAIRS: usize = 20;
/// It is looked at again every 200 ms how many play. What was sent before that, and comes after this, comes late.
const SETTLES_MS: f64 = 500.0;
/// Pictures that are at hand at once, before the recorder keeps the rest to itself: six seconds.
const AT_HAND: u32 = 150;
/// How long nothing comes after them. From two seconds on, playback goes on from there instead of catching up.
const STARVED: Duration = Duration::from_millis(600);
/// Who is late by no more has caught up.
const IN_TIME_MS: i64 = 100;

/// Recorders that give all they have at once, and the program in front of them.
fn house(sites: &[&str]) -> (Stage, Seamline) {
    let (stage, mut config) = (Stage::default(), Config::default());
    for site in sites {
        stage.play(site, Part::honest(ENCODERS[0]));
        let recorder = format!("{}/{{camera}}", stage.url(site));
        config = config.site_at(site, &recorder, 0);
    }
    let seamline = config.serve();
    (stage, seamline)
}

/// A picture, and how much earlier it came than it was due.
#[derive(Clone, Copy, Debug)]
struct Came {
    index: u32,
    at_ms: f64,
    early_ms: f64,
}

impl Came {
    fn is_pair(pair: &[Self]) -> bool {
        let apart_ms = pair[1].at_ms - pair[0].at_ms;
        pair[1].early_ms >= PAIR_EARLY_MS && apart_ms <= PAIR_WITHIN_MS
    }
}

fn milliseconds(at: Duration) -> f64 {
    at.as_secs_f64() * 1000.0
}

fn now_ms() -> f64 {
    milliseconds(monotonic())
}

/// What came so far, against the line that the first picture sets, or any sender report where that sets an earlier one: a player that
/// had no time at its beginning got its first picture late. The other one is how late the newest picture is for the newest report.
fn came(probe: &Probe) -> (Vec<Came>, f64) {
    let units = units(&probe.tracks[0]);
    let Some(first) = units.first() else {
        return (Vec::new(), 0.0);
    };
    let wall_ahead_ms = wall_ms() as f64 - now_ms();
    // When the first picture was due.
    let reports = probe.reports(0).into_iter().map(|(ntp, rtp_time)| {
        let since_first_ms = f64::from(rtp_time.wrapping_sub(first.rtp_time) as i32) / 90.0;
        from_ntp(ntp) as f64 - wall_ahead_ms - since_first_ms
    });
    let reports: Vec<f64> = reports.collect();
    let line_ms = reports
        .iter()
        .copied()
        .fold(milliseconds(first.arrival), f64::min);
    let came: Vec<Came> = units
        .iter()
        .map(|unit| {
            let capture_ms = unit.capture_ms.expect("every picture is dated");
            let at_ms = milliseconds(unit.arrival);
            Came {
                index: index(capture_ms),
                at_ms,
                early_ms: line_ms + (capture_ms - captured(0)) as f64 - at_ms,
            }
        })
        .collect();
    let newest_line_ms = reports.last().copied().unwrap_or(line_ms);
    let late_ms = came
        .last()
        .map_or(0.0, |came| line_ms - newest_line_ms - came.early_ms);
    (came, late_ms)
}

fn index(capture_ms: i64) -> u32 {
    let index = (capture_ms - captured(0)) / PICTURE_MS;
    u32::try_from(index).expect("nothing is before the scene")
}

/// A player that plays the scene from its beginning, in real time.
struct Viewer {
    seen: Arc<Seen>,
    task: JoinHandle<Probe>,
}

/// What it has seen so far.
#[derive(Debug, Default)]
struct Seen {
    pictures: AtomicU32,
    pairs: AtomicUsize,
    late_ms: AtomicI64,
    over: AtomicBool,
}

impl Viewer {
    fn of(seamline: &Seamline) -> Self {
        let mut probe = Probe::open(&seamline.url());
        assert_eq!(probe.play(captured(0), None, &[]).status, 200);
        let seen = Arc::new(Seen::default());
        let task = thread::spawn({
            let seen = Arc::clone(&seen);
            move || {
                let mut looked = 0;
                let was_told = probe.receive(WITHIN, |probe| {
                    let pictures = probe.last_capture().map_or(0, |at| index(at) + 1);
                    // Not at each packet.
                    if pictures >= looked + 10 {
                        looked = pictures;
                        let (came, late_ms) = came(probe);
                        let pairs = came.windows(2).filter(|pair| Came::is_pair(pair));
                        seen.pairs.store(pairs.count(), Ordering::Relaxed);
                        seen.late_ms.store(late_ms as i64, Ordering::Relaxed);
                    }
                    seen.pictures.store(pictures, Ordering::Relaxed);
                    seen.over.load(Ordering::Relaxed)
                });
                assert!(was_told, "nobody ended it");
                probe
            }
        });
        Self { seen, task }
    }

    /// Waits until each has seen enough.
    fn await_all(viewers: &[Self], what: &str, enough: impl Fn(&Seen) -> bool) {
        poll(WITHIN, || {
            let lacking = viewers.iter().find(|viewer| !enough(&viewer.seen));
            lacking.map_or(Ok(()), |viewer| Err(format!("{what}: {:?}", viewer.seen)))
        });
    }

    /// Ends them all. Panics unless each got every picture up to its end, once and in order.
    fn end(viewers: Vec<Self>) -> Vec<Vec<Came>> {
        for viewer in &viewers {
            viewer.seen.over.store(true, Ordering::Relaxed);
        }
        let probes = viewers.into_iter().map(|viewer| viewer.task.join());
        let probes = probes.map(|probe| probe.expect("no viewer panics"));
        probes
            .map(|probe| {
                let packets = &probe.tracks[0];
                // The last one may have been cut.
                let whole = packets.iter().rposition(|packet| packet.marker);
                let whole = &packets[..=whole.expect("pictures came")];
                let (mut came, _) = came(&probe);
                let last = whole[whole.len() - 1].onvif.expect("it is dated");
                let last = index(last.capture_ms);
                came.retain(|came| came.index <= last);
                let mut verdict = Verdict::default();
                let honest = Part::honest(ENCODERS[0]);
                judge_packets(whole, &(0..last + 1), &honest, &mut verdict);
                assert!(verdict.is_clean(), "{verdict}");
                came
            })
            .collect()
    }
}

/// The earliest of those that came between then and then.
fn earliest(came: &[Came], from_ms: f64, until_ms: f64) -> f64 {
    let between = came
        .iter()
        .filter(|came| came.at_ms >= from_ms && came.at_ms < until_ms);
    between.map(|came| came.early_ms).fold(f64::MIN, f64::max)
}

#[test]
fn in_a_crowd_pictures_come_two_at_a_time_and_to_few_players_each_at_its_own() {
    // With another site, more is read ahead than a picture or two.
    let (stage, seamline) = house(&["primary", "secondary"]);
    let viewers: Vec<Viewer> = (0..FEW).map(|_| Viewer::of(&seamline)).collect();
    let several = |than: u32| move |seen: &Seen| seen.pictures.load(Ordering::Relaxed) >= than;
    Viewer::await_all(&viewers, "three seconds alone", several(75));
    let crowded_ms = now_ms();
    let more: Vec<Viewer> = (FEW..CROWD).map(|_| Viewer::of(&seamline)).collect();
    assert!(stage.plays("primary") >= CROWD, "no leg of its own each");
    let in_pairs = |seen: &Seen| seen.pairs.load(Ordering::Relaxed) >= PAIRS;
    Viewer::await_all(&viewers, "two at a time", in_pairs);
    Viewer::await_all(&more, "two at a time, who came later", in_pairs);
    let left_ms = now_ms();
    let more = Viewer::end(more);
    poll(WITHIN, || match seamline.figure("seamline_playbacks ") {
        FEW => Ok(()),
        playbacks => Err(format!("{playbacks} still play")),
    });
    let settled_ms = now_ms() + SETTLES_MS;
    let newest = |viewer: &Viewer| viewer.seen.pictures.load(Ordering::Relaxed);
    let newest = viewers.iter().map(newest).max().unwrap_or_default();
    Viewer::await_all(&viewers, "three seconds alone again", several(newest + 90));
    let first = Viewer::end(viewers);

    let (mut pictures, mut pairs) = (0, 0);
    for came in first.iter().chain(&more) {
        let all = earliest(came, 0.0, f64::MAX);
        assert!(all <= EARLY_MS + UNSURE_MS, "{all} ms early");
        let crowd = came.windows(2);
        let crowd: Vec<_> = crowd
            .filter(|pair| (crowded_ms..left_ms).contains(&pair[1].at_ms))
            .collect();
        pictures += crowd.len();
        pairs += crowd.iter().filter(|pair| Came::is_pair(pair)).count();
    }
    println!("in the crowd {pairs} of {pictures} pictures came with the one before");
    for came in &first {
        let before = earliest(came, 0.0, crowded_ms);
        let after = earliest(came, settled_ms, f64::MAX);
        println!("{before:.1} ms early before, {after:.1} ms early after");
        assert!(before.max(after) <= UNSURE_MS, "{before} and {after} ms");
    }
}

/// The recorder holds back what is due until it is late, then gives all of it.
#[test]
fn what_comes_late_is_caught_up_with_at_twice_the_pace_by_one_player_and_by_a_crowd() {
    for players in [1, CROWD] {
        let (stage, seamline) = house(&["primary"]);
        stage.hold_back("primary", AT_HAND);
        let viewers: Vec<Viewer> = (0..players).map(|_| Viewer::of(&seamline)).collect();
        Viewer::await_all(&viewers, "what is at hand", |seen| {
            seen.pictures.load(Ordering::Relaxed) >= AT_HAND
        });
        thread::sleep(STARVED);
        let given_ms = now_ms();
        stage.hold_back("primary", u32::MAX);
        Viewer::await_all(&viewers, "in time again", |seen| {
            let pictures = seen.pictures.load(Ordering::Relaxed);
            pictures > AT_HAND + 25 && seen.late_ms.load(Ordering::Relaxed) <= IN_TIME_MS
        });
        let more = |viewer: &Viewer| viewer.seen.pairs.load(Ordering::Relaxed) + PAIRS;
        let pairs = viewers.iter().map(more).max().unwrap_or_default();
        if players == CROWD {
            Viewer::await_all(&viewers, "two at a time again", |seen| {
                seen.pairs.load(Ordering::Relaxed) >= pairs
            });
        }
        for came in Viewer::end(viewers) {
            let late: Vec<&Came> = came.iter().filter(|came| came.index >= AT_HAND).collect();
            let behind_ms = -late[0].early_ms;
            assert!(behind_ms > 500.0, "{behind_ms} ms late proves nothing");
            let spare_ms = (0..).zip(&late).map(|(nth, came)| {
                let twice_ms = given_ms + f64::from(nth) * PICTURE_MS as f64 / 2.0;
                let due_ms = came.at_ms + came.early_ms;
                let soonest_ms = if due_ms < twice_ms {
                    twice_ms
                } else {
                    due_ms - EARLY_MS
                };
                came.at_ms - soonest_ms
            });
            let spare_ms = spare_ms.fold(f64::MAX, f64::min);
            println!("{players}: {behind_ms:.0} ms late, then {spare_ms:.1} ms behind the soonest");
            assert!(spare_ms >= -UNSURE_MS, "{spare_ms} ms too soon");
        }
    }
}

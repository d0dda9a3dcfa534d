//! Faults of the house and of patience: descriptors that run out, a program that is killed and started again, clients that are
//! silent or take a byte a second.

use std::{thread, time::Duration};

use seamline_tests::{
    clock::{FRAME_MS, monotonic, noon, poll},
    footage::Recipe,
    liar::{
        recorder::Stage,
        script::{ENCODERS, Part},
    },
    probe::Probe,
    recorder::{Recorder, Setup},
    rtsp::{Client, Message},
    seamline::{Config, Seamline},
    stream::{assert_one_stream, uneven_steps, units},
};

const SOON: Duration = Duration::from_secs(30);

fn house(start: impl FnOnce(&Config) -> Seamline) -> (Recorder, Seamline) {
    let recorder = Setup::default().start(&Recipe::secondary().make());
    let seamline = start(&Config::default().site("primary", &recorder));
    (recorder, seamline)
}

/// Panics unless a new client is served as if nothing had been.
fn assert_served(seamline: &Seamline) {
    let mut probe = Probe::open(&seamline.url());
    let answer = probe.play(noon(0.0), Some(noon(2.0)), &[("Rate-Control", "no")]);
    assert_eq!(answer.status, 200, "{answer:?}");
    probe.receive_to_end(SOON);
    assert_one_stream(&probe.tracks[0]);
    assert_eq!(uneven_steps(&units(&probe.tracks[0]), FRAME_MS), []);
}

#[test]
fn out_of_descriptors_who_plays_plays_on_and_others_come_in_later() {
    const DESCRIPTORS: usize = 96;
    let (_recorder, seamline) = house(|config| config.serve_within(DESCRIPTORS));
    let mut viewer = Probe::open(&seamline.url());
    assert_eq!(viewer.play(noon(0.0), None, &[]).status, 200);
    viewer.receive_until(noon(0.5), SOON);
    let crowd: Vec<Client> = (0..DESCRIPTORS * 2)
        .map(|_| Client::connect(&seamline.url()))
        .collect();
    seamline.await_log(&["accept"], SOON);
    viewer.receive_until(noon(3.0), SOON);
    assert_one_stream(&viewer.tracks[0]);
    assert_eq!(uneven_steps(&units(&viewer.tracks[0]), FRAME_MS), []);
    let complaints = |seamline: &Seamline| {
        let log = seamline.log();
        log.iter().filter(|line| line.contains("accept")).count()
    };
    let before = complaints(&seamline);
    thread::sleep(Duration::from_secs(1));
    let told = complaints(&seamline) - before;
    assert!(told <= 12, "{told} complaints in a second");
    drop(crowd);
    assert_served(&seamline);
}

#[test]
fn killed_and_started_again_it_serves_as_before() {
    let (_recorder, mut seamline) = house(Config::serve);
    for round in 0..3 {
        let mut viewer = Probe::open(&seamline.url());
        assert_eq!(viewer.play(noon(0.0), None, &[]).status, 200);
        viewer.receive_until(noon(0.5), SOON);
        seamline = seamline.killed_and_started_again();
        let gone = viewer.receive(SOON, |probe| probe.closed);
        assert!(gone || viewer.closed, "round {round}: the connection hangs");
        assert_served(&seamline);
    }
}

#[test]
fn who_is_silent_is_let_go_and_who_takes_a_byte_a_second_costs_little() {
    let (_recorder, seamline) = house(Config::serve);
    let url = seamline.url();
    let resident = seamline.resident();
    let begun = monotonic();
    let idle = thread::spawn({
        let url = url.clone();
        move || {
            let mut client = Client::connect(&url);
            assert_eq!(client.request("OPTIONS", &url, &[]).status, 200);
            let end = client.next(monotonic() + Duration::from_secs(90));
            assert!(matches!(end, Some(Message::Closed)), "{end:?}");
            monotonic().saturating_sub(begun)
        }
    });
    // It takes what it asked for a byte at a time, and says now and then that it is there.
    let mut slow = Probe::open(&url);
    slow.client
        .send("PLAY", &format!("{url}/"), &[("Rate-Control", "no")]);
    while monotonic() < begun + Duration::from_secs(60) {
        thread::sleep(Duration::from_secs(1));
        assert_eq!(slow.client.sip(1), 1, "it is still served");
    }
    let grown = seamline.resident().saturating_sub(resident);
    assert!(grown < 24 << 20, "{grown} bytes for one that takes nothing");
    assert_served(&seamline);
    let lived = idle.join().expect("the idle one is let go");
    assert!((55..75).contains(&lived.as_secs()), "it lived {lived:?}");
}

/// Sessions that come and go, and how many are there at a time.
const SESSIONS: usize = 10_000;
const AT_ONCE: usize = 16;
/// Sessions until buffers and caches have the size that they keep.
const WARM: usize = 1_600;

#[test]
#[ignore = "takes minutes: row 29"]
fn ten_thousand_sessions_leave_the_house_as_it_was() {
    // One that answers faster than it is asked.
    let stage = Stage::default();
    stage.play("cam1", Part::honest(ENCODERS[0]));
    let recorder = format!("rtsp://127.0.0.1:{}/{{camera}}", stage.port());
    let seamline = Config::default().site_at("primary", &recorder, 0).serve();
    let url = seamline.url();
    let come_and_go = |sessions: usize| {
        thread::scope(|scope| {
            for one in 0..AT_ONCE {
                let url = &url;
                scope.spawn(move || {
                    for nth in 0..sessions / AT_ONCE {
                        let mut probe = Probe::open(url);
                        assert_eq!(probe.play(noon(0.0), Some(noon(4.0)), &[]).status, 200);
                        match (one + nth) % 3 {
                            0 => assert_eq!(probe.request("TEARDOWN", &[]).status, 200),
                            1 => probe.receive_until(noon(0.1), SOON),
                            _ => {}
                        }
                    }
                });
            }
        });
    };
    let standing = || {
        let tasks = seamline.figure("seamline_tasks");
        (seamline.descriptors(), tasks, seamline.resident())
    };
    let settled = |descriptors: usize, tasks: usize| {
        poll(SOON, || {
            let now = standing();
            let settled = (now.0 <= descriptors && now.1 <= tasks).then_some(now);
            settled.ok_or_else(|| format!("{now:?}, not {descriptors} and {tasks}"))
        })
    };
    let idle = standing();
    come_and_go(WARM);
    let warm = settled(idle.0, idle.1);
    let begun = monotonic();
    come_and_go(SESSIONS);
    let took = monotonic().saturating_sub(begun);
    let left = settled(idle.0, idle.1);
    println!(
        "descriptors, tasks, resident bytes: {idle:?} idle, {warm:?} warm, {left:?} after {SESSIONS} sessions in {took:?}"
    );
    assert_eq!(seamline.figure("seamline_playbacks"), 0);
    let grown = left.2.saturating_sub(warm.2);
    assert!(grown < 4 << 20, "{grown} bytes more");
}

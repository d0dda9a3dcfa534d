//! Who plays what, and how: each player, over each transport it knows, through each action it can. Slow; on demand:
//! `tests/interop` runs it and writes `tests/INTEROP.md`. What the table says is tested one by one in the other files.

use std::{
    env,
    fmt::Write as _,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::Duration,
};

use seamline_tests::{
    clock::{FRAME_MS, iso, noon},
    footage::{Footage, Recipe},
    player::Player,
    probe::Probe,
    recorder::{Recorder, Setup},
    report::{Report, judge},
    seamline::{Config, Seamline},
};

const SOON: Duration = Duration::from_secs(30);
/// The secondary's group: what an outage between two key frames may show again.
const GROUP: Duration = Duration::from_secs(1);

/// A player and the transport it uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    player: Who,
    transport: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Ffmpeg,
    Gstreamer,
    GstreamerOnvif,
    Aiortsp,
    Retina,
    OpenRtsp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Play,
    Pause,
    PauseBehindSeam,
    Seek,
    Reverse,
    End,
    Seam,
    Outage,
}

const ACTIONS: [Action; 8] = [
    Action::Play,
    Action::Pause,
    Action::PauseBehindSeam,
    Action::Seek,
    Action::Reverse,
    Action::End,
    Action::Seam,
    Action::Outage,
];

/// Where live555's `openRTSP` is: no package has it, so its rows are played where this names it.
const OPENRTSP: &str = "SEAMLINE_OPENRTSP";

fn rows() -> Vec<Row> {
    let transports: [(Who, &[&str]); 6] = [
        (Who::Ffmpeg, &["tcp", "udp", "http", "tls"]),
        (Who::Gstreamer, &["tcp", "udp", "http", "tls"]),
        (Who::GstreamerOnvif, &["tcp"]),
        (Who::Aiortsp, &["tcp", "udp", "tls"]),
        (Who::Retina, &["tcp", "udp"]),
        (Who::OpenRtsp, &["tcp", "udp", "http", "tls"]),
    ];
    let pairs = transports
        .iter()
        .flat_map(|(player, transports)| transports.iter().map(|transport| (*player, *transport)));
    // `SEAMLINE_INTEROP=ffmpeg` and the like: those rows alone, and the page is left as it is.
    let only = env::var("SEAMLINE_INTEROP").unwrap_or_default();
    pairs
        .map(|(player, transport)| Row { player, transport })
        .filter(|row| row.player != Who::OpenRtsp || env::var_os(OPENRTSP).is_some())
        .filter(|row| {
            format!("{} {}", row.player.name(), row.transport)
                .to_lowercase()
                .contains(&only)
        })
        .collect()
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Action::Play => "play",
            Action::Pause => "pause",
            Action::PauseBehindSeam => "pause behind a seam",
            Action::Seek => "seek",
            Action::Reverse => "reverse",
            Action::End => "end",
            Action::Seam => "seam",
            Action::Outage => "outage",
        }
    }
}

impl Who {
    fn name(self) -> &'static str {
        match self {
            Who::Ffmpeg => "FFmpeg",
            Who::Gstreamer => "GStreamer",
            Who::GstreamerOnvif => "GStreamer, ONVIF mode",
            Who::Aiortsp => "aiortsp",
            Who::Retina => "retina",
            Who::OpenRtsp => "openRTSP",
        }
    }

    /// Why a player cannot do this, whoever serves it.
    fn lacks(self, action: Action) -> Option<&'static str> {
        use Action as A;
        match (self, action) {
            (
                Who::Ffmpeg | Who::Retina | Who::OpenRtsp,
                A::Pause | A::PauseBehindSeam | A::Reverse,
            )
            | (Who::OpenRtsp, A::Seek)
            | (Who::Gstreamer, A::Reverse) => Some("no command for it"),
            (Who::Ffmpeg | Who::Gstreamer | Who::Retina, A::Seek) => {
                Some("no absolute time: by a new URL")
            }
            (Who::Aiortsp, A::Reverse) => Some("depacketizes forward only"),
            _ => None,
        }
    }
}

/// A primary without 4 s to 8 s, and a secondary that holds everything, both at the speed of a busy disk.
struct Scenario {
    footage: [Footage; 2],
    recorders: [Recorder; 2],
    seamline: Seamline,
}

impl Scenario {
    fn new(speed: Option<f64>, teach: bool) -> Self {
        let footage = [Recipe::default().make(), Recipe::secondary().make()];
        let slow = |setup: Setup| match speed {
            Some(speed) => setup.no_faster_than(speed),
            None => setup,
        };
        let recorders = [
            slow(Setup::default().without(noon(4.0), noon(8.0))).start(&footage[0]),
            Setup::default().start(&footage[1]),
        ];
        let config = Config::default().tls().policy("failback", "never");
        let seamline = config
            .site("primary", &recorders[0])
            .site("secondary", &recorders[1])
            .serve();
        if teach {
            let mut probe = Probe::open(&seamline.url());
            let reply = probe.play(noon(1.0), Some(noon(12.0)), &[("Rate-Control", "no")]);
            assert_eq!(reply.status, 200);
            probe.receive_to_end(SOON);
        }
        Self {
            footage,
            recorders,
            seamline,
        }
    }

    fn player(&self, row: Row, from: i64, until: i64) -> Player {
        let scheme = match (row.player, row.transport) {
            (_, "tls") => "rtsps:",
            // It names the tunnel by scheme.
            (Who::Gstreamer, "http") => "rtsph:",
            _ => "rtsp:",
        };
        let plain = self.seamline.url().replacen("rtsp:", scheme, 1);
        let windowed = self.seamline.url_from(from, Some(until));
        let windowed = windowed.replacen("rtsp:", scheme, 1);
        let over = match (row.player, row.transport) {
            (_, "tls") | (Who::Gstreamer, "http") => "tcp",
            (_, other) => other,
        };
        match row.player {
            Who::Ffmpeg => Player::ffmpeg_over(over, &windowed),
            Who::Gstreamer => Player::gstreamer_over(over, &windowed),
            Who::GstreamerOnvif => Player::onvif_between(&plain, from, until),
            Who::Aiortsp => Player::aiortsp(row.transport, &plain, from),
            Who::Retina => Player::retina(over, &windowed),
            Who::OpenRtsp => {
                let program = env::var_os(OPENRTSP).expect("it has no row without it");
                Player::openrtsp(Path::new(&program), row.transport, &plain, from, until)
            }
        }
    }

    fn judge(&self, player: &Player, from: usize) -> Report {
        let sites = [
            ("primary", &self.footage[0]),
            ("secondary", &self.footage[1]),
        ];
        judge(&player.pictures[from..], &sites)
    }
}

/// Runs an action; panics with what is wrong.
fn act(row: Row, action: Action) {
    match action {
        Action::Play => {
            let scenario = Scenario::new(None, true);
            let mut player = scenario.player(row, noon(9.0), noon(11.0));
            player.watch_until(noon(11.0) - FRAME_MS, SOON);
            let report = scenario.judge(&player, 0);
            report.assert_seamless();
            assert!(report.runs[0].first <= noon(9.0), "begins late: {report}");
        }
        Action::Pause => pause(row, 20.0, "primary"),
        // What plays is not what the description described.
        Action::PauseBehindSeam => pause(row, 9.0, "secondary"),
        Action::Seek => {
            let scenario = Scenario::new(None, true);
            let mut player = scenario.player(row, noon(9.0), noon(30.0));
            player.watch_until(noon(10.0), SOON);
            let before = player.pictures.len();
            player.tell(&format!("seek {}", iso(noon(20.3))));
            let near = |clock: &i64| (noon(18.0)..noon(23.0)).contains(clock);
            let arrived = |player: &Player| {
                let clocks = player.pictures[before..].iter().filter_map(|p| p.clock_ms);
                clocks.filter(near).any(|clock| clock >= noon(21.5))
            };
            assert!(player.watch(SOON, arrived), "the seek does not arrive");
            let first = player.pictures[before..]
                .iter()
                .position(|picture| picture.clock_ms.as_ref().is_some_and(near))
                .expect("it arrived");
            scenario.judge(&player, before + first).assert_seamless();
        }
        Action::Reverse => {
            let scenario = Scenario::new(None, true);
            let url = scenario.seamline.url();
            let mut player = Player::onvif_at(-1.0, &url, noon(14.0), noon(10.0));
            let back = |player: &Player| player.last_clock().is_some_and(|at| at <= noon(10.0));
            assert!(player.watch(SOON, back), "never back: {:?}", player.errors);
            let clocks: Vec<_> = player.pictures.iter().filter_map(|p| p.clock_ms).collect();
            let steps = clocks
                .windows(2)
                .filter(|pair| pair[0] - pair[1] != FRAME_MS);
            let odd: Vec<_> = steps.map(|pair| (iso(pair[0]), iso(pair[1]))).collect();
            assert!(odd.is_empty(), "not picture by picture backwards: {odd:?}");
            let report = scenario.judge(&player, 0);
            assert!(report.damaged.is_empty(), "{report}");
            assert!(
                clocks[0] >= noon(14.0) - FRAME_MS,
                "begins late: {}",
                iso(clocks[0])
            );
        }
        Action::End => {
            let scenario = Scenario::new(None, true);
            let last = noon(70.0);
            let mut player = scenario.player(row, noon(67.0), last);
            player.watch_to_end(SOON);
            let report = scenario.judge(&player, 0);
            report.assert_seamless();
            let end = report.runs.last().map(|run| run.last);
            assert_eq!(end, Some(last - FRAME_MS), "{report}");
            assert_eq!(player.end.as_deref(), Some("eos"));
        }
        Action::Seam => {
            let scenario = Scenario::new(None, true);
            let mut player = scenario.player(row, noon(2.0), noon(6.0));
            player.watch_until(noon(6.0) - FRAME_MS, SOON);
            let report = scenario.judge(&player, 0);
            report.assert_seamless();
            assert_eq!(report.sites(), ["primary", "secondary"], "{report}");
        }
        Action::Outage => {
            let mut scenario = Scenario::new(Some(1.2), false);
            let mut player = scenario.player(row, noon(20.0), noon(26.0));
            player.watch_until(noon(22.0), SOON);
            scenario.recorders[0].kill();
            player.watch_until(noon(26.0) - FRAME_MS, SOON);
            let report = scenario.judge(&player, 0);
            report.assert_nothing_lost(GROUP);
            assert_eq!(report.sites(), ["primary", "secondary"], "{report}");
        }
    }
}

/// Pauses in the middle of four seconds from `from` on, which `site` plays.
fn pause(row: Row, from: f64, site: &str) {
    let scenario = Scenario::new(None, true);
    let mut player = scenario.player(row, noon(from), noon(from + 4.0));
    player.watch_until(noon(from + 1.0), SOON);
    player.tell("pause");
    player.watch(Duration::from_secs(2), |_| false);
    let held = player.pictures.len();
    player.watch(Duration::from_secs(1), |_| false);
    assert_eq!(player.pictures.len(), held, "footage while it is paused");
    player.tell("play");
    player.watch_until(noon(from + 4.0) - FRAME_MS, SOON);
    let report = scenario.judge(&player, 0);
    report.assert_seamless();
    assert_eq!(report.sites(), [site], "{report}");
}

/// `pass`, or what is wrong, or why it cannot be.
fn cell(row: Row, action: Action) -> String {
    if let Some(why) = row.player.lacks(action) {
        return format!("– ({why})");
    }
    match catch_unwind(AssertUnwindSafe(|| act(row, action))) {
        Ok(()) => "pass".to_owned(),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
                .unwrap_or_default();
            let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
            format!("FAIL: {}", line.chars().take(200).collect::<String>())
        }
    }
}

#[test]
#[ignore = "takes a quarter of an hour; tests/interop runs it"]
fn the_table() {
    let mut table = String::from("| player | over |");
    for action in ACTIONS {
        let _ = write!(table, " {} |", action.name());
    }
    table.push_str("\n|---|---|---|---|---|---|---|---|---|---|\n");
    let mut failed = 0;
    for row in rows() {
        let _ = write!(table, "| {} | {} |", row.player.name(), row.transport);
        for action in ACTIONS {
            let result = cell(row, action);
            println!(
                "{} {} {action:?}: {result}",
                row.player.name(),
                row.transport
            );
            failed += usize::from(result.starts_with("FAIL"));
            let _ = write!(table, " {} |", result.replace('|', "/"));
        }
        table.push('\n');
    }
    if env::var_os("SEAMLINE_INTEROP").is_some() {
        assert_eq!(failed, 0, "cells that do not pass:\n{table}");
        return;
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("INTEROP.md");
    let text = fs::read_to_string(&page).expect("the page is in the repository");
    let (head, _) = text.split_once("| player |").unwrap_or((text.as_str(), ""));
    fs::write(&page, format!("{head}{table}")).expect("the page can be written");
    assert_eq!(failed, 0, "cells that do not pass:\n{table}");
}

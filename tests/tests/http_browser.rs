//! Chromium with what is served over HTTP besides HLS: files in a video element, the page that plays over WebSocket, and pages of
//! other origins. Every picture that is presented tells its time by the burned-in clock.

use std::time::Duration;

use seamline_tests::{
    browser::{assert_fluent, assert_fluent_pictures},
    clock::{FRAME_MS, await_that, iso, monotonic, noon},
    curl::curl,
    footage::Recipe,
    player::Player,
    program::cache_folder,
    recorder::{Recorder, Setup},
    seamline::{Config, Seamline},
};
use serde_json::json;

const SOON: Duration = Duration::from_secs(40);

/// Two recorders of different encoders, a few times faster than real time.
struct Recorders {
    primary: Recorder,
    secondary: Recorder,
    seamline: Seamline,
}

impl Recorders {
    fn new(gap: Option<(f64, f64)>, speed: f64) -> Self {
        let footage = [Recipe::default().make(), Recipe::secondary().make()];
        let busy = || Setup::default().no_faster_than(speed);
        let first = match gap {
            Some((from, until)) => busy().without(noon(from), noon(until)),
            None => busy(),
        };
        let (primary, secondary) = (first.start(&footage[0]), busy().start(&footage[1]));
        let seamline = Config::default()
            .policy("failback", "at-seam")
            .site("primary", &primary)
            .site("secondary", &secondary)
            .serve();
        Self {
            primary,
            secondary,
            seamline,
        }
    }

    fn page(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.seamline.port())
    }
}

fn clip(from: i64, until: i64, format: &str) -> String {
    let (start, end) = (iso(from), iso(until));
    format!("/get?path=gate&start={start}&end={end}&format={format}")
}

fn shoot(player: &mut Player, name: &str) {
    let shot = cache_folder().join(name);
    drop(std::fs::remove_file(&shot));
    player.tell(&format!("shot {}", shot.display()));
    // Commands are obeyed one after the other.
    player.run("1", SOON);
    assert!(
        shot.metadata().is_ok_and(|file| file.len() > 10_000),
        "no screenshot"
    );
}

#[test]
fn a_file_in_a_video_element_has_no_seam() {
    let house = Recorders::new(Some((8.0, 12.0)), 4.0);
    // A key frame of the primary, and no key frame of anybody.
    for (format, from) in [("fmp4", 1.52), ("mp4", 2.0)] {
        let (from, until) = (noon(from), noon(14.0));
        let mut player = Player::chromium(&house.page("/health"), &clip(from, until, format));
        player.watch_until(noon(9.0), SOON);
        shoot(&mut player, "get-chromium.png");
        player.watch_to_end(SOON);
        assert_fluent(&player, from, until);
    }
    assert!(!house.secondary.asked().is_empty());
}

/// Of a clip that is all there a browser asks for what it seeks to.
#[test]
fn a_browser_seeks_in_a_file() {
    // More than a browser reads ahead.
    let rich = Recipe {
        bitrate: 4_000,
        ..Recipe::default()
    };
    let recorder = Setup::default().start(&rich.make());
    let seamline = Config::default().site("primary", &recorder).serve();
    let base = format!("http://127.0.0.1:{}", seamline.port());
    let (from, until) = (noon(1.52), noon(61.52));
    let clip = clip(from, until, "fmp4");
    // What one reader has taken to its end is kept for nobody.
    let made = || {
        curl(&format!("{base}{clip}"), &["--head"])
            .header("etag")
            .len()
            == 34
    };
    await_that(SOON, "it is not made", made);
    let mut player = Player::chromium(&format!("{base}/health"), &clip);
    player.watch_until(noon(3.0), SOON);
    for seconds in [50.0, 20.0, 35.0] {
        let wanted = from + (seconds * 1000.0) as i64;
        player.tell(&format!("seek {seconds}"));
        let there = |player: &Player| {
            let at = player.last_clock();
            at.is_some_and(|at| (wanted + 1_000..wanted + 4_000).contains(&at))
        };
        assert!(player.watch(SOON, there), "{seconds}: {:?}", player.errors);
        let shown = player
            .pictures
            .iter()
            .rev()
            .filter_map(|picture| picture.clock_ms);
        let first = shown
            .take_while(|at| (wanted - 500..wanted + 4_000).contains(at))
            .last();
        let off = first.map(|first| first - wanted);
        assert!(
            off.is_some_and(|off| (0..400).contains(&off)),
            "{seconds}: {off:?}"
        );
    }
    assert_eq!(player.errors, [""; 0]);
}

/// In mid-body, while the browser plays.
#[test]
fn a_file_in_a_video_element_does_not_show_the_primary_die() {
    let mut house = Recorders::new(None, 2.0);
    let (from, until) = (noon(1.52), noon(22.0));
    let mut player = Player::chromium(&house.page("/health"), &clip(from, until, "fmp4"));
    player.watch_until(noon(4.0), SOON);
    house.primary.kill();
    player.watch_to_end(Duration::from_secs(60));
    assert_fluent(&player, from, until);
    house
        .seamline
        .await_log(&["from=\"primary\" to=\"secondary\""], SOON);
}

/// The page plays over WebSocket: over planned seams, through the death of the primary, at another speed, and from another instant, also
/// when that is another one all the time.
#[test]
fn the_page_plays_through_the_death_of_the_primary_and_obeys() {
    let mut house = Recorders::new(Some((3.0, 5.0)), 8.0);
    let from = noon(2.0);
    let page = house.page(&format!("/#camera=gate&at={}", iso(from)));
    let mut player = Player::chromium_page(&page);
    player.watch_until(noon(6.0), SOON);
    house
        .seamline
        .await_log(&["from=\"secondary\" to=\"primary\""], SOON);
    house.primary.kill();
    player.watch_until(noon(16.0), SOON);
    shoot(&mut player, "page-chromium.png");
    let shown = player.pictures.len();
    let last = player.last_clock().unwrap_or_default();
    assert_fluent_pictures(&player.pictures, from, last + FRAME_MS);
    assert!(player.pictures.iter().all(told_by_its_time));

    // Four times as fast: sixteen seconds in about four.
    player.run(
        "document.getElementById('speed').value = '4'; document.getElementById('speed').dispatchEvent(new Event('change'))",
        SOON,
    );
    let began = monotonic();
    player.watch_until(noon(36.0), SOON);
    let took = monotonic().saturating_sub(began);
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert!(player.pictures[shown..].iter().all(told_by_its_time));

    // And back to where it was, at the usual speed.
    player.run(
        "document.getElementById('speed').value = '1'; document.getElementById('speed').dispatchEvent(new Event('change'))",
        SOON,
    );
    let again = noon(5.0);
    // Forty jumps in two seconds, and the last one counts.
    let storm = format!(
        "(async () => {{ for (let jump = 0; jump < 40; jump += 1) {{ play({} + jump * 7919 % 40000); \
         await new Promise((done) => setTimeout(done, 50)); }} play({again}); }})()",
        noon(15.0)
    );
    player.run(&storm, SOON);
    let earlier = |player: &Player| {
        let behind = noon(8.0)..noon(14.0);
        player.last_clock().is_some_and(|at| behind.contains(&at))
    };
    assert!(player.watch(SOON, earlier), "{:?}", player.errors);
    let back = player
        .pictures
        .iter()
        .rposition(|picture| picture.clock_ms >= Some(noon(14.0)));
    let behind = &player.pictures[back.expect("it was there") + 1..];
    let last = player.last_clock().unwrap_or_default();
    assert_fluent_pictures(behind, again, last + FRAME_MS);
    assert!(behind.iter().all(told_by_its_time));
    assert_eq!(player.errors, [""; 0]);
    // Once at the planned seam, and when the primary died.
    let lines = house.seamline.log();
    let left = |line: &&String| line.contains("from=\"primary\" to=\"secondary\"");
    assert!(lines.iter().filter(left).count() >= 2, "{lines:?}");
}

/// Media time is the time of day; a canvas that is read late has the next picture.
fn told_by_its_time(picture: &seamline_tests::program::Picture) -> bool {
    let off = picture
        .clock_ms
        .zip(picture.pts_ms)
        .map(|(clock, pts)| clock - pts.round() as i64);
    off.is_some_and(|off| {
        off.abs() <= 1 || (off % FRAME_MS).abs() <= 1 && off.abs() <= 4 * FRAME_MS
    })
}

/// A page of another origin that may read answers, and one that may not: the same server under two names.
#[test]
fn pages_of_other_origins_read_what_they_may() {
    let footage = Recipe::default().make();
    let recorder = Setup::default().start(&footage);
    let wall = Config::default().site("primary", &recorder).serve();
    let origin = format!("http://127.0.0.1:{}", wall.port());
    let ours = Config::default()
        .site("primary", &recorder)
        .user("guard", "secret")
        .auth("basic", true)
        .top("http", json!({ "cors_origins": [origin] }))
        .serve();
    let base = format!("http://127.0.0.1:{}", ours.port());
    let url = format!("{base}{}", clip(noon(2.0), noon(6.0), "fmp4"));
    // Authorization needs leave before the request, ETag and Content-Range before they are read.
    let script = format!(
        "fetch('{url}', {{ headers: {{ Authorization: 'Basic ' + btoa('guard:secret'), Range: 'bytes=0-99' }} }}).then(async (answer) => \
         [answer.status, answer.headers.get('etag'), answer.headers.get('content-range'), (await answer.arrayBuffer()).byteLength], \
         (error) => String(error))"
    );
    let mut allowed = Player::chromium_page(&format!("{origin}/health"));
    let read = allowed.run(&script, SOON);
    assert_eq!((&read[0], &read[3]), (&json!(206), &json!(100)), "{read}");
    let tag = read[1].as_str().unwrap_or_default();
    assert!(tag.starts_with('"'), "{read}");
    let range = read[2].as_str().unwrap_or_default();
    assert!(range.starts_with("bytes 0-99/"), "{read}");
    // Who is not known is told so, and the page may know it.
    let stranger = format!(
        "fetch('{base}/v1/cameras').then((answer) => answer.status, (error) => String(error))"
    );
    assert_eq!(allowed.run(&stranger, SOON), json!(401));

    let mut refused = Player::chromium_page(&format!("http://localhost:{}/health", wall.port()));
    for script in [&script, &stranger] {
        let said = refused.run(script, SOON);
        let said = said.as_str().unwrap_or_default();
        assert!(said.contains("Failed to fetch"), "{said}");
    }
}

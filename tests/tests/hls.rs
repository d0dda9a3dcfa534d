//! HLS: playlists that are true before a byte of footage was read, and segments of which every picture is in exactly one.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use seamline_tests::{
    browser::assert_fluent,
    clock::{FRAME_MS, iso, noon},
    footage::{Footage, Recipe},
    player::Player,
    playlists::assert_conforms,
    program::cache_folder,
    recorder::{Recorder, Setup},
    report::judge,
    seamline::{Config, Seamline},
};

const SOON: Duration = Duration::from_secs(40);

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("playlists are text")
    }
}

fn ask(method: &str, seamline: &Seamline, path: &str, headers: &str) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", seamline.port())).expect("it listens");
    stream
        .set_read_timeout(Some(SOON))
        .expect("a socket takes a timeout");
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: h\r\n{headers}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .unwrap_or_else(|error| panic!("{path}: {error}"));
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap_or_else(|| panic!("{path}: no head"));
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Answer {
        status: status.unwrap_or_else(|| panic!("{path}: {head}")),
        head,
        body: answer.split_off(end + 4),
    }
}

fn get(seamline: &Seamline, path: &str) -> Answer {
    ask("GET", seamline, path, "")
}

fn media_path(from: i64, until: i64) -> String {
    format!(
        "/hls/gate/media.m3u8?start={}&end={}",
        iso(from),
        iso(until)
    )
}

fn index_url(seamline: &Seamline, from: i64, until: i64) -> String {
    let port = seamline.port();
    format!("http://127.0.0.1:{port}{}", index_path(from, until))
}

fn index_path(from: i64, until: i64) -> String {
    media_path(from, until).replace("media", "index")
}

/// The addresses of a playlist: heads and segments, in order.
fn addresses(playlist: &str) -> Vec<String> {
    let maps = |line: &str| {
        Some(
            line.split_once("#EXT-X-MAP:URI=\"")?
                .1
                .split('"')
                .next()?
                .to_owned(),
        )
    };
    playlist
        .lines()
        .filter_map(|line| maps(line).or_else(|| (!line.starts_with('#')).then(|| line.to_owned())))
        .collect()
}

/// Two archives of different encoders. The primary lacks 20 s to 30 s, and both lack 40 s to 50 s.
struct Archives {
    footage: [Footage; 2],
    folders: [tempfile::TempDir; 2],
}

impl Archives {
    fn new() -> Self {
        let footage = [
            Recipe::default().mp4().make(),
            Recipe::secondary().mp4().make(),
        ];
        let folders = [
            footage[0].archive_without(&[noon(20.0), noon(40.0)]),
            footage[1].archive_without(&[noon(40.0)]),
        ];
        Self { footage, folders }
    }

    fn serve(&self) -> Seamline {
        self.config().serve()
    }

    fn config(&self) -> Config {
        Config::default()
            .policy("failback", "at-seam")
            .archive("primary", self.folders[0].path())
            .archive("secondary", self.folders[1].path())
    }
}

#[test]
fn what_a_camera_recorded_is_not_served_as_what_another_did_after_a_reload() {
    let archives = Archives::new();
    let [one, other] = &archives.folders;
    let one = Config::default().archive("primary", one.path());
    let other = Config::default().archive("primary", other.path());
    let seamline = one.serve();
    let playlist = media_path(noon(0.0), noon(8.0));
    // Two segments, as the second is filled with what waits behind the first.
    let read = || -> Vec<Vec<u8>> {
        let told = get(&seamline, &playlist);
        assert_eq!(told.status, 200, "{}", told.text());
        let files = addresses(told.text());
        let paths = files.iter().take(3).map(|file| format!("/hls/gate/{file}"));
        let answers = paths.map(|path| get(&seamline, &path));
        answers
            .inspect(|answer| assert_eq!(answer.status, 200, "{}", answer.head))
            .map(|answer| answer.body)
            .collect()
    };
    let before = read();
    assert_eq!(read(), before);
    seamline.reload(&other);
    seamline.await_log(&["configuration read again"], SOON);
    let after = read();
    assert_eq!(after.len(), 3);
    for (before, after) in before.iter().zip(&after) {
        assert_ne!(before, after, "the footage of the camera before");
    }
    assert_eq!(read(), after);
}

/// Over seams and a hole: tags, dates, heads, segments and what they hold, read by others.
#[test]
fn playlists_and_segments_are_as_the_standard_demands() {
    let archives = Archives::new();
    let seamline = archives.serve();
    for more in ["", "&holes=skip"] {
        assert_conforms(&(index_url(&seamline, noon(9.0), noon(55.0)) + more));
    }
}

#[test]
fn a_playlist_from_coverage_plays_without_a_seam_and_is_the_same_on_every_replica() {
    let archives = Archives::new();
    let (seamline, other) = (archives.serve(), archives.serve());
    let path = media_path(noon(9.0), noon(55.0));
    let told = get(&seamline, &path);
    assert_eq!(told.status, 200, "{}", told.text());
    assert!(
        told.head
            .contains("content-type: application/vnd.apple.mpegurl"),
        "{}",
        told.head
    );
    let playlist = told.text();
    let count = |tag: &str| {
        playlist
            .lines()
            .filter(|line| line.starts_with(tag))
            .count()
    };
    // To the secondary, back to the primary, and behind the hole.
    assert_eq!(count("#EXT-X-DISCONTINUITY"), 3, "{playlist}");
    assert_eq!(count("#EXT-X-MAP"), 4, "{playlist}");
    assert_eq!(count("#EXT-X-GAP"), 2, "{playlist}");
    for seam in [
        "12:00:09.000Z",
        "12:00:20.000Z",
        "12:00:30.000Z",
        "12:00:50.000Z",
    ] {
        let dated = format!("#EXT-X-PROGRAM-DATE-TIME:2026-01-01T{seam}");
        assert_eq!(count(&dated), 1, "{seam}: {playlist}");
    }
    assert_eq!(count("#EXT-X-ENDLIST"), 1, "{playlist}");
    let lengths = playlist.lines().filter_map(|line| {
        line.strip_prefix("#EXTINF:")?
            .strip_suffix(',')?
            .parse::<f64>()
            .ok()
    });
    let whole: f64 = lengths.sum();
    assert!((whole - 46.0).abs() < 1e-6, "{whole}: {playlist}");

    assert_eq!(get(&other, &path).text(), playlist);
    let files = addresses(playlist);
    // From one replica forwards, from the other backwards.
    let mine: Vec<Answer> = files
        .iter()
        .map(|file| get(&seamline, &format!("/hls/gate/{file}")))
        .collect();
    for (file, mine) in files.iter().zip(&mine).rev() {
        let path = format!("/hls/gate/{file}");
        if file.starts_with("gap/") {
            // GStreamer asks for gaps too, and ends at a 404: it gets a segment without samples.
            assert_eq!((mine.status, mine.body.len()), (200, 92), "{file}");
            continue;
        }
        assert_eq!(mine.status, 200, "{file}");
        assert!(
            mine.head.contains("immutable") && mine.head.contains("content-type: video/mp4"),
            "{}",
            mine.head
        );
        let theirs = get(&other, &path);
        assert!(
            theirs.body == mine.body,
            "{file}: {} and {} bytes",
            mine.body.len(),
            theirs.body.len()
        );
        let head = ask("HEAD", &seamline, &path, "");
        assert!(
            head.body.is_empty()
                && head
                    .head
                    .contains(&format!("content-length: {}", mine.body.len())),
            "{}",
            head.head
        );
    }

    let master = get(&seamline, &index_path(noon(9.0), noon(55.0)));
    assert!(
        master.text().contains("CODECS=\"avc1.64") && master.text().contains("RESOLUTION=640x360"),
        "{}",
        master.text()
    );
    let sites = [
        ("primary", &archives.footage[0]),
        ("secondary", &archives.footage[1]),
    ];
    for mut player in [
        Player::ffmpeg(&index_url(&seamline, noon(10.0), noon(38.0))),
        Player::gstreamer_http(&index_url(&seamline, noon(10.0), noon(38.0))),
    ] {
        player.watch_to_end(SOON);
        let report = judge(&player.pictures, &sites);
        println!("{report}");
        report.assert_seamless();
        assert_eq!(report.sites(), ["primary", "secondary", "primary"]);
        assert_eq!(report.runs[0].first, noon(10.0));
        // At the secondary's last random access point up to the seam, which is at the primary's last picture or behind it.
        let second = report.runs[1].first;
        assert!([noon(19.0), noon(20.0)].contains(&second), "{second}");
        assert_eq!(report.runs[2].first, noon(30.0));
        assert_eq!(report.runs[2].last, noon(38.0) - FRAME_MS);
        assert_eq!(player.errors, [""; 0]);
    }
}

/// H.265, and pictures that are decoded in another order than they are shown, over the seams to the secondary and back.
#[test]
fn h265_and_reordered_pictures_have_no_seam_either() {
    // H.265 is encoded slowly.
    let short = |recipe: Recipe| Recipe {
        seconds: 30,
        ..recipe.mp4()
    };
    let reordered = |recipe: Recipe, b_frames| Recipe { b_frames, ..recipe };
    for (primary, secondary) in [
        (Recipe::default().h265(), Recipe::secondary().h265()),
        (
            reordered(Recipe::default(), 2),
            reordered(Recipe::secondary(), 3),
        ),
    ] {
        let footage = [short(primary).make(), short(secondary).make()];
        let folders = [
            footage[0].archive_without(&[noon(0.0)]),
            footage[1].archive_without(&[]),
        ];
        let seamline = Config::default()
            .policy("failback", "at-seam")
            .archive("primary", folders[0].path())
            .archive("secondary", folders[1].path())
            .serve();
        let url = index_url(&seamline, noon(-6.0), noon(14.0));
        let sites = [("primary", &footage[0]), ("secondary", &footage[1])];
        for mut player in [Player::ffmpeg(&url), Player::gstreamer_http(&url)] {
            player.watch_to_end(SOON);
            let report = judge(&player.pictures, &sites);
            println!("{report}");
            report.assert_seamless();
            assert_eq!(report.sites(), ["primary", "secondary", "primary"]);
            assert_eq!(report.runs[0].first, noon(-6.0));
            assert_eq!(report.runs[2].last, noon(14.0) - FRAME_MS);
            assert_eq!(player.errors, [""; 0]);
        }
    }
}

/// A hole of ten seconds in the middle, listed as a gap or left out: players go on, and show all that is on either side of it. The
/// secondary's clock makes its copy end 20 ms behind the primary's, and there is no picture between.
#[test]
fn players_get_over_a_hole() {
    let archives = Archives::new();
    let seamline = archives.config().ahead(-20).serve();
    let (from, until) = (noon(34.0), noon(56.0));
    let index = index_path(from, until);
    let skipping = format!("{index}&holes=skip");
    let url = |path: &str| format!("http://127.0.0.1:{}{path}", seamline.port());
    let expected = (from..noon(40.0)).chain(noon(50.0)..until);
    let expected: Vec<i64> = expected.step_by(FRAME_MS as usize).collect();
    let shown = |player: &Player| -> Vec<i64> {
        let clocks = player.pictures.iter();
        clocks.filter_map(|picture| picture.clock_ms).collect()
    };
    for mut player in [
        Player::ffmpeg(&url(&index)),
        Player::gstreamer_http(&url(&index)),
        Player::gstreamer_http_new(&url(&index)),
        Player::ffmpeg(&url(&skipping)),
        Player::gstreamer_http(&url(&skipping)),
    ] {
        player.watch_to_end(SOON);
        assert_eq!(shown(&player), expected, "{:?}", player.errors);
        assert_eq!(player.errors, [""; 0]);
    }
    // A browser may drop a picture that it is late for, and has to be led across the hole: hls.js does that.
    let mut player = Player::chromium_hls_js(&url("/health"), &index);
    player.watch_to_end(SOON);
    let shown = shown(&player);
    println!(
        "{} of {} pictures, {:?}",
        shown.len(),
        expected.len(),
        player.warnings
    );
    let ends = |at: i64| {
        shown
            .iter()
            .any(|clock| (at - clock).abs() <= 10 * FRAME_MS)
    };
    for at in [from, noon(39.96), noon(50.0), until - FRAME_MS] {
        assert!(ends(at), "{}: {shown:?}", iso(at));
    }
    assert_eq!(player.errors, [""; 0]);
}

#[test]
fn hostile_parameters_and_names_get_their_status() {
    let archives = Archives::new();
    let config = archives.config();
    let seamline = config.serve();
    let noon = "2026-01-01T12:00:00Z";
    for (query, status) in [
        ("", 400),
        ("start=", 400),
        ("start=now", 400),
        (&*format!("start={noon}&end={noon}"), 400),
        (&*format!("start={noon}&duration=-1"), 400),
        (&*format!("start={noon}&duration=NaN"), 400),
        (&*format!("start={noon}&duration=1e300"), 400),
        (&*format!("start={noon}&duration=1&holes=maybe"), 400),
        ("start=0000-01-01T00:00:00Z&duration=1", 400),
        ("start=9999-12-31T23:59:59Z&duration=10", 404),
        ("start=1971-01-01T00:00:00Z&duration=10", 404),
        ("start=%00&duration=10", 400),
        (&*format!("start={noon}&start={noon}"), 400),
        (&*format!("start={noon}&duration=10"), 200),
    ] {
        let answer = get(&seamline, &format!("/hls/gate/media.m3u8?{query}"));
        assert_eq!(answer.status, status, "{query}: {}", answer.text());
    }
    for name in [
        "0/seg-1767268800000000-1767268800000000.m4s",
        "0/seg-1767268800000000-1767272400000000.m4s",
        "0/seg--1-5.m4s",
        "9/seg-1767268800000000-1767268804000000.m4s",
        "0/seg-253402300795000000-253402300799000000.m4s",
        "gap/seg-253402300795000000-253402300799000000.m4s",
        "0/..%2f..%2fetc%2fpasswd",
    ] {
        let answer = get(&seamline, &format!("/hls/gate/{name}"));
        assert_eq!(answer.status, 404, "{name}");
    }
    // What was listed may turn out to hold nothing, which players must not take for an error; names do not tell who listed them.
    for name in [
        "0/seg-0-4000000.m4s",
        "gap/seg-1767268800000000-1767268804000000.m4s",
    ] {
        let answer = get(&seamline, &format!("/hls/gate/{name}"));
        let styp = answer.body.get(4..8) == Some(b"styp");
        let fresh = answer.head.contains("cache-control: no-cache");
        assert!(answer.status == 200 && styp && fresh, "{}", answer.head);
    }
    // Nor that there is no picture to make a head of: it is made of what the copy announces.
    let head = get(&seamline, "/hls/gate/0v/init-1767270000000000.mp4");
    let moov = head.body.windows(4).any(|name| name == b"moov");
    assert!(head.status == 200 && moov, "{}", head.head);
    assert_eq!(
        get(
            &seamline,
            "/hls/nobody/media.m3u8?start=2026-01-01T12:00:00Z"
        )
        .status,
        404
    );
    // What was recorded long ago does not grow.
    let open = get(&seamline, &format!("/hls/gate/media.m3u8?start={noon}"));
    assert!(open.text().contains("#EXT-X-ENDLIST"), "{}", open.text());
}

/// A link to a playlist opens its segments, and nothing else.
#[test]
fn who_came_by_a_link_gets_links() {
    let archives = Archives::new();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let key = folder.path().join("key");
    std::fs::write(&key, "0123456789abcdef0123456789abcdef").expect("the folder can be written");
    let config = archives
        .config()
        .user("guard", "secret")
        .auth("link_key_file", key.display().to_string());
    let seamline = config.serve();
    let path = index_path(noon(0.0), noon(10.0));
    assert_eq!(get(&seamline, &path).status, 401);
    let signed = config.run(&["sign", &path, "--valid", "10m"]);
    let index = get(&seamline, signed.trim());
    let media = addresses(index.text())
        .pop()
        .expect("it names the media playlist");
    let media = get(&seamline, &format!("/hls/gate/{media}"));
    assert_eq!(media.status, 200, "{}", media.text());
    let files = addresses(media.text());
    assert_eq!(files.len(), 3, "{}", media.text());
    for file in files {
        let answer = get(&seamline, &format!("/hls/gate/{file}"));
        assert_eq!(answer.status, 200, "{file}");
        assert!(
            answer.head.contains("cache-control: private"),
            "{}",
            answer.head
        );
        let bare = file.split('?').next().unwrap_or_default();
        assert_eq!(get(&seamline, &format!("/hls/gate/{bare}")).status, 401);
    }
}

/// Two recorders of different encoders that hold everything, little faster than real time.
struct Recorders {
    primary: Recorder,
    secondary: Recorder,
    seamline: Seamline,
}

impl Recorders {
    fn new(gap: Option<(f64, f64)>) -> Self {
        let footage = [Recipe::default().make(), Recipe::secondary().make()];
        let busy = || Setup::default().no_faster_than(4.0);
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
}

#[test]
fn chromium_sees_no_seam() {
    let house = Recorders::new(Some((8.0, 14.0)));
    let (from, until) = (noon(2.0), noon(20.0));
    let page = format!("http://127.0.0.1:{}/health", house.seamline.port());
    let mut player = Player::chromium(&page, &index_path(from, until));
    player.watch_until(noon(11.0), SOON);
    let shot = cache_folder().join("hls-chromium.png");
    player.tell(&format!("shot {}", shot.display()));
    player.watch_to_end(SOON);
    assert_fluent(&player, from, until);
    assert!(house.primary.asked().len() + house.secondary.asked().len() > 1);
    assert!(
        shot.metadata().is_ok_and(|file| file.len() > 10_000),
        "no screenshot"
    );
}

/// In mid-segment, while the browser plays: the other encoder's pictures go on under the same head.
#[test]
fn chromium_does_not_see_the_primary_die() {
    let mut house = Recorders::new(None);
    let (from, until) = (noon(2.0), noon(40.0));
    let page = format!("http://127.0.0.1:{}/health", house.seamline.port());
    let mut player = Player::chromium(&page, &index_path(from, until));
    player.watch_until(noon(3.0), SOON);
    house.primary.kill();
    player.watch_to_end(Duration::from_secs(60));
    assert_fluent(&player, from, until);
    house
        .seamline
        .await_log(&["from=\"primary\" to=\"secondary\""], SOON);
    assert!(house.secondary.sessions() <= 2);
}

/// With hls.js, the player of most pages: over planned seams there and back, and when the primary dies.
#[test]
fn chromium_with_hls_js_sees_neither_a_seam_nor_the_primary_die() {
    let mut house = Recorders::new(Some((6.0, 9.0)));
    let (from, until) = (noon(2.0), noon(28.0));
    let page = format!("http://127.0.0.1:{}/health", house.seamline.port());
    let mut player = Player::chromium_hls_js(&page, &index_path(from, until));
    // Four times as fast as it shows, it has read on behind the gap by then.
    player.watch_until(noon(6.5), SOON);
    house
        .seamline
        .await_log(&["from=\"primary\" to=\"secondary\""], SOON);
    house.primary.kill();
    player.watch_until(noon(10.0), SOON);
    let shot = cache_folder().join("hls-js-chromium.png");
    player.tell(&format!("shot {}", shot.display()));
    player.watch_to_end(Duration::from_secs(60));
    println!("{:?}", player.warnings);
    assert_fluent(&player, from, until);
    assert!(house.secondary.asked().len() > 1);
    assert!(
        shot.metadata().is_ok_and(|file| file.len() > 10_000),
        "no screenshot"
    );
}

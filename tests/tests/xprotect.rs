//! Sites of XProtect behind players of RTSP: seams, outages in the middle of a body, tokens that run out, live.

use std::time::Duration;

use seamline_tests::{
    authority::Authority,
    clock::{FRAME_MS, iso, noon, wall_ms},
    footage::{Footage, Recipe},
    imageserver::Client,
    player::Player,
    probe::Probe,
    recorder,
    report::{Report, judge},
    seamline::{Config, Seamline, free_port},
    stream::{assert_one_stream, uneven_steps, units},
    xprotect::{CAMERA, Setup, Site},
};

const SOON: Duration = Duration::from_secs(40);

fn shown(player: &Player, primary: &Footage, secondary: &Footage) -> Report {
    let report = judge(
        &player.pictures,
        &[("primary", primary), ("secondary", secondary)],
    );
    println!("{report}");
    report
}

/// A primary of XProtect and a secondary of another kind that hold the same time.
struct Pair {
    footage: [Footage; 2],
    site: Site,
    other: recorder::Recorder,
}

impl Pair {
    fn new(recipes: [Recipe; 2], site: Setup) -> Self {
        let footage = recipes.map(|recipe| recipe.make());
        let site = site.user("viewer", "s3cret").start(&footage[0]);
        let other = recorder::Setup::default().start(&footage[1]);
        Self {
            footage,
            site,
            other,
        }
    }

    fn h264(site: Setup) -> Self {
        Self::new([Recipe::default(), Recipe::secondary()], site)
    }

    fn serve(&self) -> Seamline {
        self.config().serve()
    }

    fn config(&self) -> Config {
        Config::default()
            .policy("failback", "at-seam")
            .xprotect("primary", &self.site)
            .site("secondary", &self.other)
    }

    fn report(&self, player: &Player) -> Report {
        shown(player, &self.footage[0], &self.footage[1])
    }
}

#[test]
fn a_gap_of_a_site_is_filled_by_a_recorder_of_another_kind() {
    let h265 = [Recipe::default().h265(), Recipe::secondary().h265()];
    for recipes in [[Recipe::default(), Recipe::secondary()], h265] {
        // One sequence in an answer: its listing has two pages.
        let pair = Pair::new(
            recipes,
            Setup::default().without(noon(4.0), noon(8.0)).page(1),
        );
        let seamline = pair.serve();
        for player in [Player::ffmpeg, Player::gstreamer] {
            let end = noon(15.0);
            let mut player = player(&seamline.url_from(noon(2.0), Some(end)));
            player.watch_to_end(SOON);
            let report = pair.report(&player);
            report.assert_seamless();
            assert_eq!(
                report.sites(),
                ["primary", "secondary", "primary"],
                "{report}"
            );
            assert_eq!(report.runs[0].first, noon(1.52), "{report}");
            assert_eq!(report.runs[2].last, end - FRAME_MS, "{report}");
            assert_eq!(player.errors, [""; 0]);
        }
    }
}

#[test]
fn what_breaks_in_the_middle_of_a_body_costs_no_picture() {
    for fault in [
        "reset",
        "stall",
        "no-trailer",
        "codec",
        "expire",
        "empty",
        "kill",
    ] {
        let mut pair = Pair::h264(Setup::default());
        let seamline = pair.serve();
        let mut player = Player::onvif(&seamline.url(), noon(2.0));
        player.watch_until(noon(4.0), SOON);
        if fault == "kill" {
            pair.site.kill();
        } else {
            pair.site.tell(fault);
        }
        player.watch_until(noon(16.0), SOON);
        println!("{fault}:");
        let report = pair.report(&player);
        report.assert_nothing_lost(Duration::from_secs(2));
        assert_eq!(report.runs[0].site, "primary", "{fault}: {report}");
        if matches!(fault, "kill" | "codec") {
            assert_eq!(
                report.sites(),
                ["primary", "secondary"],
                "{fault}: {report}"
            );
        }
    }
}

#[test]
fn reordered_pictures_that_break_off_are_neither_lost_nor_shown_at_another_time() {
    // Behind a picture whose B pictures did not come, behind one of them, and behind all of them.
    let reordered = |recipe: Recipe| Recipe {
        b_frames: 2,
        ..recipe
    };
    let recipes = [Recipe::default(), Recipe::secondary()].map(reordered);
    // The group begins at 3.52 s; the B picture that came last of those that are known to be whole.
    for (cut, last) in [(26, noon(4.44)), (27, noon(4.44)), (28, noon(4.56))] {
        let mut pair = Pair::new(recipes.clone(), Setup::default());
        let seamline = pair.serve();
        pair.site.obey(&format!("cut {cut}"));
        // Who is in a hurry has all that came.
        let end = noon(16.0);
        let mut player = Player::onvif_unpaced(&seamline.url(), noon(2.0), Some(end));
        player.watch_to_end(SOON);
        println!("{cut}:");
        let report = pair.report(&player);
        report.assert_nothing_lost(Duration::from_secs(1));
        assert_eq!(report.sites(), ["primary", "secondary"], "{report}");
        // What leads from the secondary's key picture to the seam is shown again, once.
        assert!(report.repeats.len() <= 1, "{cut}: {report}");
        let log = seamline.log();
        let lost = log.iter().find(|line| line.contains("leg failed"));
        let lost = lost.unwrap_or_else(|| panic!("{log:?}"));
        assert!(
            lost.contains(&format!("capture={}", iso(last))),
            "{cut}: {lost}"
        );
        let calls = pair.site.calls();
        assert!(calls.contains(&"met short".to_owned()), "{calls:?}");
    }
}

/// What is no answer, from a recorder that is played by RTSP: nothing of it is shown, and nothing is lost.
#[test]
fn what_is_no_answer_is_not_shown() {
    // All of them are told to the face of the recorder (`xprotect_recorder::hostile`); these end in other places of a leg.
    for lie in ["endless", "numbers", "otherwhen", "other-request"] {
        let mut pair = Pair::h264(Setup::default());
        let seamline = pair.serve();
        let before = seamline.resident();
        let url = seamline.url();
        let mut player = Player::onvif(&url, noon(2.0));
        player.watch_until(noon(2.5), SOON);
        pair.site.obey(lie);
        let end = noon(20.0);
        let mut fast = Player::onvif_unpaced(&url, noon(4.0), Some(end));
        fast.watch_to_end(SOON);
        println!("{lie}:");
        let report = pair.report(&fast);
        report.assert_nothing_lost(Duration::from_secs(2));
        let last = report.runs.last().map(|run| run.last);
        assert_eq!(last, Some(end - FRAME_MS), "{lie}: {report}");
        let calls = pair.site.calls();
        assert!(calls.contains(&format!("met {lie}")), "{lie}: {calls:?}");
        let grown = seamline.resident().saturating_sub(before);
        assert!(grown < 200 << 20, "{lie}: {grown} bytes");
    }
}

#[test]
fn a_session_outlives_its_token() {
    let footage = Recipe::default().make();
    let site = Setup::default()
        .user("viewer", "s3cret")
        .token_life(Duration::from_secs(4))
        .start(&footage);
    let seamline = Config::default().xprotect("primary", &site).serve();
    let mut player = Player::onvif(&seamline.url(), noon(2.0));
    player.watch_until(noon(14.0), SOON);
    let report = judge(&player.pictures, &[("primary", &footage)]);
    println!("{report}");
    report.assert_seamless();
    let calls = site.calls();
    let count = |name: &str| calls.iter().filter(|call| *call == name).count();
    assert!(count("login bearer") >= 3, "{calls:?}");
    assert!(count("connectupdate") >= 2, "{calls:?}");
    // One to find out about the tracks, one to play.
    assert_eq!(count("connect"), 2, "{calls:?}");
    let log = seamline.log().join("\n");
    assert!(!log.contains("s3cret") && !log.contains("TOKEN#"), "{log}");
}

/// A configuration in which the house is at a site with an account of Windows.
fn as_windows(site: &Site, name: &str, password: &str) -> Config {
    Config::default()
        .xprotect("primary", site)
        .recorder("username", name)
        .recorder("password", password)
}

#[test]
fn an_account_of_windows_proves_itself_and_plays() {
    let footage = Recipe::default().make();
    let authority = Authority::new("site");
    let windows = || Setup::default().windows_user("YARD\\seamline", "gehe1m");
    let sealed = || windows().tls(&authority.issue("localhost"));
    for (what, setup, doors) in [
        ("the token endpoint", windows(), ["access", "login bearer"]),
        (
            "inside TLS, bound to the certificate",
            sealed().extended_protection(),
            ["access", "login bearer"],
        ),
        (
            "where only Negotiate is offered",
            windows().windows_schemes("negotiate"),
            ["access", "login bearer"],
        ),
        (
            "before there were access tokens",
            windows().older(),
            ["proved", "login older"],
        ),
    ] {
        let site = setup.token_life(Duration::from_secs(6)).start(&footage);
        let seamline = as_windows(&site, "YARD\\seamline", "gehe1m")
            .recorder("ca_file", authority.file().display().to_string())
            .serve();
        let mut player = Player::onvif(&seamline.url(), noon(2.0));
        // Once through a renewal, each with a proof; the others log in no otherwise.
        let renews = doors[0] == "proved";
        player.watch_until(noon(if renews { 9.0 } else { 3.0 }), SOON);
        let report = judge(&player.pictures, &[("primary", &footage)]);
        println!("{what}: {report}");
        report.assert_seamless();
        let calls = site.calls();
        let count = |name: &str| calls.iter().filter(|call| *call == name).count();
        let logins = if renews { 2 } else { 1 };
        assert!(count("proved") >= logins, "{what}: {calls:?}");
        assert!(
            doors.iter().all(|door| count(door) >= logins),
            "{what}: {calls:?}"
        );
        assert!(!renews || count("connectupdate") >= 1, "{what}: {calls:?}");
        let log = seamline.log().join("\n");
        assert!(!log.contains("gehe1m") && !log.contains("TOKEN#"), "{log}");
    }
    // A wrong password is shown once, whatever the players ask.
    let site = windows().start(&footage);
    let config = as_windows(&site, "YARD\\seamline", "wrong");
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let checked = config.command(&["check", "--probe"], folder.path());
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(
        !checked.status.success() && said.contains("credentials"),
        "{said}"
    );
    let calls = site.calls();
    let refused = calls.iter().filter(|call| call.starts_with("refused"));
    assert_eq!(refused.count(), 1, "{calls:?}");
}

#[test]
fn a_wrong_password_is_shown_once_however_many_play() {
    let footage = [Recipe::default(), Recipe::secondary()].map(|recipe| recipe.make());
    let authority = Authority::new("site");
    let sealed = || {
        Setup::default()
            .user("viewer", "s3cret")
            .tls(&authority.issue("localhost"))
    };
    for setup in [sealed(), sealed().older()] {
        let site = setup.start(&footage[0]);
        let other = recorder::Setup::default().start(&footage[1]);
        let seamline = Config::default()
            .xprotect("primary", &site)
            .recorder("password", "gu3ssed")
            .recorder("ca_file", authority.file().display().to_string())
            .site("secondary", &other)
            .serve();
        for _ in 0..3 {
            let mut player = Player::onvif_between(&seamline.url(), noon(2.0), noon(3.0));
            player.watch_to_end(SOON);
            let report = shown(&player, &footage[0], &footage[1]);
            report.assert_seamless();
            assert_eq!(report.sites(), ["secondary"], "{report}");
        }
        let calls = site.calls();
        let refused = calls.iter().filter(|call| call.starts_with("refused"));
        assert_eq!(refused.count(), 1, "{calls:?}");
        let log = seamline.log().join("\n");
        assert!(!log.contains("gu3ssed"), "{log}");
    }
}

#[test]
fn what_a_site_of_before_2021_tells_is_asked_by_name_and_password_inside_tls() {
    let footage = Recipe::default().make();
    let authority = Authority::new("site");
    let site = Setup::default()
        .user("viewer", "s3cret")
        .older()
        .token_life(Duration::from_secs(6))
        .tls(&authority.issue("localhost"))
        .start(&footage);
    let seamline = Config::default()
        .xprotect("primary", &site)
        .recorder("ca_file", authority.file().display().to_string())
        .serve();
    let mut player = Player::onvif(&seamline.url(), noon(2.0));
    player.watch_until(noon(10.0), SOON);
    let report = judge(&player.pictures, &[("primary", &footage)]);
    println!("{report}");
    report.assert_seamless();
    let calls = site.calls();
    let count = |name: &str| calls.iter().filter(|call| *call == name).count();
    assert!(
        count("login basic") >= 2 && count("connectupdate") >= 1,
        "{calls:?}"
    );
    assert_eq!(count("access"), 0, "{calls:?}");
}

#[test]
fn clocks_apart_and_pictures_of_mjpeg_make_one_stream() {
    let alone = |recipe: Recipe| Recipe {
        gop: 1,
        phase: 0,
        ..recipe
    };
    let mjpeg = [Recipe::default().mjpeg("4"), Recipe::default().mjpeg("9")];
    let keys_alone = [Recipe::default(), Recipe::secondary()].map(alone);
    for (recipes, ahead_ms) in [
        ([Recipe::default(), Recipe::secondary()], 90_000),
        (mjpeg, 0),
        (keys_alone, 0),
    ] {
        let (report, errors) = over_a_gap(recipes, ahead_ms);
        report.assert_seamless();
        assert_eq!(errors, [""; 0]);
    }
}

#[test]
fn pictures_that_are_shown_in_another_order_than_they_come_in_are_all_shown() {
    let reordered = |recipe: Recipe| Recipe {
        b_frames: 2,
        ..recipe
    };
    for recipes in [
        [Recipe::default(), Recipe::secondary()],
        [Recipe::default().h265(), Recipe::secondary().h265()],
    ] {
        let (report, _) = over_a_gap(recipes.map(reordered), 0);
        // Where a seam lies between pictures that refer to each other, all of them are sent.
        report.assert_nothing_lost(Duration::from_millis(200));
    }
}

/// What FFmpeg shows of two sites, the first with a gap, the second's clock so much ahead, and what it says.
fn over_a_gap(recipes: [Recipe; 2], ahead_ms: i64) -> (Report, Vec<String>) {
    let footage = recipes.map(|recipe| recipe.make());
    let setup = Setup::default().user("viewer", "s3cret");
    let primary = setup
        .clone()
        .without(noon(4.0), noon(8.0))
        .start(&footage[0]);
    let secondary = setup.ahead_ms(ahead_ms).start(&footage[1]);
    let seamline = Config::default()
        .policy("failback", "at-seam")
        .xprotect("primary", &primary)
        .xprotect("secondary", &secondary)
        .ahead(ahead_ms)
        .serve();
    let end = noon(14.0);
    let mut player = Player::ffmpeg(&seamline.url_from(noon(2.0), Some(end)));
    player.watch_to_end(SOON);
    let report = shown(&player, &footage[0], &footage[1]);
    assert_eq!(
        report.sites(),
        ["primary", "secondary", "primary"],
        "{report}"
    );
    (report, player.errors.clone())
}

#[test]
fn a_recording_that_grows_is_followed() {
    let footage = Recipe::default().make();
    let site = Setup::default()
        .user("viewer", "s3cret")
        .edge(noon(20.0))
        .start(&footage);
    let seamline = Config::default().xprotect("primary", &site).serve();
    let now = wall_ms();
    let mut probe = Probe::open(&seamline.url());
    let answer = probe.play(now - 8_000, None, &[]);
    assert_eq!(answer.status, 200, "{answer:?}");
    // Recorded after we came.
    probe.receive_until(now + 3_000, SOON);
    assert_eq!(probe.byes(), 0);
    assert_one_stream(&probe.tracks[0]);
    assert_eq!(uneven_steps(&units(&probe.tracks[0]), FRAME_MS), []);
}

/// A configuration without cameras, to which `map` adds.
fn head(port: u16, recorders: &[(&str, &Site)]) -> String {
    let sites: Vec<String> = recorders
        .iter()
        .map(|(name, site)| {
            let url = site.url();
            format!(
                "[[site]]\nname = \"{name}\"\n[[recorder]]\nname = \"vms-{name}\"\nsite = \"{name}\"\n\
                 kind = \"xprotect\"\nurl = \"{url}\"\nusername = \"viewer\"\npassword = \"s3cret\"\n"
            )
        })
        .collect();
    format!(
        "listen = \"127.0.0.1:{port}\"\n[policy]\nfailback = \"at-seam\"\n{}",
        sites.concat()
    )
}

/// What `map` proposes for two recorders of a configuration.
fn mapped(head: &str, [primary, secondary]: [&str; 2]) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("seamline.toml");
    std::fs::write(&file, head).expect("the temporary folder can be written");
    let file = file.display().to_string();
    let asked = [
        "map",
        "--primary",
        primary,
        "--secondary",
        secondary,
        "-c",
        &file,
    ];
    let output = seamline_tests::seamline::seamline(&asked, folder.path());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).expect("the program prints UTF-8")
}

/// What `map` proposed, with what is doubtful taken at its word.
fn undoubted(page: &str) -> String {
    let line = |line: &str| {
        let setting = line.strip_prefix('#');
        let setting = setting.filter(|rest| !rest.starts_with(' ') || rest.starts_with("    {"));
        format!("{}\n", setting.unwrap_or(line))
    };
    page.lines().map(line).collect()
}

/// Serves what `map` proposed, word for word but for the ports; plays over the gap as a player of RTSP and as a client of XProtect.
fn plays_as_mapped(head: &str, port: u16, page: &str, site: &Site, footage: &Footage) {
    let (management, recorder) = (free_port(), free_port());
    let page = page
        .replace(
            "[\"0.0.0.0:80\", \"0.0.0.0:443\"]",
            &format!("\"127.0.0.1:{management}\""),
        )
        .replace("0.0.0.0:7563", &format!("127.0.0.1:{recorder}"))
        .replace("0.0.0.0:7573", &format!("127.0.0.1:{}", free_port()));
    let config: serde_json::Value =
        toml::from_str(&format!("{head}{page}")).unwrap_or_else(|error| panic!("{error}: {page}"));
    let seamline = Seamline::of(&config, port, "info");
    let mut player = Player::ffmpeg(&seamline.url_from(noon(2.0), Some(noon(11.0))));
    player.watch_to_end(SOON);
    let report = judge(&player.pictures, &[("either", footage)]);
    println!("{report}");
    report.assert_seamless();
    assert_eq!(
        report.runs.last().map(|run| run.last),
        Some(noon(11.0) - FRAME_MS)
    );
    let token = xprotect_token(&format!("http://localhost:{management}"));
    let mut client = Client::open(recorder);
    assert_eq!(client.connect(CAMERA, &token)["connected"], "yes");
    let mut last = client.goto(noon(3.0))["current"].as_i64();
    while last < Some(noon(9.0)) {
        let answer = client.ask("next");
        let current = answer["current"].as_i64();
        // Groups are of two seconds at most: nothing is skipped.
        assert!(
            current > last && current <= last.map(|last| last + 2_000),
            "{last:?} {answer}"
        );
        last = current;
    }
    let log = seamline.log().join("\n");
    assert!(log.contains("gap at"), "{log}");
    assert!(!site.calls().is_empty());
}

/// A token, as a client of the management face gets it.
fn xprotect_token(url: &str) -> String {
    let mut client = seamline_tests::xprotect::Client::log_in(url, "oauth", "viewer", "s3cret");
    let told = client.token();
    told["token"]
        .as_str()
        .unwrap_or_else(|| panic!("{told}"))
        .to_owned()
}

#[test]
fn what_map_proposes_is_served_and_played() {
    let footage = Recipe::default().make();
    let setup = || Setup::default().user("viewer", "s3cret");
    // Two sites: one camera by the address and channel of its device, one by its name.
    let primary = setup().without(noon(4.0), noon(8.0)).start(&footage);
    let secondary = setup()
        .cameras("http://10.9.0.17/", ["gate", "Back door"])
        .start(&footage);
    let port = free_port();
    let text = head(port, &[("a", &primary), ("b", &secondary)]);
    let page = mapped(&text, ["vms-a", "vms-b"]);
    println!("{page}");
    for line in [
        "(Gate) and vms-b",
        "same name \"Gate\"",
        "# Doubtful: their addresses differ",
        "(Yard): nothing at vms-b has its source id, address or name",
        "(Back door): nothing at vms-a has its source id, address or name",
        "[[xprotect]]\nprimary = \"vms-a\"\nsecondary = \"vms-b\"\n",
    ] {
        assert!(page.contains(line), "{line}: {page}");
    }
    drop(secondary);
    // The same device at both, and the same name for one of them: the other may be another one's behind that address.
    let secondary = setup()
        .cameras("http://10.0.0.17:80/x", ["Gate", "Back door"])
        .start(&footage);
    let text = head(port, &[("a", &primary), ("b", &secondary)]);
    let page = mapped(&text, ["vms-a", "vms-b"]);
    println!("{page}");
    assert_eq!(page.matches("\n[[camera]]").count(), 1, "{page}");
    assert_eq!(page.matches("\n#[[camera]]").count(), 1, "{page}");
    for line in [
        "same source id \"http://10.0.0.17#channel=0\"",
        "# Doubtful: their names differ, \"Yard\" and \"Back door\"",
    ] {
        assert!(page.contains(line), "{line}: {page}");
    }
    plays_as_mapped(&text, port, &page, &secondary, &footage);
    // One site, two recorders: each camera is there twice.
    drop((primary, secondary));
    let twin = "66666666-2222-3333-4444-555555555555";
    let site = setup()
        .without(noon(4.0), noon(8.0))
        .twin(twin, noon(20.0), noon(30.0))
        .start(&footage);
    let port = free_port();
    let text = head(port, &[("hall-a", &site), ("hall-b", &site)]);
    let page = mapped(&text, ["vms-hall-a", "vms-hall-b"]);
    println!("{page}");
    // Their names differ, and nothing but an address says that they are the same.
    let page = undoubted(&page);
    assert_eq!(page.matches("[[camera]]").count(), 2, "{page}");
    assert_eq!(page.matches("[[xprotect.recorder]]").count(), 2, "{page}");
    let copies = format!(
        "{{ recorder = \"vms-hall-a\", remote = \"{CAMERA}\" }},\n    {{ recorder = \"vms-hall-b\", remote = \"{twin}\" }}"
    );
    assert!(page.contains(&copies), "{page}");
    plays_as_mapped(&text, port, &page, &site, &footage);
}

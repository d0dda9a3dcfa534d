//! What passes as it is: live, other devices, masks, and what was added meanwhile.

use std::time::Duration;

use seamline_tests::{
    clock::{await_that, monotonic, noon},
    footage::Recipe,
    imageserver::Client,
    pair::{Pair, TOKEN, holding, place},
    xprotect::Setup,
};
use serde_json::{Value, json};

use crate::SOON;

/// A body that is one packet, and no parts.
const GENERIC: &str = "application/x-genericbytedata-octet-stream";
/// Sooner than sites are asked anyway.
const LOOKED_WITHIN: Duration = Duration::from_secs(35);

#[test]
fn a_camera_that_was_added_is_known_when_it_is_asked_for() {
    let sites = [
        holding(Setup::default().unlisted(), &[(0, 10), (40, 50)]),
        holding(Setup::default(), &[(5, 45)]),
    ];
    let mut pair = Pair::of(sites, |config| config);
    // Nobody has told of it: it is its recorder's alone.
    assert_eq!(place(&pair.client().goto(noon(25.0))).0, 9);
    pair.primary.obey("list");
    await_that(LOOKED_WITHIN, "the camera is not found", || {
        place(&pair.client().goto(noon(25.0))).0 == 25
    });
}

#[test]
fn nothing_recorded_other_codecs_and_other_devices_pass() {
    let mut pair = Pair::new(&[(0, 10), (40, 50)], &[(5, 45)]);
    let mut client = pair.client();
    assert_eq!(client.goto(noon(8.0))["codec"], 10);
    pair.primary.obey("codec");
    assert_eq!(client.ask("next")["codec"], 12);
    assert_eq!(client.ask("next")["codec"], 10);
    pair.primary.obey("heal");
    let answer = client.order(
        &json!({ "do": "ask", "method": "alarms", "starttime": noon(0.0), "endtime": noon(60.0) }),
    );
    let seconds = |ms: &Value| (ms.as_i64().unwrap() - noon(0.0)) / 1000;
    let spans = answer["alarms"].as_array().unwrap().iter();
    let spans: Vec<_> = spans
        .map(|span| (seconds(&span[0]), seconds(&span[2])))
        .collect();
    assert_eq!(spans, [(0, 10), (10, 40), (40, 50)], "{answer}");
    let answer = client.ask("getpresetlist");
    assert_eq!(answer["errorreason"], "Unknown method", "{answer}");
    for site in [&mut pair.primary, &mut pair.secondary] {
        site.obey("empty");
    }
    let answer = client.goto(noon(8.0));
    let zeros = ["prev", "current", "next", "bytes"].map(|name| answer[name].as_i64());
    assert_eq!(zeros, [Some(0); 4], "{answer}");
    // Another device on the same connection.
    let yard = "99999999-2222-3333-4444-555555555555";
    assert_eq!(client.connect(yard, TOKEN)["connected"], "yes");
    assert_eq!(client.goto(noon(8.0))["current"], 0);
    let answer = client.connect("nowhere", TOKEN);
    assert_eq!(
        (&answer["connected"], &answer["errorreason"]),
        (&json!("no"), &json!("Unknown device"))
    );
}

#[test]
fn the_growing_end_is_polled_and_live_fails_over() {
    let sites = [
        Setup::default().edge(noon(20.0)),
        Setup::default().edge(noon(20.0)),
    ];
    let mut pair = Pair::of(sites, |config| config);
    let mut client = pair.client();
    let newest = client.ask("end");
    assert_eq!(newest["current"], newest["next"], "{newest}");
    let mut seen = vec![newest["current"].as_i64().unwrap()];
    await_that(SOON, "the edge stands still", || {
        let current = client.ask("next")["current"].as_i64().unwrap();
        if seen.last() != Some(&current) {
            seen.push(current);
        }
        seen.len() == 4
    });
    assert!(
        seen.windows(2).all(|two| two[1] - two[0] == 1000),
        "{seen:?}"
    );
    client.order(&json!({ "do": "send", "method": "live" }));
    let mut pictures = 0;
    let mut watch = |client: &mut Client, count: usize| {
        let (mut last, deadline) = (0, monotonic() + SOON);
        let until = pictures + count;
        while pictures < until {
            assert!(monotonic() < deadline, "{pictures} live pictures");
            let message = client.order(&json!({ "do": "read" }));
            assert!(
                message["error"].is_null() && message["gone"].is_null(),
                "{message}"
            );
            if message["kind"] == "image" {
                let current = message["current"].as_i64().unwrap();
                assert!(current > last, "{message}");
                last = current;
                pictures += 1;
            }
        }
    };
    watch(&mut client, 30);
    pair.primary.kill();
    watch(&mut client, 30);
}

/// Masks are each recorder's own, and a site that cannot send as the first one promised is none.
#[test]
fn masks_and_capabilities_are_kept() {
    let sites = [
        holding(Setup::default().mask("grid;4;4;0110"), &[(0, 10), (40, 50)]),
        holding(Setup::default().mask("grid;2;2;9"), &[(5, 45)]),
    ];
    let pair = Pair::of(sites, |config| config);
    let mut client = pair.client_with(&json!({ "mask": true }));
    for (at, mask) in [
        (8.0, "grid;4;4;0110"),
        (25.0, "grid;2;2;9"),
        (41.0, "grid;4;4;0110"),
    ] {
        let answer = client.goto(noon(at));
        assert_eq!(answer["mask"], mask, "{at}: {answer}");
    }
    let answer = pair.client().goto(noon(8.0));
    assert!(answer["mask"].is_null(), "{answer}");
    drop(pair);
    let sites = [
        holding(Setup::default(), &[(0, 10), (40, 50)]),
        holding(Setup::default().lacks("multipartdata"), &[(5, 45)]),
    ];
    let pair = Pair::of(sites, |config| config);
    let mut client = pair.client();
    assert_eq!(place(&client.goto(noon(25.0))), (9, 8, 40));
    pair.seamline
        .await_log(&["lacks what the client was promised"], SOON);
    // Who was promised nothing of the kind gets all of it.
    let mut client = pair.client_with(&json!({ "multipart": false }));
    assert_eq!(place(&client.goto(noon(25.0))).0, 25);
    drop(pair);
    // Nor one that sends native pictures to who asked for JPEG, whatever it says of itself.
    let sites = [
        holding(Setup::default(), &[(0, 10), (40, 50)]),
        holding(Setup::default().lacks("jpeg"), &[(5, 45)]),
    ];
    let pair = Pair::of(sites, |config| config);
    let mut client = pair.client_with(&json!({ "jpeg": true, "multipart": false }));
    let answer = client.goto(noon(25.0));
    assert_eq!(
        (place(&answer), &answer["type"]),
        ((9, 8, 40), &json!("image/jpeg")),
        "{answer}"
    );
    pair.seamline
        .await_log(&["sends native pictures to who asked for JPEG"], SOON);
    assert_eq!(place(&pair.client().goto(noon(25.0))).0, 25);
    drop(pair);
    // Nor one that sends parts to who takes none.
    let sites = [
        holding(Setup::default(), &[(0, 10), (40, 50)]),
        holding(Setup::default().lacks("single"), &[(5, 45)]),
    ];
    let pair = Pair::of(sites, |config| config);
    let mut client = pair.client_with(&json!({ "multipart": false }));
    for at in [25.0, 9.5] {
        let answer = client.goto(noon(at));
        assert_eq!(
            (place(&answer), &answer["type"]),
            ((9, 8, 40), &json!(GENERIC)),
            "{answer}"
        );
    }
    pair.seamline
        .await_log(&["sends parts to who takes none"], SOON);
    assert_eq!(place(&pair.client().goto(noon(25.0))).0, 25);
}

/// Pictures that refer to later ones, key pictures alone, and another codec: over the seam, and when the primary dies.
#[test]
fn any_footage_passes_over_a_seam() {
    let recipe = |gop: u32| Recipe {
        gop,
        phase: 0,
        seconds: 40,
        ..Recipe::default()
    };
    let reordered = Recipe {
        b_frames: 2,
        ..recipe(25)
    };
    for (recipe, codec, pictures) in [
        (reordered, 10, 25),
        (recipe(1), 10, 1),
        (recipe(25).h265(), 14, 25),
        (recipe(1).h265(), 14, 1),
    ] {
        let sites = [&[(0, 10)], &[(5, 20)]].map(|held| holding(Setup::default(), held));
        let mut pair = Pair::showing(recipe.make(), sites, |config| config);
        let step = pictures * 40;
        let mut client = pair.client();
        let mut walk = |from: f64, dies: &mut dyn FnMut()| {
            let mut answer = client.goto(noon(from));
            for place in 0..6 {
                let at = noon(from) + place * step;
                let told =
                    ["prev", "current", "next"].map(|name| answer[name].as_i64().unwrap_or(0));
                assert_eq!(
                    told,
                    [at - step, at, at + step],
                    "{recipe:?}, {place} behind {from}: {answer}"
                );
                let body = ["codec", "pictures"].map(|name| answer[name].as_i64());
                assert_eq!(body, [Some(codec), Some(pictures)], "{recipe:?}: {answer}");
                if place == 2 {
                    dies();
                }
                answer = client.ask("next");
            }
        };
        let seam = noon(10.0) - 3 * step - noon(0.0);
        walk(seam as f64 / 1000.0, &mut || {});
        walk(6.0, &mut || pair.primary.kill());
    }
}

/// The reference's own bytes, of the primary, and of the secondary when that is gone.
#[test]
fn the_references_bytes_pass_as_they_are() {
    let mut pair = Pair::of(
        [Setup::default().golden(), Setup::default().golden()],
        |config| config,
    );
    let at = 1_735_689_600_500;
    let golden = |pair: &Pair, site: &str| {
        for (multipart, bytes, sha256) in [
            (
                false,
                231,
                "1ef39547c97f5835bf93ebe7dee694107cd7ad1fce8eefb81bbcb74721202b87",
            ),
            (
                true,
                478,
                "5de7978a94b5f631da6247bf415959a78c707909f62467522254e40f5b6814b9",
            ),
        ] {
            let mut client = pair.client_with(&json!({ "multipart": multipart }));
            let answer = client.goto(at);
            let expected = json!({ "bytes": bytes, "sha256": sha256 });
            assert_eq!(
                answer["wire"], expected,
                "{site}, multipart {multipart}: {answer}"
            );
        }
    };
    let empty = |pair: &Pair, site: &str| {
        let order = json!({ "do": "ask", "method": "goto", "time": at, "requestid": 7 });
        let answer = pair.client().order(&order);
        let sha256 = "d516d0d3a1ba004ee77b7e023630085ca59fd8babe115cf00a16dc6b7d76e9c8";
        let expected = json!({ "bytes": 142, "sha256": sha256 });
        assert_eq!(answer["wire"], expected, "{site}: {answer}");
    };
    golden(&pair, "primary");
    for site in [&mut pair.primary, &mut pair.secondary] {
        site.obey("empty");
    }
    empty(&pair, "both");
    pair.primary.kill();
    empty(&pair, "secondary");
    pair.secondary.obey("heal");
    golden(&pair, "secondary");
}

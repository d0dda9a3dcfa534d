//! Vendors' URLs as their clients send them.

use super::*;

const GUID: &str = "1d0e4b0e-9c4f-4f53-8ac0-0123456789ab";

fn at(text: &str) -> Timestamp {
    Timestamp::parse_iso(text).unwrap()
}

fn dialects(names: &[&str], zone: &str, z_is_local: bool) -> Dialects {
    let mut dialects = Dialects::default();
    for name in names {
        let alias = Alias {
            camera: "gate".into(),
            zone: zone.parse().unwrap(),
            z_is_local,
        };
        assert_eq!(dialects.insert(name, alias), None);
    }
    dialects
}

/// The window and whether it is live.
fn asked(name: &str, zone: &str, uri: &str) -> (Option<Timestamp>, Option<Timestamp>, bool) {
    let target = dialects(&[name], zone, false).target(uri);
    let target = target
        .unwrap_or_else(|| panic!("{uri} is not understood"))
        .unwrap();
    assert_eq!(target.camera.as_str(), "gate");
    // Whatever the client makes of our base is read back as the same.
    let joined = Target::parse(&format!("rtsp://h/{}/trackID=1", target.path())).unwrap();
    assert!(joined.same_presentation(&target) || target.live, "{uri}");
    (target.start, target.end, target.live)
}

#[test]
fn every_vendors_playback_url() {
    let (start, end) = (at("2026-01-02T03:04:05Z"), at("2026-01-02T03:14:05Z"));
    let nx = format!("nx:{GUID}");
    let genetec = format!("genetec:{GUID}");
    let milestone = format!("milestone:{GUID}");
    let nx_uri = format!(
        "rtsp://h:7001/{{{}}}?pos=1767323045000&endPos=1767323645000",
        GUID.to_uppercase()
    );
    let nx_iso =
        format!("rtsp://h:7001/{GUID}?pos=2026-01-02T03:04:05.000Z&endPos=2026-01-02T03:14:05Z");
    let genetec_uri =
        format!("rtsp://h:654/{GUID}/playback?range=clock=20260102T030405Z-20260102T031405Z");
    for (name, zone, uri) in [
        (
            "hikvision:101",
            "UTC",
            "rtsp://h/Streaming/tracks/101?starttime=20260102T030405Z&endtime=20260102T031405Z",
        ),
        (
            "hikvision:101",
            "UTC",
            "rtsp://h/Streaming/tracks/101/?StartTime=2026-01-02T03:04:05Z&EndTime=2026-01-02T03%3A14%3A05Z&name=00000&size=1",
        ),
        (
            "hikvision:101",
            "UTC",
            "rtsp://h/streaming/tracks/101/trackID=1?starttime=20260102t030405z&endtime=20260102t031405z",
        ),
        (
            "dahua:1",
            "Asia/Shanghai",
            "rtsp://h/cam/playback?channel=1&subtype=0&starttime=2026_01_02_11_04_05&endtime=2026_01_02_11_14_05",
        ),
        (
            "dahua:1/0",
            "Asia/Shanghai",
            "rtsp://h/cam/playback?channel=1&subtype=0&starttime=2026_01_02_11_04_05&endtime=2026_01_02_11_14_05/trackID=1",
        ),
        (
            "vivotek:cam7.lan",
            "Asia/Shanghai",
            "rtsp://cam7.lan/mod.sdp?stime=20260102_030405.000&etime=20260102_031405.000&loctime=0",
        ),
        (
            "vivotek:cam7.lan",
            "Asia/Shanghai",
            "rtsp://cam7.lan/mod.sdp?stime=20260102_110405.000&length=600&loctime=1",
        ),
        (
            "tvt:1",
            "Asia/Shanghai",
            "rtsp://h/rtsp/playback?channel=1&subtype=0&starttime=2026-01-02T03:04:05Z&endtime=2026-01-02T03:14:05Z",
        ),
        (
            "tvt:1",
            "Asia/Shanghai",
            "rtsp://h/rtsp/playback?channel=1&subtype=0&starttime=2026-01-02T11:04:05Z&endtime=2026-01-02T11:14:05Z&localtime=true",
        ),
        (&nx, "UTC", &nx_uri),
        (&nx, "UTC", &nx_iso),
        (&genetec, "UTC", &genetec_uri),
    ] {
        assert_eq!(
            asked(name, zone, uri),
            (Some(start), Some(end), false),
            "{uri}"
        );
    }
    // What names its time in the `Range` header.
    let (genetec_uri, vod) = (
        format!("rtsp://h:654/{GUID}/playback"),
        format!("rtsp://h/vod/{GUID}"),
    );
    for (name, uri) in [
        (genetec.as_str(), genetec_uri.as_str()),
        (&milestone, &vod),
        ("hanwha:rec1", "rtsp://h/ProfileG/rec1/recording/play.smp"),
        (
            "axis:20260102_030405_ABCD_ACCC8E000001",
            "rtsp://h/axis-media/media.amp?recordingid=20260102_030405_ABCD_ACCC8E000001",
        ),
        (
            "axis:ACCC8E000001",
            "rtsp://h/axis-media/media.amp?recordingid=20260102_030405_ABCD_ACCC8E000001",
        ),
        (
            "axis:1",
            "rtsp://h/axis-media/media.amp?recordingid=20260102_030405_ABCD_ACCC8E000001",
        ),
    ] {
        assert_eq!(asked(name, "UTC", uri), (None, None, false), "{uri}");
    }
}

#[test]
fn every_vendors_live_url() {
    let (nx, genetec, milestone) = (
        format!("nx:{GUID}"),
        format!("genetec:{GUID}"),
        format!("milestone:{GUID}"),
    );
    let uris = [
        format!("rtsp://h/{GUID}"),
        format!("rtsp://h/{GUID}/live"),
        format!("rtsp://h/live/{GUID}"),
    ];
    for (name, uri) in [
        ("hikvision:101", "rtsp://h/Streaming/Channels/101"),
        ("dahua:1", "rtsp://h/cam/realmonitor?channel=1&subtype=0"),
        ("axis:1", "rtsp://h/axis-media/media.amp?videocodec=h264"),
        ("axis:2", "rtsp://h/axis-media/media.amp?camera=2"),
        ("vivotek:h", "rtsp://h/live1s1.sdp"),
        (&nx, &uris[0]),
        (&genetec, &uris[1]),
        (&milestone, &uris[2]),
    ] {
        assert_eq!(asked(name, "UTC", uri), (None, None, true), "{uri}");
    }
}

#[test]
fn the_z_of_hikvision_means_what_the_operator_says() {
    let uri = "rtsp://h/Streaming/tracks/101?starttime=20260102T110405Z";
    let local = dialects(&["hikvision:101"], "Asia/Shanghai", true);
    let target = local.target(uri).unwrap().unwrap();
    assert_eq!(
        (target.start, target.end),
        (Some(at("2026-01-02T03:04:05Z")), None)
    );
}

#[test]
fn an_hour_that_occurs_twice_is_played_whole() {
    let dialects = dialects(&["dahua:1"], "Europe/Zurich", false);
    let uri =
        "rtsp://h/cam/playback?channel=1&starttime=2026_10_25_02_30_00&endtime=2026_10_25_02_40_00";
    let target = dialects.target(uri).unwrap().unwrap();
    assert_eq!(target.start, Some(at("2026-10-25T00:30:00Z")));
    assert_eq!(target.end, Some(at("2026-10-25T01:40:00Z")));
}

#[test]
fn what_cannot_be_read_is_refused_and_what_is_not_ours_is_left() {
    let dialects = dialects(&["hikvision:101", "dahua:1"], "UTC", false);
    for (uri, error) in [
        (
            "rtsp://h/Streaming/tracks/101?starttime=noon",
            TargetError::Time,
        ),
        (
            "rtsp://h/Streaming/tracks/101?starttime=20260102T030405Z&endtime=20260102T030405Z",
            TargetError::Empty,
        ),
        (
            "rtsp://h/cam/playback?channel=1&starttime=2026_13_02_03_04_05",
            TargetError::Time,
        ),
    ] {
        assert_eq!(dialects.target(uri), Some(Err(error)), "{uri}");
    }
    for uri in [
        "rtsp://h/Streaming/tracks/102?starttime=20260102T030405Z",
        "rtsp://h/cam/playback?starttime=2026_01_02_03_04_05",
        "rtsp://h/cam/playback?channel=2",
        "rtsp://h/Streaming/tracks",
        "rtsp://h/Streaming/%2e%2e/tracks/101",
        "rtsp://h/gate",
        "*",
        "",
    ] {
        assert_eq!(dialects.target(uri), None, "{uri}");
    }
}

proptest::proptest! {
    /// Whatever comes, it is read or refused.
    #[test]
    fn no_url_panics(path in "[a-zA-Z0-9/{}*.%_]{0,40}", query in "[a-z0-9=&_:/%TZ+.-]{0,60}") {
        let all = dialects(&["hikvision:101", "dahua:1", "axis:1", "vivotek:h", "tvt:1", "nx:a"], "Europe/Zurich", true);
        let _ = all.target(&format!("rtsp://h/{path}?{query}"));
        let _ = all.target(&format!("rtsp://h/Streaming/tracks/101?starttime={query}"));
        let _ = all.target(&format!("rtsp://h/mod.sdp?stime={query}&length={query}"));
    }
}

//! Where its services and its footage are: at the host that is dialled, whatever it says.

use super::*;

async fn url_of(recorder: &OnvifRecorder, remote: &str) -> String {
    let source = recorder.0.source(&remote.into(), false).await.unwrap();
    source.url(remote).unwrap().as_str().to_owned()
}

#[tokio::test]
async fn footage_is_fetched_from_the_host_that_is_dialled() {
    let device = device().await;
    let recorder = recorder(&device);
    for _ in 0..3 {
        let url = url_of(&recorder, "REC7").await;
        assert_eq!(url, "rtsp://127.0.0.1:554/onvif/rec/7?a=1&b=2");
    }
    assert_eq!(
        bodies(&device, "GetReplayUri").await,
        [
            "<trp:GetReplayUri><trp:StreamSetup><tt:Stream>RTP-Unicast</tt:Stream><tt:Transport><tt:Protocol>RTSP</tt:Protocol>\
        </tt:Transport></trp:StreamSetup><trp:RecordingToken>REC7</trp:RecordingToken></trp:GetReplayUri>"
        ],
        "asked once for a while"
    );
    recorder.0.source(&"REC7".into(), true).await.unwrap();
    assert_eq!(bodies(&device, "GetReplayUri").await.len(), 2);
    // All of it went to where the device was dialled, though it names itself otherwise.
    let paths: Vec<_> = device.received_requests().await.unwrap();
    assert!(
        paths
            .iter()
            .any(|request| request.url.path() == "/onvif/replay")
    );
    let told = HttpConfig {
        rtsp_port: Some(8554),
        ..config(&device)
    };
    let told = OnvifRecorder::new(&told, Clock::System).unwrap();
    assert_eq!(
        url_of(&told, "REC7").await,
        "rtsp://127.0.0.1:8554/onvif/rec/7?a=1&b=2"
    );
}

#[tokio::test]
async fn an_address_inside_tls_stays_one() {
    let device = device().await;
    let answer = "<trp:GetReplayUriResponse><trp:Uri>rtsps://10.0.0.5/rec/7</trp:Uri></trp:GetReplayUriResponse>";
    answers_now(&device, "GetReplayUri", ok(answer)).await;
    assert_eq!(
        url_of(&recorder(&device), "REC7").await,
        "rtsps://127.0.0.1:322/rec/7"
    );
}

#[tokio::test]
async fn a_trusted_device_chooses_its_addresses() {
    let device = MockServer::start().await;
    let other = self::device().await;
    let host = other.address().to_string();
    answers(&device, "GetServices", ok(&services(&host))).await;
    answers(&device, "GetSystemDateAndTime", ok(CLOCK)).await;
    let trusting = HttpConfig {
        trust_addresses: true,
        ..config(&device)
    };
    let recorder = OnvifRecorder::new(&trusting, Clock::System).unwrap();
    assert_eq!(
        url_of(&recorder, "REC7").await,
        "rtsp://10.0.0.5:554/onvif/rec/7?a=1&b=2"
    );
}

#[tokio::test]
async fn an_address_that_is_none_is_refused() {
    for uri in [
        "",
        "http://10.0.0.5/x",
        "rtsp://10.0.0.5:99999/x",
        "rtsp://[/x",
    ] {
        let device = device().await;
        let answer = format!(
            "<trp:GetReplayUriResponse><trp:Uri>{uri}</trp:Uri></trp:GetReplayUriResponse>"
        );
        answers_now(&device, "GetReplayUri", ok(&answer)).await;
        let refused = recorder(&device).0.source(&"REC7".into(), false).await;
        let Err(ProbeError::Protocol(why)) = refused else {
            panic!("{uri}: {refused:?}");
        };
        assert!(why.starts_with("GetReplayUri: "), "{uri}: {why}");
    }
    // User names in it are none of ours.
    let device = device().await;
    let answer = "<trp:GetReplayUriResponse><trp:Uri>rtsp://u:p@10.0.0.5/x</trp:Uri></trp:GetReplayUriResponse>";
    answers_now(&device, "GetReplayUri", ok(answer)).await;
    assert_eq!(
        url_of(&recorder(&device), "REC7").await,
        "rtsp://127.0.0.1:554/x"
    );
}

#[tokio::test]
async fn old_devices_name_their_services_as_capabilities() {
    let device = device().await;
    answers_now(&device, "GetServices", ResponseTemplate::new(404)).await;
    let part = |name: &str, path: &str| {
        format!("<tt:{name}><tt:XAddr>http://10.0.0.5/{path}</tt:XAddr></tt:{name}>")
    };
    let parts = part("Recording", "rec") + &part("Search", "find") + &part("Replay", "play");
    let answer = format!(
        "<tds:GetCapabilitiesResponse><tds:Capabilities><tt:Extension>{parts}</tt:Extension></tds:Capabilities></tds:GetCapabilitiesResponse>"
    );
    Mock::given(path("/onvif/device_service"))
        .and(asked("GetCapabilities"))
        .respond_with(ok(&answer))
        .mount(&device)
        .await;
    let recorder = recorder(&device);
    url_of(&recorder, "REC7").await;
    let requests = device.received_requests().await.unwrap();
    assert!(
        requests
            .iter()
            .any(|request| request.url.path() == "/play" && asked("GetReplayUri").matches(request))
    );
}

#[tokio::test]
async fn one_redirection_on_the_same_host_is_followed() {
    let device = device().await;
    let moved = ResponseTemplate::new(307).insert_header("location", "/elsewhere");
    Mock::given(asked("GetReplayUri"))
        .and(path("/onvif/replay"))
        .respond_with(moved)
        .with_priority(1)
        .mount(&device)
        .await;
    url_of(&recorder(&device), "REC7").await;
}

#[tokio::test]
async fn a_redirection_to_another_host_is_not_followed() {
    let (device, other) = (device().await, device().await);
    // By its name it is another than by its address.
    let elsewhere = format!("http://localhost:{}/onvif/replay", other.address().port());
    let moved = ResponseTemplate::new(307).insert_header("location", elsewhere);
    answers_now(&device, "GetReplayUri", moved).await;
    let refused = recorder(&device).0.source(&"REC7".into(), false).await;
    let Err(ProbeError::Protocol(why)) = refused else {
        panic!("{refused:?}");
    };
    assert!(why.contains("not followed"), "{why}");
    assert_eq!(bodies(&other, "GetReplayUri").await, [""; 0]);
}

//! Who it is asked as, by Digest or by a token, and how often.

use super::*;

/// Answers 401 to all that show nothing, and what else is mounted to those that do.
async fn demand_digest(device: &MockServer) {
    let challenge = ResponseTemplate::new(401)
        .append_header("www-authenticate", "Basic realm=\"nvr\"")
        .append_header(
            "www-authenticate",
            "Digest realm=\"nvr\", qop=\"auth\", algorithm=SHA-256, nonce=\"n1\"",
        );
    Mock::given(asked("GetRecordings"))
        .and(|request: &Request| !request.headers.contains_key("authorization"))
        .respond_with(challenge)
        .with_priority(1)
        .mount(device)
        .await;
}

#[tokio::test]
async fn digest_is_answered_when_it_is_asked_for() {
    let device = device().await;
    demand_digest(&device).await;
    let recorder = recorder(&device);
    recorder.0.recordings(Duration::ZERO).await.unwrap();
    recorder.0.recordings(Duration::ZERO).await.unwrap();
    let requests = device.received_requests().await.unwrap();
    let shown: Vec<_> = requests
        .iter()
        .filter(|request| asked("GetRecordings").matches(request))
        .map(|request| {
            request
                .headers
                .get("authorization")
                .map(|value| value.to_str().unwrap().to_owned())
        })
        .collect();
    // Challenged once; from then on it is shown at once, with a count that runs on.
    assert_eq!(shown.len(), 3, "{shown:?}");
    assert_eq!(shown[0], None);
    for (shown, count) in shown[1..].iter().zip(["00000001", "00000002"]) {
        let shown = shown.as_deref().unwrap();
        for part in [
            "Digest ",
            "uri=\"/onvif/recording\"",
            "algorithm=SHA-256",
            count,
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }
    assert!(
        requests
            .iter()
            .all(|request| !String::from_utf8_lossy(&request.body).contains("UsernameToken"))
    );
}

#[tokio::test]
async fn a_wrong_password_is_tried_once() {
    let device = device().await;
    let challenge = ResponseTemplate::new(401)
        .append_header("www-authenticate", "Digest realm=\"nvr\", nonce=\"n1\"");
    answers_now(&device, "GetRecordings", challenge).await;
    let recorder = recorder(&device);
    let questions = (0..5).map(|_| recorder.coverage(question("REC7")));
    for answer in futures::future::join_all(questions).await {
        assert!(
            matches!(answer, Err(ProbeError::Credentials | ProbeError::Crowded)),
            "{answer:?}"
        );
    }
    assert_eq!(
        recorder.describe("REC7".into()).await,
        Err(ProbeError::Credentials)
    );
    let requests = device.received_requests().await.unwrap();
    let shown = requests
        .iter()
        .filter(|request| request.headers.contains_key("authorization"));
    assert_eq!(shown.count(), 1);
    // It lives all the same.
    recorder.ping().await.unwrap();
}

#[tokio::test]
async fn devices_without_digest_get_a_token_in_their_own_time() {
    let device = device().await;
    Mock::given(asked("GetRecordings"))
        .and(|request: &Request| !String::from_utf8_lossy(&request.body).contains("UsernameToken"))
        .respond_with(fault(400, "ter:NotAuthorized", ""))
        .with_priority(1)
        .mount(&device)
        .await;
    // Our clock is an hour behind the device's.
    let recorder = OnvifRecorder::new(&config(&device), Clock::anchored(at(NOW - 3_600))).unwrap();
    recorder.0.recordings(Duration::ZERO).await.unwrap();
    let requests = device.received_requests().await.unwrap();
    let mut token = requests
        .iter()
        .map(|request| String::from_utf8_lossy(&request.body).into_owned());
    let token = token.rfind(|body| body.contains("UsernameToken")).unwrap();
    let created = token
        .split("<wsu:Created>")
        .nth(1)
        .unwrap()
        .split('<')
        .next()
        .unwrap();
    let created = Timestamp::parse_iso(created).unwrap();
    assert!(
        created.since(at(NOW)) < Duration::from_secs(10) && at(NOW).since(created).is_zero(),
        "{created}"
    );
    let offset = recorder.clock_offset().unwrap().await.unwrap();
    assert!(
        (offset.micros - 3_600_500_000).abs() < 5_000_000,
        "{offset:?}"
    );
    assert!(offset.uncertainty >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_token_that_is_refused_is_shown_no_more() {
    let device = device().await;
    answers_now(
        &device,
        "GetRecordings",
        fault(400, "ter:NotAuthorized", ""),
    )
    .await;
    let recorder = recorder(&device);
    for _ in 0..3 {
        assert_eq!(
            recorder.coverage(question("REC7")).await,
            Err(ProbeError::Credentials)
        );
    }
    let requests = device.received_requests().await.unwrap();
    let tokens = requests
        .iter()
        .filter(|request| String::from_utf8_lossy(&request.body).contains("UsernameToken"));
    assert_eq!(tokens.count(), 1);
}

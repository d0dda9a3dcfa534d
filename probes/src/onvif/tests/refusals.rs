//! What it refuses, and what no answer is.

use super::*;

#[tokio::test]
async fn faults_and_refusals_keep_their_meaning() {
    for (answer, error) in [
        (
            fault(400, "ter:InvalidArgVal", "ter:NoRecording"),
            Some(ProbeError::NotFound),
        ),
        (
            fault(500, "ter:Action", "ter:ResourceProblem"),
            Some(ProbeError::Busy),
        ),
        (ResponseTemplate::new(503), Some(ProbeError::Busy)),
        (ResponseTemplate::new(403), Some(ProbeError::Credentials)),
        (
            ResponseTemplate::new(200)
                .set_body_string("<!DOCTYPE x [<!ENTITY a \"b\">]><x>&a;</x>"),
            None,
        ),
        (
            ResponseTemplate::new(200).set_body_string("<html><body>hello</body></html>"),
            None,
        ),
        (
            ResponseTemplate::new(200)
                .set_body_bytes(vec![b' '; crate::xml::DOCUMENT_BYTES_MAX + 1]),
            None,
        ),
        (
            ResponseTemplate::new(302).insert_header("location", "http://192.168.99.99/onvif"),
            None,
        ),
        (
            ResponseTemplate::new(302).insert_header("location", "https://127.0.0.1/onvif"),
            None,
        ),
        (
            ResponseTemplate::new(307).insert_header("location", "/onvif/replay"),
            None,
        ),
    ] {
        let device = device().await;
        answers_now(&device, "GetReplayUri", answer).await;
        let refused = recorder(&device)
            .0
            .source(&"REC7".into(), false)
            .await
            .map(|_| ());
        match error {
            Some(error) => assert_eq!(refused, Err(error)),
            None => assert!(
                matches!(refused, Err(ProbeError::Protocol(_))),
                "{refused:?}"
            ),
        }
    }
}

#[tokio::test]
async fn nobody_listens() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let config = HttpConfig {
        url,
        ..HttpConfig::default()
    };
    let recorder = OnvifRecorder::new(&config, Clock::System).unwrap();
    assert_eq!(recorder.ping().await, Err(ProbeError::Refused));
    assert_eq!(
        recorder.coverage(question("REC7")).await,
        Err(ProbeError::Refused)
    );
}

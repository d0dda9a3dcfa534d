//! Whatever a recorder answers, our client ends, and asks for nothing after it gave up.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use seamline_rtsp::client::{ClientEvent, Config, PlayRequest, ReplayClient};
use seamline_rtsp::{Framer, Incoming, RtspUrl};

fuzz_target!(|data: &[u8]| {
    let url = RtspUrl::parse("rtsp://10.0.0.5/rec/1").expect("an URL");
    let mut client = ReplayClient::new(Config {
        play: Some(PlayRequest::default()),
        ..Config::new(url)
    });
    let (mut framer, mut buffer) = (Framer::new(), BytesMut::from(data));
    let mut requests = 0;
    while let Ok(Some(incoming)) = framer.next(&mut buffer) {
        while client.poll_transmit().is_some() {
            requests += 1;
        }
        let outcome = match &incoming {
            Incoming::Response(response) => client.handle_response(response),
            Incoming::Request(request) => client.handle_request(request),
            Incoming::Frame { .. } => Ok(()),
        };
        if outcome.is_err() {
            return;
        }
        while let Some(event) = client.poll_event() {
            if let ClientEvent::Described(description) = event {
                let all: Vec<usize> = (0..description.tracks.len()).collect();
                let _ = client.set_up(&all);
            }
        }
    }
    assert!(requests < 1000);
});

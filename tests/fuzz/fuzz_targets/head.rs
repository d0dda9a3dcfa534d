//! A message and all its headers; what we write of it is one line a header, whatever stood in it.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use seamline_rtsp::headers::HeaderError;
use seamline_rtsp::{Framer, Headers, Incoming, Response, RtspUrl};

fn read(headers: &Headers) {
    let known = |error: HeaderError| assert!((400..600).contains(&error.status()));
    headers.range().map_err(known).ok();
    headers.scale().map_err(known).ok();
    headers.speed().map_err(known).ok();
    headers.frames().map_err(known).ok();
    headers.rate_control().map_err(known).ok();
    headers.session().map_err(known).ok();
    headers.transports();
    headers.rtp_info();
    headers.immediate();
    headers.requires_onvif_replay();
    assert!(
        headers
            .iter()
            .all(|(name, value)| !name.contains(['\r', '\n', '\0'])
                && !value.contains(['\r', '\n', '\0']))
    );
}

fuzz_target!(|data: &[u8]| {
    let (mut framer, mut buffer) = (Framer::new(), BytesMut::from(data));
    while let Ok(Some(incoming)) = framer.next(&mut buffer) {
        match incoming {
            Incoming::Request(request) => {
                read(&request.headers);
                let _ = RtspUrl::parse(&request.uri);
                let answer = Response::to(&request, 200).with("Session", "1").encode();
                let text = std::str::from_utf8(&answer).expect("we write text");
                let lines = text
                    .strip_suffix("\r\n\r\n")
                    .expect("an answer ends")
                    .split("\r\n")
                    .count();
                assert!(lines <= 5, "{text}");
            }
            Incoming::Response(response) => read(&response.headers),
            Incoming::Frame { .. } => {}
        }
    }
});

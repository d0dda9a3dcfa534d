//! No byte string brings down a parser, and none makes it hold more than it says.

use bytes::{BufMut, BytesMut};
use proptest::prelude::*;
use seamline_rtsp::frame::{BODY_BYTES_MAX, FRAME_HEADER_BYTES, HEAD_BYTES_MAX};
use seamline_rtsp::headers::{
    ClockTime, Frames, RTP_INFOS_MAX, Range, RtpInfo, Scale, Session, Speed, TRANSPORTS_MAX,
    Transport,
};
use seamline_rtsp::url::request_path;
use seamline_rtsp::{Framer, Headers, Incoming, RtspUrl};

/// Bytes that look like RTSP often enough to get deep into the parser.
fn almost_rtsp() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        Just(b"OPTIONS ".to_vec()),
        Just(b"rtsp://h/x ".to_vec()),
        Just(b"RTSP/1.0".to_vec()),
        Just(b"RTSP/1.0 200".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\n\n".to_vec()),
        Just(b"Content-Length: ".to_vec()),
        Just(b"7".to_vec()),
        Just(b": ".to_vec()),
        Just(b" ".to_vec()),
        Just(b"$\x00\x00\x02".to_vec()),
        prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(token, 0..30).prop_map(|tokens| tokens.concat())
}

fn survives(bytes: &[u8], piece: usize) {
    let (mut framer, mut buf) = (Framer::new(), BytesMut::new());
    for piece in bytes.chunks(piece) {
        buf.put_slice(piece);
        loop {
            match framer.next(&mut buf) {
                Ok(Some(Incoming::Frame { bytes, .. })) => {
                    assert!(bytes.len() >= FRAME_HEADER_BYTES);
                }
                Ok(Some(Incoming::Request(request))) => typed(&request.headers),
                Ok(Some(Incoming::Response(response))) => typed(&response.headers),
                Ok(None) => break,
                Err(_) => return,
            }
        }
        assert!(buf.len() <= HEAD_BYTES_MAX.max(BODY_BYTES_MAX));
    }
}

fn typed(headers: &Headers) {
    let _ = (
        headers.range(),
        headers.scale(),
        headers.speed(),
        headers.rate_control(),
        headers.frames(),
    );
    let _ = (
        headers.session(),
        headers.immediate(),
        headers.cseq(),
        headers.requires_onvif_replay(),
    );
    assert!(
        headers.transports().len() <= TRANSPORTS_MAX && headers.rtp_info().len() <= RTP_INFOS_MAX
    );
}

proptest! {
    #[test]
    fn the_framer_survives_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600), piece in 1_usize..100) {
        survives(&bytes, piece);
    }

    #[test]
    fn the_framer_survives_almost_rtsp(bytes in almost_rtsp(), piece in 1_usize..100) {
        survives(&bytes, piece);
    }

    #[test]
    fn every_value_survives_any_text(text in ".{0,60}") {
        let _ = (ClockTime::parse(&text), Range::parse(&text), Frames::parse(&text), Session::parse(&text));
        let _ = (Scale::parse(&text), Speed::parse(&text), Transport::parse_list(&text), RtpInfo::parse_list(&text));
        let _ = request_path(&text);
    }

    #[test]
    fn every_value_survives_almost_itself(text in "(clock|npt|url|RTP/AVP)=?[0-9TZtz:.,;=/\"é -]{0,50}") {
        let _ = (Range::parse(&text), Transport::parse_list(&text), RtpInfo::parse_list(&text));
    }

    #[test]
    fn urls_survive_any_text(text in "(rtsp://)?.{0,40}", control in ".{0,20}") {
        if let Ok(url) = RtspUrl::parse(&text) {
            prop_assert!(url.as_str().bytes().all(|byte| byte.is_ascii_graphic()), "{}", url);
            prop_assert_eq!(RtspUrl::parse(url.as_str()), Ok(url.clone()));
            let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
            let scheme = if url.is_secure() { "rtsps" } else { "rtsp" };
            let parts = format!("{scheme}://{}{}{query}", url.authority(), url.path());
            prop_assert_eq!(parts.as_str(), url.as_str());
            let _ = url.control(&control);
            let _ = (url.segments(), url.parameters().count(), url.host(), url.port());
        }
    }
}

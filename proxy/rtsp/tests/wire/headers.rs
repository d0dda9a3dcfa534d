//! Typed header values apart from `Range`: vectors, sloppiness, round trips.

use proptest::prelude::*;
use seamline_rtsp::Headers;
use seamline_rtsp::headers::{
    FACTOR_MAX, Frames, HeaderError, Lower, RateControl, RtpInfo, Scale, Session, Speed, Transport,
};

#[test]
fn transports() {
    let tcp = Transport::parse("RTP/AVP/TCP;unicast;interleaved=0-1").expect("TCP");
    assert_eq!(tcp, Transport::interleaved(0, 1));
    assert_eq!(tcp.to_string(), "RTP/AVP/TCP;unicast;interleaved=0-1");
    let lower_case =
        Transport::parse("rtp/avp/tcp; interleaved = 4 ;mode=\"PLAY\"").expect("lower case");
    assert_eq!(
        (lower_case.lower, lower_case.interleaved, lower_case.record),
        (Lower::Tcp, Some((4, 5)), false)
    );
    let udp = Transport::parse("RTP/AVP;unicast;client_port=50000-50001;destination=10.0.0.1")
        .expect("UDP");
    assert_eq!(
        (udp.lower, udp.client_port),
        (Lower::Udp, Some((50_000, 50_001)))
    );
    assert_eq!(udp.destination.as_deref(), Some("10.0.0.1"));
    let reply = Transport {
        ssrc: Some(0x7A11_C0DE),
        server_port: Some((6000, 6001)),
        ..Transport::udp(50_000, 50_001)
    };
    assert_eq!(
        reply.to_string(),
        "RTP/AVP;unicast;client_port=50000-50001;server_port=6000-6001;ssrc=7A11C0DE"
    );
    assert!(
        Transport::parse("RTP/AVP;multicast;ttl=127")
            .expect("multicast")
            .multicast
    );
    assert!(
        !Transport::parse("RTP/SAVP;unicast;client_port=1-2")
            .expect("SRTP")
            .plain_avp
    );
    for text in [
        "",
        "RTP",
        "RTP/AVP/SCTP",
        "RTP/AVP/TCP;interleaved=300-301",
        "RTP/AVP;client_port=-1",
        "RTP/AVP;client_port=70000",
    ] {
        assert_eq!(Transport::parse(text), None, "{text}");
    }
    // 255 has no channel after it.
    assert_eq!(Transport::parse("RTP/AVP/TCP;interleaved=255"), None);
}

#[test]
fn alternatives_keep_the_client_s_order() {
    let mut headers = Headers::default();
    headers.push(
        "Transport",
        "RTP/AVP;unicast;client_port=1-x,RTP/AVP/TCP;interleaved=2-3",
    );
    headers.push("transport", "RTP/AVP;unicast;client_port=6000-6001");
    let transports = headers.transports();
    assert_eq!(
        transports,
        [Transport::interleaved(2, 3), Transport::udp(6000, 6001)]
    );
}

#[test]
fn sessions() {
    let session = |id: &str, timeout_s| {
        Ok(Session {
            id: id.to_owned(),
            timeout_s,
        })
    };
    assert_eq!(
        Session::parse("k3Jd82aQ;timeout=60"),
        session("k3Jd82aQ", Some(60))
    );
    assert_eq!(
        Session::parse(" a.-b ; timeout = 30s ; x"),
        session("a.-b", Some(30))
    );
    assert_eq!(Session::parse("1"), session("1", None));
    assert_eq!(Session::parse("1;timeout=0"), session("1", None));
    assert_eq!(Session::parse("1;timeout=-5"), session("1", None));
    assert_eq!(
        session("k", Some(60)).map(|session| session.to_string()),
        Ok("k;timeout=60".to_owned())
    );
    let long = "x".repeat(257);
    for text in ["", ";timeout=60", "a b", "é", long.as_str()] {
        assert_eq!(
            Session::parse(text),
            Err(HeaderError::Malformed("Session")),
            "{text}"
        );
    }
}

#[test]
fn rtp_infos() {
    let info = |url: &str, seq, rtptime| RtpInfo {
        url: url.to_owned(),
        seq,
        rtptime,
    };
    let value = "url=rtsp://h/x?a=1,2;b=3/trackID=1;seq=4711;rtptime=1500000000, URL=rtsp://h/2;rtptime=7;seq=9";
    let read = RtpInfo::parse_list(value);
    assert_eq!(
        read,
        [
            info(
                "rtsp://h/x?a=1,2;b=3/trackID=1",
                Some(4711),
                Some(1_500_000_000)
            ),
            info("rtsp://h/2", Some(9), Some(7))
        ]
    );
    assert_eq!(
        read.first().map(ToString::to_string).as_deref(),
        Some("url=rtsp://h/x?a=1,2;b=3/trackID=1;seq=4711;rtptime=1500000000")
    );
    assert_eq!(
        RtpInfo::parse_list("url=trackID=0; seq=0"),
        [info("trackID=0", Some(0), None)]
    );
    assert_eq!(
        RtpInfo::parse_list("url=\"a\";seq=70000;rtptime=x"),
        [info("a", None, None)]
    );
    assert_eq!(RtpInfo::parse_list("seq=1"), []);
}

#[test]
fn replay_headers() {
    assert_eq!(Scale::parse("-1"), Ok(Scale::REVERSE));
    assert_eq!(
        Scale::parse("2.000000").map(|scale| scale.to_string()),
        Ok("2.0".to_owned())
    );
    assert_eq!(Speed::parse(" 1.0-2.5"), Ok(Speed::ONE));
    assert_eq!(Speed::parse(" Max").map(Speed::value), Ok(FACTOR_MAX));
    for text in [
        "", "0", "nan", "inf", "1e308", "1e2", "--1", "1000000", "max",
    ] {
        assert_eq!(
            Scale::parse(text),
            Err(HeaderError::Malformed("Scale")),
            "{text}"
        );
    }
    for text in ["", "0", "-1", "-", "maximum"] {
        assert_eq!(
            Speed::parse(text),
            Err(HeaderError::Malformed("Speed")),
            "{text}"
        );
    }
    assert_eq!(RateControl::parse("No"), Ok(RateControl::No));
    assert_eq!(
        RateControl::parse("maybe"),
        Err(HeaderError::Malformed("Rate-Control"))
    );
    let frames = [
        ("all", Frames::All),
        ("predicted", Frames::Predicted),
        ("intra", Frames::Intra { interval_ms: None }),
        (
            "intra/4000",
            Frames::Intra {
                interval_ms: Some(4000),
            },
        ),
    ];
    for (text, value) in frames {
        assert_eq!(Frames::parse(text), Ok(value), "{text}");
        assert_eq!(value.to_string(), text);
    }
    for text in ["", "intra/", "intra/x", "all/5", "intra/99999999999", "key"] {
        assert_eq!(
            Frames::parse(text),
            Err(HeaderError::Malformed("Frames")),
            "{text}"
        );
    }
}

#[test]
fn option_tags() {
    let mut headers = Headers::default();
    headers.push("Require", "a, ONVIF-replay");
    headers.push("require", "b");
    assert_eq!(
        headers.require().collect::<Vec<_>>(),
        ["a", "ONVIF-replay", "b"]
    );
    assert!(headers.requires_onvif_replay());
}

proptest! {
    #[test]
    fn a_written_transport_is_read(media: u8, control: u8, ssrc: Option<u32>) {
        let transport = Transport { ssrc, ..Transport::interleaved(media, control) };
        prop_assert_eq!(Transport::parse(&transport.to_string()), Some(transport));
    }

    #[test]
    fn written_rtp_infos_are_read(
        infos in prop::collection::vec(("rtsp://[a-z]{1,9}/[a-z0-9/?&,._-]{0,20}[a-z]", any::<Option<u16>>(), any::<Option<u32>>()), 0..5),
    ) {
        let infos: Vec<RtpInfo> = infos.into_iter().map(|(url, seq, rtptime)| RtpInfo { url, seq, rtptime }).collect();
        let value: Vec<String> = infos.iter().map(ToString::to_string).collect();
        prop_assert_eq!(RtpInfo::parse_list(&value.join(",")), infos);
    }
}

//! Descriptions as recorders write them, as we write them, and tracks that continue each other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use seamline_rtsp::headers::{ClockTime, Range};
use seamline_rtsp::sdp::{
    Description, Difference, Mapping, Media, PARAMETERS_MAX, SDP_BYTES_MAX, SdpError, TRACKS_MAX,
    Track, map_tracks,
};

const GSTREAMER: &str = "v=0\r\no=- 14047886211337127 1 IN IP4 127.0.0.1\r\ns=Session streamed with GStreamer\r\n\
    i=rtsp-server\r\nt=0 0\r\na=tool:GStreamer\r\na=type:broadcast\r\na=control:*\r\n\
    a=range:clock=19000101T000000Z-19000101T000004Z\r\n\
    m=video 0 RTP/AVP 96\r\nc=IN IP4 0.0.0.0\r\na=rtpmap:96 H264/90000\r\na=framerate:25\r\n\
    a=fmtp:96 packetization-mode=1;profile-level-id=640028;sprop-parameter-sets=Z2QAKA==,aO48gA==\r\n\
    a=control:stream=0\r\na=x-onvif-track:VIDEO000\r\n\
    m=audio 0 RTP/AVP 97\r\na=rtpmap:97 mpeg4-generic/48000/2\r\n\
    a=fmtp:97 streamtype=5; profile-level-id=1; mode=AAC-hbr; sizeLength=13; config=1190\r\n\
    a=control:stream=1\r\na=x-onvif-track:AUDIO000\r\n";

fn parse(text: &str) -> Description {
    Description::parse(text.as_bytes()).expect(text)
}

fn track(media: Media, encoding: &str, clock_rate: u32, fmtp: &[(&str, &str)]) -> Track {
    Track {
        media,
        encoding: encoding.to_owned(),
        clock_rate,
        channels: 1,
        payload_type: 96,
        fmtp: fmtp
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        control: String::new(),
        onvif_track: None,
    }
}

#[test]
fn reads_gstreamer_s() {
    let description = parse(GSTREAMER);
    assert_eq!(description.control, "*");
    assert_eq!(
        description.range,
        Range::parse("clock=19000101T000000Z-19000101T000004Z").ok()
    );
    let [video, audio] = description.tracks.as_slice() else {
        panic!("two tracks")
    };
    assert_eq!(
        (
            video.media,
            video.encoding.as_str(),
            video.clock_rate,
            video.payload_type
        ),
        (Media::Video, "H264", 90_000, 96)
    );
    assert_eq!(
        video.parameter("Sprop-Parameter-Sets"),
        Some("Z2QAKA==,aO48gA==")
    );
    assert_eq!(
        (video.control.as_str(), video.onvif_track.as_deref()),
        ("stream=0", Some("VIDEO000"))
    );
    assert_eq!(
        (
            audio.clock_rate,
            audio.channels,
            audio.parameter("sizelength")
        ),
        (48_000, 2, Some("13"))
    );
}

#[test]
fn reads_what_strict_parsers_refuse() {
    let description = Description::parse(
        b"v=0\no=recorder 1 1\ns=K\xfcche\nc=nonsense\nt=now\nm=video  0 RTP/AVP 26\na=control:rtsp://10.1.1.1/t1\n\
          m=audio 0 RTP/AVP 0 8\nm=text 0 RTP/AVP 99\nm=audio 0 RTP/AVP 98\na=rtpmap:98 G726-32/0\n\
          m=application 0 RTP/AVP 107\na=rtpmap:107 vnd.onvif.metadata\na=\n",
    )
    .expect("lenient");
    let read: Vec<_> = description
        .tracks
        .iter()
        .map(|track| (track.encoding.as_str(), track.clock_rate))
        .collect();
    assert_eq!(
        read,
        [
            ("JPEG", 90_000),
            ("PCMU", 8000),
            ("vnd.onvif.metadata", 90_000)
        ]
    );
    assert_eq!(
        description
            .tracks
            .first()
            .map(|track| track.control.as_str()),
        Some("rtsp://10.1.1.1/t1")
    );
}

#[test]
fn refuses_what_is_no_description() {
    assert_eq!(Description::parse(b""), Err(SdpError::NoMedia));
    assert_eq!(Description::parse(b"<html>"), Err(SdpError::NoMedia));
    assert_eq!(
        Description::parse(b"v=0\r\nm=video 99999999 RTP/AVP 96\r\n"),
        Err(SdpError::Malformed)
    );
    assert_eq!(
        Description::parse(b"v=0\r\nm=video 0 RTP/AVP 200\r\na=rtpmap:200 H264/90000\r\n"),
        Err(SdpError::NoMedia)
    );
    assert_eq!(
        Description::parse(&vec![b'\n'; SDP_BYTES_MAX + 1]),
        Err(SdpError::TooLong)
    );
}

#[test]
fn bounds_the_tracks() {
    let text = format!("v=0\r\n{}", "m=audio 0 RTP/AVP 0\r\n".repeat(200));
    assert_eq!(parse(&text).tracks.len(), TRACKS_MAX);
}

#[test]
fn bounds_the_parameters() {
    let text = format!(
        "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 {}\r\n",
        "x=1;".repeat(1000)
    );
    assert_eq!(parse(&text).tracks[0].fmtp.len(), PARAMETERS_MAX);
}

#[test]
fn writes_what_every_client_reads() {
    let mut description = parse(GSTREAMER);
    description.range = Some(Range::Clock {
        start: ClockTime::parse("20251201T000000Z").ok(),
        end: None,
    });
    let text = String::from_utf8(description.write(
        "Recording 7",
        1_767_323_045,
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, 5)),
    ))
    .expect("text");
    assert_eq!(
        text,
        "v=0\r\no=- 1767323045 1 IN IP4 10.0.0.5\r\ns=Recording 7\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=control:*\r\n\
         a=range:clock=20251201T000000Z-\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
         a=fmtp:96 packetization-mode=1;profile-level-id=640028;sprop-parameter-sets=Z2QAKA==,aO48gA==\r\n\
         a=control:trackID=1\r\na=x-onvif-track:VIDEO000\r\nm=audio 0 RTP/AVP 97\r\na=rtpmap:97 mpeg4-generic/48000/2\r\n\
         a=fmtp:97 streamtype=5;profile-level-id=1;mode=AAC-hbr;sizeLength=13;config=1190\r\n\
         a=control:trackID=2\r\na=x-onvif-track:AUDIO000\r\n"
    );
}

#[test]
fn writes_the_client_s_address_family_and_no_line_of_a_recorder_s() {
    let mut description = parse(GSTREAMER);
    for track in &mut description.tracks {
        track.encoding.push_str("\r\nm=evil");
    }
    let text =
        String::from_utf8(description.write("", 1, IpAddr::V6(Ipv6Addr::LOCALHOST))).expect("text");
    assert!(
        text.contains("o=- 1 1 IN IP6 ::1\r\ns=-\r\nc=IN IP6 ::\r\n"),
        "{text}"
    );
    assert!(!text.contains("\nm=evil"), "{text}");
}

#[test]
fn maps_by_medium_and_form_in_order() {
    let ours = parse(GSTREAMER).tracks;
    let h264 = |mode| {
        track(
            Media::Video,
            "h264",
            90_000,
            &[("packetization-mode", mode)],
        )
    };
    let aac = track(
        Media::Audio,
        "MPEG4-GENERIC",
        48_000,
        &[
            ("mode", "aac-hbr"),
            ("sizelength", "13"),
            ("CONFIG", "1190"),
        ],
    );
    let aac = Track { channels: 2, ..aac };
    let metadata = track(Media::Application, "vnd.onvif.metadata", 90_000, &[]);
    let theirs = [metadata, aac, h264("0"), h264("1")];
    assert_eq!(map_tracks(&ours, &theirs), [Mapping::To(2), Mapping::To(1)]);
    assert_eq!(
        map_tracks(&[h264("1"), h264("1")], &theirs),
        [Mapping::To(2), Mapping::To(3)]
    );
    assert_eq!(map_tracks(&ours, &[]), [Mapping::Absent, Mapping::Absent]);
}

#[test]
fn names_what_differs() {
    let differs = |our: Track, their: Track| match map_tracks(&[our], &[their]).first() {
        Some(Mapping::Mismatch {
            theirs: 0,
            difference,
        }) => Some(difference.to_string()),
        _ => None,
    };
    let video = |encoding, fmtp| track(Media::Video, encoding, 90_000, fmtp);
    let audio = |clock_rate, config| {
        track(
            Media::Audio,
            "mpeg4-generic",
            clock_rate,
            &[("config", config)],
        )
    };
    assert_eq!(
        differs(video("H264", &[]), video("H265", &[])).as_deref(),
        Some("encoding differs")
    );
    assert_eq!(
        differs(
            video("H264", &[]),
            video("H264", &[("packetization-mode", "2")])
        )
        .as_deref(),
        Some("packetization-mode differs")
    );
    assert_eq!(
        differs(
            video("H265", &[("sprop-max-don-diff", "2")]),
            video("H265", &[])
        )
        .as_deref(),
        Some("sprop-max-don-diff differs")
    );
    assert_eq!(
        differs(audio(8000, "1588"), audio(16_000, "1588")).as_deref(),
        Some("clock rate differs")
    );
    assert_eq!(
        differs(audio(8000, "1588"), audio(8000, "1590")).as_deref(),
        Some("config differs")
    );
    assert_eq!(
        differs(
            audio(8000, "1588"),
            Track {
                channels: 2,
                ..audio(8000, "1588")
            }
        )
        .as_deref(),
        Some("channel count differs")
    );
    // Profiles, resolutions and parameter sets travel in band.
    assert_eq!(
        differs(
            video("H264", &[("profile-level-id", "42")]),
            video("H264", &[("profile-level-id", "64")])
        ),
        None
    );
}

#[test]
fn reports_the_nearest_miss() {
    let ours = [track(Media::Audio, "L16", 16_000, &[])];
    let theirs = [
        track(Media::Audio, "PCMU", 8000, &[]),
        track(Media::Audio, "L16", 8000, &[]),
    ];
    assert_eq!(
        map_tracks(&ours, &theirs),
        [Mapping::Mismatch {
            theirs: 1,
            difference: Difference::ClockRate
        }]
    );
}

proptest! {
    #[test]
    fn no_bytes_bring_it_down(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Description::parse(&bytes);
    }

    #[test]
    fn no_lines_bring_it_down(
        lines in prop::collection::vec("(v=0|m=(video|audio) [0-9]{1,6} RTP/AVP [0-9]{1,3}( [0-9]+)?|a=(rtpmap|fmtp|control|range|x-onvif-track):?.{0,30}|.{0,12})", 0..20),
    ) {
        if let Ok(description) = Description::parse(lines.join("\r\n").as_bytes()) {
            prop_assert!(description.tracks.len() <= TRACKS_MAX);
            prop_assert!(description.tracks.iter().all(|track| track.clock_rate > 0 && track.channels > 0));
            // Whatever a recorder says, what we make of it can be read again.
            let written = description.write("x", 1, IpAddr::V4(Ipv4Addr::LOCALHOST));
            let again = Description::parse(&written).expect("our own description");
            prop_assert_eq!(again.tracks.len(), description.tracks.len());
        }
    }

    #[test]
    fn every_track_of_theirs_is_used_once(
        ours in prop::collection::vec(0_usize..3, 0..6),
        theirs in prop::collection::vec(0_usize..3, 0..6),
    ) {
        let kinds = [("H264", Media::Video), ("H265", Media::Video), ("PCMU", Media::Audio)];
        let tracks = |indices: &[usize]| -> Vec<Track> {
            indices.iter().filter_map(|&index| kinds.get(index)).map(|&(name, media)| track(media, name, 8000, &[])).collect()
        };
        let (ours, theirs) = (tracks(&ours), tracks(&theirs));
        let mapped = map_tracks(&ours, &theirs);
        let mut used: Vec<usize> = mapped.iter().filter_map(|mapping| mapping.index()).collect();
        for (our, mapping) in ours.iter().zip(&mapped) {
            if let Some(their) = mapping.index().and_then(|index| theirs.get(index)) {
                prop_assert_eq!(&our.encoding, &their.encoding);
            }
        }
        for (name, _) in kinds {
            let count = |tracks: &[Track]| tracks.iter().filter(|track| track.encoding == name).count();
            let found = mapped.iter().filter_map(|mapping| theirs.get(mapping.index()?)).filter(|track| track.encoding == name).count();
            prop_assert_eq!(found, count(&ours).min(count(&theirs)));
        }
        let all = used.len();
        used.sort_unstable();
        used.dedup();
        prop_assert_eq!(used.len(), all);
    }
}

#[test]
fn sound_and_metadata_continue_only_their_own_form() {
    let sound = |encoding: &str, rate| track(Media::Audio, encoding, rate, &[]);
    // The two packings of G.726 are the same bits in another order: a player would hear noise.
    let one = std::slice::from_ref::<Track>;
    for rate in ["16", "24", "32", "40"] {
        let (rfc, atm) = (
            sound(&format!("G726-{rate}"), 8000),
            sound(&format!("AAL2-G726-{rate}"), 8000),
        );
        for same in [&rfc, &atm] {
            assert_eq!(map_tracks(one(same), one(same)), [Mapping::To(0)]);
        }
        for (ours, theirs) in [(&rfc, &atm), (&atm, &rfc)] {
            let refused = Mapping::Mismatch {
                theirs: 0,
                difference: Difference::Encoding,
            };
            assert_eq!(map_tracks(one(ours), one(theirs)), [refused]);
        }
    }
    let slower = map_tracks(&[sound("G726-32", 8000)], &[sound("G726-24", 8000)]);
    assert_eq!(slower[0].index(), None);
    // Opus is two channels by its format, though not every recorder writes so.
    let stereo = Track {
        channels: 2,
        ..sound("opus", 48_000)
    };
    assert_eq!(
        map_tracks(&[stereo], &[sound("OPUS", 48_000)]),
        [Mapping::To(0)]
    );
    let metadata = |encoding: &str| track(Media::Application, encoding, 90_000, &[]);
    let plain = metadata("vnd.onvif.metadata");
    let theirs = [metadata("vnd.onvif.metadata+gzip"), plain.clone()];
    assert_eq!(map_tracks(one(&plain), &theirs), [Mapping::To(1)]);
    assert_eq!(map_tracks(one(&plain), &theirs[..1])[0].index(), None);
}

#[test]
fn reads_and_writes_metadata_and_static_sound() {
    let text = "v=0\r\nm=audio 0 RTP/AVP 2\r\na=control:a\r\n\
        m=application 0 RTP/AVP 98\r\na=rtpmap:98 vnd.onvif.metadata.exi.ext/90000\r\na=control:m\r\na=x-onvif-track:META001\r\n";
    let description = parse(text);
    let read: Vec<_> = description
        .tracks
        .iter()
        .map(|track| (track.media, track.encoding.as_str(), track.clock_rate))
        .collect();
    assert_eq!(
        read,
        [
            (Media::Audio, "G726-32", 8000),
            (Media::Application, "vnd.onvif.metadata.exi.ext", 90_000)
        ]
    );
    let written = description.write("gate", 1, IpAddr::V4(Ipv4Addr::LOCALHOST));
    let again = Description::parse(&written).expect("our own");
    assert_eq!(again.tracks[1].encoding, description.tracks[1].encoding);
    assert_eq!(again.tracks[1].onvif_track.as_deref(), Some("META001"));
}

#[test]
fn two_hundred_sections_unknown_codecs_and_foreign_addresses_are_bounded_and_ignored() {
    let mut text = "v=0\r\no=- 1 1 IN IP4 198.51.100.7\r\nc=IN IP4 198.51.100.7\r\n".to_owned();
    for section in 0..200 {
        text += "m=video 4711 RTP/AVP 96\r\na=rtpmap:96 NO-SUCH-CODEC/90000\r\nc=IN IP4 203.0.113.";
        text += &section.to_string();
        text += "\r\n";
    }
    let description = parse(&text);
    assert_eq!(description.tracks.len(), TRACKS_MAX);
    // Without control attributes, of no known codec: named, and never taken for another's continuation.
    assert!(
        description
            .tracks
            .iter()
            .all(|track| track.control.is_empty())
    );
    let known = track(Media::Video, "H264", 90_000, &[]);
    assert_eq!(map_tracks(&[known], &description.tracks)[0].index(), None);
    let written = description.write("gate", 1, IpAddr::V4(Ipv4Addr::LOCALHOST));
    let written = String::from_utf8(written).expect("text");
    assert!(
        !written.contains("198.51.100") && !written.contains("203.0.113"),
        "{written}"
    );
}

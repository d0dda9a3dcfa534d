//! What players are known to do with a description or an answer, and what is therefore not told to them.

use seamline_rtsp::Request;
use seamline_rtsp::headers::Range;
use seamline_rtsp::sdp::Track;

/// Parameter sets in a description (RFC 6184 §8.1, RFC 7798 §7.1).
const PARAMETER_SETS: [&str; 4] = [
    "sprop-parameter-sets",
    "sprop-vps",
    "sprop-sps",
    "sprop-pps",
];

/// Leaves out what the player that asks would use to the harm of its picture.
///
/// GStreamer's `rtspsrc` puts the parameter sets of the description into its decoder at each PLAY. Where the site that plays is not
/// the one that was described, those are another encoder's: the picture is damaged until the next key frame. Each of our plays
/// begins with the sets of what plays, so that it needs none here. Others are told: `retina` and muxers start sooner with them.
pub(super) fn spare(request: &Request, copies: usize, tracks: &mut [Track]) {
    if copies < 2 || !is_gstreamer(request) {
        return;
    }
    for track in tracks {
        let told = |(name, _): &(String, String)| {
            let mut sets = PARAMETER_SETS.iter();
            !sets.any(|set| name.eq_ignore_ascii_case(set))
        };
        track.fmtp.retain(told);
    }
}

/// The range that a player is told in the answer to its PLAY.
///
/// Where that has an end, GStreamer's jitter buffer estimates from each packet when the end is due: the time that passed here, times
/// the range, by the footage that came in it. Whatever arrives sooner than it was filmed (a first picture that was late, sound that
/// is stored ahead) ends the play early, by up to all of it. Our goodbye ends it where it ends. Backwards it needs the end.
pub(super) fn range_told(request: &Request, range: Range) -> Range {
    if !is_gstreamer(request) {
        return range;
    }
    match range {
        Range::Clock { start, end } if end > start => Range::Clock { start, end: None },
        Range::Npt { start, end } if end > start => Range::Npt { start, end: None },
        range => range,
    }
}

fn is_gstreamer(request: &Request) -> bool {
    let agent = request.headers.get("User-Agent").unwrap_or_default();
    agent.starts_with("GStreamer")
}

#[cfg(test)]
mod tests {
    use seamline_rtsp::sdp::Description;
    use seamline_rtsp::{Method, Request};

    use super::*;

    const BOTH: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n\
        m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
        a=fmtp:96 packetization-mode=1;profile-level-id=640028;sprop-parameter-sets=Z2QAKA==,aO48gA==\r\na=control:1\r\n\
        m=video 0 RTP/AVP 97\r\na=rtpmap:97 H265/90000\r\n\
        a=fmtp:97 Sprop-VPS=QAE=;sprop-sps=QgE=;sprop-pps=RAE=;profile-id=1\r\na=control:2\r\n";

    fn told(agent: &str, copies: usize) -> Vec<Vec<String>> {
        let mut tracks = Description::parse(BOTH.as_bytes())
            .expect("a description")
            .tracks;
        let request = Request::new(Method::Describe, "rtsp://h/gate").with("User-Agent", agent);
        spare(&request, copies, &mut tracks);
        let names = |track: &Track| {
            track
                .fmtp
                .iter()
                .map(|(name, _)| name.to_lowercase())
                .collect()
        };
        tracks.iter().map(names).collect()
    }

    #[test]
    fn gstreamer_is_not_told_the_sets_of_one_of_several_encoders() {
        let bare = [
            vec!["packetization-mode", "profile-level-id"],
            vec!["profile-id"],
        ];
        assert_eq!(told("GStreamer/1.22.0", 2), bare);
    }

    #[test]
    fn others_and_a_camera_with_one_copy_are_told_all() {
        for (agent, copies) in [("GStreamer/1.22.0", 1), ("Lavf59.27.100", 2), ("", 2)] {
            let told: usize = told(agent, copies).iter().map(Vec::len).sum();
            assert_eq!(told, 7, "{agent} {copies}");
        }
    }

    #[test]
    fn gstreamer_is_not_told_where_a_range_ends_but_backwards() {
        let open = "clock=20260101T120000Z-";
        let closed = "clock=20260101T120000Z-20260101T120010Z";
        let back = "clock=20260101T120010Z-20260101T120000Z";
        for (agent, range, expected) in [
            ("GStreamer/1.22.0", closed, open),
            ("GStreamer/1.22.0", open, open),
            ("GStreamer/1.22.0", back, back),
            ("GStreamer/1.22.0", "npt=0.000-10.000", "npt=0.000-"),
            ("Lavf59.27.100", closed, closed),
            ("", "npt=0.000-10.000", "npt=0.000-10.000"),
        ] {
            let request = Request::new(Method::Play, "rtsp://h/gate").with("User-Agent", agent);
            let range = Range::parse(range).expect("a range");
            let expected = Range::parse(expected).expect("a range");
            assert_eq!(range_told(&request, range), expected, "{agent} {range}");
        }
    }
}

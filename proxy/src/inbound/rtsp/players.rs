//! What players are known to do with a description, and what is therefore not told to them.

use seamline_rtsp::Request;
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
    let agent = request.headers.get("User-Agent").unwrap_or_default();
    if copies < 2 || !agent.starts_with("GStreamer") {
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
}

//! A recorder that answers anything: the client never panics and never asks again after it failed.

use super::{Recorder, URL, described, digest, play, set_up, with_credentials};
use proptest::prelude::*;
use seamline_rtsp::client::Phase;
use seamline_rtsp::{Incoming, Method, Request, Response};

proptest! {
    #[test]
    fn any_recorder_is_survived(
        answers in prop::collection::vec((0_usize..14, 0_usize..8, any::<bool>()), 0..40),
    ) {
        const STATUSES: [u16; 14] = [200, 200, 200, 200, 200, 100, 302, 400, 401, 404, 454, 457, 503, 551];
        let mut recorder = Recorder::new(with_credentials);
        let mut failed = false;
        for (status, shape, own_request) in answers {
            let Some(Incoming::Request(request)) = recorder.written() else {
                if own_request {
                    let _ = recorder.client.handle_request(&Request::new(Method::Announce, "*").with("CSeq", status));
                } else {
                    recorder.client.keep_alive();
                    recorder.client.pause();
                    recorder.client.play(play());
                }
                continue;
            };
            prop_assert!(!failed, "asks again after it failed: {:?}", request);
            let status = STATUSES.get(status).copied().unwrap_or(200);
            let mut reply = match (status, &request.method) {
                (200, Method::Describe) => described(&request),
                (200, Method::Setup) => set_up(&request),
                (401, _) => digest(&request, &format!("n{shape}"), if own_request { ", stale=true" } else { "" }),
                _ => Response::to(&request, status),
            };
            match shape {
                0 => reply.headers.remove("Session"),
                1 => reply.headers.set("Session", "other;timeout=1"),
                2 => reply.headers.set("Transport", "RTP/AVP/TCP;interleaved=0-1"),
                3 => reply.headers.set("CSeq", 99_999),
                4 => reply.headers.set("Location", URL),
                _ => {}
            }
            failed = recorder.answer(&reply).is_err();
            prop_assert_eq!(failed, recorder.client.phase() == Phase::Failed);
            if failed {
                while recorder.client.poll_transmit().is_some() {}
            }
        }
    }
}

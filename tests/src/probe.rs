//! A player that decodes nothing and looks at every packet: one session over interleaved TCP.

use std::time::Duration;

use crate::{
    clock::{monotonic, range_time},
    rtsp::{Client, Frame, Message, Response},
    stream::{Onvif, Packet},
};

/// A session and all it received so far.
#[derive(Debug)]
pub struct Probe {
    /// Its connection.
    pub client: Client,
    base: String,
    /// The description.
    pub sdp: String,
    /// RTP by track, in the order of the description.
    pub tracks: Vec<Vec<Packet>>,
    /// Raw RTCP: track, arrival and bytes.
    pub rtcp: Vec<(usize, Duration, Vec<u8>)>,
    /// Whether the server closed the connection.
    pub closed: bool,
}

impl Probe {
    /// Connects, describes and sets up every track as an ONVIF replay client; panics when one is refused.
    pub fn open(url: &str) -> Self {
        Self::open_with(url, &[("Require", "onvif-replay")])
    }

    /// As [`Self::open`], with these headers on DESCRIBE and SETUP.
    pub fn open_with(url: &str, headers: &[(&str, &str)]) -> Self {
        let mut client = Client::connect(url);
        let with = |more: &[(&'static str, &'static str)]| [headers, more].concat();
        let described = client.request("DESCRIBE", url, &with(&[("Accept", "application/sdp")]));
        assert_eq!(described.status, 200, "DESCRIBE {url}: {described:?}");
        let base = described
            .header("Content-Base")
            .unwrap_or(url)
            .trim_end_matches('/')
            .to_owned();
        let controls = controls(&described.body);
        for (index, control) in controls.iter().enumerate() {
            let track = if control.starts_with("rtsp://") {
                control.clone()
            } else {
                format!("{base}/{control}")
            };
            let transport = format!(
                "RTP/AVP/TCP;unicast;interleaved={}-{}",
                2 * index,
                2 * index + 1
            );
            let set_up = client.request(
                "SETUP",
                &track,
                &[headers, &[("Transport", &transport)]].concat(),
            );
            assert_eq!(set_up.status, 200, "SETUP {track}: {set_up:?}");
        }
        Self {
            client,
            base,
            sdp: described.body,
            tracks: vec![Vec::new(); controls.len()],
            rtcp: Vec::new(),
            closed: false,
        }
    }

    /// PLAY from `start` to `stop` (milliseconds since 1970) with `Require: onvif-replay` and these headers besides.
    pub fn play(&mut self, start: i64, stop: Option<i64>, headers: &[(&str, &str)]) -> Response {
        let stop = stop.map(range_time).unwrap_or_default();
        let range = format!("clock={}-{stop}", range_time(start));
        let all = [&[("Require", "onvif-replay"), ("Range", &range)], headers].concat();
        self.request("PLAY", &all)
    }

    /// A request on the whole session.
    pub fn request(&mut self, method: &str, headers: &[(&str, &str)]) -> Response {
        let base = self.base.clone();
        let response = self.client.request(method, &base, headers);
        let early = std::mem::take(&mut self.client.frames);
        for frame in early {
            self.take(frame);
        }
        response
    }

    /// Receives until `enough` says so, the server closes, or `within` is over; whether `enough` said so.
    pub fn receive(&mut self, within: Duration, mut enough: impl FnMut(&Self) -> bool) -> bool {
        let deadline = monotonic() + within;
        while !enough(self) {
            match self.client.next(deadline) {
                Some(Message::Frame(frame)) => self.take(frame),
                Some(Message::Response(_)) => {}
                Some(Message::Closed) => {
                    self.closed = true;
                    return enough(self);
                }
                None => return false,
            }
        }
        true
    }

    /// Receives until the first track's capture time reaches `at`; panics when it does not `within` that time.
    pub fn receive_until(&mut self, at: i64, within: Duration) {
        let reached = self.receive(within, |probe| probe.last_capture() >= Some(at));
        assert!(
            reached,
            "did not reach {} within {within:?}, but {:?}",
            range_time(at),
            self.last_capture().map(range_time)
        );
    }

    /// Receives until a T flag or a BYE on the first track; panics when neither comes.
    pub fn receive_to_end(&mut self, within: Duration) {
        let ended = self.receive(within, Self::has_ended);
        assert!(
            ended,
            "no end within {within:?}, last {:?}",
            self.last_capture().map(range_time)
        );
    }

    /// Whether a T flag or a BYE came on the first track.
    pub fn has_ended(&self) -> bool {
        let terminal = self.tracks[0]
            .last()
            .and_then(|packet| packet.onvif)
            .is_some_and(Onvif::terminal);
        terminal || self.byes() > 0
    }

    /// How many BYE packets came on the first track.
    pub fn byes(&self) -> usize {
        let of_track = self.rtcp.iter().filter(|(track, _, _)| *track == 0);
        of_track.map(|(_, _, bytes)| count_byes(bytes)).sum()
    }

    /// NTP and RTP time of each sender report of a track.
    pub fn reports(&self, track: usize) -> Vec<(u64, u32)> {
        let of_track = self.rtcp.iter().filter(|(of, _, _)| *of == track);
        of_track
            .filter(|(_, _, bytes)| bytes.get(1) == Some(&200))
            .map(|(_, _, bytes)| {
                let word = |at: usize| {
                    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
                };
                (u64::from(word(8)) << 32 | u64::from(word(12)), word(16))
            })
            .collect()
    }

    /// Capture time of the first track's latest packet.
    pub fn last_capture(&self) -> Option<i64> {
        self.tracks[0]
            .last()
            .and_then(|packet| packet.onvif)
            .map(|onvif| onvif.capture_ms)
    }

    fn take(&mut self, frame: Frame) {
        let track = usize::from(frame.channel / 2);
        if frame.channel.is_multiple_of(2) {
            self.tracks[track].push(Packet::read(&frame));
        } else {
            self.rtcp.push((track, frame.arrival, frame.bytes));
        }
    }
}

/// The control attribute of each media section.
fn controls(sdp: &str) -> Vec<String> {
    let sections = sdp.split("\nm=").skip(1);
    let control = |section: &str| {
        let found = section
            .lines()
            .find_map(|line| line.trim().strip_prefix("a=control:"));
        found
            .unwrap_or_else(|| panic!("no control in m={section}"))
            .to_owned()
    };
    sections.map(control).collect()
}

/// BYE packets in a compound; panics when its lengths do not add up.
fn count_byes(mut compound: &[u8]) -> usize {
    let mut byes = 0;
    while let [_, kind, high, low, ..] = *compound {
        byes += usize::from(kind == 203);
        let length = 4 * (usize::from(u16::from_be_bytes([high, low])) + 1);
        assert!(
            length <= compound.len(),
            "an RTCP packet is longer than its compound"
        );
        compound = &compound[length..];
    }
    assert!(
        compound.is_empty(),
        "bytes left over after an RTCP compound"
    );
    byes
}

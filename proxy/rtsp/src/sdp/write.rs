//! Our own description: what clients read is written by us, whatever recorders said.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sdp_types::{Attribute, Connection, MediaType, Origin, Session, Time, TransportProto};

use super::{Description, Media, Track};

impl Description {
    /// Writes our own description: aggregate control `*`, tracks `trackID=1` and on, whatever `control` says.
    pub fn write(&self, title: &str, session_id: u64, address: IpAddr) -> Vec<u8> {
        let unspecified = match address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let title = if title.is_empty() { "-" } else { title };
        let mut session = Session::new(Origin::with_ip_addr(session_id, 1, address), title);
        session.set_connection(Connection::from_ip_addr(unspecified));
        session.add_time(Time::new(0, 0));
        session.add_attribute(Attribute::with_value("control", "*"));
        if let Some(range) = self.range {
            session.add_attribute(Attribute::with_value("range", range));
        }
        for (index, track) in self.tracks.iter().enumerate() {
            session.add_media(section(track, index));
        }
        let mut out = Vec::with_capacity(1024);
        session.write(&mut out).expect("a Vec takes every byte");
        out
    }
}

/// The control attribute of our track `index`, counted from 0.
pub fn control_of(index: usize) -> String {
    format!("trackID={}", index + 1)
}

fn section(track: &Track, index: usize) -> sdp_types::Media {
    let medium = match track.media {
        Media::Video => MediaType::Video,
        Media::Audio => MediaType::Audio,
        Media::Application => MediaType::Application,
    };
    let payload_type = track.payload_type;
    let mut section = sdp_types::Media::new(medium, 0, TransportProto::RtpAvp, payload_type);
    let channels = if track.channels > 1 {
        format!("/{}", track.channels)
    } else {
        String::new()
    };
    section.add_attribute_with_value(
        "rtpmap",
        format!(
            "{payload_type} {}/{}{channels}",
            track.encoding, track.clock_rate
        ),
    );
    if !track.fmtp.is_empty() {
        let pair = |(name, value): &(String, String)| match value.as_str() {
            "" => name.clone(),
            value => format!("{name}={value}"),
        };
        let pairs: Vec<String> = track.fmtp.iter().map(pair).collect();
        section.add_attribute_with_value("fmtp", format!("{payload_type} {}", pairs.join(";")));
    }
    section.add_attribute_with_value("control", control_of(index));
    if let Some(name) = &track.onvif_track {
        section.add_attribute_with_value("x-onvif-track", name);
    }
    section
}

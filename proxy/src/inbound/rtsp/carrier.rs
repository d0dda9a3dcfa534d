//! How a track's media may travel: the first of the client's offers that can be taken.

use std::net::IpAddr;

use seamline_rtsp::headers::{Lower, Transport};

use super::udp::CLIENT_PORT_MIN;

/// How a track's media travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    /// Inside the RTSP connection, on these channels, or on any.
    Interleaved { channels: Option<(u8, u8)> },
    /// To these ports of the client.
    Udp { ports: (u16, u16) },
}

/// What limits the choice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Whose ports may be sent to: nobody else's.
    pub(super) peer: IpAddr,
    /// Whether this connection may have media beside it.
    pub(super) udp: bool,
    /// How the session's other tracks travel: all go one way.
    pub(super) settled: Option<Lower>,
}

/// The offers that can be taken, in the client's order (RFC 2326 §12.39).
pub(super) fn acceptable(
    offers: &[Transport],
    terms: Terms,
) -> impl Iterator<Item = Carrier> + use<'_> {
    offers.iter().filter_map(move |offer| carrier(offer, terms))
}

fn carrier(offer: &Transport, terms: Terms) -> Option<Carrier> {
    let other_way = terms.settled.is_some_and(|settled| settled != offer.lower);
    if !offer.plain_avp || offer.multicast || offer.record || other_way {
        return None;
    }
    if offer.lower == Lower::Tcp {
        return Some(Carrier::Interleaved {
            channels: offer.interleaved,
        });
    }
    let elsewhere = |to: &String| {
        let address = to.trim_matches(['[', ']']).parse::<IpAddr>();
        address.map_or(true, |address| {
            address.to_canonical() != terms.peer.to_canonical()
        })
    };
    if !terms.udp || offer.destination.as_ref().is_some_and(elsewhere) {
        return None;
    }
    let ports = offer.client_port?;
    let usable = ports.0 >= CLIENT_PORT_MIN && ports.1 >= CLIENT_PORT_MIN && ports.0 != ports.1;
    usable.then_some(Carrier::Udp { ports })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const TERMS: Terms = Terms {
        peer: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7)),
        udp: true,
        settled: None,
    };

    fn chosen(header: &str, terms: Terms) -> Vec<Carrier> {
        acceptable(&Transport::parse_list(header), terms).collect()
    }

    fn udp(first: u16) -> Carrier {
        Carrier::Udp {
            ports: (first, first + 1),
        }
    }

    const TCP: Carrier = Carrier::Interleaved {
        channels: Some((0, 1)),
    };

    #[test]
    fn the_clients_order_counts() {
        let udp_first = "RTP/AVP;unicast;client_port=5000-5001,RTP/AVP/TCP;unicast;interleaved=0-1";
        assert_eq!(chosen(udp_first, TERMS), [udp(5000), TCP]);
        let tcp_first = "RTP/AVP/TCP;interleaved=0-1,RTP/AVP/UDP;unicast;client_port=5000";
        assert_eq!(chosen(tcp_first, TERMS), [TCP, udp(5000)]);
        let odd = "RTP/SAVP;unicast;client_port=6000-6001,RTP/AVP;multicast,RAW/RAW/UDP,rtp/avp;client_port=5000-5001";
        assert_eq!(chosen(odd, TERMS), [udp(5000)]);
    }

    #[test]
    fn what_other_tracks_and_the_operator_rule_out() {
        let both = "RTP/AVP;unicast;client_port=5000-5001,RTP/AVP/TCP;unicast;interleaved=0-1";
        let no_udp = Terms {
            udp: false,
            ..TERMS
        };
        assert_eq!(chosen(both, no_udp), [TCP]);
        for (settled, only) in [(Lower::Tcp, TCP), (Lower::Udp, udp(5000))] {
            let settled = Terms {
                settled: Some(settled),
                ..TERMS
            };
            assert_eq!(chosen(both, settled), [only]);
        }
    }

    #[test]
    fn nothing_is_ever_sent_to_somebody_else() {
        for refused in [
            "RTP/AVP;unicast;client_port=0-1",
            "RTP/AVP;unicast;client_port=53-54",
            "RTP/AVP;unicast;client_port=5000-1023",
            "RTP/AVP;unicast;client_port=5000-5000",
            "RTP/AVP;unicast;client_port=65535",
            "RTP/AVP;unicast",
            "RTP/AVP;unicast;client_port=5000-5001;destination=10.0.0.8",
            "RTP/AVP;unicast;client_port=5000-5001;destination=example.com",
            "RTP/AVP;unicast;client_port=5000-5001;destination=255.255.255.255",
        ] {
            assert_eq!(chosen(refused, TERMS), [], "{refused}");
        }
        let own = "RTP/AVP;unicast;client_port=5000-5001;destination=10.0.0.7";
        assert_eq!(chosen(own, TERMS), [udp(5000)]);
        let mapped = "RTP/AVP;unicast;client_port=5000-5001;destination=::ffff:10.0.0.7";
        assert_eq!(chosen(mapped, TERMS), [udp(5000)]);
    }
}

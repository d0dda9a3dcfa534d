//! `Transport`: how media travels.

use std::fmt;

/// Most alternatives read from a request.
pub const TRANSPORTS_MAX: usize = 16;

/// What carries RTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lower {
    /// Datagrams.
    Udp,
    /// The RTSP connection itself.
    Tcp,
}

/// One alternative of a `Transport` header. Pairs are RTP and RTCP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transport {
    /// Plain `RTP/AVP`; anything else (SRTP, RAW) is not spoken here.
    pub plain_avp: bool,
    /// What carries RTP.
    pub lower: Lower,
    /// `multicast` was asked for and `unicast` was not.
    pub multicast: bool,
    /// Channels on the RTSP connection; a client may leave the choice to the server.
    pub interleaved: Option<(u8, u8)>,
    /// The client's UDP ports.
    pub client_port: Option<(u16, u16)>,
    /// The server's UDP ports.
    pub server_port: Option<(u16, u16)>,
    /// The source of the media.
    pub ssrc: Option<u32>,
    /// Where a client wants media sent, if it says so.
    pub destination: Option<String>,
    /// Where a server sends media from, if it says so.
    pub source: Option<String>,
    /// `mode` asks for recording.
    pub record: bool,
}

impl Transport {
    /// Unicast over the RTSP connection.
    pub fn interleaved(media: u8, control: u8) -> Self {
        Self {
            interleaved: Some((media, control)),
            ..Self::over(Lower::Tcp)
        }
    }

    /// Unicast over UDP to a client's ports.
    pub fn udp(media: u16, control: u16) -> Self {
        Self {
            client_port: Some((media, control)),
            ..Self::over(Lower::Udp)
        }
    }

    fn over(lower: Lower) -> Self {
        Self {
            plain_avp: true,
            lower,
            multicast: false,
            interleaved: None,
            client_port: None,
            server_port: None,
            ssrc: None,
            destination: None,
            source: None,
            record: false,
        }
    }

    /// The alternatives of one header value, in the client's order. One with numbers that cannot be read is left out.
    pub fn parse_list(value: &str) -> Vec<Self> {
        value
            .split(',')
            .take(TRANSPORTS_MAX)
            .filter_map(Self::parse)
            .collect()
    }

    /// Reads one alternative.
    pub fn parse(spec: &str) -> Option<Self> {
        let mut parameters = spec.split(';').map(str::trim);
        let protocol = parameters.next()?.to_ascii_uppercase();
        let mut parts = protocol.split('/');
        let plain_avp = (parts.next()?, parts.next()?) == ("RTP", "AVP");
        let lower = match parts.next() {
            None | Some("UDP") => Lower::Udp,
            Some("TCP") => Lower::Tcp,
            Some(_) => return None,
        };
        let mut transport = Self {
            plain_avp,
            ..Self::over(lower)
        };
        let mut unicast = false;
        for parameter in parameters {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "unicast" => unicast = true,
                "multicast" => transport.multicast = true,
                "interleaved" => transport.interleaved = Some(pair(value)?),
                "client_port" => transport.client_port = Some(pair(value)?),
                "server_port" => transport.server_port = Some(pair(value)?),
                // Some cameras pad or misprint it; nothing is refused for that.
                "ssrc" => {
                    transport.ssrc = u32::from_str_radix(value.trim_start_matches("0x"), 16).ok();
                }
                "destination" if !value.is_empty() => {
                    transport.destination = Some(value.to_owned());
                }
                "source" if !value.is_empty() => transport.source = Some(value.to_owned()),
                "mode" => transport.record = value.eq_ignore_ascii_case("record"),
                _ => {}
            }
        }
        transport.multicast &= !unicast;
        Some(transport)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.lower {
            Lower::Tcp => "RTP/AVP/TCP",
            Lower::Udp => "RTP/AVP",
        })?;
        f.write_str(if self.multicast {
            ";multicast"
        } else {
            ";unicast"
        })?;
        if let Some((rtp, rtcp)) = self.interleaved {
            write!(f, ";interleaved={rtp}-{rtcp}")?;
        }
        if let Some((rtp, rtcp)) = self.client_port {
            write!(f, ";client_port={rtp}-{rtcp}")?;
        }
        if let Some((rtp, rtcp)) = self.server_port {
            write!(f, ";server_port={rtp}-{rtcp}")?;
        }
        if let Some(source) = &self.source {
            write!(f, ";source={source}")?;
        }
        if let Some(ssrc) = self.ssrc {
            write!(f, ";ssrc={ssrc:08X}")?;
        }
        Ok(())
    }
}

/// `a-b`, or `a` alone for `a` and the number after it.
fn pair<T: TryFrom<u32>>(text: &str) -> Option<(T, T)> {
    let number = |text: &str| text.trim().parse::<u32>().ok();
    let (first, second) = match text.split_once('-') {
        Some((first, second)) => (number(first)?, number(second)?),
        None => number(text).map(|first| (first, first.saturating_add(1)))?,
    };
    Some((first.try_into().ok()?, second.try_into().ok()?))
}

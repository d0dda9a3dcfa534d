//! `RTP-Info`: where each track's packets start.

use std::fmt;

/// Most entries read from a response.
pub const RTP_INFOS_MAX: usize = 32;

/// One track's entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtpInfo {
    /// The track's URL as its server writes it: absolute, relative or wrong.
    pub url: String,
    /// Sequence number of the first packet.
    pub seq: Option<u16>,
    /// RTP timestamp of the start of the response's `Range`.
    pub rtptime: Option<u32>,
}

impl RtpInfo {
    /// Reads the entries of one header value; commas and semicolons inside URLs are the URL's own.
    pub fn parse_list(value: &str) -> Vec<Self> {
        let lower = value.to_ascii_lowercase();
        let mut starts: Vec<usize> = lower.match_indices("url=").map(|(at, _)| at).collect();
        starts.retain(|&at| {
            lower.get(..at).is_none_or(|before| {
                matches!(before.trim_end().chars().next_back(), None | Some(','))
            })
        });
        starts.truncate(RTP_INFOS_MAX);
        let ends = starts.iter().copied().skip(1).chain([value.len()]);
        starts
            .iter()
            .zip(ends)
            .filter_map(|(&start, end)| value.get(start..end))
            .map(Self::parse)
            .collect()
    }

    fn parse(entry: &str) -> Self {
        let entry = entry.trim().trim_end_matches(',');
        let lower = entry.to_ascii_lowercase();
        let is_parameter = |at: usize| {
            let rest = lower.get(at + 1..).unwrap_or_default().trim_start();
            PARAMETERS.iter().any(|name| rest.starts_with(name))
        };
        let mut semicolons = lower.match_indices(';').map(|(at, _)| at);
        let parameters_at = semicolons
            .find(|&at| is_parameter(at))
            .unwrap_or(entry.len());
        let (url, parameters) = entry.split_at_checked(parameters_at).unwrap_or((entry, ""));
        let url = url
            .split_once('=')
            .map_or(url, |(_, url)| url)
            .trim()
            .trim_matches('"');
        let mut info = Self {
            url: url.to_owned(),
            seq: None,
            rtptime: None,
        };
        for (name, value) in parameters
            .split(';')
            .filter_map(|parameter| parameter.split_once('='))
        {
            match name.trim().to_ascii_lowercase().as_str() {
                "seq" => info.seq = value.trim().parse().ok(),
                "rtptime" => info.rtptime = value.trim().parse().ok(),
                _ => {}
            }
        }
        info
    }
}

impl fmt::Display for RtpInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "url={}", self.url)?;
        if let Some(seq) = self.seq {
            write!(f, ";seq={seq}")?;
        }
        self.rtptime
            .map_or(Ok(()), |rtptime| write!(f, ";rtptime={rtptime}"))
    }
}

/// Where an entry's URL ends.
const PARAMETERS: [&str; 3] = ["seq=", "rtptime=", "ssrc="];

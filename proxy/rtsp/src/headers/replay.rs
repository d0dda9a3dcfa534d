//! `Scale`, `Speed` and the headers of ONVIF replay: `Rate-Control`, `Frames`.

use std::fmt;

use super::HeaderError;

/// Footage time per presentation time; negative is backwards, never zero.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Scale(f64);

impl Scale {
    /// Normal play.
    pub const ONE: Self = Self(1.0);
    /// Normal play backwards.
    pub const REVERSE: Self = Self(-1.0);

    /// A scale; `None` unless it is finite, not zero and at most [`FACTOR_MAX`] either way.
    pub fn new(value: f64) -> Option<Self> {
        (value.is_finite() && (FACTOR_MIN..=FACTOR_MAX).contains(&value.abs()))
            .then_some(Self(value))
    }

    /// Reads a number such as `1`, `-1.0` or `2.000000`.
    pub fn parse(value: &str) -> Result<Self, HeaderError> {
        number(value)
            .and_then(Self::new)
            .ok_or(HeaderError::Malformed("Scale"))
    }

    /// The number.
    pub fn value(self) -> f64 {
        self.0
    }

    /// Whether footage runs backwards.
    pub fn is_reverse(self) -> bool {
        self.0 < 0.0
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Delivery rate against real time, always positive.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Speed(f64);

impl Speed {
    /// Delivery in real time.
    pub const ONE: Self = Self(1.0);

    /// A speed; `None` unless it is positive and at most [`FACTOR_MAX`].
    pub fn new(value: f64) -> Option<Self> {
        (value.is_finite() && (FACTOR_MIN..=FACTOR_MAX).contains(&value)).then_some(Self(value))
    }

    /// Reads a number such as `2` or `1.0`, or the first of a range such as `1.0-2.5`; `max`, as clients of Nx say it, is the largest.
    pub fn parse(value: &str) -> Result<Self, HeaderError> {
        if value.trim().eq_ignore_ascii_case("max") {
            return Ok(Self(FACTOR_MAX));
        }
        let first = value.split_once('-').map_or(value, |(first, _)| first);
        number(first)
            .and_then(Self::new)
            .ok_or(HeaderError::Malformed("Speed"))
    }

    /// The number.
    pub fn value(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Who paces a replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RateControl {
    /// The server, in real time.
    #[default]
    Yes,
    /// The client, by reading or not reading.
    No,
}

impl RateControl {
    /// Reads `yes` or `no`.
    pub fn parse(value: &str) -> Result<Self, HeaderError> {
        match value.trim() {
            value if value.eq_ignore_ascii_case("yes") => Ok(Self::Yes),
            value if value.eq_ignore_ascii_case("no") => Ok(Self::No),
            _ => Err(HeaderError::Malformed("Rate-Control")),
        }
    }
}

impl fmt::Display for RateControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Yes => "yes",
            Self::No => "no",
        })
    }
}

/// Which frames to send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Frames {
    /// Every frame.
    #[default]
    All,
    /// Frames decoding can start at and those predicted from them alone.
    Predicted,
    /// Frames decoding can start at.
    Intra {
        /// The least footage time between two frames, in milliseconds.
        interval_ms: Option<u32>,
    },
}

impl Frames {
    /// Reads `all`, `predicted`, `intra` or `intra/<ms>`.
    pub fn parse(value: &str) -> Result<Self, HeaderError> {
        const MALFORMED: HeaderError = HeaderError::Malformed("Frames");
        let (kind, interval) = value
            .split_once('/')
            .map_or((value, None), |(kind, ms)| (kind, Some(ms.trim())));
        let interval_ms = match interval {
            Some(ms) if ms.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(ms.parse().map_err(|_| MALFORMED)?)
            }
            Some(_) => return Err(MALFORMED),
            None => None,
        };
        match (kind.trim().to_ascii_lowercase().as_str(), interval_ms) {
            ("all", None) => Ok(Self::All),
            ("predicted", None) => Ok(Self::Predicted),
            ("intra", interval_ms) => Ok(Self::Intra { interval_ms }),
            _ => Err(MALFORMED),
        }
    }
}

impl fmt::Display for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Predicted => f.write_str("predicted"),
            Self::Intra { interval_ms: None } => f.write_str("intra"),
            Self::Intra {
                interval_ms: Some(ms),
            } => write!(f, "intra/{ms}"),
        }
    }
}

fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    let plain = text.len() <= 32
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+'));
    plain.then(|| text.parse().ok()).flatten()
}

/// Largest factor of [`Scale`] and [`Speed`]: a day in less than a second.
pub const FACTOR_MAX: f64 = 100_000.0;
const FACTOR_MIN: f64 = 0.001;

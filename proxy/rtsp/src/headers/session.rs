//! `Session`: the id that ties requests together, and how long it lives without one.

use std::fmt;

use super::HeaderError;

/// Longest session id accepted from a recorder.
pub const SESSION_ID_BYTES_MAX: usize = 256;
/// Lifetime of a session whose server names none, in seconds (RFC 2326, 12.37).
pub const SESSION_TIMEOUT_S: u32 = 60;

/// A session's id and timeout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Printable ASCII without blanks and semicolons.
    pub id: String,
    /// Seconds without a request after which the server forgets the session, at least 1.
    pub timeout_s: Option<u32>,
}

impl Session {
    /// Reads `id`, `id;timeout=60` and `id; timeout = 60`; other parameters are ignored.
    pub fn parse(value: &str) -> Result<Self, HeaderError> {
        let (id, parameters) = value.split_once(';').unwrap_or((value, ""));
        let id = id.trim();
        if id.is_empty()
            || id.len() > SESSION_ID_BYTES_MAX
            || !id.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(HeaderError::Malformed("Session"));
        }
        let timeout = parameters
            .split(';')
            .filter_map(|parameter| parameter.split_once('='));
        let timeout = timeout
            .filter(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"))
            .find_map(|(_, value)| {
                let digits = value.trim().bytes().take_while(u8::is_ascii_digit).count();
                value.trim().get(..digits)?.parse().ok()
            });
        Ok(Self {
            id: id.to_owned(),
            timeout_s: timeout.filter(|&seconds: &u32| seconds > 0),
        })
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)?;
        self.timeout_s
            .map_or(Ok(()), |seconds| write!(f, ";timeout={seconds}"))
    }
}

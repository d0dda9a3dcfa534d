//! Who may come in, how they prove who they are, and which cameras they may see.

use std::fmt;

/// What a user proves knowledge of.
#[derive(Clone)]
pub enum Secret {
    /// The password in clear: every scheme can be checked against it.
    Password(String),
    /// `H(user:realm:password)` in lower-case hex, at least one of the two: tied to the realm, hides the password.
    Ha1 {
        /// 32 hex digits of MD5.
        md5: Option<String>,
        /// 64 hex digits of SHA-256.
        sha256: Option<String>,
    },
    /// A hash that is slow on purpose (argon2, in PHC form). Digest cannot be checked against it: such a user must send the
    /// password itself, by Basic.
    Hash(String),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password(_) => "Password(..)",
            Self::Ha1 { .. } => "Ha1(..)",
            Self::Hash(_) => "Hash(..)",
        })
    }
}

/// Who may come in.
#[derive(Clone, Debug)]
pub struct User {
    /// Name; printable ASCII without colon, since clients do not agree on how to send anything else.
    pub name: String,
    /// What the user proves knowledge of.
    pub secret: Secret,
    /// The cameras this user may see; `None` means all.
    pub cameras: Option<Vec<CameraPattern>>,
}

impl User {
    /// Whether this user may see `camera`.
    pub fn may_see(&self, camera: &str) -> bool {
        self.cameras
            .as_ref()
            .is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(camera)))
    }

    pub(super) fn answers_md5(&self) -> bool {
        matches!(
            self.secret,
            Secret::Password(_) | Secret::Ha1 { md5: Some(_), .. }
        )
    }

    pub(super) fn answers_sha256(&self) -> bool {
        matches!(
            self.secret,
            Secret::Password(_)
                | Secret::Ha1 {
                    sha256: Some(_),
                    ..
                }
        )
    }
}

/// A camera's id, or a pattern in which each `*` stands for any text, slashes too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CameraPattern(String);

impl CameraPattern {
    /// Whether it stands for this camera.
    pub fn matches(&self, camera: &str) -> bool {
        let mut parts = self.0.split('*');
        let head = parts.next().unwrap_or_default();
        let Some(mut rest) = camera.strip_prefix(head) else {
            return false;
        };
        let Some(tail) = parts.next_back() else {
            return rest.is_empty();
        };
        // Each middle part at its first place leaves the most for those behind it.
        for part in parts {
            let Some((_, behind)) = rest.split_once(part) else {
                return false;
            };
            rest = behind;
        }
        rest.ends_with(tail)
    }
}

impl From<String> for CameraPattern {
    fn from(text: String) -> Self {
        Self(text)
    }
}

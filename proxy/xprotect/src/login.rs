//! Who one is: OpenID discovery, the token endpoint, and `Login`.

use std::{fmt, time::Duration};

use seamline_xml::{Element, Markup};
use serde::{Deserialize, Serialize};

use crate::soap::{self, SERVER};

/// Where discovery is.
pub const DISCOVERY_PATH: &str = "/idp/.well-known/openid-configuration";
/// The token endpoint, where discovery names none.
pub const TOKEN_PATH: &str = "/idp/connect/token";
/// The client that trades name and password for an access token.
pub const CLIENT_ID: &str = "GrantValidatorClient";

/// What discovery tells. Written without blanks: some clients look for exactly that.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discovery {
    /// Such as `25.2.1.1`.
    #[serde(default)]
    pub server_version: String,
    /// An absolute URL.
    #[serde(default)]
    pub token_endpoint: String,
}

impl Discovery {
    /// The major number of the version: from 21 on there are access tokens.
    pub fn major(&self) -> Option<u32> {
        self.server_version.split('.').next()?.parse().ok()
    }
}

/// The fields of the form that trades name and password for an access token.
pub fn password_grant<'a>(username: &'a str, password: &'a str) -> [(&'static str, &'a str); 4] {
    [
        ("grant_type", "password"),
        ("username", username),
        ("password", password),
        ("client_id", CLIENT_ID),
    ]
}

/// The fields of the form that trades a Windows account, which the connection proves, for an access token.
pub fn windows_grant() -> [(&'static str, &'static str); 2] {
    [
        ("grant_type", "windows_credentials"),
        ("client_id", CLIENT_ID),
    ]
}

/// An access token: for the management server, and for nobody else.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Opaque.
    pub access_token: String,
    /// Seconds.
    #[serde(default = "hour")]
    pub expires_in: u32,
}

/// Without the token.
impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("expires_in", &self.expires_in)
            .finish_non_exhaustive()
    }
}

/// Why there is no access token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Refusal {
    /// `invalid_grant` and the like (RFC 6749 §5.2).
    #[serde(default)]
    pub error: String,
    /// In words.
    #[serde(default)]
    pub error_description: String,
}

/// What `Login` gives: the token for recorders.
#[derive(Clone, PartialEq, Eq)]
pub struct Session {
    /// Opaque.
    pub token: String,
    /// How long it is good for.
    pub lives: Duration,
}

/// Without the token.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("lives", &self.lives)
            .finish_non_exhaustive()
    }
}

/// The body of `Login`. `instance` is chosen once by each client; `current` is empty at first, and later the token that is
/// to be renewed.
pub fn login(instance: &str, current: &str) -> Vec<u8> {
    soap::request(
        SERVER,
        "Login",
        [
            Markup::text("instanceId", instance),
            Markup::text("currentToken", current),
        ],
    )
}

impl Session {
    /// Reads a `LoginResult`, in whatever order its members come.
    pub fn read(result: &Element) -> Option<Self> {
        let token = result.text("Token")?.to_owned();
        let micros = result
            .at(&["TimeToLive", "MicroSeconds"])
            .and_then(Element::value)
            .and_then(|text| text.parse().ok());
        Some(Self {
            token,
            lives: Duration::from_micros(micros.unwrap_or(LIVES_MICROS)),
        })
    }

    /// As it is sent. The order of the members counts: readers of .NET skip what comes out of it.
    pub fn write(&self, registered: &str) -> Vec<u8> {
        let result = Markup::node(
            "LoginResult",
            [
                Markup::text("RegistrationTime", registered),
                Markup::node(
                    "TimeToLive",
                    [Markup::text(
                        "MicroSeconds",
                        &self.lives.as_micros().to_string(),
                    )],
                ),
                Markup::text("TimeToLiveLimited", "false"),
                Markup::text("Token", &self.token),
            ],
        );
        soap::envelope(Markup::node_with(
            "LoginResponse",
            &[("xmlns", SERVER)],
            [result],
        ))
    }
}

/// When to renew what lives this long: 30 seconds before its end, where that leaves 30 more; else at half of it.
pub fn renew_after(lives: Duration) -> Duration {
    if lives > RENEW_AHEAD * 2 {
        lives.saturating_sub(RENEW_AHEAD)
    } else {
        lives / 2
    }
}

const fn hour() -> u32 {
    3600
}

const RENEW_AHEAD: Duration = Duration::from_secs(30);
/// Four hours, as current systems have it.
const LIVES_MICROS: u64 = 14_400_000_000;

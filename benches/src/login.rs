//! A user's name and password, shown as a server asks for them.

use std::fmt;

use anyhow::{Context, bail};
use base64::{Engine, prelude::BASE64_STANDARD};
use digest_auth::{AuthContext, HttpMethod, WwwAuthenticateHeader};

/// Who plays.
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) name: String,
    pub(crate) password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// How a server wants to be shown it.
#[derive(Debug)]
pub(crate) enum Asked {
    Basic,
    Digest(Box<WwwAuthenticateHeader>),
}

impl Asked {
    /// Of the value of `WWW-Authenticate`.
    pub(crate) fn read(challenge: &str) -> anyhow::Result<Self> {
        match challenge.split_once(' ') {
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("basic") => Ok(Self::Basic),
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("digest") => {
                let header = digest_auth::parse(challenge).context("WWW-Authenticate")?;
                Ok(Self::Digest(Box::new(header)))
            }
            _ => bail!("a way of logging in that is not known: {challenge}"),
        }
    }

    /// The value of `Authorization`.
    pub(crate) fn show(
        &mut self,
        login: &Login,
        method: &str,
        uri: &str,
    ) -> anyhow::Result<String> {
        match self {
            Self::Basic => {
                let pair = format!("{}:{}", login.name, login.password);
                Ok(format!("Basic {}", BASE64_STANDARD.encode(pair)))
            }
            Self::Digest(header) => {
                let context = AuthContext::new_with_method(
                    login.name.as_str(),
                    login.password.as_str(),
                    uri,
                    None::<&[u8]>,
                    HttpMethod::from(method),
                );
                Ok(header.respond(&context)?.to_header_string())
            }
        }
    }
}

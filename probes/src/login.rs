//! Who a recorder is asked as, and the password that is shown to nobody else.

use std::{env, fmt, fs, path::PathBuf};

use serde::Deserialize;

use crate::build_error::BuildError;

/// Text that is shown to nobody.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// The fields that state a user name and a password.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoginFields<'a> {
    pub(crate) username: Option<&'a str>,
    pub(crate) password: Option<&'a Secret>,
    pub(crate) password_file: Option<&'a PathBuf>,
    pub(crate) password_env: Option<&'a str>,
}

/// A user name and a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) username: String,
    pub(crate) password: Secret,
}

impl LoginFields<'_> {
    /// Reads the password from where it is stated to be.
    pub(crate) fn read(self) -> Result<Option<Login>, BuildError> {
        let password = match (self.password, self.password_file, self.password_env) {
            (None, None, None) => None,
            (Some(password), None, None) => Some(password.clone()),
            (None, Some(path), None) => {
                let text = fs::read_to_string(path).map_err(|source| BuildError::PasswordFile {
                    path: path.clone(),
                    source,
                })?;
                Some(Secret(text.trim_end_matches(['\r', '\n']).to_owned()))
            }
            (None, None, Some(variable)) => {
                let text = env::var(variable).map_err(|_| BuildError::PasswordEnv {
                    variable: variable.to_owned(),
                })?;
                Some(Secret(text))
            }
            _ => {
                return Err(BuildError::Login(
                    "only one of password, password_file and password_env can be given",
                ));
            }
        };
        match (self.username, password) {
            (Some(username), password) => Ok(Some(Login {
                username: username.to_owned(),
                password: password.unwrap_or_else(|| Secret(String::new())),
            })),
            (None, None) => Ok(None),
            (None, Some(_)) => Err(BuildError::Login("a password needs a username")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::HttpConfig;

    #[test]
    fn a_password_is_read_from_its_file_and_shown_to_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        fs::write(&path, "hunter2\n").unwrap();
        let fields = LoginFields {
            username: Some("u"),
            password: None,
            password_file: Some(&path),
            password_env: None,
        };
        let login = fields.read().unwrap().unwrap();
        assert_eq!(login.password.reveal(), "hunter2");
        assert!(!format!("{login:?}").contains("hunter2"));
        let config: HttpConfig =
            toml::from_str("url = 'http://nvr'\nusername = 'u'\npassword = 'hunter2'").unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}

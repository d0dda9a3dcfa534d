//! What is configured alike of every service that is asked over a network: who asks, and whose certificates are accepted.

/// A table with these fields and some of its own. They stand in the table itself, as no part that is flattened in can: with one, who
/// misspells a field is told neither the line nor what there is.
macro_rules! service_config {
    (
        $(#[$about:meta])*
        pub struct $name:ident {
            $($(#[$of:meta])* pub $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$about])*
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$of])* pub $field: $type,)*
            /// User name.
            #[serde(default)]
            pub username: Option<String>,
            /// Password in clear.
            #[serde(default)]
            pub password: Option<$crate::Secret>,
            /// File that holds the password.
            #[serde(default)]
            pub password_file: Option<std::path::PathBuf>,
            /// Environment variable that holds the password.
            #[serde(default)]
            pub password_env: Option<String>,
            /// PEM file of the authorities that its certificate is held against, instead of those that browsers know.
            #[serde(default)]
            pub ca_file: Option<std::path::PathBuf>,
            /// SHA-256 of its certificate in hexadecimal digits, with or without colons: no other is accepted, and this one
            /// whoever signed it.
            #[serde(default)]
            pub pin_sha256: Option<String>,
            /// Any certificate is accepted: whoever is on the way can read and change everything.
            #[serde(default)]
            pub insecure: bool,
        }

        impl $name {
            /// Whether files besides the configuration say how it is asked.
            pub(crate) fn reads_files(&self) -> bool {
                self.password_file.is_some() || self.ca_file.is_some()
            }

            /// Whose certificates are accepted.
            pub(crate) fn trust(&self) -> $crate::http::Trust<'_> {
                $crate::http::Trust {
                    url: &self.url,
                    ca_file: self.ca_file.as_deref(),
                    pin_sha256: self.pin_sha256.as_deref(),
                    insecure: self.insecure,
                }
            }

            /// Reads the password.
            pub(crate) fn login(&self) -> Result<Option<$crate::login::Login>, $crate::BuildError> {
                let fields = $crate::login::LoginFields {
                    username: self.username.as_deref(),
                    password: self.password.as_ref(),
                    password_file: self.password_file.as_ref(),
                    password_env: self.password_env.as_deref(),
                };
                fields.read()
            }
        }
    };
}

pub(crate) use service_config;

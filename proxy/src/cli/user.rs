//! `seamline user`

use std::io::{IsTerminal, stdin};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use seamline_rtsp::auth::server::{REALM, ha1};

use super::CliError;
use crate::access;
use crate::config::is_user_name;

#[derive(Debug, Args)]
pub(super) struct UserArgs {
    /// The user's name.
    #[arg(value_parser = user_name)]
    name: String,
    /// What is kept of the password.
    #[arg(long, value_enum, default_value_t = Kept::Digest)]
    kept: Kept,
    /// A camera that the user may see, or a pattern such as "yard/*"; more than once for more; all when not given.
    #[arg(long = "camera", value_name = "ID")]
    cameras: Vec<String>,
    /// The realm that a digest is tied to: `auth.realm` of the configuration.
    #[arg(long, default_value = REALM)]
    realm: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kept {
    /// For Digest, which every player knows: MD5 and SHA-256 of name, realm and password.
    Digest,
    /// An argon2 hash, hard to guess from: for Basic, so over TLS.
    Hash,
}

/// Prints a `[[user]]` section for a password that is typed unseen, or is the first line of standard input.
pub(super) fn user(args: &UserArgs) -> Result<ExitCode, CliError> {
    let password = read_password()?;
    if password.is_empty() {
        return Err(CliError::Password("the password is empty"));
    }
    let text = |text: &str| toml::Value::from(text).to_string();
    let secret = match args.kept {
        Kept::Digest => {
            let (md5, sha256) = ha1(&args.name, &args.realm, &password);
            format!("ha1 = \"{md5}\"\nha1_sha256 = \"{sha256}\"\n")
        }
        Kept::Hash => format!("password_hash = \"{}\"\n", access::hash(&password)),
    };
    print!("[[user]]\nname = {}\n{secret}", text(&args.name));
    if !args.cameras.is_empty() {
        let cameras: Vec<String> = args.cameras.iter().map(|camera| text(camera)).collect();
        println!("cameras = [{}]", cameras.join(", "));
    }
    Ok(ExitCode::SUCCESS)
}

fn read_password() -> Result<String, CliError> {
    if stdin().is_terminal() {
        let password = rpassword::prompt_password("Password: ")?;
        if rpassword::prompt_password("Again: ")? != password {
            return Err(CliError::Password("the two are not the same"));
        }
        return Ok(password);
    }
    let mut line = String::new();
    stdin().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn user_name(text: &str) -> Result<String, String> {
    is_user_name(text).then(|| text.to_owned()).ok_or_else(|| {
        "only ASCII without colon, quote and backslash reaches us unharmed".to_owned()
    })
}

//! The command line.

mod check;
mod clocks;
mod coverage;
mod export;
mod logs;
mod map;
mod probe;
mod reload;
mod serve;
mod sign;
mod table;
mod user;
mod verify;

use std::io::{IsTerminal, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use seamline_routing::Timestamp;

use crate::config::{Config, LoadError, LogFormat};
use crate::demo;
use crate::inbound::BindError;

/// One camera, several recorders, one unbroken timeline.
#[derive(Debug, Parser)]
#[command(name = "seamline", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves the configured cameras until SIGTERM or SIGINT.
    Serve(ServeArgs),
    /// Reads a configuration and reports every error by its line.
    Check(CheckArgs),
    /// Asks the recorders what they hold of a camera, and shows who would serve what.
    Coverage(CoverageArgs),
    /// Makes a `[[user]]` section of a name and a password, which is typed or is the first line of standard input.
    User(user::UserArgs),
    /// Makes a link that anybody may follow until it expires, in a year at most.
    Sign(sign::SignArgs),
    /// Asks two recorders for their cameras and proposes which belong together.
    Map(MapArgs),
    /// Writes a clip and its manifest; the same command goes on with what was broken off. Exits with 0 when the whole range is in
    /// it, with 1 when there are holes, and with 2 when there is no clip.
    Export(export::ExportArgs),
    /// Holds an exported clip against its manifest: exits with 0 when nothing was changed, with 1 when something was, and
    /// with 2 when that cannot be told.
    Verify(verify::VerifyArgs),
    /// Plays the main job with two recorders of its own; needs no configuration.
    Demo(demo::DemoArgs),
    /// One of the demo's recorders; ends with its standard input.
    #[command(hide = true)]
    DemoRecorder(demo::RecorderArgs),
}

#[derive(Debug, Args)]
struct ConfigArg {
    /// The configuration.
    #[arg(
        short,
        long,
        value_name = "FILE",
        default_value = "seamline.toml",
        env = "SEAMLINE_CONFIG"
    )]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct ServeArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Form of the logs, in place of what the configuration says.
    #[arg(long, value_enum)]
    log: Option<LogFormat>,
    /// What is logged, such as `debug` or `info,seamline_probes=debug`. `RUST_LOG` overrules it.
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

#[derive(Debug, Args)]
struct CheckArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Contacts every site too: ping, tracks and coverage of each copy.
    #[arg(long)]
    probe: bool,
}

#[derive(Debug, Args)]
struct CoverageArgs {
    /// The camera's id.
    camera: String,
    #[command(flatten)]
    config: ConfigArg,
    /// Start, such as 2026-11-22T10:00:00Z; where the recordings start when not given.
    #[arg(long, value_parser = parse_time)]
    from: Option<Timestamp>,
    /// End; where the recordings end when not given.
    #[arg(long, value_parser = parse_time)]
    to: Option<Timestamp>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct MapArgs {
    /// The recorder whose copies come first.
    #[arg(long, value_name = "RECORDER")]
    primary: String,
    /// The recorder whose cameras are to be found among the primary's.
    #[arg(long, value_name = "RECORDER")]
    secondary: String,
    #[command(flatten)]
    config: ConfigArg,
}

/// Why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Somebody else listens there, or we may not.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The level of the logs means nothing.
    #[error("{0:?} is no level such as \"info\", nor a list of them")]
    Level(String),
    /// The configuration has no such camera.
    #[error("there is no camera {0:?}; `seamline check` lists them")]
    NoCamera(String),
    /// The configuration has no such recorder.
    #[error("there is no recorder {0:?}")]
    NoRecorder(String),
    /// Both are the same one.
    #[error("--primary and --secondary are the same recorder")]
    SameRecorder,
    /// A recorder's cameras are not known.
    #[error("recorder {recorder:?}: {why}")]
    Inventory {
        /// Its name.
        recorder: String,
        /// Why.
        why: String,
    },
    /// The end is not after the start.
    #[error("the end is not after the start")]
    Window,
    /// Links need a key.
    #[error("auth.link_key_file is not set: links are signed with the key in it")]
    NoLinkKey,
    /// Nothing that a link can ask for.
    #[error("{0:?} is neither a URL nor a path that begins with /")]
    NoLink(String),
    /// A link for no time, or for ever.
    #[error("a link is good for more than nothing and for a year at most")]
    LinkTime,
    /// The password cannot be used.
    #[error("{0}")]
    Password(&'static str),
    /// The demo could not be set up.
    #[error(transparent)]
    Demo(#[from] demo::DemoError),
    /// The system refused something that never fails.
    #[error(transparent)]
    System(#[from] std::io::Error),
}

impl Cli {
    /// Carries out the command; the code that the process is to exit with.
    pub fn run(self) -> Result<ExitCode, CliError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        let outcome = runtime.block_on(async {
            match self.command {
                Command::Serve(args) => serve::serve(&args).await,
                Command::Check(args) => check::check(&args).await,
                Command::Coverage(args) => coverage::coverage(&args).await,
                Command::User(args) => user::user(&args),
                Command::Sign(args) => sign::sign(&args),
                Command::Map(args) => map::map(&args).await,
                Command::Export(args) => {
                    logs::start_when_wanted()?;
                    Ok(export::export(&args).await)
                }
                Command::Verify(args) => Ok(verify::verify(&args)),
                Command::Demo(args) => {
                    logs::start_when_wanted()?;
                    Ok(demo::run(&args).await?)
                }
                Command::DemoRecorder(args) => Ok(demo::recorder(&args).await?),
            }
        });
        // A recorder's disk that hangs must not keep the program.
        runtime.shutdown_background();
        outcome
    }
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    let time = Timestamp::parse_iso(text).or_else(|_| Timestamp::parse_clock(text));
    time.map_err(|_| format!("{text:?} is not a time such as 2026-11-22T10:00:00Z"))
}

/// Whether output may be coloured.
pub(crate) fn colour() -> bool {
    stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Columns of the terminal, or of the page that people paste into.
pub(crate) const PAGE_COLUMNS: usize = 100;

fn load(config: &ConfigArg) -> Result<Config, LoadError> {
    Config::load(&config.config)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_are_read_in_both_notations() {
        assert_eq!(
            parse_time("2026-11-22T10:00:00Z"),
            parse_time("20261122T100000Z")
        );
        assert!(parse_time("noon").is_err());
    }
}

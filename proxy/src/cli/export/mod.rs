//! `seamline export`: a clip and its manifest, from a server or from the recorders themselves.

mod local;
mod part;
mod remote;

use std::io::{IsTerminal, stderr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use seamline_evidence::Manifest;
use seamline_routing::{TimeRange, Timestamp};

use super::{ConfigArg, LoadError, parse_time};
use crate::evidence::NoClip;
use part::{Part, Purpose};

/// Which clip, and where to: `clip.mp4` and `clip.json`.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// The camera's id.
    #[arg(long)]
    camera: String,
    /// The first instant, such as 2026-11-22T10:00:00Z.
    #[arg(long, value_parser = parse_time)]
    from: Timestamp,
    /// The first instant behind it.
    #[arg(long, value_parser = parse_time)]
    to: Timestamp,
    /// The clip; the manifest has its name with `.json` for its ending.
    #[arg(long, short, value_name = "FILE.mp4")]
    output: PathBuf,
    /// Overwrites a clip and a manifest that are there.
    #[arg(long)]
    force: bool,
    /// A server that is to make the clip, such as <https://seamline.example:8554>. Without one this command asks the recorders
    /// of its configuration itself.
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// The user's name at the server.
    #[arg(long, requires = "server")]
    user: Option<String>,
    /// File that holds the user's password.
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// File that holds a bearer token.
    #[arg(
        long,
        value_name = "FILE",
        requires = "server",
        conflicts_with = "user"
    )]
    token_file: Option<PathBuf>,
    /// PEM file of the authorities that the server's certificate is held against, instead of those that browsers know.
    #[arg(long, value_name = "FILE", requires = "server")]
    ca: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArg,
}

/// Why there is no clip.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("the end is not after the start")]
    Range,
    #[error("{}: is there already; --force overwrites it", .0.display())]
    There(PathBuf),
    #[error("{}: the manifest would have the same name; a clip ends in .mp4", .0.display())]
    Name(PathBuf),
    #[error("{}: {error}", path.display())]
    File {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("there is no camera {0:?}; `seamline check` lists them")]
    NoCamera(String),
    #[error(transparent)]
    NoClip(#[from] NoClip),
    #[error("the rest could not be had: {0}; the same command goes on where this one ended")]
    Broken(String),
    #[error("{0}")]
    Server(String),
    #[error("what is served keeps changing; another try may do")]
    Restless,
}

impl Failed {
    fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |error| Failed::File { path, error }
    }
}

/// The codes that an export exits with.
const HOLES: u8 = 1;
const FAILED: u8 = 2;

pub(super) async fn export(args: &ExportArgs) -> ExitCode {
    match run(args).await {
        Ok(manifest) => {
            report(args, &manifest);
            if manifest.complete {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(HOLES)
            }
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(FAILED)
        }
    }
}

async fn run(args: &ExportArgs) -> Result<Manifest, Failed> {
    let asked = TimeRange::new(args.from, args.to).ok_or(Failed::Range)?;
    let manifest_path = args.output.with_extension("json");
    if manifest_path == args.output || args.output.file_name().is_none() {
        return Err(Failed::Name(args.output.clone()));
    }
    for path in [&args.output, &manifest_path] {
        if path.exists() && !args.force {
            return Err(Failed::There(path.clone()));
        }
    }
    let purpose = Purpose {
        camera: args.camera.clone(),
        from: args.from.to_string(),
        to: args.to.to_string(),
    };
    let mut part = Part::open(&args.output, &purpose)?;
    let sealed = match &args.server {
        Some(server) => remote::fetch(args, server, asked, &mut part).await?,
        None => local::make(args, asked, &mut part).await?,
    };
    part.publish(&sealed, &args.output, &manifest_path)?;
    Ok(sealed.manifest)
}

/// A bar where somebody watches: over footage where its length is known, else over bytes.
fn progress(length: Option<u64>) -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match length {
        Some(seconds) => (ProgressBar::new(seconds), "{bar:40} {percent}% {msg} {eta}"),
        None => (
            ProgressBar::new_spinner(),
            "{spinner} {bytes} {bytes_per_sec} {msg}",
        ),
    };
    let style = ProgressStyle::with_template(template);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Says on the terminal what the manifest says.
fn report(args: &ExportArgs, manifest: &Manifest) {
    println!(
        "{}: {} bytes, SHA-256 {}",
        args.output.display(),
        manifest.file.length,
        manifest.file.sha256
    );
    for (ix, span) in manifest.spans.iter().enumerate() {
        println!(
            "  span {}: {} to {} from {:?}, because: {}",
            ix + 1,
            span.first_capture,
            span.last_capture,
            span.source.site,
            span.source.reason
        );
    }
    for hole in &manifest.holes {
        println!("  hole: {} to {}: {}", hole.from, hole.to, hole.reason);
    }
    if !manifest.complete {
        println!("not the whole range is in the clip ({})", manifest.ended);
    }
}

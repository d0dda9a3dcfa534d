//! `seamline verify`

use std::fs::File;
use std::io::{self, IsTerminal, Read, stderr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use seamline_evidence::{
    Examination, Finding, KeyError, MANIFEST_BYTES_MAX, Manifest, PublicKey, Unreadable,
};

/// Holds an exported clip against its manifest.
///
/// Exits with 0 when nothing was changed, with 1 when something was, and with 2 when that cannot be told.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The clip.
    file: PathBuf,
    /// Its manifest; the clip's name with `.json` for its ending when not given.
    manifest: Option<PathBuf>,
    /// The public key that must have signed it, as PEM. Without one a signature proves that nothing was changed
    /// since, and not by whom it was made.
    #[arg(long, value_name = "PUB.pem")]
    key: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
enum Impossible {
    #[error("{}: {error}", path.display())]
    Read { path: PathBuf, error: io::Error },
    #[error("{}: longer than any manifest", path.display())]
    TooLong { path: PathBuf },
    #[error("{}: {error}", path.display())]
    Manifest { path: PathBuf, error: Unreadable },
    #[error("{}: {error}", path.display())]
    Key { path: PathBuf, error: KeyError },
}

/// The codes that a verification exits with.
const CHANGED: u8 = 1;
const IMPOSSIBLE: u8 = 2;
const READ_BYTES: usize = 1024 * 1024;

pub(super) fn verify(args: &VerifyArgs) -> ExitCode {
    match examine(args) {
        Ok((manifest, findings, signed_by)) => {
            report(args, &manifest, &findings, signed_by.as_ref());
            if findings.is_empty() {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(CHANGED)
            }
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(IMPOSSIBLE)
        }
    }
}

type Examined = (Manifest, Vec<Finding>, Option<PublicKey>);

fn examine(args: &VerifyArgs) -> Result<Examined, Impossible> {
    let key = match &args.key {
        Some(path) => {
            let pem = read_all(path)?;
            let key = PublicKey::from_pem(&pem);
            Some(key.map_err(|error| Impossible::Key {
                path: path.clone(),
                error,
            })?)
        }
        None => None,
    };
    let path = args
        .manifest
        .clone()
        .unwrap_or_else(|| args.file.with_extension("json"));
    let json = read_all(&path)?;
    let mut examination = Examination::new(&json, key.as_ref())
        .map_err(|error| Impossible::Manifest { path, error })?;
    let unreadable = |error| Impossible::Read {
        path: args.file.clone(),
        error,
    };
    let mut file = File::open(&args.file).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    let progress = progress(length);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = file.read(&mut buffer).map_err(unreadable)?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        examination.write(bytes);
        progress.inc(read as u64);
    }
    progress.finish_and_clear();
    Ok(examination.finish())
}

fn read_all(path: &Path) -> Result<Vec<u8>, Impossible> {
    let unreadable = |error| Impossible::Read {
        path: path.to_owned(),
        error,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MANIFEST_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MANIFEST_BYTES_MAX {
        let path = path.to_owned();
        return Err(Impossible::TooLong { path });
    }
    Ok(bytes)
}

/// A bar where somebody watches.
fn progress(length: u64) -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {eta}");
    ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn report(
    args: &VerifyArgs,
    manifest: &Manifest,
    findings: &[Finding],
    signed_by: Option<&PublicKey>,
) {
    let asked = &manifest.asked;
    println!(
        "{}: {} from {} to {}, made {} by {} {}",
        args.file.display(),
        manifest.camera,
        asked.from,
        asked.to,
        manifest.made_at,
        manifest.program.name,
        manifest.program.version
    );
    for (ix, span) in manifest.spans.iter().enumerate() {
        let source = &span.source;
        println!(
            "  span {}: {} to {} from {:?} ({}), because: {}",
            ix + 1,
            span.first_capture,
            span.last_capture,
            source.site,
            source.recorder.name,
            source.reason
        );
    }
    for hole in &manifest.holes {
        println!("  hole: {} to {}: {}", hole.from, hole.to, hole.why());
    }
    match (signed_by, &args.key) {
        (Some(key), Some(_)) => println!("  signed by {key}, the given key"),
        (Some(key), None) => {
            println!("  signed by {key}; whose key that is was not checked, as no --key was given");
        }
        (None, _) if manifest.seal.signature.is_none() => {
            println!("  not signed: whoever changed it could have made the manifest anew");
        }
        (None, _) => {}
    }
    for finding in findings {
        println!("CHANGED: {finding}");
    }
    if findings.is_empty() {
        println!("nothing was changed");
    }
}

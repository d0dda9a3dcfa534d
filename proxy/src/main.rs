//! The `seamline` program.

use std::process::ExitCode;

use clap::Parser;
use seamline::cli::Cli;

fn main() -> ExitCode {
    Cli::parse()
        .run()
        .map_err(anyhow::Error::from)
        .unwrap_or_else(|error| {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        })
}

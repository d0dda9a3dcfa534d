//! `seamline check`

use std::process::ExitCode;

use seamline_routing::CopyRef;

use super::table::Table;
use super::{CheckArgs, CliError, load, probe};
use crate::config::{Config, LoadError};
use crate::house::House;
use crate::journal::Journal;

pub(super) async fn check(args: &CheckArgs) -> Result<ExitCode, CliError> {
    let config = match load(&args.config) {
        Ok(config) => config,
        Err(LoadError::Problems(problems)) => {
            println!("{problems}");
            return Ok(ExitCode::FAILURE);
        }
        Err(error) => return Err(error.into()),
    };
    println!("{}: OK", args.config.config.display());
    println!("\n{}", summary(&config));
    if !args.probe {
        return Ok(ExitCode::SUCCESS);
    }
    let house = House::build(config, Journal::default());
    let (table, well) = probe::probe(&house).await;
    print!("{table}");
    Ok(if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn summary(config: &Config) -> String {
    let sites: Vec<&str> = config
        .sites
        .iter()
        .map(seamline_routing::SiteId::as_str)
        .collect();
    let sites = sites.join(", ");
    let users: Vec<&str> = config
        .auth
        .users
        .iter()
        .map(|user| user.name.as_str())
        .collect();
    let users = users.join(", ");
    let remarks = config.remarks().join("\nnote    ");
    let remarks = if remarks.is_empty() {
        remarks
    } else {
        format!("note    {remarks}\n")
    };
    let mut cameras = Table::new(["camera", "name", "copies, best first"]);
    for settings in &config.cameras {
        let camera = &settings.camera;
        let copies: Vec<String> = camera.copies.iter().map(describe).collect();
        cameras.row([
            camera.id.to_string(),
            camera.name.to_string(),
            copies.join("  "),
        ]);
    }
    let listen: Vec<String> = config.listen.iter().map(ToString::to_string).collect();
    format!(
        "listen  {}\nsites   {sites}\nusers   {users}\n{remarks}\n{cameras}",
        listen.join(", ")
    )
}

/// A copy in a few words.
fn describe(copy: &CopyRef) -> String {
    let clock = match copy.clock_offset_us / 1000 {
        0 => String::new(),
        ms => format!(" (clock {ms:+} ms)"),
    };
    format!("{}:{}/{}{clock}", copy.site, copy.recorder, copy.remote)
}

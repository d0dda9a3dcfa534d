//! The house stands as drawn: which of its crates may know which.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;

/// Every crate of ours and those it may depend on, at most.
const MAY_KNOW: [(&str, &[&str]); 12] = [
    ("seamline-routing", &[]),
    ("seamline-rtsp", &[]),
    ("seamline-media", &[]),
    ("seamline-archive", &[]),
    ("seamline-evidence", &["seamline-routing"]),
    ("seamline-stills", &[]),
    ("seamline-xml", &[]),
    ("seamline-xprotect", &["seamline-routing", "seamline-xml"]),
    (
        "seamline-probes",
        &[
            "seamline-routing",
            "seamline-rtsp",
            "seamline-archive",
            "seamline-xml",
            "seamline-xprotect",
        ],
    ),
    (
        "seamline",
        &[
            "seamline-routing",
            "seamline-probes",
            "seamline-rtsp",
            "seamline-media",
            "seamline-archive",
            "seamline-evidence",
            "seamline-stills",
            "seamline-xprotect",
        ],
    ),
    (
        "seamline-bench",
        &[
            "seamline",
            "seamline-routing",
            "seamline-probes",
            "seamline-rtsp",
            "seamline-media",
            "seamline-archive",
            "seamline-xprotect",
        ],
    ),
    // What the house gets wrong must not cancel out in its tests.
    ("seamline-tests", &[]),
];

/// Crates that decide or parse, and so do no I/O: they are handed `now`, bytes and facts.
const PURE: [&str; 7] = [
    "seamline-routing",
    "seamline-rtsp",
    "seamline-media",
    "seamline-evidence",
    "seamline-stills",
    "seamline-xml",
    "seamline-xprotect",
];

/// What a pure crate would do I/O with.
const IMPURE: [&str; 5] = ["tokio", "socket2", "hyper", "reqwest", "notify"];

fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs its own tests");
    let metadata: Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("there are packages");
    let name = |value: &Value| {
        value["name"]
            .as_str()
            .expect("a package has a name")
            .to_owned()
    };
    let needed = |package: &Value| {
        let all = package["dependencies"].as_array().into_iter().flatten();
        all.filter(|dependency| dependency["kind"] != "dev")
            .map(name)
            .collect()
    };
    packages
        .iter()
        .map(|package| (name(package), needed(package)))
        .collect()
}

#[test]
fn arrows_point_one_way() {
    let drawn: BTreeMap<_, _> = MAY_KNOW.into_iter().collect();
    for (package, needed) in dependencies() {
        let allowed = drawn
            .get(package.as_str())
            .unwrap_or_else(|| panic!("{package} is not in the drawing"));
        let ours = needed
            .iter()
            .filter(|name| drawn.contains_key(name.as_str()));
        let wrong: Vec<_> = ours
            .filter(|name| !allowed.contains(&name.as_str()))
            .collect();
        assert!(wrong.is_empty(), "{package} must not know {wrong:?}");
    }
}

#[test]
fn pure_crates_can_do_no_io() {
    let all = dependencies();
    for package in PURE {
        let wrong: Vec<_> = IMPURE
            .into_iter()
            .filter(|name| all[package].contains(*name))
            .collect();
        assert!(wrong.is_empty(), "{package} must not use {wrong:?}");
    }
}

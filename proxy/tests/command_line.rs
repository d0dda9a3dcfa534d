//! The program's commands as operators run them.

#![expect(clippy::unwrap_used, reason = "a test's own helpers")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn seamline(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seamline"));
    command
        .args(arguments)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = seamline(arguments).output().unwrap();
    (
        status.code(),
        String::from_utf8(stdout).unwrap(),
        String::from_utf8(stderr).unwrap(),
    )
}

/// A configuration of the demo's two archives, in a folder of its own.
fn house(extra: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let recorder = |site: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("demo")
            .join(site);
        format!(
            "[[site]]\nname = '{site}'\n[[recorder]]\nname = '{site}'\nsite = '{site}'\nkind = 'archive'\n\
             path = '{}'\npattern = '%Y%m%dT%H%M%SZ'\n",
            path.display()
        )
    };
    let copies = "{ recorder = 'primary', remote = 'x' }, { recorder = 'secondary', remote = 'x' }";
    let text = format!(
        "listen = '127.0.0.1:0'\n{extra}\n{}{}[[camera]]\nid = 'gate'\ncopies = [{copies}]\n",
        recorder("primary"),
        recorder("secondary"),
    );
    let file = folder.path().join("seamline.toml");
    std::fs::write(&file, text).unwrap();
    let file = file.display().to_string();
    (folder, file)
}

#[test]
fn check_names_file_and_line_of_each_error() {
    let (_folder, file) = house("listne = 1\nlimits = 2");
    let (code, out, _) = run(&["check", "-c", &file]);
    let lines: Vec<&str> = out.lines().collect();
    let starts = [
        format!("{file}:2: unknown key `listne`"),
        format!("{file}:3: a table [limits]"),
    ];
    assert_eq!((code, lines.len()), (Some(1), 2), "{out}");
    assert!(
        lines
            .iter()
            .zip(&starts)
            .all(|(line, start)| line.starts_with(start)),
        "{out}"
    );
}

#[test]
fn check_probe_asks_every_copy() {
    let (_folder, file) = house("");
    let (code, out, _) = run(&["check", "-c", &file, "--probe"]);
    assert_eq!(code, Some(0), "{out}");
    assert_eq!(out.matches("H264, MPEG4-GENERIC").count(), 2, "{out}");
    assert_eq!(
        out.matches("2026-01-01T12:00:00.000Z .. 2026-01-01T12:01:00.000Z in 2 periods")
            .count(),
        2,
        "{out}"
    );
}

#[test]
fn coverage_tells_who_would_serve_what() {
    let (_folder, file) = house("");
    let window = ["--from", "2026-01-01T12:00:10Z", "--to", "20260101T120100Z"];
    let (code, out, _) = run(&[&["coverage", "gate", "-c", &file, "--json"][..], &window].concat());
    assert_eq!(code, Some(0));
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    let merged = report["merged"].as_array().unwrap();
    let legs = merged.iter().map(|leg| {
        [
            leg["site"].as_str(),
            leg["from"].as_str(),
            leg["reason"].as_str(),
        ]
        .map(Option::unwrap)
    });
    let expected = [
        ["primary", "2026-01-01T12:00:10.000Z", "priority"],
        ["secondary", "2026-01-01T12:00:20.000Z", "gap at primary"],
        ["primary", "2026-01-01T12:00:30.000Z", "priority"],
    ];
    assert_eq!(legs.collect::<Vec<_>>(), expected);
    let (code, _, error) = run(&["coverage", "attic", "-c", &file]);
    assert_eq!(
        (code, error.contains("there is no camera \"attic\"")),
        (Some(1), true),
        "{error}"
    );
}

#[test]
fn user_makes_a_section_that_check_takes() {
    let user = |arguments: &[&str], password: &str| {
        let mut child = seamline(&[&["user"][..], arguments].concat())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        // It may have refused its arguments before it reads.
        drop(input.write_all(password.as_bytes()));
        drop(input);
        let output = child.wait_with_output().unwrap();
        (
            output.status.success(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    // MD5 of guard:seamline:open sesame.
    let (_, digest) = user(&["guard", "--camera", "g*"], "open sesame\n");
    assert!(
        digest.contains("ha1 = \"79feee66fa129fca6ae6f815991ebb5a\"\n"),
        "{digest}"
    );
    assert!(!digest.contains("sesame"), "{digest}");
    let (_, hashed) = user(&["night", "--kept", "hash"], "open sesame");
    assert!(hashed.contains("password_hash = \"$argon2id$"), "{hashed}");
    let (_folder, file) = house(&format!("{digest}{hashed}"));
    let (code, out, _) = run(&["check", "-c", &file]);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("users   guard, night\n"), "{out}");
    assert!(
        out.contains("note    user \"night\" cannot come in"),
        "{out}"
    );
    for (arguments, password) in [(&["guard"][..], ""), (&["gu:ard"], "x"), (&[], "x")] {
        let (well, out) = user(arguments, password);
        assert!(!well && out.is_empty(), "{arguments:?}");
    }
}

#[test]
fn serve_ends_well_when_it_is_told_to() {
    let (_folder, file) = house("");
    let mut child = seamline(&["serve", "-c", &file, "--log", "json"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut logs = BufReader::new(child.stderr.take().unwrap()).lines();
    let first: serde_json::Value = serde_json::from_str(&logs.next().unwrap().unwrap()).unwrap();
    assert_eq!(
        (first["message"].as_str(), first["cameras"].as_u64()),
        (Some("serving"), Some(1))
    );
    let asked = Command::new("kill")
        .arg(child.id().to_string())
        .status()
        .unwrap();
    assert!(asked.success() && child.wait().unwrap().success());
    let rest: Vec<String> = logs.map(Result::unwrap).collect();
    // What its tasks say meanwhile may stand anywhere, behind the last word too.
    let told = |what: &str| rest.iter().position(|line| line.contains(what));
    let (asked, stopped) = (told("\"signal\":\"SIGTERM\""), told("\"stopped\""));
    assert!(asked.is_some() && asked < stopped, "{rest:?}");
}

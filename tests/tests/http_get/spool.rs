//! Where clips are kept: how long, in how much room, and what readers cost.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use seamline_tests::{
    clock::{monotonic, noon},
    curl::curl,
    footage::Recipe,
    recorder::Setup,
    seamline::{Config, Seamline},
};

use crate::{SOON, clip_url, fetched, finished};

/// What was made once is there after the configuration was read again, until the camera is another.
#[test]
fn clips_stay_over_a_reload_that_changes_nothing_of_their_camera() {
    let footage = Recipe::default().make();
    let mut recorder = Setup::default().start(&footage);
    let config = Config::default().site("primary", &recorder);
    let seamline = config.serve();
    let url = clip_url(&seamline, noon(1.0), noon(11.0), "");
    let before = finished(&url);
    recorder.kill();
    seamline.reload(&config.another_camera("yard"));
    seamline.await_log(&["configuration read again", "cameras=2"], SOON);
    // Nobody is there who could make it anew.
    let after = fetched(&url);
    assert_eq!(after.header("etag"), before.header("etag"));
    assert!(after.body == before.body);
    // Recorded elsewhere now, where nobody answers either.
    let elsewhere = Config::default().site_at("primary", "rtsp://127.0.0.1:9/{camera}", 0);
    seamline.reload(&elsewhere);
    seamline.await_log(&["configuration read again", "cameras=1"], SOON);
    let gone = curl(&url, &[]);
    assert_eq!(gone.status, 503, "the footage of the camera before");
}

/// Bytes on the disk of files below a folder that a program holds open and that have no names.
fn nameless_bytes(seamline: &Seamline, folder: &Path) -> u64 {
    let open = fs::read_dir(format!("/proc/{}/fd", seamline.id())).expect("our own child");
    open.filter_map(|entry| {
        let path = entry.ok()?.path();
        let named = fs::read_link(&path).ok()?;
        let ours = named.starts_with(folder);
        ours.then(|| fs::metadata(&path).map_or(0, |file| 512 * file.blocks()))
    })
    .sum()
}

/// Three clips that together do not fit into their folder, and are read slowly: what was read gives way to what comes.
#[test]
fn clips_that_do_not_fit_pass_through_their_folder() {
    const ROOM: u64 = 64 << 20;
    let footage = Recipe::default().mjpeg("2").mp4().make();
    let archive = footage.archive_without(&[]);
    let spool = tempfile::tempdir().unwrap();
    let config = Config::default().archive("primary", archive.path());
    let roomy = config.serve();
    let tight = config
        .top(
            "http",
            serde_json::json!({ "spool": { "folder": spool.path(), "max_bytes": ROOM } }),
        )
        .serve();
    let of = |seamline: &Seamline, from: f64| clip_url(seamline, noon(from), noon(29.0), "");
    let starts = [-10.0, -9.0, -8.0];
    let whole = starts.map(|from| fetched(&of(&roomy, from)).body);
    let sum: usize = whole.iter().map(Vec::len).sum();
    assert!(sum as u64 > ROOM + (8 << 20), "{sum} bytes in all");
    // Nobody reads on until the folder has filled: how fast clips are made does not matter.
    let filled = Arc::new(AtomicBool::new(false));
    let reading: Vec<_> = starts
        .iter()
        .map(|from| {
            let (url, filled) = (of(&tight, *from), Arc::clone(&filled));
            let path = url[url.find("/get").unwrap()..].to_owned();
            let mut stream = TcpStream::connect(("127.0.0.1", tight.port())).unwrap();
            thread::spawn(move || {
                write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
                while !filled.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(20));
                }
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).unwrap();
                answer
            })
        })
        .collect();
    let (mut most, patience) = (0, monotonic() + SOON);
    while !reading.iter().all(thread::JoinHandle::is_finished) {
        most = most.max(nameless_bytes(&tight, spool.path()));
        if most > ROOM / 2 || monotonic() > patience {
            filled.store(true, Ordering::Relaxed);
        }
        thread::sleep(Duration::from_millis(20));
    }
    for (reading, whole) in reading.into_iter().zip(&whole) {
        let answer = reading.join().unwrap();
        assert!(answer.starts_with(b"HTTP/1.0 200"), "no 200");
        let head = answer
            .windows(4)
            .position(|end| end == b"\r\n\r\n")
            .unwrap();
        assert!(answer[head + 4..] == *whole, "other bytes");
    }
    println!("{sum} bytes came through {most} on the disk");
    assert!(most > ROOM / 2 && most <= ROOM + (2 << 20), "{most} bytes");
}

/// Who asks for much and reads nothing costs what a socket does.
#[test]
fn readers_that_do_not_read_cost_little() {
    const READERS: usize = 40;
    let footage = Recipe::default().mp4().make();
    let archive = footage.archive_without(&[]);
    let seamline = Config::default().archive("primary", archive.path()).serve();
    let of = |nth: usize| clip_url(&seamline, noon((nth % 4) as f64), noon(60.0), "");
    fetched(&of(0));
    let before = seamline.resident();
    let readers: Vec<TcpStream> = (0..READERS)
        .map(|nth| {
            let url = of(nth);
            let path = &url[url.find("/get").unwrap()..];
            let mut stream = TcpStream::connect(("127.0.0.1", seamline.port())).unwrap();
            write!(stream, "GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
            stream
        })
        .collect();
    for nth in 0..4 {
        let head = curl(&of(nth), &["--head"]);
        assert!(!head.header("content-length").is_empty());
    }
    for mut reader in &readers {
        let mut first = [0; 4096];
        reader.read_exact(&mut first).unwrap();
    }
    let more = seamline.resident().saturating_sub(before);
    println!("{} KB a reader", more / 1024 / READERS as u64);
    assert!(
        more < (READERS as u64) * (256 << 10) + (16 << 20),
        "{more} bytes"
    );
    drop(readers);
    fetched(&of(1));
}

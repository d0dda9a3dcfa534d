//! What a request over HTTP makes its answer depend on: byte ranges and entity tags are read within bounds, and nobody makes a link.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../proxy/src/access/links.rs"]
#[allow(dead_code, reason = "a file of the program, of which this uses the parsers alone")]
mod links;
#[path = "../../../proxy/src/inbound/http/ranges.rs"]
#[allow(dead_code, reason = "a file of the program, of which this uses the parsers alone")]
mod ranges;

use links::LinkKey;
use ranges::{Parts, Wish, names};

const NOW_S: u64 = 1_767_323_045;

fuzz_target!(|text: &str| {
    let mut lines = text.splitn(3, '\n');
    let (range, tags, query) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""), lines.next().unwrap_or(""));
    let length = 10_000 + tags.len() as u64;
    if let Some(wish) = Wish::read(range) {
        let parts = wish.of(length);
        if let Parts::Some(parts) = &parts {
            assert!(!parts.is_empty() && parts.iter().all(|part| part.start < part.end && part.end <= length), "{parts:?}");
            let bytes: u64 = parts.iter().map(|part| part.end - part.start).sum();
            assert!(bytes <= length, "{bytes} of {length}");
        }
        if let Some(part) = wish.bounded().filter(|part| part.end <= length) {
            assert_eq!(parts, Parts::Some(vec![part]));
        }
    }
    // Who names no tag strongly names it not at all.
    assert!(names(tags, &["\"a\""], true) || !names(tags, &["\"a\""], false));

    let key = LinkKey::from_secret(b"no fuzzer finds this").expect("long enough");
    let _ = LinkKey::expires_s(query);
    let verdict = key.check("GET", "/get", query, NOW_S);
    assert!(!matches!(verdict, Some(Ok(()))), "a link that nobody made");
    let signed = key.sign("/get", query, NOW_S + 60);
    assert_eq!(key.check("GET", "/get", &signed, NOW_S), Some(Ok(())), "{signed}");
    assert_ne!(key.check("GET", "/get", &signed, NOW_S + 60), Some(Ok(())));
    assert_ne!(key.check("GET", "/export", &signed, NOW_S), Some(Ok(())));
});

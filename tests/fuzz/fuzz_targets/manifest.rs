//! A manifest and its clip, as somebody hands them in: nothing of it is believed that was not sealed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seamline_evidence::{Examination, read_manifest, seal};

fuzz_target!(|data: &[u8]| {
    // The manifest, then the clip.
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let (json, clip) = data.split_at(end);
    let Ok(manifest) = read_manifest(json) else {
        return;
    };
    let mut examination = Examination::new(json, None).expect("it was read");
    clip.chunks(100).for_each(|chunk| examination.write(chunk));
    let (_, findings, signed_by) = examination.finish();
    assert!(signed_by.is_none(), "nobody signed it");
    // Sealed anew, it is one that says the same, and is in order by itself.
    let sealed = seal(manifest, None);
    assert_eq!(read_manifest(&sealed.json).expect("it was written"), sealed.manifest);
    let mut again = Examination::new(&sealed.json, None).expect("it was written");
    clip.chunks(7).for_each(|chunk| again.write(chunk));
    let (_, others, _) = again.finish();
    assert!(others.len() <= findings.len(), "{others:?} after {findings:?}");
});

//! A clip and its manifest against everything that may happen to them.

use std::{
    io::Write,
    process::{Command, Stdio},
    sync::LazyLock,
};

use mp4_atom::{Encode, Ftyp, Mfhd, Moof, Tfhd, Traf, Trun, TrunEntry};
use proptest::prelude::*;
use seamline_evidence::{
    About, Asked, Digest, Examination, Finding, Gap, Hole, Ledger, Origin, Program, PublicKey,
    RecorderFacts, Requester, Sealed, SigningKey, SiteState, read_manifest, seal,
};
use seamline_routing::Timestamp;

/// What OpenSSL makes of these words and this input.
fn openssl(words: &str, input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("openssl")
        .args(words.split(' '))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl runs");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(input).expect("openssl reads");
    drop(stdin);
    let output = child.wait_with_output().expect("openssl ends");
    assert!(output.status.success(), "{words}");
    output.stdout
}

fn pem(words: &str, input: &str) -> String {
    String::from_utf8(openssl(words, input.as_bytes())).expect("PEM is text")
}

static KEY: LazyLock<String> = LazyLock::new(|| pem("genpkey -algorithm ed25519", ""));
static PUBLIC: LazyLock<String> = LazyLock::new(|| pem("pkey -pubout", &KEY));
static OTHER: LazyLock<String> = LazyLock::new(|| pem("genpkey -algorithm ed25519", ""));

const FRAME_US: i64 = 40_000;
const NOON_US: i64 = 1_767_268_800_000_000;

fn boxed(kind: [u8; 4], content: &[u8]) -> Vec<u8> {
    let size = content.len() as u32 + 8;
    [&size.to_be_bytes()[..], &kind, content].concat()
}

/// A fragment of frames of these lengths, each a run of its own byte.
fn fragment(number: u32, lengths: &[u32]) -> Vec<u8> {
    let entries: Vec<TrunEntry> = lengths
        .iter()
        .map(|size| TrunEntry {
            size: Some(*size),
            duration: Some(40),
            ..TrunEntry::default()
        })
        .collect();
    let moof = Moof {
        mfhd: Mfhd {
            sequence_number: number,
        },
        traf: vec![Traf {
            tfhd: Tfhd {
                track_id: 1,
                ..Tfhd::default()
            },
            trun: vec![Trun {
                data_offset: Some(0),
                samples: entries.into(),
            }],
            ..Traf::default()
        }],
    };
    let mut out = Vec::new();
    moof.encode(&mut out).expect("a Vec takes everything");
    let media: Vec<u8> = lengths
        .iter()
        .flat_map(|size| std::iter::repeat_n(*size as u8, *size as usize))
        .collect();
    [&out[..], &boxed(*b"mdat", &media)].concat()
}

fn origin(site: &str) -> Origin {
    Origin {
        site: site.to_owned(),
        recorder: RecorderFacts {
            name: format!("nvr-{site}"),
            kind: "rtsp".to_owned(),
            address: "rtsp://10.0.0.1/replay/7".to_owned(),
        },
        remote: "7".to_owned(),
        reason: "gap at \"primary\"".to_owned(),
        clock_offset_us: -1_500,
        measured_skew_us: None,
        parameter_sets: Vec::new(),
    }
}

/// A clip of some legs, each of some fragments, each of some frames; and its account.
fn clip(legs: &[Vec<Vec<u32>>], with_hole: bool) -> (Vec<u8>, Ledger) {
    let mut ledger = Ledger::new(About {
        program: Program {
            name: "seamline".to_owned(),
            version: "0.1.0".to_owned(),
        },
        requested_by: Requester {
            user: Some("guard".to_owned()),
            address: Some("192.0.2.1".to_owned()),
        },
        camera: "gate".to_owned(),
        asked: Asked {
            from: Timestamp::from_micros(NOON_US).into(),
            to: Timestamp::from_micros(NOON_US + 60_000_000).into(),
        },
        media_type: "video/mp4".to_owned(),
    });
    let mut head = Vec::new();
    Ftyp {
        major_brand: b"iso6".into(),
        minor_version: 0,
        compatible_brands: vec![b"iso6".into()],
    }
    .encode(&mut head)
    .expect("a Vec takes everything");
    let mut file = head.clone();
    ledger.write(&head);
    let (mut at, mut number) = (NOON_US, 0);
    for (ix, leg) in legs.iter().enumerate() {
        ledger.span(origin(if ix % 2 == 0 { "primary" } else { "secondary" }));
        for lengths in leg {
            number += 1;
            let last = at + FRAME_US * (lengths.len() as i64 - 1);
            ledger.shown(Timestamp::from_micros(at), Timestamp::from_micros(last));
            at = last + FRAME_US;
            let bytes = fragment(number, lengths);
            ledger.parameter_sets(Digest::of(&[number as u8 % 2]));
            ledger.write(&bytes);
            file.extend(bytes);
        }
    }
    if with_hole {
        ledger.hole(Hole {
            from: Timestamp::from_micros(at).into(),
            to: Timestamp::from_micros(NOON_US + 60_000_000).into(),
            reason: Gap::NotRecorded,
            sites: vec![SiteState {
                site: "primary".to_owned(),
                recorder: "nvr-primary".to_owned(),
                state: "no recording".to_owned(),
            }],
        });
    }
    ledger.tail();
    let tail = boxed(*b"mfra", &[7; 16]);
    ledger.write(&tail);
    file.extend(tail);
    (file, ledger)
}

fn sealed(ledger: Ledger, key: Option<&SigningKey>) -> Sealed {
    let now = Timestamp::from_micros(NOON_US + 3_600_000_000);
    seal(ledger.finish("the end of the range", true, now), key)
}

fn key() -> SigningKey {
    SigningKey::from_pem(KEY.as_bytes()).expect("openssl made it")
}

fn examine(file: &[u8], json: &[u8], trusted: Option<&PublicKey>) -> Vec<Finding> {
    let Ok(mut examination) = Examination::new(json, trusted) else {
        return vec![Finding::ManifestChanged];
    };
    for piece in file.chunks(97) {
        examination.write(piece);
    }
    examination.finish().1
}

fn legs() -> impl Strategy<Value = Vec<Vec<Vec<u32>>>> {
    let fragment = proptest::collection::vec(1_u32..60, 1..5);
    let leg = proptest::collection::vec(fragment, 1..4);
    proptest::collection::vec(leg, 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn an_untouched_clip_is_whole(legs in legs(), hole: bool, signed: bool) {
        let (file, ledger) = clip(&legs, hole);
        let key = signed.then(key);
        let sealed = sealed(ledger, key.as_ref());
        prop_assert_eq!(sealed.manifest.complete, !hole);
        prop_assert_eq!(&read_manifest(&sealed.json).unwrap(), &sealed.manifest);
        let trusted = key.as_ref().map(SigningKey::public);
        prop_assert_eq!(examine(&file, &sealed.json, trusted.as_ref()), vec![]);
        prop_assert_eq!(examine(&file, &sealed.json, None), vec![]);
        // Anybody's own arithmetic comes to the same.
        for span in &sealed.manifest.spans {
            let bytes = &file[span.offset as usize..(span.offset + span.length) as usize];
            prop_assert_eq!(Digest::of(bytes), span.sha256);
        }
        prop_assert_eq!(Digest::of(&file), sealed.manifest.file.sha256);
    }

    #[test]
    fn any_changed_byte_of_the_file_is_found_and_its_span_named(legs in legs(), at: prop::sample::Index, flip in 1_u8..) {
        let (mut file, ledger) = clip(&legs, false);
        let sealed = sealed(ledger, None);
        let at = at.index(file.len());
        file[at] ^= flip;
        let findings = examine(&file, &sealed.json, None);
        prop_assert!(findings.contains(&Finding::Whole), "{:?}", findings);
        let named: Vec<String> = findings.iter().filter_map(|finding| match finding {
            Finding::Changed(place) => Some(place.to_string()),
            _ => None,
        }).collect();
        let at = at as u64;
        let number = sealed.manifest.spans.iter().position(|span| span.offset <= at && at < span.offset + span.length);
        let expected = match number {
            Some(ix) => format!("span {} ", ix + 1),
            None if at < sealed.manifest.head.length => "the head".to_owned(),
            None => "the tail".to_owned(),
        };
        prop_assert_eq!(named.len(), 1);
        prop_assert!(named[0].starts_with(&expected), "{} is not {}", named[0], expected);
    }

    #[test]
    fn any_changed_byte_of_the_manifest_is_found(legs in legs(), signed: bool, at: prop::sample::Index, flip in 1_u8..) {
        let (file, ledger) = clip(&legs, true);
        let key = signed.then(key);
        let mut json = sealed(ledger, key.as_ref()).json;
        let at = at.index(json.len());
        json[at] ^= flip;
        prop_assert!(!examine(&file, &json, None).is_empty(), "byte {at}: {}", String::from_utf8_lossy(&json));
    }

    #[test]
    fn what_is_cut_off_or_added_is_found(legs in legs(), at: prop::sample::Index, more in proptest::collection::vec(any::<u8>(), 1..40)) {
        let (file, ledger) = clip(&legs, false);
        let json = sealed(ledger, None).json;
        let cut = &file[..at.index(file.len())];
        let is_length = |finding: &Finding| matches!(finding, Finding::Length { .. });
        prop_assert!(examine(cut, &json, None).iter().any(is_length));
        let extended = [&file[..], &more].concat();
        prop_assert!(examine(&extended, &json, None).iter().any(is_length));
        let doubled = [&json[..], &more].concat();
        prop_assert!(!examine(&file, &doubled, None).is_empty());
    }

    #[test]
    fn any_bytes_for_a_manifest_or_a_file_are_refused_without_harm(json: Vec<u8>, file: Vec<u8>) {
        prop_assert!(Examination::new(&json, None).is_err());
        let (_, ledger) = clip(&[vec![vec![3]]], false);
        prop_assert!(!examine(&file, &sealed(ledger, None).json, None).is_empty());
    }
}

#[test]
fn swapped_spans_are_found_in_file_and_manifest() {
    let legs = [vec![vec![5, 6]], vec![vec![6, 5]], vec![vec![9]]];
    let (file, ledger) = clip(&legs, false);
    let sealed = sealed(ledger, Some(&key()));
    let [first, second, _] = &sealed.manifest.spans[..] else {
        panic!("three legs are three spans");
    };
    assert_eq!(first.length, second.length, "so that only the bytes tell");
    let bytes = |span: &seamline_evidence::Span| {
        file[span.offset as usize..(span.offset + span.length) as usize].to_vec()
    };
    let mut swapped = file.clone();
    swapped[first.offset as usize..second.offset as usize].copy_from_slice(&bytes(second));
    swapped[second.offset as usize..(second.offset + second.length) as usize]
        .copy_from_slice(&bytes(first));
    let findings = examine(&swapped, &sealed.json, None);
    let changed: Vec<_> = findings
        .iter()
        .filter(|finding| matches!(finding, Finding::Changed(_)))
        .collect();
    assert_eq!(changed.len(), 2, "{findings:?}");

    // A forger who swaps the spans in the manifest too, and makes its digest anew, has no key.
    let mut forged = sealed.manifest.clone();
    forged.spans.swap(0, 1);
    let (a, b) = (forged.spans[0].offset, forged.spans[1].offset);
    (forged.spans[0].offset, forged.spans[1].offset) = (b, a);
    forged.file.sha256 = Digest::of(&swapped);
    let forged = seal(forged, None);
    assert_eq!(examine(&swapped, &forged.json, None), []);
    let trusted = key().public();
    assert_eq!(
        examine(&swapped, &forged.json, Some(&trusted)),
        [Finding::Unsigned]
    );
    let other = SigningKey::from_pem(OTHER.as_bytes()).unwrap();
    let by_other = seal(forged.manifest, Some(&other));
    assert_eq!(
        examine(&swapped, &by_other.json, Some(&trusted)),
        [Finding::OtherKey(other.public().fingerprint())]
    );
}

#[test]
fn a_manifest_that_does_not_account_for_every_byte_or_frame_is_found() {
    let (file, ledger) = clip(&[vec![vec![5, 6]], vec![vec![7]]], false);
    let honest = sealed(ledger, None).manifest;

    let mut miscounted = honest.clone();
    miscounted.spans[1].tracks[0].frames += 1;
    let findings = examine(&file, &seal(miscounted, None).json, None);
    assert_eq!(findings.len(), 1);
    let text = findings[0].to_string();
    assert!(
        text.starts_with("span 2 (\"secondary\", 2026-01-01T12:00:00.080000Z to"),
        "{text}"
    );
    assert!(
        text.contains("{1: 1} by track, and should {1: 2}"),
        "{text}"
    );

    let mut gap = honest.clone();
    gap.spans.remove(0);
    let findings = examine(&file, &seal(gap, None).json, None);
    assert!(
        matches!(findings[..], [Finding::Untiled(_)]),
        "{findings:?}"
    );

    // The border of two spans in the middle of a frame, each with the right digest.
    let mut shifted = honest;
    shifted.spans[0].length -= 1;
    shifted.spans[1].offset -= 1;
    shifted.spans[1].length += 1;
    for span in &mut shifted.spans {
        let bytes = &file[span.offset as usize..(span.offset + span.length) as usize];
        span.sha256 = Digest::of(bytes);
    }
    let findings = examine(&file, &seal(shifted, None).json, None);
    let text = findings
        .first()
        .map(ToString::to_string)
        .unwrap_or_default();
    assert!(
        text.contains("its last box \"mdat\" reaches beyond it"),
        "{findings:?}"
    );
}

#[test]
fn a_manifest_that_was_written_anew_is_told_from_a_changed_one() {
    let (file, ledger) = clip(&[vec![vec![5]]], false);
    let json = sealed(ledger, Some(&key())).json;
    let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let compact = serde_json::to_vec(&value).unwrap();
    assert_eq!(
        examine(&file, &compact, None),
        [Finding::ManifestReformatted]
    );
}

#[test]
fn keys_are_read_as_openssl_writes_them() {
    let public = PublicKey::from_pem(PUBLIC.as_bytes()).unwrap();
    assert_eq!(key().public(), public);
    let der = openssl("pkey -pubin -outform DER", PUBLIC.as_bytes());
    let told = String::from_utf8(openssl("dgst -sha256 -r", &der)).expect("it is text");
    assert_eq!(
        public.fingerprint().to_string(),
        told.split(' ').next().unwrap_or_default()
    );
    // The private key's file will do where the public one is asked for.
    assert_eq!(PublicKey::from_pem(KEY.as_bytes()).unwrap(), public);
    let p256 = pem("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256", "");
    for (pem, why) in [
        (&*p256, "not an Ed25519 key"),
        ("", "no PEM section PRIVATE KEY"),
        (&*PUBLIC, "no PEM section PRIVATE KEY"),
        (
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "not an Ed25519 key",
        ),
    ] {
        let error = SigningKey::from_pem(pem.as_bytes())
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(why), "{error}");
    }
}

#[test]
fn later_versions_and_other_formats_are_named() {
    let (_, ledger) = clip(&[vec![vec![5]]], false);
    let json = String::from_utf8(sealed(ledger, None).json).unwrap();
    let later = json.replace("\"version\": 1,", "\"version\": 2,");
    let error = read_manifest(later.as_bytes()).unwrap_err().to_string();
    assert_eq!(
        error,
        "version 2 of the format is not known; this program reads version 1"
    );
    let other = json.replace("seamline-evidence", "receipt");
    assert!(
        read_manifest(other.as_bytes())
            .unwrap_err()
            .to_string()
            .contains("\"receipt\"")
    );
}

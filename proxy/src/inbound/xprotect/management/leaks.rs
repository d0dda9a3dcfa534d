//! Recorders' own addresses in what leaves: each leads a client past us, so each is counted, and told of.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aho_corasick::AhoCorasick;
use axum::body::{Body, Bytes};
use http_body_util::BodyExt;
use hyper::body::Body as HttpBody;
use seamline_xprotect::configuration::Configuration;
use url::Url;

use super::super::super::bodies::Watched;
use super::super::recorders::Recorders;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// After so many, only each power of two is told of.
const TOLD_MAX: u64 = 20;

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Leaks {
    count: AtomicU64,
    known: Mutex<Option<(Arc<Configuration>, Arc<Needles>)>>,
}

/// What is looked for: `host:port` of each recorder.
#[derive(Debug)]
pub(super) struct Needles {
    search: AhoCorasick,
    texts: Vec<String>,
    bytes_max: usize,
}

impl Leaks {
    /// What is looked for at the moment; `None` while no recorder is known.
    pub(super) fn needles(&self, recorders: &Recorders) -> Option<Arc<Needles>> {
        let told = recorders.primary()?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, needles)) = &*known
            && Arc::ptr_eq(of, &told)
        {
            return Some(Arc::clone(needles));
        }
        let needles = Arc::new(Needles::of(&told)?);
        *known = Some((told, Arc::clone(&needles)));
        Some(needles)
    }

    /// Counts what was found in an answer.
    pub(super) fn note(&self, found: &[String], path: &str) {
        for address in found {
            let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
            if count <= TOLD_MAX || count.is_power_of_two() {
                tracing::warn!(
                    address,
                    path,
                    count,
                    "a recorder's own address leaves: clients may go past this house"
                );
            }
        }
    }
}

impl Needles {
    fn of(told: &Configuration) -> Option<Self> {
        let addresses = told.recorders.iter().filter_map(|recorder| {
            let url = Url::parse(&recorder.uri).ok()?;
            let port = url.port_or_known_default()?;
            Some(format!("{}:{port}", url.host_str()?).to_lowercase())
        });
        let mut texts: Vec<String> = addresses.collect();
        texts.sort();
        texts.dedup();
        let search = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build(&texts)
            .ok()?;
        Some(Needles {
            search,
            bytes_max: texts.iter().map(String::len).max()?,
            texts,
        })
    }
}

/// Looks through one answer, piece by piece.
pub(super) struct Scan {
    needles: Arc<Needles>,
    /// The end of the piece before, which may begin what goes on in the next.
    tail: Vec<u8>,
    found: Vec<String>,
}

impl Scan {
    pub(super) fn new(needles: Arc<Needles>) -> Self {
        Scan {
            needles,
            tail: Vec::new(),
            found: Vec::new(),
        }
    }

    /// Looks through the next piece.
    pub(super) fn piece(&mut self, bytes: &[u8]) {
        let before = self.tail.len();
        let joined = [&self.tail[..], bytes].concat();
        for hit in self.needles.search.find_iter(&joined) {
            // What ends before the tail's end was told with the piece before, and what ends with this one is told with the next,
            // as it may go on. A longer port or host is another address.
            let goes_on = joined.get(hit.end()).is_some_and(u8::is_ascii_digit);
            let began = hit.start().checked_sub(1).and_then(|at| joined.get(at));
            let is_part = began
                .is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
            if hit.end() >= before
                && hit.end() < joined.len()
                && !goes_on
                && !is_part
                && self.found.len() < FOUND_MAX
            {
                let text = self.needles.texts.get(hit.pattern().as_usize());
                self.found.extend(text.cloned());
            }
        }
        // And the letter in front of it.
        let kept = joined.len().min(self.needles.bytes_max + 1);
        self.tail = joined
            .get(joined.len() - kept..)
            .unwrap_or_default()
            .to_vec();
    }

    /// What was found in all of it.
    pub(super) fn found(&mut self) -> &[String] {
        self.piece(b" ");
        &self.found
    }
}

/// Of one answer.
const FOUND_MAX: usize = 1000;

/// A look through a body as it passes.
pub(super) struct Look {
    pub(super) scan: Scan,
    pub(super) leaks: Arc<Leaks>,
    pub(super) path: String,
}

impl Look {
    /// The body; what was found in it is told of at its end, be it an early one.
    pub(super) fn through(
        mut self,
        body: Watched<impl HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static>,
    ) -> Body {
        Body::new(body.map_frame(move |frame| {
            if let Some(bytes) = frame.data_ref() {
                self.scan.piece(bytes);
            }
            frame
        }))
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        self.leaks.note(self.scan.found(), &self.path);
    }
}

#[cfg(test)]
mod tests {
    use seamline_xprotect::configuration::RecordingServer;

    use super::*;

    #[test]
    fn an_address_is_found_however_it_is_cut() {
        let recorders = [
            "http://Rec.example:7563/",
            "https://10.0.0.7:7563/",
            "nonsense",
        ];
        let told = Configuration {
            recorders: recorders
                .iter()
                .map(|uri| RecordingServer {
                    uri: (*uri).to_owned(),
                    ..RecordingServer::default()
                })
                .collect(),
        };
        let needles = Arc::new(Needles::of(&told).unwrap());
        let text = b"<a>http://REC.example:7563/</a> 10.0.0.7:75631 210.0.0.7:7563 rec.example 10.0.0.7:7563";
        for cut in 0..text.len() {
            let mut scan = Scan::new(Arc::clone(&needles));
            scan.piece(&text[..cut]);
            scan.piece(&text[cut..]);
            assert_eq!(scan.found(), ["rec.example:7563", "10.0.0.7:7563"], "{cut}");
        }
    }
}

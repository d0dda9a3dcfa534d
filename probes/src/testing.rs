//! Recorders for the tests: one whose answers and delays are told to it, and one that speaks TLS alone.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rcgen::CertifiedKey;
use rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer};
use seamline_routing::{Camera, CopyRef, Coverage, TimeRange, Timestamp};
use seamline_rtsp::sdp::Description;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::sleep,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    recorder::{Answer, CoverageQuery, MediaSource, ProbeError, Recorder},
    service::{ClientOptions, RecorderClient},
};

#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) lists: bool,
    delay: Mutex<Duration>,
    failure: Mutex<Option<ProbeError>>,
    holds: Mutex<Vec<TimeRange>>,
    pub(crate) asked: AtomicUsize,
    pub(crate) pings: AtomicUsize,
    pub(crate) at_once: AtomicUsize,
    pub(crate) at_once_max: AtomicUsize,
    pub(crate) queries: Mutex<Vec<CoverageQuery>>,
}

impl Fake {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            lists: true,
            delay: Mutex::new(Duration::from_millis(10)),
            failure: Mutex::new(None),
            holds: Mutex::default(),
            asked: AtomicUsize::new(0),
            pings: AtomicUsize::new(0),
            at_once: AtomicUsize::new(0),
            at_once_max: AtomicUsize::new(0),
            queries: Mutex::default(),
        })
    }

    pub(crate) fn delay(&self, delay: Duration) {
        *self.delay.lock().unwrap() = delay;
    }

    pub(crate) fn fail(&self, failure: impl Into<Option<ProbeError>>) {
        *self.failure.lock().unwrap() = failure.into();
    }

    pub(crate) fn hold(&self, periods: &[TimeRange]) {
        *self.holds.lock().unwrap() = periods.to_vec();
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub(crate) fn pings(&self) -> usize {
        self.pings.load(Ordering::SeqCst)
    }

    pub(crate) fn client(self: &Arc<Self>, id: &str) -> RecorderClient {
        let recorder: Arc<dyn Recorder> = Arc::<Self>::clone(self);
        RecorderClient::new(id.into(), recorder, ClientOptions::default())
    }

    async fn answer(&self) -> Result<(), ProbeError> {
        let at_once = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.at_once_max.fetch_max(at_once, Ordering::SeqCst);
        let delay = *self.delay.lock().unwrap();
        sleep(delay).await;
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        self.failure.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

impl Recorder for Fake {
    fn lists_coverage(&self) -> bool {
        self.lists
    }

    fn coverage(&self, query: CoverageQuery) -> Answer<'_, Coverage> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::SeqCst);
            self.queries.lock().unwrap().push(query.clone());
            self.answer().await?;
            let holds = self.holds.lock().unwrap().clone();
            Ok(Coverage::new(query.window, holds, Timestamp::EPOCH, false))
        })
    }

    fn ping(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            self.pings.fetch_add(1, Ordering::SeqCst);
            self.answer().await
        })
    }

    fn describe(&self, _: Arc<str>) -> Answer<'_, Description> {
        Box::pin(async move {
            self.answer().await?;
            Ok(Description::default())
        })
    }

    fn media(&self) -> MediaSource {
        MediaSource::None
    }
}

/// Seconds since 1970.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

pub(crate) fn span(start: i64, end: i64) -> TimeRange {
    TimeRange::new(at(start), at(end)).unwrap()
}

/// A camera with a copy at each of the recorders.
pub(crate) fn camera(id: &str, recorders: &[&str]) -> Camera {
    Camera {
        id: id.into(),
        name: id.into(),
        copies: recorders.iter().map(|recorder| copy(recorder, 0)).collect(),
    }
}

pub(crate) fn copy(recorder: &str, clock_offset_us: i64) -> CopyRef {
    CopyRef {
        site: recorder.into(),
        recorder: recorder.into(),
        remote: "ch1".into(),
        clock_offset_us,
    }
}

/// Speaks TLS, and shows this certificate.
pub(crate) fn acceptor(own: &CertifiedKey<rcgen::KeyPair>) -> TlsAcceptor {
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// A server on `localhost` that shows this certificate and says to each request, whose head is all of it, what it is told to; its port.
pub(crate) async fn sealed(
    own: &CertifiedKey<rcgen::KeyPair>,
    answer: impl Fn(&str) -> String + Send + 'static,
) -> u16 {
    let acceptor = acceptor(own);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut asked = Vec::new();
            while stream.read_buf(&mut asked).await.is_ok_and(|read| read > 0) {
                if !asked.ends_with(b"\r\n\r\n") {
                    continue;
                }
                let said = answer(&String::from_utf8_lossy(&asked));
                asked.clear();
                stream.write_all(said.as_bytes()).await.unwrap();
            }
        }
    });
    port
}

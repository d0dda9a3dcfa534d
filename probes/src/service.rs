//! The way of every question to a recorder: single flight, breaker, deadline, limit.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures::{
    FutureExt,
    future::{Shared, join_all},
};
use seamline_routing::{Coverage, RecorderId, health::Limits};
use seamline_rtsp::sdp::Description;
use tokio::time::{Instant, timeout_at};
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt, layer::layer_fn,
    limit::GlobalConcurrencyLimitLayer, util::BoxCloneSyncService,
};

use crate::{
    clock::monotonic,
    health::RecorderHealth,
    recorder::{
        Answer, ClockOffset, CoverageQuery, FormatSpan, MediaSource, ProbeError, Recorder,
        RemoteCamera,
    },
};

/// Asks one recorder. Cheap to clone; all clones share limit, breaker and questions in flight.
#[derive(Clone)]
pub struct RecorderClient(Arc<Client>);

/// What clones have in common: thousands of cameras name the same recorder, and each decision about one reads of it.
struct Client {
    id: RecorderId,
    recorder: Arc<dyn Recorder>,
    health: Arc<RecorderHealth>,
    stack: BoxCloneSyncService<Question, Reply, ProbeError>,
}

/// How a recorder is asked.
#[derive(Debug, Clone, Copy)]
pub struct ClientOptions {
    /// How long a question may take, from when it is put.
    pub deadline: Duration,
    /// Questions to one recorder at a time.
    pub concurrency: usize,
    /// When it counts as down.
    pub limits: Limits,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(5),
            concurrency: 4,
            limits: Limits::default(),
        }
    }
}

impl RecorderClient {
    /// A client for `recorder`.
    pub fn new(id: RecorderId, recorder: Arc<dyn Recorder>, options: ClientOptions) -> Self {
        let limits = options.limits;
        let health = RecorderHealth::new(id.clone(), limits, rand::random(), monotonic());
        let health = Arc::new(health);
        let stack = ServiceBuilder::new()
            .layer(BoxCloneSyncService::layer())
            .layer(layer_fn(SingleFlight::new))
            .layer(breaker(Arc::clone(&health)))
            .layer(deadline(options.deadline, recorder.listing_patience()))
            .layer(GlobalConcurrencyLimitLayer::new(options.concurrency.max(1)))
            .service(Asked(Arc::clone(&recorder)));
        Self(Arc::new(Client {
            id,
            recorder,
            health,
            stack,
        }))
    }

    /// Which recorder.
    pub fn id(&self) -> &RecorderId {
        &self.0.id
    }

    /// Its health.
    pub fn health(&self) -> &Arc<RecorderHealth> {
        &self.0.health
    }

    /// Whether both ask the same recorder by the same settings, and share what is known of its health.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether it can list what it holds.
    pub fn lists_coverage(&self) -> bool {
        self.0.recorder.lists_coverage()
    }

    /// How footage is fetched from it.
    pub fn media(&self) -> MediaSource {
        self.0.recorder.media()
    }

    /// What it holds, on its own clock.
    pub async fn coverage(&self, query: CoverageQuery) -> Result<Arc<Coverage>, ProbeError> {
        match self.ask(Question::Coverage(query)).await? {
            Reply::Coverage(coverage) => Ok(coverage),
            _ => unreachable!("a reply answers its question"),
        }
    }

    /// The Seamlines that its footage of a camera comes from, as far as they are known.
    pub fn behind(&self, remote: &str) -> Vec<Arc<str>> {
        self.0.recorder.behind(remote)
    }

    /// The formats of its footage of a camera, as far as they are known; on its own clock.
    pub fn formats(&self, remote: &str) -> Arc<[FormatSpan]> {
        self.0.recorder.formats(remote)
    }

    /// Whether its listings show where nothing was recorded.
    pub fn shows_gaps(&self) -> bool {
        self.0.recorder.shows_gaps()
    }

    /// How far its clock is ahead of ours; `None` when its kind cannot be asked.
    pub async fn clock_offset(&self) -> Result<Option<ClockOffset>, ProbeError> {
        // Nothing is asked before an answer is waited for. One that is not asked says nothing about its health.
        if self.0.recorder.clock_offset().is_none() {
            return Ok(None);
        }
        match self.ask(Question::Clock).await? {
            Reply::Clock(offset) => Ok(Some(offset)),
            _ => unreachable!("a reply answers its question"),
        }
    }

    /// The cameras that it has recordings of; `None` when its kind cannot be asked.
    pub async fn inventory(&self) -> Result<Option<Arc<[RemoteCamera]>>, ProbeError> {
        if self.0.recorder.inventory().is_none() {
            return Ok(None);
        }
        match self.ask(Question::Inventory).await? {
            Reply::Inventory(cameras) => Ok(Some(cameras)),
            _ => unreachable!("a reply answers its question"),
        }
    }

    /// Whether it answers.
    pub async fn ping(&self) -> Result<(), ProbeError> {
        self.ask(Question::Ping).await.map(|_| ())
    }

    /// The tracks it plays for a camera.
    pub async fn describe(&self, remote: Arc<str>) -> Result<Arc<Description>, ProbeError> {
        match self.ask(Question::Describe(remote)).await? {
            Reply::Description(description) => Ok(description),
            _ => unreachable!("a reply answers its question"),
        }
    }

    async fn ask(&self, question: Question) -> Result<Reply, ProbeError> {
        self.0.stack.clone().oneshot(question).await
    }
}

impl fmt::Debug for RecorderClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecorderClient")
            .field("id", &self.0.id)
            .field("health", &self.0.health.state())
            .finish_non_exhaustive()
    }
}

/// Waits for all `questions` at once, until `deadline`: what has not answered by then is `None`,
/// and is not waited for.
pub async fn hedged<T>(
    questions: impl IntoIterator<Item = impl Future<Output = T>>,
    deadline: Duration,
) -> Vec<Option<T>> {
    let until = Instant::now() + deadline;
    let limited = questions
        .into_iter()
        .map(|question| async move { timeout_at(until, question).await.ok() });
    join_all(limited).await
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Question {
    Coverage(CoverageQuery),
    Ping,
    Describe(Arc<str>),
    Clock,
    Inventory,
}

#[derive(Debug, Clone)]
enum Reply {
    Coverage(Arc<Coverage>),
    Pong,
    Description(Arc<Description>),
    Clock(ClockOffset),
    Inventory(Arc<[RemoteCamera]>),
}

type Outcome = Result<Reply, ProbeError>;
type Pending = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// The innermost service: the recorder itself.
#[derive(Clone)]
struct Asked(Arc<dyn Recorder>);

impl Service<Question> for Asked {
    type Response = Reply;
    type Error = ProbeError;
    type Future = Pending;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ProbeError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, question: Question) -> Pending {
        let recorder = Arc::clone(&self.0);
        Box::pin(async move {
            Ok(match question {
                Question::Coverage(query) => {
                    Reply::Coverage(Arc::new(recorder.coverage(query).await?))
                }
                Question::Ping => {
                    recorder.ping().await?;
                    Reply::Pong
                }
                Question::Describe(remote) => {
                    Reply::Description(Arc::new(recorder.describe(remote).await?))
                }
                Question::Clock => Reply::Clock(offered(recorder.clock_offset()).await?),
                Question::Inventory => {
                    Reply::Inventory(offered(recorder.inventory()).await?.into())
                }
            })
        })
    }
}

/// The answer to a question that not every kind can be asked.
async fn offered<T>(answer: Option<Answer<'_, T>>) -> Result<T, ProbeError> {
    match answer {
        Some(answer) => answer.await,
        None => Err(ProbeError::NotFound),
    }
}

/// Gives a question so much time, waiting for its turn included.
#[derive(Clone)]
struct Deadline<S> {
    inner: S,
    within: Duration,
    listing_within: Duration,
}

fn deadline<S>(
    within: Duration,
    listing_within: Option<Duration>,
) -> impl Layer<S, Service = Deadline<S>> {
    let listing_within = listing_within.unwrap_or(within);
    layer_fn(move |inner| Deadline {
        inner,
        within,
        listing_within,
    })
}

impl<S> Service<Question> for Deadline<S>
where
    S: Service<Question, Response = Reply, Error = ProbeError> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Reply;
    type Error = ProbeError;
    type Future = Pending;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ProbeError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, question: Question) -> Pending {
        let mut inner = self.inner.clone();
        let within = match question {
            Question::Coverage(_) | Question::Inventory => self.listing_within,
            _ => self.within,
        };
        let until = Instant::now() + within;
        Box::pin(async move {
            let Ok(ready) = timeout_at(until, inner.ready()).await else {
                return Err(ProbeError::Crowded);
            };
            let asked = ready?.call(question);
            timeout_at(until, asked)
                .await
                .unwrap_or(Err(ProbeError::Timeout))
        })
    }
}

/// Does not ask a recorder that is down before its next trial is due, and tells its health how each
/// question went.
#[derive(Clone)]
struct Breaker<S> {
    inner: S,
    health: Arc<RecorderHealth>,
}

fn breaker<S>(health: Arc<RecorderHealth>) -> impl Layer<S, Service = Breaker<S>> {
    layer_fn(move |inner| Breaker {
        inner,
        health: Arc::clone(&health),
    })
}

impl<S> Service<Question> for Breaker<S>
where
    S: Service<Question, Response = Reply, Error = ProbeError> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Reply;
    type Error = ProbeError;
    type Future = Pending;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ProbeError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, question: Question) -> Pending {
        let inner = self.inner.clone();
        let health = Arc::clone(&self.health);
        Box::pin(async move {
            if !health.try_ask(monotonic()) {
                return Err(ProbeError::Resting);
            }
            let outcome = inner.oneshot(question).await;
            match &outcome {
                Ok(_) => health.success(monotonic()),
                Err(error) => match error.failure() {
                    Some(kind) => health.failure(monotonic(), kind),
                    None if error.was_asked() => health.success(monotonic()),
                    None => {}
                },
            }
            outcome
        })
    }
}

/// Shares the answer to a question that is already under way. Questions run to their own end,
/// whoever stops waiting: what they learn is wanted anyway.
struct SingleFlight<S> {
    inner: S,
    flights: Arc<Mutex<HashMap<Question, Flight>>>,
}

type Flight = Shared<Pending>;

impl<S> SingleFlight<S> {
    fn new(inner: S) -> Self {
        Self {
            inner,
            flights: Arc::default(),
        }
    }
}

impl<S: Clone> Clone for SingleFlight<S> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            flights: Arc::clone(&self.flights),
        }
    }
}

impl<S> Service<Question> for SingleFlight<S>
where
    S: Service<Question, Response = Reply, Error = ProbeError> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Reply;
    type Error = ProbeError;
    type Future = Pending;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ProbeError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, question: Question) -> Pending {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&question) {
            return flight.clone().boxed();
        }
        if flights.len() >= FLIGHTS_MAX {
            return Box::pin(async { Err(ProbeError::Crowded) });
        }
        let landing = Landing {
            flights: Arc::clone(&self.flights),
            question: question.clone(),
        };
        let inner = self.inner.clone();
        let task = tokio::spawn({
            let question = question.clone();
            async move {
                let _landing = landing;
                inner.oneshot(question).await
            }
        });
        let flight: Pending = Box::pin(async move {
            task.await
                .unwrap_or_else(|_| Err(ProbeError::protocol("the question was abandoned")))
        });
        let flight = flight.shared();
        flights.insert(question, flight.clone());
        flight.boxed()
    }
}

/// Takes a question off the list when it is answered, or when its task ends in any other way.
struct Landing {
    flights: Arc<Mutex<HashMap<Question, Flight>>>,
    question: Question,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        flights.remove(&self.question);
    }
}

/// Different questions to one recorder at a time, waiting ones included.
const FLIGHTS_MAX: usize = 1024;

#[cfg(test)]
mod tests;

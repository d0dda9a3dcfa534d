//! How many questions are on their way at once in the whole house: hundreds of recorders that are greeted in one moment would
//! each wait for the others past their deadlines.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{sync::Semaphore, time::timeout};

/// Questions of the background take a place. What a client waits for takes none, and so goes first.
#[derive(Debug, Clone)]
pub(super) struct Places(Arc<Semaphore>);

impl Places {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(PLACES)))
    }

    /// Puts a question once there is a place for it. One that takes long gives its place up and goes on: recorders that hang
    /// delay no other.
    pub(super) async fn ask<Answer>(&self, question: impl Future<Output = Answer>) -> Answer {
        let mut question = pin!(question);
        // It is never closed.
        let place = self.0.acquire().await.ok();
        if let Ok(answer) = timeout(PLACE_MAX, &mut question).await {
            return answer;
        }
        drop(place);
        question.await
    }
}

const PLACES: usize = 16;
/// Recorders that are well answer sooner.
const PLACE_MAX: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn few_are_asked_at_once_and_those_that_hang_make_room() {
        let places = Places::new();
        let (asked, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let question = |takes: Duration| {
            let (places, asked, most) = (&places, &asked, &most);
            async move {
                places
                    .ask(async {
                        most.fetch_max(
                            asked.fetch_add(1, Ordering::Relaxed) + 1,
                            Ordering::Relaxed,
                        );
                        sleep(takes).await;
                        asked.fetch_sub(1, Ordering::Relaxed);
                    })
                    .await;
            }
        };
        let begun = Instant::now();
        let quick = Duration::from_millis(10);
        futures::future::join_all((0..PLACES * 10).map(|_| question(quick))).await;
        assert_eq!(most.load(Ordering::Relaxed), PLACES);
        assert_eq!(begun.elapsed(), quick * 10);
        let hung = Duration::from_secs(60);
        let all = (0..PLACES * 4).map(|nth| question(if nth < PLACES { hung } else { quick }));
        let begun = Instant::now();
        futures::future::join_all(all).await;
        assert_eq!(begun.elapsed(), hung, "nobody waited for those that hang");
    }
}

//! How late the house and the machine under it are: a deadline that passed because nobody had time proves nothing.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    clock::monotonic,
    rtsp::{Client, Message},
};

/// How often it is felt.
const EVERY: Duration = Duration::from_millis(50);
/// Answers within this are in time: recorders are given half a second, and pictures are 40 ms apart.
const IN_TIME: Duration = Duration::from_millis(150);
/// How long one question may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Asks a program how it is, again and again, as long as it lives.
#[derive(Debug)]
pub struct Pulse {
    /// When a question that was answered late was asked, and when it was answered.
    late: Arc<Mutex<Vec<(Duration, Duration)>>>,
    over: Arc<AtomicBool>,
}

impl Pulse {
    /// Of the program behind this address.
    pub fn of(url: &str) -> Self {
        let pulse = Self {
            late: Arc::default(),
            over: Arc::default(),
        };
        let (late, over) = (Arc::clone(&pulse.late), Arc::clone(&pulse.over));
        let mut client = Client::connect(url);
        let question = format!("OPTIONS {url} RTSP/1.0\r\nCSeq: 1\r\n\r\n");
        thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let asked = monotonic();
                let sent = client.raw(question.as_bytes());
                let answer = client.next(asked + ANSWER_MAX);
                let answered = monotonic();
                if !sent || matches!(answer, Some(Message::Closed)) {
                    return;
                }
                if answered.saturating_sub(asked) > IN_TIME {
                    let mut late = late.lock().expect("no thread panics while it looks");
                    late.push((asked, answered));
                }
                // Sleeping for too long is being late, too.
                thread::sleep(EVERY);
                let woken = monotonic();
                if woken.saturating_sub(answered) > EVERY + IN_TIME {
                    let mut late = late.lock().expect("no thread panics while it looks");
                    late.push((answered, woken));
                }
            }
        });
        pulse
    }

    /// Whether there was no time for what should have happened between then and now.
    pub fn was_late_since(&self, then: Duration) -> bool {
        let late = self.late.lock().expect("no thread panics while it looks");
        late.iter().any(|(_, answered)| *answered >= then)
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

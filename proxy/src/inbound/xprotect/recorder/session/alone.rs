//! Devices that one recorder has alone, and that are no camera of the configuration: sound, metadata, cameras that nobody else
//! records. What is in their units need not be known, and there is nobody to turn to: their recorder's words are passed on.

use seamline_xprotect::Method;
use seamline_xprotect::merge::Place;
use tokio::time::timeout;

use super::super::leg::Fail;
use super::{ANSWER_WITHIN, End, Outcome, Session, answered, refused};

impl Session {
    /// Whether it is such a device.
    pub(super) fn is_alone(&self) -> bool {
        self.entry.is_none() && self.legs.len() == 1
    }

    /// Answers a call for a unit.
    pub(super) async fn passed(&mut self, id: i64, method: &Method, document: &[u8]) -> Outcome {
        match timeout(ANSWER_WITHIN, self.pass(id, method, document)).await {
            Ok(outcome) => outcome,
            Err(_) => Outcome::Close(format!("no answer within {} s", ANSWER_WITHIN.as_secs())),
        }
    }

    async fn pass(&mut self, id: i64, method: &Method, document: &[u8]) -> Outcome {
        if let Err(End::Refused) = self.hear().await {
            return refused();
        }
        let steps = matches!(
            method,
            Method::Next(_) | Method::Previous(_) | Method::NextSequence | Method::PreviousSequence
        );
        let from_ms = self.place().filter(|_| steps);
        let Some(leg) = self.legs.first_mut() else {
            return Outcome::Close("no site can be reached".to_owned());
        };
        match leg.pass(document, from_ms, &self.opening).await {
            Ok(reply) => {
                let start_ms = reply.head.current_ms.filter(|ms| *ms > 0);
                self.place = start_ms.map(|start_ms| Place {
                    start_ms,
                    end_ms: None,
                });
                Outcome::Send(reply.passed(id))
            }
            Err(Fail::Said { document, .. }) => Outcome::Send(vec![answered(&document, id)]),
            Err(error) => match self.take(self.home, Err(error)) {
                Err(End::Refused) => refused(),
                _ => Outcome::Close("its recorder does not answer".to_owned()),
            },
        }
    }
}

//! What it means that a recorder is silent in mid stretch: it is slow, it is frozen, or it has no more. Only a recorder that
//! answers has no more.

use std::time::Duration;

/// Each further wait is longer by this.
const WAIT_GROWTH: u32 = 2;
/// Answers without footage that are a sign of life: beyond them other copies are worth asking.
const ALIVE_ANSWERS_MAX: u32 = 2;

/// What to do after a wait that was in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vain {
    /// Ask the recorder whether it lives.
    Ask,
    /// It lives, and has no more.
    Over,
    /// It does not answer.
    Lost,
}

/// A silence, and what was asked in it.
#[derive(Debug)]
pub(super) struct Silence {
    /// The first wait, and the last one.
    quiet: Duration,
    /// How long an answer may take.
    response: Duration,
    /// For how long nothing came, answers aside.
    waited: Duration,
    wait: Duration,
    question: Question,
    answers: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    None,
    /// `last` when it was silent for long enough by then.
    Asked {
        last: bool,
    },
    Answered {
        last: bool,
    },
}

impl Silence {
    pub(super) fn new(quiet: Duration, response: Duration) -> Self {
        Silence {
            quiet,
            response,
            waited: Duration::ZERO,
            wait: quiet,
            question: Question::None,
            answers: 0,
        }
    }

    /// Footage came. From now on a silence of `quiet` is worth a question.
    pub(super) fn heard(&mut self, quiet: Duration) {
        *self = Silence::new(quiet, self.response);
    }

    /// The recorder answered; whether that is a sign of life.
    pub(super) fn answered(&mut self) -> bool {
        if let Question::Asked { last } = self.question {
            self.question = Question::Answered { last };
        }
        self.answers += 1;
        self.answers <= ALIVE_ANSWERS_MAX
    }

    /// How long to wait now, where a silence of `enough` is one that may be the end.
    pub(super) fn patience(&self, enough: Duration) -> Duration {
        match self.question {
            Question::Asked { .. } => self.response,
            Question::Answered { last: true } => self.quiet,
            _ => self.wait.min(enough.saturating_sub(self.waited)),
        }
    }

    /// Nothing came within [`Silence::patience`].
    pub(super) fn in_vain(&mut self, enough: Duration) -> Vain {
        match self.question {
            Question::Asked { .. } => Vain::Lost,
            Question::Answered { last: true } => Vain::Over,
            Question::None | Question::Answered { last: false } => {
                self.waited += self.patience(enough);
                self.wait *= WAIT_GROWTH;
                let last = self.waited >= enough;
                self.question = Question::Asked { last };
                Vain::Ask
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_millis(150);
    const RESPONSE: Duration = Duration::from_secs(3);
    const FIRST_UNIT: Duration = Duration::from_secs(3);

    /// How long it takes until a recorder that answers at once and sends nothing is believed to have no more, and how often it is asked.
    fn believed_after(enough: Duration) -> (Duration, u32) {
        let (mut silence, mut passed, mut asked) =
            (Silence::new(QUIET, RESPONSE), Duration::ZERO, 0);
        loop {
            passed += silence.patience(enough);
            match silence.in_vain(enough) {
                Vain::Ask => {
                    asked += 1;
                    silence.answered();
                }
                Vain::Over => return (passed, asked),
                Vain::Lost => panic!("it answered"),
            }
        }
    }

    #[test]
    fn one_that_answers_has_no_more_once_it_was_silent_for_long_enough() {
        assert_eq!(believed_after(QUIET), (QUIET * 2, 1));
        let (passed, asked) = believed_after(FIRST_UNIT);
        assert_eq!(passed, FIRST_UNIT + QUIET);
        assert!((4..=6).contains(&asked), "asked {asked} times");
    }

    #[test]
    fn one_that_does_not_answer_is_lost_whenever_it_froze() {
        for frozen_after in 0..5 {
            let (mut silence, mut asked) = (Silence::new(QUIET, RESPONSE), 0);
            let end = loop {
                let patience = silence.patience(FIRST_UNIT);
                match silence.in_vain(FIRST_UNIT) {
                    Vain::Ask if asked < frozen_after => {
                        silence.answered();
                    }
                    Vain::Ask => {}
                    end => break (end, patience),
                }
                asked += 1;
            };
            assert_eq!(
                end,
                (Vain::Lost, RESPONSE),
                "frozen after {frozen_after} answers"
            );
        }
    }

    #[test]
    fn footage_ends_a_silence_and_answers_alone_are_life_for_a_moment_only() {
        let mut silence = Silence::new(QUIET, RESPONSE);
        let mut signs = Vec::new();
        for _ in 0..4 {
            assert_eq!(silence.in_vain(FIRST_UNIT), Vain::Ask);
            signs.push(silence.answered());
        }
        assert_eq!(signs, [true, true, false, false]);
        silence.heard(QUIET);
        assert_eq!(silence.patience(FIRST_UNIT), QUIET);
        assert_eq!(silence.in_vain(FIRST_UNIT), Vain::Ask);
        assert!(silence.answered());
    }
}

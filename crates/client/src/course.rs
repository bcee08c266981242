//! The retry rules: the next step after a try has ended, without input or output.
//!
//! | the try ended | next |
//! |---|---|
//! | nothing was applied, and another node may do better | that node, same attempt number |
//! | ... and every node has said so | after a pause |
//! | nothing was applied, and no other node will do better | give up |
//! | a write may have been applied | the same node, which remembers the request id; then another |
//! | a read got no answer | another node |

use std::time::Duration;

use starling_types::Outcome;
use starling_wire::{Failure, FailureKind};

/// How a try ended, if not with success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// A node answered so.
    Failed(Failure),
    /// It was never sent, and why.
    Unsent(String),
    /// It was sent, and no answer came.
    Unanswered,
}

/// The next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Ask the same node again, after this long.
    Same(Duration),
    /// Ask the next node, after this long.
    Other(Duration),
    /// Tell the caller.
    GiveUp,
}

/// The tries of one request so far.
#[derive(Debug)]
pub(crate) struct Course {
    write: bool,
    nodes: u32,
    tries: u32,
    attempt: u8,
    /// Tries in a row that were refused or not sent.
    fruitless: u32,
    /// Tries in a row on one node whose outcome is unknown.
    doubtful_here: u32,
    doubt: bool,
}

impl Course {
    /// A request with `nodes` addresses to go to. An `attempt` above 0 says that it may have been applied by an
    /// earlier call.
    pub(crate) fn new(write: bool, nodes: usize, attempt: u8) -> Self {
        let nodes = u32::try_from(nodes).unwrap_or(u32::MAX).max(1);
        let doubt = write && attempt > 0;
        Self { write, nodes, tries: 0, attempt, fruitless: 0, doubtful_here: 0, doubt }
    }

    /// How often it was tried.
    pub(crate) const fn tries(&self) -> u32 {
        self.tries
    }

    /// The attempt number of the next try: above 0, a node asks the owners before it mints.
    pub(crate) const fn attempt(&self) -> u8 {
        self.attempt
    }

    /// The outcome over all tries, if the last one ended with `last`.
    pub(crate) const fn outcome(&self, last: Outcome) -> Outcome {
        match last {
            Outcome::Applied => Outcome::Applied,
            _ if self.doubt => Outcome::Unknown,
            _ if self.write => last,
            _ => Outcome::NotApplied,
        }
    }

    /// How long to wait for an answer when `remaining` is left: early tries leave time for later ones.
    pub(crate) fn patience(&self, remaining: Duration) -> Duration {
        if self.attempt < HURRIED { remaining / 2 } else { remaining }
    }

    /// Judges a try that has ended.
    pub(crate) fn after(&mut self, ending: &Ending) -> Next {
        self.tries += 1;
        match ending {
            Ending::Unsent(_) => self.another(Duration::ZERO),
            Ending::Unanswered => self.doubtful(Duration::ZERO),
            Ending::Failed(failure) => self.failed(failure),
        }
    }

    fn failed(&mut self, failure: &Failure) -> Next {
        let pause = Duration::from_millis(failure.retry_after_ms.unwrap_or(0).into());
        match failure.outcome {
            Outcome::NotApplied if is_final(failure.kind) => Next::GiveUp,
            Outcome::NotApplied => self.another(pause),
            Outcome::Unknown => self.doubtful(pause.max(BACKOFF)),
            Outcome::Applied => Next::GiveUp,
        }
    }

    /// A round over all nodes without a pause, then pauses that double.
    fn another(&mut self, pause: Duration) -> Next {
        self.fruitless += 1;
        self.doubtful_here = 0;
        let rounds = self.fruitless / self.nodes;
        if rounds == 0 {
            return Next::Other(Duration::ZERO);
        }
        let backoff = BACKOFF * 2_u32.saturating_pow((rounds - 1).min(MOST_DOUBLINGS));
        Next::Other(pause.max(backoff))
    }

    fn doubtful(&mut self, pause: Duration) -> Next {
        self.fruitless = 0;
        if !self.write {
            return Next::Other(pause);
        }
        self.doubt = true;
        self.doubtful_here += 1;
        let Some(attempt) = self.attempt.checked_add(1) else {
            return Next::GiveUp;
        };
        self.attempt = attempt;
        if self.doubtful_here == 1 {
            return Next::Same(pause);
        }
        self.doubtful_here = 0;
        Next::Other(pause)
    }
}

/// Refusals that every node would repeat.
const fn is_final(kind: FailureKind) -> bool {
    matches!(
        kind,
        FailureKind::BadRequest
            | FailureKind::TooLarge
            | FailureKind::NoSuchBucket
            | FailureKind::TooManySiblings
    )
}

const BACKOFF: Duration = Duration::from_millis(50);
const MOST_DOUBLINGS: u32 = 5;
/// Attempts that may take only half of what time is left.
const HURRIED: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(kind: FailureKind) -> Ending {
        Ending::Failed(Failure::refused(kind, "no"))
    }

    #[test]
    fn what_nobody_will_do_better_is_not_retried() {
        for kind in [FailureKind::BadRequest, FailureKind::TooManySiblings, FailureKind::NoSuchBucket] {
            assert_eq!(Course::new(true, 3, 0).after(&refused(kind)), Next::GiveUp);
        }
    }

    #[test]
    fn a_refused_write_goes_round_all_nodes_before_it_pauses_and_stays_a_first_attempt() {
        let mut course = Course::new(true, 2, 0);
        let overloaded = Failure::refused(FailureKind::Overloaded, "full");
        let overloaded = Ending::Failed(overloaded.retry_after(Duration::from_millis(80)));
        assert_eq!(course.after(&overloaded), Next::Other(Duration::ZERO));
        assert_eq!(course.after(&overloaded), Next::Other(Duration::from_millis(80)));
        assert_eq!(course.after(&overloaded), Next::Other(Duration::from_millis(80)));
        assert_eq!(course.after(&overloaded), Next::Other(Duration::from_millis(100)));
        assert_eq!(course.attempt(), 0);
        assert_eq!(course.outcome(Outcome::NotApplied), Outcome::NotApplied);
    }

    #[test]
    fn a_doubtful_write_stays_with_its_node_once() {
        let mut course = Course::new(true, 3, 0);
        assert_eq!(course.after(&Ending::Unanswered), Next::Same(Duration::ZERO));
        assert_eq!(course.attempt(), 1);
        assert_eq!(course.after(&Ending::Unanswered), Next::Other(Duration::ZERO));
        assert_eq!(course.after(&Ending::Unanswered), Next::Same(Duration::ZERO));
        assert_eq!(course.attempt(), 3);
    }

    #[test]
    fn doubt_outlives_a_later_refusal() {
        let mut course = Course::new(true, 2, 0);
        course.after(&Ending::Unanswered);
        course.after(&refused(FailureKind::Overloaded));
        assert_eq!(course.outcome(Outcome::NotApplied), Outcome::Unknown);
        assert_eq!(course.attempt(), 1);
    }

    #[test]
    fn a_read_applies_nothing_and_asks_elsewhere() {
        let mut course = Course::new(false, 2, 0);
        assert_eq!(course.after(&Ending::Unanswered), Next::Other(Duration::ZERO));
        assert_eq!(course.attempt(), 0);
        assert_eq!(course.outcome(Outcome::Unknown), Outcome::NotApplied);
    }

    #[test]
    fn attempts_end_before_their_number_wraps() {
        let mut course = Course::new(true, 1, 0);
        let gave_up = (0..300).any(|_| course.after(&Ending::Unanswered) == Next::GiveUp);
        assert!(gave_up && course.attempt() == u8::MAX);
    }
}

//! Writes passed on by other nodes that were answered with `not_applied` here.
//!
//! Their senders count on that: another copy of the same frame, arriving when there is room again, must not be carried
//! out. Writes that were made are told by their request ids ([`super::tried`]).

use std::collections::{BTreeSet, VecDeque};

use starling_types::{Outcome, RequestId};
use starling_wire::{Failure, FailureKind, KvReply, KvRequest};

/// How many are remembered: the longest ago are forgotten first.
const MOST: usize = 4_096;

/// One try of a request.
pub(super) type Try = (RequestId, u8);

/// The try that a request states.
pub(super) const fn try_of(request: &KvRequest) -> Try {
    (request.id, request.attempt)
}

/// Whether an answer says that nothing was done.
pub(super) fn is_refusal(reply: &KvReply) -> bool {
    matches!(reply, KvReply::Failed(failure) if failure.outcome == Outcome::NotApplied)
}

/// The last tries that were turned away.
#[derive(Debug, Default)]
pub(super) struct TurnedAway {
    tries: BTreeSet<Try>,
    order: VecDeque<Try>,
}

impl TurnedAway {
    /// A try was refused, and its sender is told so.
    pub(super) fn note(&mut self, this: Try) {
        if self.tries.insert(this) {
            self.order.push_back(this);
        }
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.tries.remove(&oldest);
        }
    }

    /// Whether this very try was refused before.
    pub(super) fn check(&self, this: Try) -> Result<(), Failure> {
        match self.tries.contains(&this) {
            false => Ok(()),
            true => Err(Failure::refused(
                FailureKind::Overloaded,
                "this try was refused here before, and stays refused; nothing was changed; try again"
                    .to_owned(),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn this(id: usize, attempt: u8) -> Try {
        (RequestId::from_bits(id as u128), attempt)
    }

    #[test]
    fn a_try_stays_refused_and_the_next_one_is_none_of_it() {
        let mut away = TurnedAway::default();
        away.note(this(7, 1));
        away.note(this(7, 1));
        assert!(away.check(this(7, 1)).is_err());
        assert!(away.check(this(7, 2)).is_ok() && away.check(this(8, 1)).is_ok());
    }

    #[test]
    fn the_memory_is_bounded_and_forgets_the_oldest() {
        let mut away = TurnedAway::default();
        (0..=MOST).for_each(|id| away.note(this(id, 0)));
        assert_eq!((away.tries.len(), away.order.len()), (MOST, MOST));
        assert!(away.check(this(0, 0)).is_ok() && away.check(this(1, 0)).is_err());
    }
}

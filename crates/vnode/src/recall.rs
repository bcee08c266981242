//! The memory of request ids: which client request made which dot (semantics, section 3).

use std::collections::VecDeque;
use std::time::Duration;

use starling_causality::Dot;
use starling_types::hash::TokenMap;
use starling_types::{Now, RequestId, Token, WallTime, limits};

/// Bounded in time and number. It knows what it may have forgotten, so that a retry of such a request is
/// answered as unknown instead of being made again.
#[derive(Debug, Default)]
pub(crate) struct RequestMemory {
    dots: TokenMap<(RequestId, Token), Dot>,
    ages: VecDeque<(Now, RequestId, Token)>,
    /// Ids remembered up to then were pushed out by newer ones before their time.
    crowded_out: Option<WallTime>,
}

impl RequestMemory {
    /// The dot made for a request of the key at `token`: an id that a client uses again for another key is a
    /// new request there.
    pub(crate) fn dot(&self, request: RequestId, token: Token) -> Option<Dot> {
        self.dots.get(&(request, token)).copied()
    }

    /// The first dot stays: a retry never makes a second one.
    pub(crate) fn remember(&mut self, now: Now, request: RequestId, token: Token, dot: Dot) {
        self.forget_old(now);
        if self.dots.contains_key(&(request, token)) {
            return;
        }
        self.dots.insert((request, token), dot);
        self.ages.push_back((now, request, token));
    }

    /// After a commit that failed; its entry in the queue of ages runs out by itself.
    pub(crate) fn forget(&mut self, request: RequestId, token: Token) {
        self.dots.remove(&(request, token));
    }

    /// Whether a request issued at `issued` may have been remembered and forgotten since. Clocks of clients
    /// differ from ours: a little earlier counts as well.
    pub(crate) fn may_have_forgotten(&self, issued: WallTime) -> bool {
        self.crowded_out.is_some_and(|until| issued <= until.after(limits::HLC_MAX_LEAD))
    }

    fn forget_old(&mut self, now: Now) {
        while let Some(&(at, request, token)) = self.ages.front() {
            let is_young = now.instant.since(at.instant) < MEMORY;
            if is_young && self.ages.len() < limits::REQUEST_MEMORY_IDS {
                break;
            }
            if is_young {
                self.crowded_out = Some(at.wall);
            }
            self.ages.pop_front();
            self.dots.remove(&(request, token));
        }
    }
}

/// A request dated ahead is taken for that much longer.
const MEMORY: Duration =
    Duration::from_secs(limits::REQUEST_MEMORY.as_secs() + limits::REQUEST_MAX_LEAD.as_secs());

#[cfg(test)]
mod tests {
    use starling_causality::Hlc;
    use starling_types::{ActorId, Instant};

    use super::*;

    #[test]
    fn what_was_crowded_out_is_known_to_be_forgotten() {
        let mut memory = RequestMemory::default();
        let dot = Dot { actor: ActorId::from_bits(1), hlc: Hlc::from_parts(1, 0) };
        let token = Token::from_bits(1);
        let at = |ms: u64| Now {
            instant: Instant::from_nanos(ms * 1_000_000),
            wall: WallTime::from_millis(ms),
            fraction: 0,
        };
        let first = RequestId::from_bits(0);
        memory.remember(at(1_000), first, token, dot);
        assert!(!memory.may_have_forgotten(WallTime::from_millis(1_000)));
        for id in 1..=limits::REQUEST_MEMORY_IDS {
            memory.remember(at(5_000), RequestId::from_bits(id as u128), token, dot);
        }
        assert_eq!(memory.dot(first, token), None);
        assert!(memory.may_have_forgotten(WallTime::from_millis(1_000)));
        assert!(!memory.may_have_forgotten(WallTime::from_millis(4_000)));
    }

    #[test]
    fn an_id_belongs_to_its_key() {
        let mut memory = RequestMemory::default();
        let dot = Dot { actor: ActorId::from_bits(1), hlc: Hlc::from_parts(1, 0) };
        let id = RequestId::from_bits(1);
        memory.remember(Now::default(), id, Token::from_bits(1), dot);
        assert_eq!(memory.dot(id, Token::from_bits(1)), Some(dot));
        assert_eq!(memory.dot(id, Token::from_bits(2)), None);
    }
}

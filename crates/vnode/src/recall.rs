//! The memory of request ids: which client request made which dot (semantics, section 3).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use starling_causality::{Dot, Record};
use starling_types::hash::TokenMap;
use starling_types::planted::{self, Bug};
use starling_types::{Instant, Now, RequestId, Token, limits};

/// Bounded by time, and by a number that only a flood reaches. It knows how far back it reaches, so that a retry of an
/// older request is answered as unknown instead of being made again. Its times are monotonic: a wrong clock makes it
/// forget nothing.
///
/// An id belongs to its key: one that a client uses again for another key is a new request there.
#[derive(Debug, Default)]
pub(crate) struct RequestMemory {
    known: TokenMap<(RequestId, Token), Known>,
    /// Further dots of requests that were made twice.
    twins: BTreeMap<(RequestId, Token), Vec<Dot>>,
    ages: VecDeque<(Instant, RequestId, Token)>,
    /// All that arrived until then may be forgotten: the start of this run, or what was crowded out.
    since: Instant,
}

#[derive(Debug, Clone, Copy, Default)]
struct Known {
    dot: Option<Dot>,
    claim: Option<u8>,
}

impl RequestMemory {
    /// The memory of a run that began at `started`.
    pub(crate) fn new(started: Instant) -> Self {
        Self { since: started, ..Self::default() }
    }

    /// The first dot known of a request.
    pub(crate) fn dot(&self, request: RequestId, token: Token) -> Option<Dot> {
        let known = self.known.get(&(request, token)).filter(|_| !planted::on(Bug::IdsForgotten));
        known.and_then(|known| known.dot)
    }

    /// Takes note of a dot.
    pub(crate) fn remember(&mut self, now: Now, request: RequestId, token: Token, dot: Dot) {
        let first = *self.entry(now, request, token).dot.get_or_insert(dot);
        if first != dot {
            let twins = self.twins.entry((request, token)).or_default();
            if !twins.contains(&dot) && twins.len() < MOST_TWINS {
                twins.push(dot);
            }
        }
    }

    /// A try asks whether it is the first; `false` if a higher one has asked before. Of two tries the higher goes on.
    pub(crate) fn claim(&mut self, now: Now, request: RequestId, token: Token, attempt: u8) -> bool {
        let held = self.entry(now, request, token).claim.get_or_insert(attempt);
        *held = attempt.max(*held);
        *held == attempt
    }

    /// Whether a higher try than `attempt` has asked here.
    pub(crate) fn is_claimed_above(&self, request: RequestId, token: Token, attempt: u8) -> bool {
        self.known.get(&(request, token)).and_then(|known| known.claim).is_some_and(|held| held > attempt)
    }

    /// Whether one of the request's dots was replaced, as far as `record` tells.
    pub(crate) fn is_replaced(&self, request: RequestId, token: Token, record: &Record) -> bool {
        let first = self.dot(request, token);
        let twins = self.twins.get(&(request, token)).into_iter().flatten().copied();
        first.into_iter().chain(twins).any(|dot| {
            let is_live = record.siblings().iter().any(|sibling| sibling.dot == dot);
            record.context().covers(dot) && !is_live
        })
    }

    /// After a commit that failed; its entry in the queue of ages runs out by itself.
    pub(crate) fn forget(&mut self, request: RequestId, token: Token) {
        self.known.remove(&(request, token));
        self.twins.remove(&(request, token));
    }

    /// How long ago the last request arrived that may be forgotten.
    pub(crate) fn reaches_back(&self, now: Instant) -> Duration {
        now.since(self.since).min(limits::REQUEST_MEMORY)
    }

    fn entry(&mut self, now: Now, request: RequestId, token: Token) -> &mut Known {
        self.forget_old(now.instant);
        let known = self.known.entry((request, token));
        known.or_insert_with(|| {
            self.ages.push_back((now.instant, request, token));
            Known::default()
        })
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some(&(at, request, token)) = self.ages.front() {
            let is_young = now.since(at) < MEMORY;
            if is_young && self.ages.len() < limits::REQUEST_MEMORY_IDS {
                break;
            }
            if is_young {
                self.since = self.since.max(at);
            }
            self.ages.pop_front();
            self.forget(request, token);
        }
    }
}

/// Twice the lead that a client's clock may have: a request dated ahead is asked about for that much longer.
const MEMORY: Duration =
    Duration::from_secs(limits::REQUEST_MEMORY.as_secs() + 2 * limits::REQUEST_MAX_LEAD.as_secs());
/// Tries of one request that are told apart; the others are known by these.
const MOST_TWINS: usize = 4;

#[cfg(test)]
mod tests {
    use starling_causality::Hlc;
    use starling_types::ActorId;

    use super::*;

    const ID: RequestId = RequestId::from_bits(1);
    const TOKEN: Token = Token::from_bits(1);

    fn dot(time: u64) -> Dot {
        Dot { actor: ActorId::from_bits(1), hlc: Hlc::from_parts(time, 0) }
    }

    fn at(ms: u64) -> Now {
        Now { instant: Instant::from_nanos(ms * 1_000_000), ..Now::default() }
    }

    #[test]
    fn it_reaches_back_to_its_start_and_no_further_than_what_was_crowded_out() {
        let mut memory = RequestMemory::new(at(1_000).instant);
        assert_eq!(memory.reaches_back(at(4_000).instant), Duration::from_secs(3));
        memory.remember(at(5_000), ID, TOKEN, dot(1));
        for id in 2..=limits::REQUEST_MEMORY_IDS as u128 {
            memory.remember(at(6_000), RequestId::from_bits(id), TOKEN, dot(1));
        }
        assert_eq!(memory.reaches_back(at(7_000).instant), Duration::from_secs(6));
        memory.remember(at(7_000), RequestId::from_bits(u128::MAX), TOKEN, dot(1));
        assert_eq!(memory.dot(ID, TOKEN), None);
        assert_eq!(memory.reaches_back(at(7_000).instant), Duration::from_secs(2));
        assert_eq!(memory.reaches_back(at(500_000).instant), limits::REQUEST_MEMORY);
    }

    #[test]
    fn an_id_belongs_to_its_key() {
        let mut memory = RequestMemory::default();
        memory.remember(at(0), ID, TOKEN, dot(1));
        assert_eq!(memory.dot(ID, TOKEN), Some(dot(1)));
        assert_eq!(memory.dot(ID, Token::from_bits(2)), None);
    }

    #[test]
    fn of_two_tries_the_higher_goes_on() {
        let mut memory = RequestMemory::default();
        assert!(memory.claim(at(0), ID, TOKEN, 0));
        assert!(memory.claim(at(0), ID, TOKEN, 1));
        assert!(memory.claim(at(0), ID, TOKEN, 1), "asked twice, or by two nodes");
        assert!(!memory.claim(at(0), ID, TOKEN, 0));
        assert!(memory.is_claimed_above(ID, TOKEN, 0));
        assert!(!memory.is_claimed_above(ID, TOKEN, 1));
        assert_eq!(memory.dot(ID, TOKEN), None, "a claim is no write");
    }

    #[test]
    fn one_replaced_dot_of_a_request_speaks_for_the_others() {
        let mut memory = RequestMemory::default();
        memory.remember(at(0), ID, TOKEN, dot(1));
        memory.remember(at(0), ID, TOKEN, dot(5));
        let record = Record::default();
        assert!(!memory.is_replaced(ID, TOKEN, &record), "nothing is covered");
        let mint = |dot| starling_causality::Mint {
            seen: record.context(),
            dot,
            payload: starling_causality::Payload::Tombstone,
            expires_at: None,
            id: None,
            rank: None,
        };
        assert!(memory.is_replaced(ID, TOKEN, &record.write(mint(dot(3)))));
    }
}

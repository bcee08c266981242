//! The memory of request ids: which client request made which dot (semantics, section 3).

use std::collections::VecDeque;

use starling_causality::Dot;
use starling_types::hash::TokenMap;
use starling_types::{Instant, RequestId, Token, limits};

/// Bounded in time and number; a forgotten id is answered as unknown.
#[derive(Debug, Default)]
pub(crate) struct RequestMemory {
    dots: TokenMap<RequestId, (Token, Dot)>,
    ages: VecDeque<(Instant, RequestId)>,
}

impl RequestMemory {
    /// The dot made for a request of the key at `token`: an id that a client uses again for another key is a
    /// new request there.
    pub(crate) fn dot(&self, request: RequestId, token: Token) -> Option<Dot> {
        self.dots.get(&request).filter(|(at, _)| *at == token).map(|&(_, dot)| dot)
    }

    /// The first dot stays: a retry never makes a second one.
    pub(crate) fn remember(&mut self, now: Instant, request: RequestId, token: Token, dot: Dot) {
        self.forget_old(now);
        if self.dots.contains_key(&request) {
            return;
        }
        self.dots.insert(request, (token, dot));
        self.ages.push_back((now, request));
    }

    /// After a commit that failed; its entry in the queue of ages runs out by itself.
    pub(crate) fn forget(&mut self, request: RequestId) {
        self.dots.remove(&request);
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some(&(at, request)) = self.ages.front() {
            if self.ages.len() < limits::REQUEST_MEMORY_IDS && now.since(at) < limits::REQUEST_MEMORY {
                break;
            }
            self.ages.pop_front();
            self.dots.remove(&request);
        }
    }
}

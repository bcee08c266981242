//! Histories in which one request is tried at several replicas, which mint a dot each, held against explicit causal
//! pasts: *one id, one value* (semantics, section 3). Contexts are bounded and times chosen as that section demands.

use std::collections::BTreeSet;

use super::*;

const REPLICAS: usize = 3;

/// How a history may go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// The last write wins: writes bear no ids.
    pub(super) lww: bool,
    /// Replicas forget what they know of requests, and some merges carry nothing of it.
    pub(super) forgetful: bool,
}

/// One step of a history. Numbers are taken modulo what there is to choose from.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Begin(Begin),
    Retry {
        request: usize,
        at: usize,
        from: usize,
        first: bool,
    },
    Merge {
        from: usize,
        into: usize,
    },
    /// By way of a peer or a file that knows no ids.
    Strip {
        from: usize,
        into: usize,
    },
    Forget {
        at: usize,
        request: usize,
    },
}

/// A request reaches its first owner.
#[derive(Debug, Clone)]
pub(super) struct Begin {
    at: usize,
    /// The state that its client, or the owner on its behalf, has read: an index into all that ever were.
    read: usize,
    blind: bool,
    deletes: bool,
    /// The try that mints first is not the first one; that is still under way.
    overtaken: bool,
    /// How long ago, in times, it was issued.
    age: u64,
    patience: u64,
    skew: u64,
}

struct Request {
    blind: bool,
    deletes: bool,
    /// The context that its client has seen, if it states one.
    context: VersionVector,
    issue: Hlc,
    /// `M`: issue and patience.
    until: Hlc,
    first_made: bool,
    minted_at: BTreeSet<usize>,
}

struct Write {
    dot: Dot,
    request: usize,
    deletes: bool,
    /// The requests of which its writer had seen a dot.
    saw: BTreeSet<usize>,
}

pub(super) struct World {
    rules: Rules,
    replicas: Vec<Record>,
    requests: Vec<Request>,
    writes: Vec<Write>,
    pub(super) states: Vec<Record>,
    pub(super) conflicts: usize,
}

impl World {
    pub(super) fn replay(rules: Rules, steps: &[Step]) -> Self {
        let mut world = Self {
            rules,
            replicas: vec![Record::default(); REPLICAS],
            requests: Vec::new(),
            writes: Vec::new(),
            states: vec![Record::default()],
            conflicts: 0,
        };
        for step in steps {
            world.take(step);
            world.states.extend(world.replicas.clone());
        }
        world
    }

    /// All replicas exchange until nothing changes.
    pub(super) fn settle(&mut self) -> Record {
        for _ in 0..2 {
            for (from, into) in (0..REPLICAS * REPLICAS).map(|pair| (pair / REPLICAS, pair % REPLICAS)) {
                self.merge(into, &self.replicas[from].clone());
            }
        }
        let last = self.replicas[0].clone();
        for replica in &self.replicas {
            assert_eq!((replica.context(), dots(replica)), (last.context(), dots(&last)), "diverged");
        }
        last
    }

    /// Whether some request was minted more than once.
    pub(super) fn is_double(&self) -> bool {
        self.requests.iter().any(|request| request.minted_at.len() > 1)
    }

    /// Requests of which `record` shows a value.
    pub(super) fn shown(&self, record: &Record) -> BTreeSet<usize> {
        let holds = |write: &&Write| dots(record).contains(&write.dot) && !write.deletes;
        self.writes.iter().filter(holds).map(|write| write.request).collect()
    }

    /// Requests that are neither shown nor, by any chain, replaced by something that is: by a delete, or by a
    /// value in `shown`.
    pub(super) fn unaccounted(&self, shown: &BTreeSet<usize>) -> Vec<usize> {
        let mut good: BTreeSet<usize> = shown.clone();
        good.extend((0..self.requests.len()).filter(|&id| self.requests[id].deletes));
        loop {
            let more: BTreeSet<usize> = self
                .writes
                .iter()
                .filter(|w| good.contains(&w.request))
                .flat_map(|w| w.saw.iter().copied())
                .filter(|id| !good.contains(id))
                .collect();
            if more.is_empty() {
                return (0..self.requests.len()).filter(|id| !good.contains(id)).collect();
            }
            good.extend(more);
        }
    }

    /// Requests of which another one's writer had seen a dot.
    pub(super) fn seen_by(&self, id: usize) -> BTreeSet<usize> {
        self.writes.iter().filter(|w| w.saw.contains(&id)).map(|w| w.request).collect()
    }

    /// The highest delete ever made.
    pub(super) fn highest_delete(&self) -> Option<Dot> {
        self.writes.iter().filter(|write| write.deletes).map(|write| write.dot).max()
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Begin(begin) => self.begin(begin),
            &Step::Retry { request, at, from, first } if !self.requests.is_empty() => {
                self.retry(request % self.requests.len(), at % REPLICAS, from % REPLICAS, first);
            }
            &Step::Merge { from, into } => {
                self.merge(into % REPLICAS, &self.replicas[from % REPLICAS].clone())
            }
            &Step::Strip { from, into } if self.rules.forgetful => {
                self.merge(into % REPLICAS, &stripped(&self.replicas[from % REPLICAS]));
            }
            &Step::Forget { at, request } if self.rules.forgetful => {
                forget(&mut self.replicas[at % REPLICAS], id(request % 8));
            }
            _ => {}
        }
    }

    fn begin(&mut self, begin: &Begin) {
        let now = self.replicas.iter().map(|r| r.context().max_hlc().bits()).max().unwrap_or(0);
        let issue = now.saturating_sub(begin.age);
        self.requests.push(Request {
            blind: begin.blind,
            deletes: begin.deletes,
            context: self.states[begin.read % self.states.len()].context().clone(),
            issue: Hlc::from_bits(issue),
            until: Hlc::from_bits(issue + begin.patience),
            first_made: false,
            minted_at: BTreeSet::new(),
        });
        let from = begin.read % REPLICAS;
        self.mint(self.requests.len() - 1, begin.at % REPLICAS, from, !begin.overtaken, begin.skew);
    }

    fn retry(&mut self, request: usize, at: usize, from: usize, first: bool) {
        let known =
            |record: &Record| record.dot_of(id(request)).is_some() || record.is_superseded(id(request));
        let request_of = &self.requests[request];
        if !request_of.minted_at.contains(&at) && !known(&self.replicas[at]) {
            self.mint(request, at, from, first && !request_of.first_made, 0);
        }
    }

    fn mint(&mut self, number: usize, at: usize, from: usize, first: bool, skew: u64) {
        let request = &mut self.requests[number];
        let base = &self.replicas[at];
        let seen = match (request.blind, first) {
            (false, _) => request.context.clone(),
            (true, true) => base.context.joined(&self.replicas[from].context).bounded(request.until),
            (true, false) => base.context.joined(&self.replicas[from].context).bounded(request.issue),
        };
        let least = if first { request.issue } else { request.until };
        let above = least.max(seen.max_hlc()).max(base.context.max_hlc());
        let dot = dot(at as u64, above.bits() + 1 + skew);
        request.first_made |= first;
        request.minted_at.insert(at);
        let payload = if request.deletes { Payload::Tombstone } else { value("v") };
        let rank = if first { dot.hlc.min(request.until) } else { request.issue }.max(seen.max_hlc());
        let (id, rank) = if self.rules.lww { (None, Some(rank)) } else { (Some(id(number)), None) };
        let deletes = request.deletes;
        let saw = self.writes.iter().filter(|w| w.request != number && seen.covers(w.dot));
        let saw = saw.map(|w| w.request).collect();
        let after = base.write(Mint { id, rank, ..Mint::plain(&seen, dot, payload) });
        self.replicas[at] = if self.rules.lww { after.settle_lww() } else { after };
        self.writes.push(Write { dot, request: number, deletes, saw });
    }

    fn merge(&mut self, into: usize, from: &Record) {
        let merge = self.replicas[into].merge(from);
        self.conflicts += usize::from(merge.conflict);
        self.replicas[into] = if self.rules.lww { merge.record.settle_lww() } else { merge.record };
    }
}

/// In no order, as clients draw them.
fn id(request: usize) -> RequestId {
    RequestId::from_bits(xxhash_rust::xxh3::xxh3_128(&request.to_le_bytes()))
}

pub(super) fn stripped(record: &Record) -> Record {
    let siblings = record.siblings.iter().map(|s| Sibling { id: None, ..s.clone() }).collect();
    Record { siblings, dead: DeadIds::default(), ..record.clone() }
}

fn forget(record: &mut Record, id: RequestId) {
    record.dead.remove(id);
    record.siblings.iter_mut().filter(|s| s.id == Some(id)).for_each(|s| s.id = None);
}

/// Histories of up to `most` steps.
pub(super) fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let number = || 0..REPLICAS * 7 * 11;
    let pair = move || (number(), number());
    let flags = prop::array::uniform3(any::<bool>());
    let times = (0u64..9, 1u64..9, 0u64..3);
    let begin =
        (pair(), flags, times).prop_map(|((at, read), [blind, overtaken, odd], (age, patience, skew))| {
            Step::Begin(Begin {
                at,
                read,
                blind,
                deletes: odd && read % 2 == 0,
                overtaken,
                age,
                patience,
                skew,
            })
        });
    let retry = (pair(), number(), any::<bool>()).prop_map(|((request, at), from, first)| Step::Retry {
        request,
        at,
        from,
        first,
    });
    let step = prop_oneof![
        3 => begin,
        3 => retry,
        3 => pair().prop_map(|(from, into)| Step::Merge { from, into }),
        1 => pair().prop_map(|(from, into)| Step::Strip { from, into }),
        1 => pair().prop_map(|(at, request)| Step::Forget { at, request }),
    ];
    prop::collection::vec(step, 4..most)
}

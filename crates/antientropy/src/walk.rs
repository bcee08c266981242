//! One walk over what two nodes share, and the repairs of its present page.
//!
//! Sweeps and pulls are walks: they differ in how far they go, at what pace, and in what their end proves
//! ([`Policy`]).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use starling_causality::Record;
use starling_types::{ExchangeId, Instant, NodeId, PartitionId, QualifiedKey, Token, limits};
use starling_wire::Message;
use starling_wire::replica::{Merge, Read, ReadAnswer};
use starling_wire::sync::{Compare, Compared};

use crate::event::{Counters, Effect, Errand, Held, ScanTicket};
use crate::page::{Rows, Slice, listed};
use crate::shared::{Shared, after};
use crate::standing::Equal;

/// A question to a peer that is unanswered for this long is asked again, or its key left to the next pass.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// A walk over what two nodes share.
#[derive(Debug)]
pub(crate) struct Walk {
    peer: NodeId,
    pub(crate) number: u64,
    pub(crate) policy: Policy,
    /// The next token to be compared; none when all are.
    cursor: Option<Token>,
    last: Token,
    is_first_page: bool,
    /// Everything so far was equal, and could be read.
    pub(crate) is_clean: bool,
    /// Something that the peer holds, or may hold, was not brought over.
    pub(crate) has_gaps: bool,
    /// How much of it the peer says it holds.
    pub(crate) held: Held,
    step: Step,
}

/// The purpose of a walk.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Policy {
    /// All that is shared, page by page as the pace allows: if all is equal, it was when the walk began.
    Sweep(Equal),
    /// A partition that this node may have lost records of, at once.
    Pull(PartitionId),
}

/// The surroundings of a walk within an event.
pub(crate) struct Turn<'a> {
    pub(crate) now: Instant,
    pub(crate) seed: u64,
    pub(crate) shared: &'a Shared,
    pub(crate) numbers: &'a mut Numbers,
    pub(crate) counters: &'a mut Counters,
    pub(crate) out: &'a mut Vec<Effect>,
}

/// The numbers of exchanges, from the first one on.
#[derive(Debug)]
pub(crate) struct Numbers(pub(crate) u128);

impl Numbers {
    pub(crate) const fn next(&mut self) -> ExchangeId {
        self.0 = self.0.wrapping_add(1);
        ExchangeId::from_bits(self.0)
    }
}

#[derive(Debug)]
enum Step {
    /// The next page may be read.
    Ready,
    /// A page is being read here.
    Scanning(ScanTicket),
    /// The peer compares it with its own.
    Asking { exchange: ExchangeId, page: Slice, since: Instant },
    /// Differences are being repaired.
    Repairing(Repairs),
}

/// The keys of a page that differ.
#[derive(Debug)]
struct Repairs {
    /// The page's last token.
    through: Token,
    queue: VecDeque<QualifiedKey>,
    under_way: BTreeMap<ExchangeId, Repair>,
}

#[derive(Debug)]
struct Repair {
    key: QualifiedKey,
    since: Instant,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// This node's record is being read again.
    Reading,
    /// The peer is asked for its own, unless it equals this.
    Fetching(Arc<Record>),
    /// Both merge what they lack.
    Settling { here: bool, there: bool },
}

impl Walk {
    /// Between two tokens, both included, as far as they are shared.
    pub(crate) const fn new(
        peer: NodeId,
        number: u64,
        policy: Policy,
        (first, last): (Token, Token),
    ) -> Self {
        Self {
            peer,
            number,
            policy,
            cursor: Some(first),
            last,
            is_first_page: matches!(policy, Policy::Sweep(_)),
            is_clean: true,
            has_gaps: false,
            held: Held::All,
            step: Step::Ready,
        }
    }

    pub(crate) const fn is_pull(&self) -> bool {
        matches!(self.policy, Policy::Pull(_))
    }

    /// Whether the next page may be read.
    pub(crate) const fn is_ready(&self) -> bool {
        matches!(self.step, Step::Ready)
    }

    /// Where it begins; none when all are compared.
    pub(crate) fn next(&self, shared: &Shared) -> Option<Token> {
        self.cursor.and_then(|cursor| shared.next(cursor)).filter(|&from| from <= self.last)
    }

    pub(crate) fn read(&mut self, from: Token, ticket: ScanTicket) {
        self.cursor = Some(from);
        self.step = Step::Scanning(ticket);
    }

    /// A page of this node's own is there: the peer compares it.
    pub(crate) fn scanned(&mut self, turn: &mut Turn<'_>, rows: Option<Rows>) {
        let (Step::Scanning(_), Some(from)) = (&self.step, self.cursor) else { return };
        let Some(rows) = rows else {
            // The scan failed as a whole (of damage a page says how much it stepped over): the partition is left out.
            turn.counters.skipped += 1;
            return self.pass_over(turn.shared.end_of(from));
        };
        // Damaged rows count as absent in a pull: the peer's take their place.
        if !self.is_pull() {
            turn.counters.skipped += rows.unreadable.len() as u64;
            self.is_clean &= rows.unreadable.is_empty();
        }
        let page = Slice::cut(turn.shared, from, self.last, rows);
        let compare = Compare {
            pass: self.number,
            first: std::mem::take(&mut self.is_first_page),
            from,
            through: page.through,
            fingerprint: page.fingerprint(),
        };
        let exchange = turn.numbers.next();
        self.step = Step::Asking { exchange, page, since: turn.now };
        turn.out.push(Effect::Send(self.peer, exchange, Message::Compare(compare)));
    }

    pub(crate) fn compared(&mut self, turn: &mut Turn<'_>, exchange: ExchangeId, answer: Compared) {
        let page = match std::mem::replace(&mut self.step, Step::Ready) {
            Step::Asking { exchange: asked, page, .. } if asked == exchange => page,
            other => return self.step = other,
        };
        turn.counters.pages += 1;
        if let Compared::Partial { synced, .. } = answer {
            self.held = self.held.min(if synced { Held::Synced } else { Held::Part });
        }
        match answer {
            Compared::Same => self.advance(page.through),
            Compared::Different { through, entries } | Compared::Partial { through, entries, .. }
                if entries.len() <= limits::SWEEP_ENTRIES =>
            {
                let through = through.clamp(page.from, page.through);
                let theirs = listed(turn.seed, turn.shared, (page.from, through), entries);
                let queue = page.differences(theirs).into();
                self.step = Step::Repairing(Repairs { through, queue, under_way: BTreeMap::new() });
            }
            Compared::Unreadable | Compared::Different { .. } | Compared::Partial { .. } => {
                turn.counters.skipped += 1;
                self.pass_over(page.through);
            }
            // It starts, stops, or has another layout: what it holds is no use at the moment.
            Compared::Refused(_) => self.pass_over(self.last),
        }
    }

    /// Goes on behind `through`.
    fn advance(&mut self, through: Token) {
        self.cursor = after(through);
        self.step = Step::Ready;
    }

    /// The records up to `through` could not be compared.
    fn pass_over(&mut self, through: Token) {
        self.is_clean = false;
        self.has_gaps = true;
        self.advance(through);
    }

    /// The peer is gone: what is under way is dropped, and the present page compared anew when it is back.
    pub(crate) fn interrupt(&mut self) {
        self.is_clean = false;
        self.step = Step::Ready;
    }

    pub(crate) const fn is_repairing(&self) -> bool {
        matches!(self.step, Step::Repairing(_))
    }

    /// Whether it reads the page under this number.
    pub(crate) fn scans(&self, ticket: ScanTicket) -> bool {
        matches!(self.step, Step::Scanning(t) if t == ticket)
    }

    /// Whether it waits for the answer under this number.
    pub(crate) fn awaits(&self, exchange: ExchangeId) -> bool {
        match &self.step {
            Step::Asking { exchange: asked, .. } => *asked == exchange,
            Step::Repairing(repairs) => repairs.under_way.contains_key(&exchange),
            Step::Ready | Step::Scanning(_) => false,
        }
    }

    /// The key that it is about.
    pub(crate) fn key_of(&self, exchange: ExchangeId) -> Option<&QualifiedKey> {
        match &self.step {
            Step::Repairing(repairs) => repairs.under_way.get(&exchange).map(|repair| &repair.key),
            _ => None,
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        match &self.step {
            Step::Ready | Step::Scanning(_) => None,
            Step::Asking { since, .. } => Some(*since + ANSWER_TIMEOUT),
            Step::Repairing(repairs) => {
                repairs.under_way.values().map(|repair| repair.since + ANSWER_TIMEOUT).min()
            }
        }
    }

    /// Gives up what has been unanswered for too long.
    fn expire(&mut self, now: Instant) {
        match &mut self.step {
            Step::Asking { since, .. } if now.since(*since) >= ANSWER_TIMEOUT => self.step = Step::Ready,
            Step::Repairing(repairs) => {
                let before = repairs.under_way.len();
                repairs.under_way.retain(|_, repair| now.since(repair.since) < ANSWER_TIMEOUT);
                let all_answered = repairs.under_way.len() == before;
                self.is_clean &= all_answered;
                self.has_gaps |= !all_answered;
            }
            _ => {}
        }
    }

    /// Begins as many repairs as may be under way, and goes on when there are none left.
    pub(crate) fn work(&mut self, turn: &mut Turn<'_>) {
        self.expire(turn.now);
        let Step::Repairing(repairs) = &mut self.step else {
            return;
        };
        while repairs.under_way.len() < limits::SWEEP_WINDOW {
            let Some(key) = repairs.queue.pop_front() else { break };
            let exchange = turn.numbers.next();
            turn.out.push(Effect::ReadHere(Errand { peer: self.peer, exchange }, key.clone()));
            repairs.under_way.insert(exchange, Repair { key, since: turn.now, stage: Stage::Reading });
        }
        if repairs.under_way.is_empty() {
            let through = repairs.through;
            self.advance(through);
        }
    }

    /// This node's record was read again; not, if its row is damaged.
    pub(crate) fn read_here(
        &mut self,
        turn: &mut Turn<'_>,
        exchange: ExchangeId,
        record: Option<Arc<Record>>,
    ) {
        let peer = self.peer;
        let Some(repair) = self.repair_of(exchange) else { return };
        match (&repair.stage, record) {
            (Stage::Reading, Some(record)) => {
                let read = Read {
                    bucket: repair.key.bucket().clone(),
                    key: repair.key.key().clone(),
                    digest: Some(record.digest()),
                };
                turn.out.push(Effect::Send(peer, exchange, Message::Fetch(read)));
                repair.stage = Stage::Fetching(record);
                repair.since = turn.now;
            }
            (Stage::Reading, None) => self.give_up(exchange),
            _ => {}
        }
    }

    /// The peer's record has come, or its answer that it is equal by now.
    pub(crate) fn fetched(&mut self, turn: &mut Turn<'_>, exchange: ExchangeId, answer: &ReadAnswer) {
        let peer = self.peer;
        let Some(repair) = self.repair_of(exchange) else { return };
        let Stage::Fetching(ours) = &repair.stage else { return };
        let theirs = match answer {
            // A write was under way when the pages were read.
            ReadAnswer::Same => return self.put_away(exchange),
            ReadAnswer::Record(shown) => Record::decode(&shown.record).ok(),
            ReadAnswer::Unknown | ReadAnswer::Partial(_) | ReadAnswer::Refused(_) => None,
        };
        let Some(theirs) = theirs else {
            return self.give_up(exchange);
        };
        let merged = ours.merge(&theirs).record.digest();
        let (here, there) = (merged != ours.digest(), merged != theirs.digest());
        if there {
            let merge = Message::Merge(merge_of(&repair.key, ours));
            turn.out.push(Effect::Send(peer, exchange, merge));
        }
        if here {
            turn.out.push(Effect::MergeHere(Errand { peer, exchange }, repair.key.clone(), theirs));
        }
        repair.stage = Stage::Settling { here, there };
        repair.since = turn.now;
        turn.counters.differences += 1;
        self.is_clean = false;
        self.put_away_settled(exchange);
    }

    /// One side has merged, or refused to.
    pub(crate) fn merged(&mut self, turn: &mut Turn<'_>, exchange: ExchangeId, is_here: bool, done: bool) {
        let Some(repair) = self.repair_of(exchange) else { return };
        let Stage::Settling { here, there } = &mut repair.stage else { return };
        let side = if is_here { here } else { there };
        turn.counters.repaired += u64::from(done && *side);
        *side = false;
        self.has_gaps |= is_here && !done;
        self.put_away_settled(exchange);
    }

    fn repair_of(&mut self, exchange: ExchangeId) -> Option<&mut Repair> {
        match &mut self.step {
            Step::Repairing(repairs) => repairs.under_way.get_mut(&exchange),
            _ => None,
        }
    }

    fn put_away_settled(&mut self, exchange: ExchangeId) {
        if self.repair_of(exchange).is_some_and(|repair| repair.stage.is_settled()) {
            self.put_away(exchange);
        }
    }

    fn put_away(&mut self, exchange: ExchangeId) {
        if let Step::Repairing(repairs) = &mut self.step {
            repairs.under_way.remove(&exchange);
        }
    }

    /// The key is left to the next pass.
    fn give_up(&mut self, exchange: ExchangeId) {
        self.is_clean = false;
        self.has_gaps = true;
        self.put_away(exchange);
    }
}

impl Stage {
    const fn is_settled(&self) -> bool {
        matches!(self, Self::Settling { here: false, there: false })
    }
}

/// The merge that goes to the peer: through its vnode, like any other record.
fn merge_of(key: &QualifiedKey, record: &Record) -> Merge {
    Merge {
        bucket: key.bucket().clone(),
        key: key.key().clone(),
        record: record.encode(),
        props: 0,
        durable: true,
        origin: None,
        stands_for: None,
    }
}

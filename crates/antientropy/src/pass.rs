//! One walk over what two nodes share, and the repairs of its present page.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use starling_causality::Record;
use starling_types::{ExchangeId, Instant, NodeId, QualifiedKey, Token, WallTime, limits};
use starling_wire::Message;
use starling_wire::replica::{Merge, Read, ReadAnswer};

use crate::event::{Counters, Effect, Errand, ScanTicket};
use crate::page::Page;
use crate::shared::after;
use crate::standing::Mark;

/// A question to a peer that is unanswered for this long is asked again, or its key left to the next pass.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// A walk over what two nodes share.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) number: u64,
    /// Its beginning, in this node's order of changes and by the wall clock.
    pub(crate) mark: Mark,
    pub(crate) began: WallTime,
    /// The next token to be compared; none when all are.
    pub(crate) cursor: Option<Token>,
    pub(crate) is_first_page: bool,
    /// Everything so far was equal, and could be read.
    pub(crate) is_clean: bool,
    /// Something that the peer holds, or may hold, was not brought over.
    pub(crate) has_gaps: bool,
    pub(crate) step: Step,
}

#[derive(Debug)]
pub(crate) enum Step {
    /// The next page may be read.
    Ready,
    /// A page is being read here.
    Scanning(ScanTicket),
    /// The peer compares it with its own.
    Asking { exchange: ExchangeId, page: Page, since: Instant },
    /// What differs is being repaired.
    Repairing(Repairs),
}

/// The keys of a page that differ.
#[derive(Debug)]
pub(crate) struct Repairs {
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

impl Pass {
    pub(crate) const fn new(number: u64, mark: Mark, began: WallTime) -> Self {
        Self {
            number,
            mark,
            began,
            cursor: Some(Token::from_bits(0)),
            is_first_page: true,
            is_clean: true,
            has_gaps: false,
            step: Step::Ready,
        }
    }

    /// Goes on behind `through`.
    pub(crate) fn advance(&mut self, through: Token) {
        self.cursor = after(through);
        self.step = Step::Ready;
    }

    /// From `cursor` on, and no further than where the caller ends it.
    pub(crate) const fn from(cursor: Token, number: u64) -> Self {
        let mut pass = Self::new(number, Mark::START, WallTime::from_millis(0));
        pass.cursor = Some(cursor);
        pass.is_first_page = false;
        pass
    }

    /// What lies ahead cannot be compared now.
    pub(crate) fn break_off(&mut self) {
        self.is_clean = false;
        self.has_gaps = true;
        self.cursor = None;
        self.step = Step::Ready;
    }

    /// The page could not be compared.
    pub(crate) fn pass_over(&mut self, through: Token) {
        self.is_clean = false;
        self.has_gaps = true;
        self.advance(through);
    }

    /// The peer is gone: what is under way is dropped, and the present page compared anew when it is back.
    pub(crate) fn interrupt(&mut self) {
        self.is_clean = false;
        self.step = Step::Ready;
    }

    pub(crate) fn repair(&mut self, through: Token, keys: Vec<QualifiedKey>) {
        let repairs = Repairs { through, queue: keys.into(), under_way: BTreeMap::new() };
        self.step = Step::Repairing(repairs);
    }

    pub(crate) const fn is_repairing(&self) -> bool {
        matches!(self.step, Step::Repairing(_))
    }

    /// Whether `exchange` is a repair of this pass.
    pub(crate) fn awaits(&self, exchange: ExchangeId) -> bool {
        matches!(&self.step, Step::Repairing(repairs) if repairs.under_way.contains_key(&exchange))
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
    pub(crate) fn expire(&mut self, now: Instant) {
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
    pub(crate) fn work(
        &mut self,
        now: Instant,
        peer: NodeId,
        mut number: impl FnMut() -> ExchangeId,
        out: &mut Vec<Effect>,
    ) {
        let Step::Repairing(repairs) = &mut self.step else {
            return;
        };
        while repairs.under_way.len() < limits::SWEEP_WINDOW {
            let Some(key) = repairs.queue.pop_front() else { break };
            let exchange = number();
            out.push(Effect::ReadHere(Errand { peer, exchange }, key.clone()));
            repairs.under_way.insert(exchange, Repair { key, since: now, stage: Stage::Reading });
        }
        if repairs.under_way.is_empty() {
            let through = repairs.through;
            self.advance(through);
        }
    }

    /// This node's record was read again; not, if its row is damaged.
    pub(crate) fn read_here(
        &mut self,
        now: Instant,
        errand: Errand,
        record: Option<Arc<Record>>,
        out: &mut Vec<Effect>,
    ) {
        let Some(repair) = self.repair_of(errand.exchange) else { return };
        match (&repair.stage, record) {
            (Stage::Reading, Some(record)) => {
                let read = Read {
                    bucket: repair.key.bucket().clone(),
                    key: repair.key.key().clone(),
                    digest: Some(record.digest()),
                };
                out.push(Effect::Send(errand.peer, errand.exchange, Message::Fetch(read)));
                repair.stage = Stage::Fetching(record);
                repair.since = now;
            }
            (Stage::Reading, None) => self.give_up(errand.exchange),
            _ => {}
        }
    }

    /// The peer's record has come, or word that it is equal by now.
    pub(crate) fn fetched(
        &mut self,
        now: Instant,
        errand: Errand,
        answer: &ReadAnswer,
        counters: &mut Counters,
        out: &mut Vec<Effect>,
    ) {
        let Some(repair) = self.repair_of(errand.exchange) else { return };
        let Stage::Fetching(ours) = &repair.stage else { return };
        let theirs = match answer {
            // A write was under way when the pages were read.
            ReadAnswer::Same => return self.put_away(errand.exchange),
            ReadAnswer::Record(shown) => Record::decode(&shown.record).ok(),
            ReadAnswer::Unknown | ReadAnswer::Partial(_) | ReadAnswer::Refused(_) => None,
        };
        let Some(theirs) = theirs else {
            return self.give_up(errand.exchange);
        };
        let merged = ours.merge(&theirs).record.digest();
        let (here, there) = (merged != ours.digest(), merged != theirs.digest());
        if there {
            let merge = Message::Merge(merge_of(&repair.key, ours));
            out.push(Effect::Send(errand.peer, errand.exchange, merge));
        }
        if here {
            out.push(Effect::MergeHere(errand, repair.key.clone(), theirs));
        }
        repair.stage = Stage::Settling { here, there };
        repair.since = now;
        counters.differences += 1;
        self.is_clean = false;
        self.put_away_settled(errand.exchange);
    }

    /// One side has merged, or refused to.
    pub(crate) fn merged(
        &mut self,
        exchange: ExchangeId,
        is_here: bool,
        done: bool,
        counters: &mut Counters,
    ) {
        let Some(repair) = self.repair_of(exchange) else { return };
        let Stage::Settling { here, there } = &mut repair.stage else { return };
        let side = if is_here { here } else { there };
        counters.repaired += u64::from(done && *side);
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

/// What goes to the peer: through its vnode's merge, like any other record.
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

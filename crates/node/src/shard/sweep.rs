//! Sweeps: this node's replicas compared with those of other owners, and what differs merged (semantics, section 6).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use starling_antientropy::{Effect as Wanted, Errand, Event, Rows, ScanTicket, Shared};
use starling_custody as custody;
use starling_custody::tokens::{token_of, tokens_of};
use starling_types::{NodeId, QualifiedKey};
use starling_vnode::{self as vnode, CellKey, CellKind, Changed, Done, RecordPage, Refused, ScanRange};
use starling_wire::replica::{Merged, Read, ReadAnswer, Refusal};
use starling_wire::sync::{Compare, Compared};
use starling_wire::{Class, Message};

use super::{Ask, Context, Remote, Shard, Turn};
use crate::change::Change;
use crate::status::Repair;
use crate::view::View;

/// A peer must answer a request of a sweep within this time, in milliseconds.
const ANSWER_MS: u32 = 2_000;

impl Shard {
    /// A layout is in force.
    pub(super) fn sweep_layout(&mut self, turn: &mut Turn<'_>) {
        let seed = turn.view.cluster().hash_seed();
        let shared = shared(turn.view);
        self.sweep_event(turn, Event::Layout { seed, shared });
    }

    /// A peer answers again, or is gone.
    pub(super) fn sweep_peer(&mut self, turn: &mut Turn<'_>, peer: NodeId, up: bool) {
        self.sweep_event(turn, if up { Event::Up(peer) } else { Event::Down(peer) });
    }

    pub(super) fn sweep_event(&mut self, turn: &mut Turn<'_>, event: Event) {
        let mut effects = Vec::new();
        self.sweep.handle(turn.now, event, &mut effects);
        effects.into_iter().for_each(|effect| self.sweep_effect(turn, effect));
    }

    fn sweep_effect(&mut self, turn: &mut Turn<'_>, effect: Wanted) {
        match effect {
            Wanted::Scan(ticket, from) => {
                let op = self.calls.begin(Context::SweepPage(ticket));
                let from = Bytes::copy_from_slice(&from.bits().to_be_bytes());
                self.vnode(turn, vnode::Event::Scan(op, ScanRange::Data, Some(from)));
            }
            Wanted::Send(peer, exchange, mut message) => {
                if let Message::Merge(merge) = &mut message {
                    merge.props = turn.view.buckets().number(&merge.bucket);
                }
                turn.send(exchange, peer, Class::Background, ANSWER_MS, message);
            }
            Wanted::ReadHere(errand, key) => {
                let op = self.calls.begin(Context::SweepRead(errand));
                self.vnode(turn, vnode::Event::Read(op, CellKey::data(key)));
            }
            Wanted::Pulled { partition, peer, held } => {
                // A peer of another layout compares no page.
                let (source, fence) = (peer, turn.view.epoch());
                self.custody_event(turn, custody::Event::Pulled { partition, source, held, fence });
            }
            Wanted::MergeHere(errand, key, record) => {
                let op = self.calls.begin(Context::SweepMerge(errand));
                let lww = turn.view.buckets().is_lww(key.bucket());
                let cell = CellKey::data(key);
                self.vnode(turn, vnode::Event::Merge { op, cell, record, origin: None, lww, durable: true });
            }
        }
    }

    pub(super) fn sweep_read(&mut self, turn: &mut Turn<'_>, errand: Errand, result: Result<Done, Refused>) {
        let record = match result {
            Ok(Done::Read(record)) => Some(record),
            // Nothing of it is left: a merge writes it anew.
            Err(Refused::Damaged(_)) => Some(Arc::default()),
            _ => None,
        };
        self.sweep_event(turn, Event::ReadHere(errand, record));
    }

    /// A page of data has come.
    pub(super) fn sweep_scanned(
        &mut self,
        turn: &mut Turn<'_>,
        ticket: ScanTicket,
        page: Result<RecordPage, Refused>,
    ) {
        let rows = page.ok().map(|page| {
            self.rows_damaged(turn, page.damaged.clone());
            let damaged = page.damaged.iter();
            Rows {
                unreadable: damaged.chain(&page.unread).filter_map(tokens_of).collect(),
                next: page.next.as_deref().map(token_of),
                entries: page.records.iter().map(|(cell, r)| (cell.key.clone(), r.digest())).collect(),
            }
        });
        self.sweep_event(turn, Event::Scanned(ticket, rows));
    }

    /// A frame of a sweep, this node's or another's.
    pub(super) fn sweep_message(&mut self, turn: &mut Turn<'_>, ask: Ask, message: Message) {
        let Ask { from, exchange, epoch } = ask;
        match message {
            Message::Compare(compare) => self.compare(turn, ask, compare),
            Message::Compared(answer) => self.sweep_event(turn, Event::Compared(from, exchange, answer)),
            Message::Fetch(read) => self.fetch(turn, ask, &read),
            Message::Fetched(answer) => {
                let errand = Errand { peer: from, exchange };
                let answer = self.known_rules_only(turn, errand, answer);
                self.sweep_event(turn, Event::Fetched(errand, answer));
            }
            Message::Swept(swept) if epoch == turn.view.epoch() => {
                self.sweep_event(turn, Event::Swept(from, swept));
            }
            _ => {}
        }
    }

    /// A record that a peer holds under rules that this node has yet to learn is left to a later pass.
    fn known_rules_only(&self, turn: &mut Turn<'_>, errand: Errand, answer: ReadAnswer) -> ReadAnswer {
        let bucket = self.sweep.repairs(errand).map(QualifiedKey::bucket);
        match (&answer, bucket.map(|bucket| turn.view.buckets().number(bucket))) {
            (ReadAnswer::Record(shown), Some(ours)) if shown.props > ours => {
                turn.changes.push_back(Change::PropsDiffer(errand.peer));
                ReadAnswer::Refused(Refusal::StaleProps(ours))
            }
            _ => answer,
        }
    }

    fn compare(&mut self, turn: &mut Turn<'_>, ask: Ask, compare: Compare) {
        let ours = turn.view.epoch();
        if ask.epoch == ours {
            return self.sweep_event(turn, Event::Asked(ask.from, ask.exchange, compare));
        }
        // With another layout the two would not compare the same partitions.
        let refused = Message::Compared(Compared::Refused(Refusal::StaleEpoch(ours.0)));
        turn.send(ask.exchange, ask.from, Class::Background, 0, refused);
    }

    fn fetch(&mut self, turn: &mut Turn<'_>, ask: Ask, read: &Read) {
        match self.admit_replica(turn, ask, &read.bucket, &read.key) {
            Ok(key) if self.owns(turn, &key) => {
                let remote = Remote::Fetch { bucket: read.bucket.clone(), digest: read.digest };
                let op = self.calls.begin(Context::Remote(ask, remote));
                self.vnode(turn, vnode::Event::Read(op, CellKey::data(key)));
            }
            verdict => {
                let why = verdict.err().unwrap_or(Refusal::NotOwner(turn.view.epoch().0));
                let answer = Message::Fetched(ReadAnswer::Refused(why));
                turn.send(ask.exchange, ask.from, Class::Background, 0, answer);
            }
        }
    }

    pub(super) fn owns(&self, turn: &Turn<'_>, key: &QualifiedKey) -> bool {
        turn.view.layout().is_some_and(|layout| turn.view.owns(layout.partition_of(key.token())))
    }

    /// Takes the answer to a merge, if a sweep waits for it.
    pub(super) fn swept_there(&mut self, turn: &mut Turn<'_>, errand: Errand, answer: &Merged) -> bool {
        let is_ours = self.sweep.awaits(errand);
        if is_ours {
            let done = matches!(answer, Merged::Done { durable: true });
            self.sweep_event(turn, Event::Merged(errand, done));
        }
        is_ours
    }

    /// How far this node's replicas are known to equal other owners'.
    pub(crate) fn repair(&self, hints: u64) -> Repair {
        let behind = self.sweep.is_on().then(|| self.sweep.behind());
        let is_quiet =
            hints == 0 && self.custody.count() == 0 && self.hints.is_quiet() && self.sweep.is_quiet();
        Repair {
            quiescent: is_quiet && behind.unwrap_or(0) == 0,
            behind_partitions: behind,
            repaired_through_ms: self.sweep.proved_through().map(|wall| wall.millis()),
        }
    }

    /// Takes note of records on their way to disk: their partitions may differ from other owners'.
    pub(super) fn note_staged(&mut self, turn: &mut Turn<'_>, ticket: vnode::Ticket, changed: &Changed) {
        let Some(layout) = turn.view.layout() else { return };
        if changed.cell.kind == CellKind::Data {
            let partition = layout.partition_of(changed.cell.key.token());
            self.staged.insert(ticket, partition);
            self.sweep_event(turn, Event::Staged(partition));
        }
    }

    pub(super) fn note_committed(&mut self, turn: &mut Turn<'_>, ticket: vnode::Ticket) {
        if let Some(partition) = self.staged.remove(&ticket) {
            self.sweep_event(turn, Event::Committed(partition));
        }
    }
}

/// The partitions that this node shares with each peer.
fn shared(view: &View) -> BTreeMap<NodeId, Shared> {
    let Some(layout) = view.layout() else {
        return BTreeMap::new();
    };
    let mut partitions: BTreeMap<NodeId, Vec<_>> = BTreeMap::new();
    for partition in layout.partitions_of(view.me) {
        for owner in layout.owners(partition).filter(|&owner| owner != view.me) {
            partitions.entry(owner).or_default().push(partition);
        }
    }
    let bits = layout.bits();
    partitions.into_iter().map(|(owner, of)| (owner, Shared::new(bits, of))).collect()
}

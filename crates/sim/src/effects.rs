//! The effects of machines, carried out.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt;
use starling_node::{CommitId, Effect, Event, Log, ReplyHandle, ScanId};
use starling_storage::{CrashMode, Engine, ScanLimit};
use starling_types::Lineage;
use starling_types::row::{CommitFailure, LoadFailure, Page, RowRange, RowWrite, Space};
use starling_types::{NodeId, QualifiedKey, limits};
use starling_vnode::CellKey;
use starling_wire::client::AdminReply;
use starling_wire::{Class, Envelope, FailureKind, KvReply, Message};

use crate::disk::Order;
use crate::host;
use crate::sabotage::Sabotage;
use crate::toll::Harm;
use crate::troubles::Trouble;
use crate::world::{Happening, LOSS_FELT, Notice, Passage, SLOW, ScanOrder, World};

/// Log lines kept for the report of a failure.
const LOGS: usize = 400;
/// Rows of a page of a scan: few, so that pages follow each other.
const PAGE_ROWS: usize = 4;

/// Whether the disk is asked as soon as it is told, and its answer comes late; otherwise it is asked late.
const fn is_read_first(span: Duration) -> bool {
    span.as_micros().is_multiple_of(2)
}

impl World {
    /// Carries out one effect; what is answered in the same turn is added to `events`.
    pub(crate) fn effect(&mut self, node: usize, effect: Effect, events: &mut VecDeque<Event>) {
        match effect {
            Effect::Send(to, class, envelope) => self.send(node, to, class, &envelope),
            Effect::Respond(handle, reply) => self.respond(node, handle, reply),
            Effect::RespondAdmin(handle, reply) => self.respond_admin(handle, reply),
            // No client in the simulator asks: the judges read the disks themselves.
            Effect::RespondLocal(..) => {}
            Effect::Load(cell) => self.order_load(node, cell, events),
            Effect::Scan { id, space, prefix, from } => self.order_scan(node, id, space, prefix, from),
            Effect::Commit { id, rows, durable } => self.commit(node, id, rows, durable, events),
            Effect::Connect(addr, _) => self.connect(node, addr),
            Effect::Disconnect(peer) => self.disconnect(node, peer),
            Effect::RaiseGeneration(generation) => {
                let config = &mut self.hosts[node].config;
                (config.generation, config.lineage) = (generation, Lineage::since(generation));
                events.push_back(Event::GenerationRaised(generation));
            }
            // The disk in memory damages single rows: nothing has to be mended.
            Effect::DamageNoted(_) => {}
            Effect::Drained => self.stopped(node),
            Effect::Log(log) => self.log(node, log),
        }
    }

    fn send(&mut self, from: usize, to: NodeId, class: Class, envelope: &Envelope) {
        if self.options.sabotage == Sabotage::WithholdHints && self.is_kept_hint(from, to, class, envelope) {
            return;
        }
        if let Message::Merge(merge) = &envelope.message
            && let Some(origin) = merge.origin
        {
            self.observer.made(origin.request, origin.dot);
        }
        self.counters.frames += 1;
        let to = self.hosts.iter().position(|h| h.id() == to);
        let connection = to.and_then(|to| self.hosts[from].links.get(&to).copied());
        let (Some(to), Some(connection)) = (to, connection) else {
            self.counters.frames_lost += 1;
            return;
        };
        let mut bytes = Vec::new();
        #[expect(clippy::expect_used, reason = "a message that cannot be encoded is a bug to be seen")]
        envelope.encode(&mut bytes).expect("every message can be encoded");
        let number = self.counters.frames;
        let copies = self.network.send(from, to, &mut self.toll);
        if copies.is_empty() {
            self.counters.frames_lost += 1;
            self.troubles.strike(from, self.now, LOSS_FELT);
            self.troubles.strike(to, self.now, LOSS_FELT);
        }
        self.counters.frames_repeated += u64::from(copies.len() > 1);
        for (copy, span) in copies.into_iter().enumerate() {
            let bytes = bytes.clone();
            let passage = Passage { number, late: span > SLOW, again: copy > 0 };
            self.after(span, Happening::Frame { to, from, connection, passage, bytes });
        }
    }

    /// Whether a message delivers a hint that its sender has on disk.
    fn is_kept_hint(&self, from: usize, to: NodeId, class: Class, envelope: &Envelope) -> bool {
        let (Class::Background, Message::Merge(merge)) = (class, &envelope.message) else {
            return false;
        };
        let host = &self.hosts[from];
        let cluster = host.machine.as_ref().map(|machine| machine.view().cluster().hash_seed());
        cluster.is_some_and(|seed| {
            let key = QualifiedKey::new(seed, merge.bucket.clone(), merge.key.clone());
            let (space, row) = CellKey::hint(to, key).row();
            host.disk.engine.get(space, &row).is_ok_and(|row| row.is_some())
        })
    }

    fn respond(&mut self, node: usize, handle: ReplyHandle, reply: KvReply) {
        if let KvReply::Failed(failure) = &reply {
            self.feel_clock(node);
            if failure.kind == FailureKind::DiskFull {
                self.feel_fullness(node);
            }
        }
        self.witness(node, handle, &reply);
        if let Some(span) = self.client_way(node) {
            self.after(span, Happening::Reply { handle, reply });
        }
    }

    fn respond_admin(&mut self, handle: ReplyHandle, reply: AdminReply) {
        self.after(Duration::from_millis(1), Happening::AdminReply { handle, reply });
    }

    fn order_load(&mut self, node: usize, cell: CellKey, events: &mut VecDeque<Event>) {
        let inline = self.options.inline_loads;
        let host = &mut self.hosts[node];
        if host.rng.random_bool(inline) {
            let event = self.load(node, cell);
            return events.push_back(event);
        }
        let slow = host.rng.random_bool(self.options.slow_loads);
        let most = if slow { 900_000 } else { 3_000 };
        let span = Duration::from_micros(host.rng.random_range(50..=most));
        let life = host.life;
        if span > SLOW {
            self.troubles.strike(node, self.now, span);
        }
        let answer = is_read_first(span).then(|| self.load(node, cell.clone()));
        self.after(span, Happening::Load { node, life, cell, answer, slow: span > SLOW });
    }

    pub(crate) fn load(&mut self, node: usize, cell: CellKey) -> Event {
        self.counters.loads += 1;
        let (space, key) = cell.row();
        let host = &mut self.hosts[node];
        let row = host.disk.engine.get(space, &key);
        if let (Space::Data, Ok(row)) = (space, &row) {
            host.newest.insert(key, row.clone());
        }
        let mut row = row.map_err(|e| LoadFailure::from(&e));
        if matches!(row, Err(LoadFailure::Damaged(_))) {
            self.toll.count(Harm::BitRot);
            if self.options.sabotage.hides_losses() {
                row = Ok(None);
            }
        }
        Event::Loaded(cell, row)
    }

    fn order_scan(&mut self, node: usize, id: ScanId, space: Space, prefix: Bytes, from: Option<Bytes>) {
        let namespace = space;
        let host = &mut self.hosts[node];
        let span = Duration::from_micros(host.rng.random_range(100..=5_000));
        let life = host.life;
        let order = ScanOrder { namespace, prefix, from };
        let is_first = is_read_first(span) && !matches!(id, ScanId::AllHints(_));
        let page = is_first.then(|| self.scan(node, &order));
        self.after(span, Happening::Scan { node, life, id, order, page });
    }

    pub(crate) fn scan(&mut self, node: usize, order: &ScanOrder) -> Result<Page, String> {
        self.counters.scans += 1;
        let whole = RowRange::prefix(order.prefix.clone());
        let range = order.from.clone().map_or(whole.clone(), |from| whole.resume(from));
        let limit = ScanLimit { rows: PAGE_ROWS, bytes: limits::SCAN_PAGE_BYTES };
        let page = self.hosts[node].disk.engine.scan(order.namespace, &range, limit);
        let mut page = page.map_err(|e| e.to_string());
        if let Ok(page) = &mut page {
            if !page.damaged.is_empty() {
                self.toll.count(Harm::BitRot);
            }
            if self.options.sabotage.hides_losses() {
                page.damaged.clear();
            }
        }
        page
    }

    fn commit(
        &mut self,
        node: usize,
        id: CommitId,
        rows: Vec<RowWrite>,
        durable: bool,
        events: &mut VecDeque<Event>,
    ) {
        for row in &rows {
            match row.space {
                Space::Data => self.observe(node, id, row),
                Space::Hints => self.observe_hint(node, id, row),
                Space::Meta => {}
            }
        }
        let lie = self.options.sabotage;
        if let Some(full) = self.hosts[node].disk.refuses() {
            // Earlier commits may still be under way.
            let life = self.hosts[node].life;
            return self.after(Duration::from_micros(20), Happening::Refused { node, life, id, full });
        }
        let at_once = lie == Sabotage::AckBeforeDurable;
        if at_once {
            events.push_back(Event::Committed(id, Ok(())));
        }
        let order = Order { id, durable, answered: at_once };
        let next = self.hosts[node].disk.commit(order, rows, lie);
        self.next_group(node, next);
    }

    pub(crate) fn synced(&mut self, node: usize) {
        let (told, next) = self.hosts[node].disk.synced();
        self.next_group(node, next);
        if told.iter().any(|(_, result)| matches!(result, Err(CommitFailure::Failed(_)))) {
            if !std::mem::replace(&mut self.hosts[node].poisoned, true) {
                self.toll.count(Harm::FailedDisk);
                self.troubles.begin(node, Trouble::FailedDisk, self.now);
                self.unclean.push((node, self.now));
            }
            self.notices.push_back(Notice::Poisoned(node));
        }
        let life = self.hosts[node].life;
        for (id, result) in told {
            self.tell(node, life, id, result);
        }
    }

    /// A node is told what became of a commit.
    pub(crate) fn tell(&mut self, node: usize, life: u64, id: CommitId, result: Result<(), CommitFailure>) {
        self.observer.ended(node, id, result.is_ok());
        if matches!(result, Err(CommitFailure::NoSpace(_))) {
            self.feel_fullness(node);
        }
        self.counters.commits += 1;
        self.counters.commits_failed += u64::from(result.is_err());
        if self.lives(node, life) {
            self.deliver(node, Event::Committed(id, result));
        }
    }

    pub(crate) fn next_group(&mut self, node: usize, next: Option<Duration>) {
        let life = self.hosts[node].life;
        if let Some(span) = next {
            self.after(span, Happening::Synced { node, life, slow: span > SLOW });
        }
    }

    /// A jump of a node's wall clock has had an effect.
    pub(crate) fn feel_clock(&mut self, node: usize) {
        if let Some(felt @ false) = &mut self.hosts[node].jump_felt {
            *felt = true;
            self.toll.count(Harm::ClockOffset);
        }
    }

    fn connect(&mut self, from: usize, addr: std::net::SocketAddr) {
        let Some(to) = (0..self.hosts.len()).find(|&n| host::address(n) == addr) else {
            return;
        };
        let span = self.network.dial_delay(from, to);
        let life = self.hosts[from].life;
        self.after(span, Happening::Dial { from, to, life });
    }

    fn stopped(&mut self, node: usize) {
        self.counters.clean_stops += 1;
        self.toll.count(Harm::CleanStop);
        self.vanish(node);
        // The process exits; what it had written is with the operating system.
        self.hosts[node].disk.crash_as(CrashMode::KeepAll);
        self.notices.push_back(Notice::Stopped(node));
    }

    fn log(&mut self, node: usize, log: Log) {
        self.counters.alarms += u64::from(matches!(log, Log::Alarm(_)));
        if self.logs.len() >= LOGS {
            self.logs.pop_front();
        }
        self.logs.push_back((self.now, node, log));
    }
}

//! The roof over both machines: routes what comes in, and guards start and stop.

mod export;
mod time;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use starling_types::row::{CommitFailure, RowWrite};
use starling_types::{Instant, Now, remedy};
use starling_vnode::{CellKey, Vnodes};
use starling_wire::client::{AdminReply, AdminRequest, Export};
use starling_wire::{Envelope, Failure, FailureKind, KvReply, Message};

use crate::boot::{Boot, Config};
use crate::change::Change;
use crate::control::{self, ControlPlane};
use crate::event::{CommitId, Effect, Event, Log, ReplyHandle, ScanId};
use crate::health::Quorums;
use crate::losses::Losses;
use crate::shard::{self, Ask, Route, Shard, replica};
use crate::view::View;
use crate::wall::Wall;

pub use time::ClockStatus;

/// Where a node is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The mark of a clean stop is being removed, the hints are being counted.
    Starting,
    /// Serving, or waiting for a layout.
    Running,
    /// Finishing what is under way.
    Draining,
    /// The mark of a clean stop is on its way to disk: nothing may change any more.
    Sealing,
    /// The process may exit.
    Stopped,
}

/// A mark that the disk had no room for is written again after this long.
const MARK_AGAIN: Duration = Duration::from_secs(1);

/// One node.
pub struct Node {
    control: ControlPlane,
    shard: Shard,
    wall: Wall,
    /// When the wall clock is next held against the peers'.
    weigh_at: Instant,
    phase: Phase,
    unsealed: bool,
    /// The losses that were possible before this start.
    lost_before: Losses,
    hints_counted: bool,
    /// When a mark that the disk had no room for is written again.
    mark_again: Option<Instant>,
    exports: BTreeMap<ReplyHandle, Export>,
    /// The changes that one machine has yet to pass to the other.
    changes: VecDeque<Change>,
}

impl Node {
    /// A node that starts with what its last run left behind. `out` takes its first effects.
    pub fn new(config: &Config, boot: &Boot, now: Now, out: &mut Vec<Effect>) -> Self {
        let mut node = Self {
            control: ControlPlane::new(config, boot, now),
            shard: Shard::new(config, boot, now.instant),
            wall: Wall::new(now),
            weigh_at: now.instant,
            phase: Phase::Starting,
            unsealed: !boot.was_clean && !boot.lost_more,
            lost_before: boot.losses.clone(),
            hints_counted: false,
            mark_again: None,
            exports: BTreeMap::new(),
            changes: VecDeque::new(),
        };
        if !node.unsealed {
            out.push(Effect::Commit { id: CommitId::Unseal, rows: node.unseal(), durable: true });
        }
        node.shard(now, shard::Event::Started(boot.losses.clone()), out);
        if node.is_alone() {
            node.shard(now, shard::Event::Changed(Change::Recognised), out);
        }
        node.control(now, control::Event::Started, out);
        node
    }

    /// The one entrance. `told` is what the system's clocks say.
    pub fn handle(&mut self, told: Now, event: Event, out: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Stopped) {
            return;
        }
        let now = self.keep_time(told, out);
        match event {
            Event::Request(handle, request) => match self.not_serving() {
                Some(failure) => out.push(Effect::Respond(handle, KvReply::Failed(failure))),
                None => self.shard(now, shard::Event::Request(Route::Client(handle), request), out),
            },
            Event::Admin(handle, AdminRequest::ClockAccept) => self.accept_clock(told, handle, out),
            Event::Admin(handle, request) => self.admin(now, handle, request, out),
            Event::Local(handle, ask) => self.shard(now, shard::Event::Local(handle, ask), out),
            Event::PeerUp(hello, addr) => self.control(now, control::Event::PeerUp(hello, addr), out),
            Event::PeerDown(node) => self.control(now, control::Event::PeerDown(node), out),
            Event::PeerMessage(from, envelope) => self.peer_message(now, from, envelope, out),
            Event::Loaded(cell, row) => self.shard(now, shard::Event::Loaded(cell, row), out),
            Event::Scanned(ScanId::Records(op) | ScanId::AllHints(op), page) => {
                self.shard(now, shard::Event::Scanned(op, page), out);
            }
            Event::Scanned(ScanId::Export(handle), page) => self.exported(handle, page, out),
            Event::Committed(id, result) => self.committed(now, id, result, out),
            Event::Disk(disk) => self.shard(now, shard::Event::Disk(disk), out),
            Event::Damaged(ranges, number) => self.shard(now, shard::Event::Damaged(ranges, number), out),
            Event::GenerationRaised(generation) => {
                self.shard(now, shard::Event::GenerationRaised(generation), out);
                self.control(now, control::Event::GenerationRaised(generation), out);
            }
            Event::Tick => {
                self.write_mark_again(now, out);
                self.control(now, control::Event::Tick, out);
                self.shard(now, shard::Event::Tick, out);
            }
            Event::Rival(rival) => self.control(now, control::Event::Rival(rival), out),
            Event::Seeds(seeds) => self.control(now, control::Event::Seeds(seeds), out),
            Event::Drain => self.drain(now, out),
        }
        self.seal_when_quiet(out);
    }

    /// When [`Event::Tick`] is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        let deadlines = [self.control.next_deadline(), self.shard.next_deadline(), self.mark_again];
        deadlines.into_iter().flatten().min()
    }

    /// Whether anything under way needs the row of an [`Effect::Load`] that has waited for so long. `is_heard` tells whether
    /// a client may still take its answer.
    pub fn needs(&self, cell: &CellKey, waited: Duration, is_heard: impl Fn(ReplyHandle) -> bool) -> bool {
        self.shard.needs(cell, waited, is_heard)
    }

    /// Where the node is in its life.
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// The cluster as this node sees it.
    pub const fn view(&self) -> &Arc<View> {
        self.control.view()
    }

    /// The control plane, to look at.
    pub const fn control_plane(&self) -> &ControlPlane {
        &self.control
    }

    /// The shard, to look at.
    pub const fn data_plane(&self) -> &Shard {
        &self.shard
    }

    /// Why this node does not take client requests right now.
    pub fn unready(&self) -> Option<String> {
        match self.phase {
            Phase::Starting => Some("the node is starting".into()),
            Phase::Running if self.view().layout().is_none() => {
                Some(format!("the node belongs to no cluster yet: {}", remedy::NO_CLUSTER))
            }
            Phase::Running => None,
            Phase::Draining | Phase::Sealing | Phase::Stopped => Some("the node is stopping".into()),
        }
    }

    /// Why a client had better ask another node: this one takes no requests, its disk does not answer, or most requests
    /// would fail.
    pub fn unfit(&self) -> Option<String> {
        let stalled = || "the disk of this node does not answer: a sync has been under way for more than 5 s";
        let lost = || Some(self.quorums()).filter(Quorums::is_lost).and_then(|quorums| quorums.complaint());
        let of_disk = || self.data_plane().pressure.disk.is_stalled.then(|| stalled().into());
        self.unready().or_else(of_disk).or_else(lost)
    }

    /// Whether keys can be served from here.
    pub fn quorums(&self) -> Quorums {
        Quorums::of(self.view())
    }

    fn not_serving(&self) -> Option<Failure> {
        let why = self.unready()?;
        let detail = format!("{why}; nothing was changed");
        let failure = Failure::refused(FailureKind::NotReady, detail);
        Some(failure.retry_after(starling_types::limits::READ_TIMEOUT))
    }

    fn admin(&mut self, now: Now, handle: ReplyHandle, request: AdminRequest, out: &mut Vec<Effect>) {
        if self.phase != Phase::Running {
            let why = self.unready().unwrap_or_default();
            return out.push(Effect::RespondAdmin(handle, AdminReply::Refused(why)));
        }
        match request {
            AdminRequest::Export(export) => self.export(handle, export, out),
            AdminRequest::AcceptLosses { partition, without_silent } => {
                self.shard(now, shard::Event::AcceptLosses(handle, partition, without_silent), out);
            }
            request => self.control(now, control::Event::Admin(handle, request), out),
        }
    }

    fn peer_message(
        &mut self,
        now: Now,
        from: starling_types::NodeId,
        envelope: Envelope,
        out: &mut Vec<Effect>,
    ) {
        let ours = self.view().cluster();
        if ours.is_some() && envelope.cluster.is_some() && envelope.cluster != ours {
            self.shard.counters.foreign_frames += 1;
            return out.push(Effect::Log(Log::ForeignFrame(from)));
        }
        if is_control(&envelope.message) {
            return self.control(now, control::Event::Message(from, envelope), out);
        }
        let refused = match self.phase {
            _ if self.control.is_fenced(from) => Some("the node is of an earlier life".into()),
            Phase::Running => None,
            // Operations under way here need their answers; others' merges are still taken while draining.
            Phase::Draining if !matches!(envelope.message, Message::Request(_)) => None,
            _ => self.unready(),
        };
        match refused {
            None => self.shard(now, shard::Event::Message(from, envelope), out),
            Some(why) => {
                let view = self.control.view();
                let mut turn = shard::Turn { now, view, changes: &mut self.changes, out };
                let ask = Ask { from, exchange: envelope.exchange, epoch: envelope.epoch };
                replica::not_ready(&mut turn, ask, &envelope.message, &why);
            }
        }
    }

    fn committed(
        &mut self,
        now: Now,
        id: CommitId,
        result: Result<(), CommitFailure>,
        out: &mut Vec<Effect>,
    ) {
        match (id, result) {
            (CommitId::Shard(ticket), result) => {
                self.shard(now, shard::Event::Committed(ticket, result), out);
            }
            (CommitId::Control(id), result) => {
                self.control(now, control::Event::Committed(id, result), out);
            }
            (CommitId::Losses(serial), result) => {
                self.shard(now, shard::Event::LossesStored(serial, result), out);
            }
            (CommitId::Unseal, Ok(())) => {
                self.unsealed = true;
                self.run_when_ready();
            }
            (CommitId::Seal, Ok(())) => {
                self.phase = Phase::Stopped;
                out.push(Effect::Drained);
            }
            (CommitId::Unseal | CommitId::Seal, Err(failure)) => {
                let words = format!("the mark of a clean stop could not be written: {failure}");
                out.push(Effect::Log(Log::Alarm(words)));
                if matches!(failure, CommitFailure::NoSpace(_)) {
                    self.mark_again = Some(now.instant + MARK_AGAIN);
                }
            }
        }
    }

    fn hints_are_counted(&mut self) {
        self.hints_counted = true;
        self.run_when_ready();
    }

    fn run_when_ready(&mut self) {
        if self.phase == Phase::Starting && self.unsealed && self.hints_counted {
            self.phase = Phase::Running;
        }
    }

    fn drain(&mut self, now: Now, out: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Starting | Phase::Running) {
            self.phase = Phase::Draining;
            self.control(now, control::Event::Leave, out);
            self.shard(now, shard::Event::Drain, out);
        }
    }

    fn seal_when_quiet(&mut self, out: &mut Vec<Effect>) {
        if self.phase == Phase::Draining && self.shard.is_quiet() {
            self.phase = Phase::Sealing;
            out.push(Effect::Commit { id: CommitId::Seal, rows: self.shard.vnodes.seal(), durable: true });
        }
    }

    /// No clean stop lies behind what happens from now on; and what is lost is known to every later start.
    fn unseal(&self) -> Vec<RowWrite> {
        vec![Vnodes::unseal(), self.lost_before.row()]
    }

    /// No other node could know of a later generation of this node.
    fn is_alone(&self) -> bool {
        self.view().layout().is_none_or(|layout| layout.members().len() == 1)
    }

    fn write_mark_again(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.mark_again.take_if(|at| *at <= now.instant).is_none() {
            return;
        }
        let (id, rows) = match self.phase {
            Phase::Sealing => (CommitId::Seal, self.shard.vnodes.seal()),
            _ => (CommitId::Unseal, self.unseal()),
        };
        out.push(Effect::Commit { id, rows, durable: true });
    }

    fn shard(&mut self, now: Now, event: shard::Event, out: &mut Vec<Effect>) {
        self.shard.handle(now, self.control.view(), event, &mut self.changes, out);
        self.pass_on(now, out);
    }

    fn control(&mut self, now: Now, event: control::Event, out: &mut Vec<Effect>) {
        self.control.handle(now, event, &mut self.changes, out);
        self.pass_on(now, out);
    }

    /// Passes the changes of one machine to the other, in order.
    fn pass_on(&mut self, now: Now, out: &mut Vec<Effect>) {
        while let Some(change) = self.changes.pop_front() {
            match change {
                Change::PropsDiffer(node) => {
                    let event = control::Event::PropsDiffer(node);
                    self.control.handle(now, event, &mut self.changes, out);
                }
                Change::HintsCounted => self.hints_are_counted(),
                change => {
                    let event = shard::Event::Changed(change);
                    self.shard.handle(now, self.control.view(), event, &mut self.changes, out);
                }
            }
        }
    }
}

const fn is_control(message: &Message) -> bool {
    matches!(
        message,
        Message::Gossip(_)
            | Message::Propose(_)
            | Message::Verdict(_)
            | Message::Decide(_)
            | Message::Shared(_)
    )
}

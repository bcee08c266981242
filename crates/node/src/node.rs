//! The roof over both machines: routes what comes in, and guards start and stop.

mod export;
mod time;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use starling_coordinator::Reach;
use starling_types::row::{CommitFailure, Page, RowWrite, Space};
use starling_types::{Instant, Now, PartitionBits};
use starling_vnode::{CellKey, Vnodes};
use starling_wire::client::{AdminReply, AdminRequest, Export};
use starling_wire::{Envelope, Failure, FailureKind, KvReply, Message};

use crate::boot::{Boot, Config};
use crate::control::{self, BucketNews, ControlPlane, Word};
use crate::event::{CommitId, Effect, Event, Log, ReplyHandle, ScanId};
use crate::losses::Losses;
use crate::shard::{self, Route, Shard, replica};
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
    view: View,
    wall: Wall,
    /// When the wall clock is next held against the peers'.
    weigh_at: Instant,
    phase: Phase,
    unsealed: bool,
    /// What may have been lost before this start.
    lost_before: Losses,
    hints_counted: bool,
    /// When a mark that the disk had no room for is written again.
    mark_again: Option<Instant>,
    foreign_frames: u64,
    exports: BTreeMap<ReplyHandle, Export>,
}

impl Node {
    /// A node that starts with what its last run left behind. `out` takes its first effects.
    pub fn new(config: &Config, boot: &Boot, now: Now, out: &mut Vec<Effect>) -> Self {
        let layout = boot.layout.clone().map(std::sync::Arc::new);
        let bits = layout.as_ref().map_or(PartitionBits::DEFAULT, |l| l.bits());
        let mut node = Self {
            control: ControlPlane::new(config, boot, now),
            shard: Shard::new(config, boot, bits, now.instant),
            view: View::new(config.node, layout, boot.buckets.clone()),
            wall: Wall::new(now),
            weigh_at: now.instant,
            phase: Phase::Starting,
            unsealed: !boot.was_clean && !boot.lost_more,
            lost_before: boot.losses.clone(),
            hints_counted: false,
            mark_again: None,
            foreign_frames: 0,
            exports: BTreeMap::new(),
        };
        if !node.unsealed {
            out.push(Effect::Commit { id: CommitId::Unseal, rows: node.unseal(), durable: true });
        }
        out.push(count_hints(None));
        node.shard(now, out, |s, turn| s.lost_before_start(turn, &boot.losses));
        node.shard(now, out, |s, turn| s.sweep_layout(turn));
        if node.is_alone() {
            node.shard.vnodes.inherit_actors();
        }
        node.control(now, out, |control, turn| control.started(turn));
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
                None => self.shard(now, out, |s, turn| s.request(turn, Route::Client(handle), request)),
            },
            Event::Admin(handle, AdminRequest::ClockAccept) => self.accept_clock(told, handle, out),
            Event::Admin(handle, request) => self.admin(now, handle, request, out),
            Event::Local(handle, ask) => self.shard(now, out, |s, turn| s.local(turn, handle, ask)),
            Event::PeerUp(hello, addr) => {
                self.control(now, out, |control, turn| control.peer_up(turn, hello, addr));
            }
            Event::PeerDown(node) => self.control(now, out, |control, turn| control.peer_down(turn, node)),
            Event::PeerMessage(from, envelope) => self.peer_message(now, from, envelope, out),
            Event::Loaded(cell, row) => self.shard(now, out, |s, turn| s.loaded(turn, cell, row)),
            Event::Scanned(id, page) => self.scanned(now, id, page, out),
            Event::Committed(id, result) => self.committed(now, id, result, out),
            Event::DiskPressure(on) => self.shard.disk_pressure(on, out),
            Event::Damaged(ranges) => self.shard(now, out, |s, turn| s.rows_damaged(turn, &ranges)),
            Event::GenerationRaised(generation) => {
                self.shard.number_exchanges(generation);
                self.control(now, out, |control, turn| control.generation_raised(turn, generation));
            }
            Event::Tick => {
                self.write_mark_again(now, out);
                self.control(now, out, |control, turn| control.tick(turn));
                self.shard(now, out, |s, turn| s.tick(turn));
            }
            Event::Drain => self.drain(now, out),
        }
        if let Some(node) = self.shard.differing.take() {
            self.control(now, out, |control, turn| control.props_differ(turn, node));
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
    pub const fn view(&self) -> &View {
        &self.view
    }

    /// The control plane, to look at.
    pub const fn control_plane(&self) -> &ControlPlane {
        &self.control
    }

    /// The shard, to look at.
    pub const fn data_plane(&self) -> &Shard {
        &self.shard
    }

    /// Frames of other clusters that were dropped.
    pub const fn foreign_frames(&self) -> u64 {
        self.foreign_frames
    }

    /// Why this node does not take client requests right now.
    pub fn unready(&self) -> Option<String> {
        match self.phase {
            Phase::Starting => Some("the node is starting".into()),
            Phase::Running if self.view.layout().is_none() => {
                Some("the node belongs to no cluster yet: run `starling cluster init --nodes A,B,C`".into())
            }
            Phase::Running => None,
            Phase::Draining | Phase::Sealing | Phase::Stopped => Some("the node is stopping".into()),
        }
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
                self.shard(now, out, |s, turn| s.accept_losses(turn, handle, partition, without_silent));
            }
            request => self.control(now, out, |control, turn| control.admin(turn, handle, request)),
        }
    }

    fn peer_message(
        &mut self,
        now: Now,
        from: starling_types::NodeId,
        envelope: Envelope,
        out: &mut Vec<Effect>,
    ) {
        let ours = self.view.cluster();
        if ours.is_some() && envelope.cluster.is_some() && envelope.cluster != ours {
            self.foreign_frames += 1;
            return out.push(Effect::Log(Log::ForeignFrame(from)));
        }
        if is_control(&envelope.message) {
            return self.control(now, out, |control, turn| control.peer_message(turn, from, envelope));
        }
        let refused = match self.phase {
            _ if self.control.is_fenced(from) => Some("the node is of an earlier life".into()),
            Phase::Running => None,
            // What is under way here needs its answers; others' merges are still taken while draining.
            Phase::Draining if !matches!(envelope.message, Message::Request(_)) => None,
            _ => self.unready(),
        };
        match refused {
            None => self.shard(now, out, |s, turn| s.peer_message(turn, from, envelope)),
            Some(why) => {
                let mut turn = shard::Turn { now, view: &self.view, out };
                replica::not_ready(&mut turn, from, envelope.exchange, &envelope.message, &why);
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
                self.shard(now, out, |s, turn| s.committed(turn, ticket, result));
            }
            (CommitId::Control(id), result) => {
                self.control(now, out, |control, turn| control.committed(turn, id, result));
            }
            (CommitId::Losses(serial), result) => {
                self.shard(now, out, |s, turn| s.losses_stored(turn, serial, result));
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

    fn scanned(&mut self, now: Now, id: ScanId, page: Result<Page, String>, out: &mut Vec<Effect>) {
        match (id, page) {
            (ScanId::Hints(target), page) => {
                self.shard(now, out, |s, turn| s.hints_scanned(turn, target, page));
            }
            (ScanId::Sweep(ticket), page) => {
                self.shard(now, out, |s, turn| s.sweep_scanned(turn, ticket, page));
            }
            (ScanId::Survey(partition, serial), page) => {
                self.shard(now, out, |s, turn| s.surveyed(turn, partition, serial, page));
            }
            (ScanId::Local(handle), page) => {
                self.shard(now, out, |s, turn| s.local_scanned(turn, handle, page));
            }
            (ScanId::Export(handle), page) => self.exported(handle, page, out),
            (ScanId::HintCount, Ok(page)) => {
                self.shard(now, out, |s, turn| s.count_hints(turn, &page));
                match page.next {
                    Some(next) => out.push(count_hints(Some(next))),
                    None => self.hints_are_counted(),
                }
            }
            (ScanId::HintCount, Err(error)) => {
                out.push(Effect::Log(Log::Alarm(format!("stored hints could not be counted: {error}"))));
                self.hints_are_counted();
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
            self.control(now, out, |control, turn| control.leave(turn));
            self.shard(now, out, |s, turn| s.sweep_event(turn, starling_antientropy::Event::Stop));
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

    /// Nobody else could know of a later life of this node.
    fn is_alone(&self) -> bool {
        self.view.layout().is_none_or(|layout| layout.members().len() == 1)
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

    fn shard(&mut self, now: Now, out: &mut Vec<Effect>, act: impl FnOnce(&mut Shard, &mut shard::Turn<'_>)) {
        act(&mut self.shard, &mut shard::Turn { now, view: &self.view, out });
    }

    /// Runs the control plane and tells the shard what changed.
    fn control(
        &mut self,
        now: Now,
        out: &mut Vec<Effect>,
        act: impl FnOnce(&mut ControlPlane, &mut control::Turn<'_>),
    ) {
        let (mut reach, mut adopted, mut news) = (Vec::new(), None, BucketNews::default());
        let mut word = Word::default();
        let mut turn = control::Turn {
            now,
            view: &mut self.view,
            out,
            reach: &mut reach,
            adopted: &mut adopted,
            news: &mut news,
            word: &mut word,
        };
        act(&mut self.control, &mut turn);
        if news.buckets_changed || !news.agreed.is_empty() {
            self.shard(now, out, |s, turn| s.bucket_news(turn, &news));
        }
        if word.recognised {
            self.shard.vnodes.inherit_actors();
        }
        if let Some(generation) = word.raise {
            self.shard(now, out, |s, turn| s.lose_everything(turn, generation));
        }
        if let Some(layout) = adopted {
            self.shard.vnodes.set_bits(layout.bits());
            self.shard(now, out, |s, turn| s.sweep_layout(turn));
            // Before there was a layout, no hint could be told for whose key it is.
            out.push(count_hints(None));
        }
        for (node, reach) in reach {
            self.shard(now, out, |s, turn| match reach {
                Reach::Up => {
                    s.hint_target(turn, node, true);
                    s.sweep_peer(turn, node, true);
                }
                Reach::Suspect => {}
                Reach::Down => s.peer_down(turn, node),
            });
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

fn count_hints(from: Option<Bytes>) -> Effect {
    Effect::Scan { id: ScanId::HintCount, space: Space::Hints, prefix: Bytes::new(), from }
}

//! Which wall time the machines are told, and what is said of it.

use std::time::Duration;

use serde::Serialize;
use starling_types::{Now, WallTime};
use starling_wire::client::AdminReply;

use super::Node;
use crate::control;
use crate::event::{Effect, Log, ReplyHandle};

/// The clock is held against the peers' this often, and at once when it jumps.
const WEIGH_EVERY: Duration = Duration::from_millis(100);
/// A mint that was far ahead for its key's sake is an alarm for so long.
const OUTLYING_ALARM: Duration = Duration::from_secs(600);

/// The state of this node's clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ClockStatus {
    /// Milliseconds by which the wall time that this node goes by is ahead of the median of its peers'; none while
    /// fewer than two were heard lately.
    pub offset_ms: Option<i64>,
    /// Milliseconds by which the system's clock has jumped from the time that this node goes by; none if it follows it.
    pub jump_ms: Option<i64>,
    /// Milliseconds by which the hybrid clock is ahead of the wall.
    pub lead_ms: u64,
    /// Writes that had to go further ahead than the hybrid clock follows, for what their key or context had seen.
    pub outlying_mints: u64,
}

impl Node {
    /// The wall time to go by, when the system says `told`.
    pub fn believed(&self, told: Now) -> Now {
        self.wall.believe(told)
    }

    /// The best that this node knows of the cluster's time, when the system says `told`: for the time of issue of
    /// requests that come without one.
    pub fn cluster_wall(&self, told: Now) -> WallTime {
        self.view().cluster_wall(self.believed(told))
    }

    /// The cluster's time, for clients that will date their requests by it: nothing while a node of three or more has
    /// not heard enough of the others to tell whether its own clock is right.
    pub fn shown_time(&self, told: Now) -> Option<WallTime> {
        let now = self.believed(told);
        match self.control.members().clock_offset(now) {
            Some(offset_ms) => Some(now.wall.ahead_by(offset_ms.saturating_neg())),
            None if self.view().layout().is_some_and(|layout| layout.members().len() > 2) => None,
            None => Some(now.wall),
        }
    }

    /// The state of the clocks.
    pub fn clock_status(&self, told: Now) -> ClockStatus {
        let now = self.believed(told);
        let vnodes = &self.shard.vnodes;
        ClockStatus {
            offset_ms: self.control.members().clock_offset(now),
            jump_ms: self.wall.jump_ms(),
            lead_ms: u64::try_from(vnodes.clock_lead(now).as_millis()).unwrap_or(u64::MAX),
            outlying_mints: vnodes.counters().outlying_mints,
        }
    }

    /// Takes note of what the system says, and gives back what to go by.
    pub(super) fn keep_time(&mut self, told: Now, out: &mut Vec<Effect>) -> Now {
        let had_jumped = self.wall.jump_ms().is_some();
        let now = self.wall.tell(told);
        let jump = self.wall.jump_ms();
        match jump {
            Some(ms) if !had_jumped => {
                let words = format!(
                    "the wall clock jumped by {ms} ms: this node goes on with the time before until its peers have \
                     decided, or `starling clock accept`"
                );
                out.push(Effect::Log(Log::Alarm(words)));
            }
            None if had_jumped => {
                out.push(Effect::Log(Log::Recovered("the wall clock is back where it was".into())));
            }
            _ => {}
        }
        if now.instant < self.weigh_at && jump.is_some() == had_jumped {
            return now;
        }
        self.weigh_at = now.instant + WEIGH_EVERY;
        self.weigh(told, out)
    }

    /// Holds the clock against the peers'.
    fn weigh(&mut self, told: Now, out: &mut Vec<Effect>) -> Now {
        let peers = self.control.members();
        if self.wall.weigh(told, |now| peers.clock_offset(now)) {
            let words = "the wall clock that had jumped is nearer to the peers' now: it is followed again";
            out.push(Effect::Log(Log::Recovered(words.into())));
        }
        let now = self.wall.believe(told);
        let offset = peers.clock_offset(now);
        self.control(now, control::Event::ClockWeighed(offset), out);
        now
    }

    /// A person says that the system's clock is right.
    pub(super) fn accept_clock(&mut self, told: Now, handle: ReplyHandle, out: &mut Vec<Effect>) {
        let moved_ms = self.wall.accept(told);
        if moved_ms != 0 {
            out.push(Effect::Log(Log::Recovered(format!(
                "the wall clock was accepted: {moved_ms} ms further"
            ))));
        }
        self.weigh(told, out);
        out.push(Effect::RespondAdmin(handle, AdminReply::ClockAccepted { moved_ms }));
    }

    /// The clock conditions that an operator should look at.
    pub(crate) fn clock_alarms(&self, told: Now) -> Vec<String> {
        let now = self.believed(told);
        let offset = self.control.members().clock_offset(now);
        let mut alarms = Vec::new();
        if !self.view().may_coordinate() {
            alarms.push(format!(
                "the wall clock is {} ms from the median of the peers': this node does not coordinate writes until \
                 the clock is right",
                offset.unwrap_or_default()
            ));
        }
        if let Some(jump) = self.wall.jump_ms() {
            let why = match offset {
                Some(_) => "which is nearer to its peers' clocks",
                None => "for want of two peers that could decide",
            };
            alarms.push(format!(
                "the wall clock jumped by {jump} ms: this node goes on with the time before, {why}; set the clock \
                 right, or run `starling clock accept` if the new time is"
            ));
        }
        if let Some((at, lead)) = self.shard.vnodes.outlying()
            && now.instant.since(at) < OUTLYING_ALARM
        {
            alarms.push(format!(
                "a key whose last writer's clock was {} s ahead was written lately: that key alone stays ahead; find \
                 out whose clock was wrong",
                lead.as_secs()
            ));
        }
        alarms
    }
}

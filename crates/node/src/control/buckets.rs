//! Buckets: created and changed here, heard of from others; in force once they are durable, and told until every
//! member knows them.
//!
//! Tables travel in the shared state. A node that receives one joins it with its own, and once the result is durable
//! sends it back if it was asked to, or if the sender lacks something. So an exchange ends when both know the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use starling_types::{BucketChanges, BucketName, Instant, NodeId, PropsStamp, remedy};
use starling_wire::client::AdminReply;
use starling_wire::cluster::BucketRegister;

use super::{ControlPlane, Turn};
use crate::boot::bucket_row;
use crate::buckets::BucketTable;
use crate::change::Change;
use crate::event::{CommitId, Effect, Log, ReplyHandle};

/// How long an operator's answer waits for the other members.
const MEMBERS_PATIENCE: Duration = Duration::from_secs(1);
/// A node that goes by other properties is told ours at most this often.
const TELL_PAUSE: Duration = Duration::from_millis(100);
/// Orders under way before more are refused.
const MOST_ORDERS: usize = 64;

/// The changes of buckets that are under way.
#[derive(Default)]
pub(super) struct Buckets {
    /// All that was decided here or heard: what is in force, and what is on its way to disk.
    staged: BucketTable,
    commits: BTreeMap<u64, BucketTable>,
    /// Digest of the table that a connected node told last.
    heard: BTreeMap<NodeId, u64>,
    /// The nodes to be sent the table once no commit is under way.
    owed: BTreeSet<NodeId>,
    orders: Vec<Order>,
    told: BTreeMap<NodeId, Instant>,
}

/// An operator waits for this.
struct Order {
    reply: ReplyHandle,
    name: BucketName,
    stamp: PropsStamp,
    /// Once it is in force here.
    spread: Option<Spread>,
}

/// The members whose acknowledgement is awaited, and those that have it.
struct Spread {
    awaited: BTreeSet<NodeId>,
    held: BTreeSet<NodeId>,
    until: Instant,
}

impl Buckets {
    pub(super) fn new(stored: &BucketTable) -> Self {
        Self { staged: stored.clone(), ..Self::default() }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.orders.iter().filter_map(|o| o.spread.as_ref()).map(|s| s.until).min()
    }

    fn forget(&mut self, node: NodeId) {
        self.heard.remove(&node);
        self.owed.remove(&node);
        self.told.remove(&node);
        for spread in self.orders.iter_mut().filter_map(|o| o.spread.as_mut()) {
            spread.awaited.remove(&node);
        }
    }

    /// `node` told its table.
    fn note(&mut self, node: NodeId, theirs: &BucketTable) {
        self.heard.insert(node, theirs.digest());
        for order in &mut self.orders {
            if let Some(spread) = order.spread.as_mut().filter(|_| theirs.covers(&order.name, order.stamp)) {
                spread.awaited.remove(&node);
                spread.held.insert(node);
            }
        }
    }
}

impl ControlPlane {
    /// An operator's order. It is answered when the bucket is durable here, and then when all connected members hold
    /// it too or a second has passed.
    pub(super) fn set_bucket(
        &mut self,
        turn: &mut Turn<'_>,
        reply: ReplyHandle,
        name: BucketName,
        changes: &BucketChanges,
        create: bool,
    ) -> Result<(), String> {
        let n = self.view.layout().map(|l| l.n()).ok_or_else(|| {
            format!("this node belongs to no cluster yet, and nothing was changed: {}", remedy::NO_CLUSTER)
        })?;
        if self.buckets.orders.len() >= MOST_ORDERS {
            return Err(
                "too many changes of buckets are under way on this node: try again in a second".into()
            );
        }
        let change = self.buckets.staged.change(&name, changes, create, self.me.node, n);
        let register = change.map_err(|e| e.to_string())?;
        self.buckets.orders.push(Order { reply, name, stamp: register.stamp(), spread: None });
        if self.buckets.staged.join([register]) {
            self.commit_buckets(turn);
        }
        self.spread_orders(turn);
        Ok(())
    }

    fn commit_buckets(&mut self, turn: &mut Turn<'_>) {
        self.next_commit += 1;
        self.buckets.commits.insert(self.next_commit, self.buckets.staged.clone());
        let rows = vec![bucket_row(&self.buckets.staged)];
        turn.out.push(Effect::Commit { id: CommitId::Control(self.next_commit), rows, durable: true });
    }

    /// Whether the commit was one of buckets.
    pub(super) fn buckets_committed(
        &mut self,
        turn: &mut Turn<'_>,
        id: u64,
        result: &Result<(), String>,
    ) -> bool {
        let Some(table) = self.buckets.commits.remove(&id) else {
            return false;
        };
        match result {
            Ok(()) => self.adopt_buckets(turn, table),
            Err(error) => self.buckets_not_stored(turn, error),
        }
        if self.buckets.commits.is_empty() {
            for node in std::mem::take(&mut self.buckets.owed) {
                self.tell(turn, node);
            }
        }
        self.spread_orders(turn);
        true
    }

    fn adopt_buckets(&mut self, turn: &mut Turn<'_>, table: BucketTable) {
        let digest = table.digest();
        self.change_view(|view| view.adopt_buckets(table));
        turn.changes.push_back(Change::Buckets);
        let agreed = self.buckets.heard.iter().filter(|&(_, theirs)| *theirs == digest);
        turn.changes.extend(agreed.map(|(&node, _)| Change::Agreed(node)));
        self.share_digest(turn);
    }

    fn buckets_not_stored(&mut self, turn: &mut Turn<'_>, error: &str) {
        let why = format!("the buckets could not be stored: {error}");
        turn.out.push(Effect::Log(Log::Alarm(why.clone())));
        for order in self.buckets.orders.extract_if(.., |order| order.spread.is_none()) {
            let why = format!("{why}; the change may show up later: look before you try again");
            turn.out.push(Effect::RespondAdmin(order.reply, AdminReply::Refused(why)));
        }
    }

    /// A peer's table; whether it lacks something that this node knows.
    pub(super) fn heard_buckets(
        &mut self,
        turn: &mut Turn<'_>,
        from: NodeId,
        registers: Vec<BucketRegister>,
    ) -> bool {
        let mut theirs = BucketTable::default();
        theirs.join(registers.iter().cloned());
        self.buckets.note(from, &theirs);
        // A commit that was refused, because the disk was full, is made up for.
        let is_owed = self.buckets.commits.is_empty() && self.buckets.staged != *self.view.buckets();
        if self.buckets.staged.join(registers) || is_owed {
            self.commit_buckets(turn);
        }
        if theirs == *self.view.buckets() {
            turn.changes.push_back(Change::Agreed(from));
        }
        self.answer_orders(turn);
        theirs != self.buckets.staged
    }

    /// Sends a node what this one has, once all that was heard is durable.
    pub(super) fn tell_when_stored(&mut self, turn: &mut Turn<'_>, to: NodeId) {
        if self.buckets.commits.is_empty() {
            self.tell(turn, to);
        } else {
            self.buckets.owed.insert(to);
        }
    }

    fn tell(&mut self, turn: &mut Turn<'_>, to: NodeId) {
        let digest = self.view.buckets().digest();
        let lacks = self.buckets.heard.get(&to).is_some_and(|&theirs| theirs != digest);
        self.send_shared(turn, to, lacks);
    }

    /// A write of `node` was made under other properties than this node has.
    pub(super) fn props_differ(&mut self, turn: &mut Turn<'_>, node: NodeId) {
        let now = turn.now.instant;
        if self.buckets.told.get(&node).is_none_or(|&at| now >= at + TELL_PAUSE) {
            self.buckets.told.insert(node, now);
            self.send_shared(turn, node, false);
        }
    }

    /// A node that was away may have missed something, and may know something.
    pub(super) fn greet_with_buckets(&mut self, turn: &mut Turn<'_>, node: NodeId) -> bool {
        let is_member = self.view.layout().is_some_and(|l| l.is_member(node));
        let worth_telling = is_member && self.view.buckets().digest() != 0;
        if worth_telling {
            self.send_shared(turn, node, true);
        }
        worth_telling
    }

    pub(super) fn forget_buckets_of(&mut self, turn: &mut Turn<'_>, node: NodeId) {
        self.buckets.forget(node);
        self.answer_orders(turn);
    }

    /// Orders that have come into force here are told to all connected members.
    fn spread_orders(&mut self, turn: &mut Turn<'_>) {
        let members = self.view.layout().into_iter().flat_map(|l| l.members()).map(|role| role.node);
        let awaited: BTreeSet<NodeId> = members.filter(|node| self.peers.connected.contains(node)).collect();
        let until = turn.now.instant + MEMBERS_PATIENCE;
        let in_force = self.view.buckets();
        let mut started = false;
        for order in self.buckets.orders.iter_mut().filter(|o| o.spread.is_none()) {
            if in_force.covers(&order.name, order.stamp) {
                started = true;
                order.spread = Some(Spread { awaited: awaited.clone(), held: BTreeSet::new(), until });
            }
        }
        if started {
            for node in awaited {
                self.send_shared(turn, node, true);
            }
        }
        self.answer_orders(turn);
    }

    /// Answers the orders that need not wait any more.
    pub(super) fn answer_orders(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.instant;
        let over = |order: &mut Order| order.spread.as_ref().is_some_and(|s| s.is_over(now));
        for order in self.buckets.orders.extract_if(.., over) {
            let held = order.spread.map_or(0, |s| s.held.len());
            let members = self.view.layout().map_or(0, |l| l.members().len());
            let answer = match self.view.buckets().register(&order.name) {
                Some(bucket) => AdminReply::BucketSet {
                    bucket: bucket.clone(),
                    held_by: count(held + 1),
                    members: count(members),
                },
                // It came into force, and nothing is ever removed.
                None => AdminReply::Refused(format!("bucket {} is gone", order.name)),
            };
            turn.out.push(Effect::RespondAdmin(order.reply, answer));
        }
    }
}

impl Spread {
    fn is_over(&self, now: Instant) -> bool {
        self.awaited.is_empty() || now >= self.until
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

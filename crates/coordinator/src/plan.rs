//! A plan: made whole at the start of a request, and never changed.

use std::time::Duration;

use starling_types::{BucketProps, Conflict, Instant, NodeId, RequestId, limits};
use starling_wire::QuorumChoice;

use crate::sets::{Membership, Set, Sets};

/// The reachability that this node assumes of another. It only chooses between ways; it never moves data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Answers.
    Up,
    /// May be gone.
    Suspect,
    /// Gone, or not connected.
    Down,
}

/// An owner of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) node: NodeId,
    pub(crate) reach: Reach,
    pub(crate) sets: Membership,
}

/// The terms of a plan, beside the owners of the key: the bucket's rules, the request, and its time.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// The bucket's properties.
    pub props: &'a BucketProps,
    /// Their number ([`starling_types::PropsStamp::number`]).
    pub number: u64,
    /// The client's request.
    pub request: RequestId,
    /// Only owners count.
    pub strict: bool,
    /// When the request starts here.
    pub now: Instant,
    /// How long it may take.
    pub timeout: Duration,
}

/// The nodes that a request asks, and how many suffice. Nothing changes it.
#[derive(Debug, Clone)]
pub struct Plan {
    /// This node, which drives the request, and the other owners of the key, most preferred first.
    pub(crate) owners: Vec<Owner>,
    /// The quorum of each owner set: all that are live for a write, the one that is read for a read.
    pub(crate) sets: Sets,
    /// Nodes that may stand in for absent owners, in walking order; only reachable ones.
    pub(crate) fallbacks: Vec<NodeId>,
    /// Only owners count.
    pub(crate) strict: bool,
    /// An ack means fsynced.
    pub(crate) durable: bool,
    /// Last writer wins.
    pub(crate) lww: bool,
    /// Number of the bucket's properties.
    pub(crate) props: u64,
    /// W is less than what others answer for once a disk is lost ([`BucketProps::least_w`]).
    pub(crate) unvouched: bool,
    pub(crate) start: Instant,
    /// When the client is answered at the latest.
    pub(crate) deadline: Instant,
    /// How long a silent node is waited for before it is treated as absent.
    pub(crate) patience: Duration,
    /// A read asks one node more after each such pause, as long as there is an owner that was not asked.
    pub(crate) hedge_pause: Duration,
}

/// A read asks one node more after this long, and again after as long.
pub const HEDGE_DELAY: Duration = Duration::from_millis(50);

/// Quorums that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadQuorum {
    /// Zero, or more than there are copies.
    #[error("{name}={asked} cannot be: this cluster keeps {n} copies, so {name} is 1 to {n}")]
    Range {
        /// `r` or `w`.
        name: &'static str,
        /// The number asked for.
        asked: u8,
        /// Copies.
        n: u8,
    },
    /// A strict bucket's quorums may only be raised.
    #[error(
        "{name}={asked} is below the bucket's {name}={bucket}: in a strict bucket a request may only raise it"
    )]
    Lowered {
        /// `r` or `w`.
        name: &'static str,
        /// The number asked for.
        asked: u8,
        /// The bucket's.
        bucket: u8,
    },
    /// A strict bucket stays strict.
    #[error("the bucket is strict: a request cannot make itself sloppy")]
    Sloppy,
}

/// The quorum a request gets: its own choice within its bucket's rules.
pub fn quorum(
    props: &BucketProps,
    choice: &QuorumChoice,
    n: u8,
    write: bool,
) -> Result<(u8, bool), BadQuorum> {
    let (name, asked, bucket) = match write {
        true => ("w", choice.w, props.write_quorum(n)),
        false => ("r", choice.r, props.read_quorum(n)),
    };
    if props.strict && choice.strict == Some(false) {
        return Err(BadQuorum::Sloppy);
    }
    let strict = props.strict || choice.strict == Some(true);
    match asked {
        None => Ok((bucket, strict)),
        Some(asked) if asked == 0 || asked > n => Err(BadQuorum::Range { name, asked, n }),
        Some(asked) if props.strict && asked < bucket => Err(BadQuorum::Lowered { name, asked, bucket }),
        Some(asked) => Ok((asked, strict)),
    }
}

impl Plan {
    /// The plan of a request that `me`, an owner, drives. `sets` gives the owners of the key in order of preference,
    /// and the quorum among them: under each live layout for a write, the newest first; under the one that is read
    /// for a read.
    ///
    /// # Panics
    /// If there are more than [`MAX_SETS`](crate::MAX_SETS) sets.
    pub fn new<Owners: Iterator<Item = NodeId>>(
        me: NodeId,
        sets: impl IntoIterator<Item = (Owners, u8)>,
        reach: impl Fn(NodeId) -> Reach,
        mut fallbacks: Vec<NodeId>,
        terms: &Terms<'_>,
    ) -> Self {
        let mut plan = Self {
            owners: Vec::with_capacity(usize::from(limits::MAX_COPIES)),
            sets: Sets::default(),
            fallbacks: Vec::new(),
            strict: terms.strict,
            durable: terms.props.durable,
            lww: terms.props.conflict == Conflict::Lww,
            props: terms.number,
            unvouched: false,
            start: terms.now,
            deadline: terms.now + terms.timeout,
            patience: patience(terms.request).min(terms.timeout),
            hedge_pause: HEDGE_DELAY.min(terms.timeout / 4),
        };
        plan.owners.push(Owner { node: me, reach: Reach::Up, sets: Membership::NONE });
        for (at, (owners, quorum)) in sets.into_iter().enumerate() {
            let mut n = 0;
            for node in owners {
                n += 1;
                match plan.owners.iter_mut().find(|owner| owner.node == node) {
                    Some(owner) => owner.sets.add(Membership::of(at)),
                    None => {
                        plan.owners.push(Owner { node, reach: reach(node), sets: Membership::of(at) });
                    }
                }
            }
            plan.sets.put(at, Set::new(n, quorum, terms.props));
            plan.unvouched |= quorum < terms.props.least_write_quorum(n);
        }
        // A fallback under one layout may be an owner under another: its copy is then one of its own.
        fallbacks.retain(|fallback| plan.owners.iter().all(|owner| owner.node != *fallback));
        Self { fallbacks, ..plan }
    }

    /// When the client is answered at the latest.
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(crate) fn me(&self) -> NodeId {
        self.owners[0].node
    }

    pub(crate) fn others(&self) -> &[Owner] {
        &self.owners[1..]
    }

    /// If some set's quorum cannot be made up as things stand at the start: of how many nodes within reach how many
    /// are needed there.
    pub(crate) fn out_of_reach(&self) -> Option<(usize, u8)> {
        let within_reach = |sets: Membership, n: u8| {
            let owners = self.owners.iter().filter(|o| o.sets.meets(sets) && o.reach != Reach::Down).count();
            let absent = usize::from(n).saturating_sub(owners);
            if self.strict { owners } else { owners + self.fallbacks.len().min(absent) }
        };
        let mut sets = self.sets.each().map(|(sets, set)| (within_reach(sets, set.n), set.quorum));
        sets.find(|&(reach, quorum)| reach < usize::from(quorum))
    }

    /// Whether an ack under this plan is as good as the bucket demands. Settings that are merely usual in the bucket,
    /// and that a request may choose for itself, are not looked at: the request began before.
    pub(crate) fn meets(&self, props: &BucketProps) -> bool {
        let enough = || self.sets.each().all(|(_, set)| set.quorum >= props.write_quorum(set.n));
        let as_strict = !props.strict || (self.strict && enough());
        as_strict && (self.durable || !props.durable)
    }
}

/// How long a request waits for the silent: [`limits::RPC_TIMEOUT`] give or take a fifth. When many lose one node at
/// one moment, they must not all turn to others at one moment.
fn patience(request: RequestId) -> Duration {
    let bits = request.bits();
    // The golden ratio: even ids that are counted up lie apart.
    let mixed = ((bits >> 64) as u64 ^ bits as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let lot = (mixed >> 48) as u32;
    limits::RPC_TIMEOUT * 4 / 5 + limits::RPC_TIMEOUT * 2 / 5 * lot / (1 << 16)
}

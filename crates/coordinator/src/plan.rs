//! A plan: frozen at the start of a request.

use std::time::Duration;

use starling_types::{BucketProps, Conflict, Instant, LayoutVersion, NodeId, limits};
use starling_wire::QuorumChoice;

/// What this node thinks of another at this moment. It only chooses between ways; it never moves data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Answers.
    Up,
    /// May be gone.
    Suspect,
    /// Gone, or not connected.
    Down,
}

/// One node of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The node.
    pub node: NodeId,
    /// Whether it answers.
    pub reach: Reach,
}

/// Whom a request asks and what suffices.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The layout it was made under.
    pub epoch: LayoutVersion,
    /// The node that drives it: an owner.
    pub me: NodeId,
    /// The other owners of the key, most preferred first.
    pub others: Vec<Peer>,
    /// Nodes that may stand in for absent owners, in walking order; only reachable ones.
    pub fallbacks: Vec<NodeId>,
    /// Copies there shall be.
    pub n: u8,
    /// Answers (read) or acks (write) that suffice.
    pub quorum: u8,
    /// Only owners count.
    pub strict: bool,
    /// An ack means fsynced.
    pub durable: bool,
    /// Last writer wins.
    pub lww: bool,
    /// Number of the bucket's properties ([`starling_types::PropsStamp::number`]).
    pub props: u64,
    /// When the client is answered at the latest.
    pub deadline: Instant,
    /// When silent nodes are treated as absent.
    pub patience: Instant,
    /// When a read asks one node more.
    pub hedge: Instant,
    /// And one more after each such pause, as long as there is an owner that was not asked.
    pub hedge_pause: Duration,
    /// Acks that a write needs at least for others to answer for it once a disk is lost ([`BucketProps::least_w`]).
    pub least_w: u8,
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
        /// What was asked for.
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
        /// What was asked for.
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
    /// Nodes that could still make up the quorum as things stand at the start.
    pub fn within_reach(&self) -> usize {
        let owners = 1 + self.others.iter().filter(|p| p.reach != Reach::Down).count();
        if self.strict { owners } else { owners + self.fallbacks.len().min(usize::from(self.n) - owners) }
    }

    /// Sets the rules of a bucket, and their number.
    pub fn with_bucket(mut self, props: &BucketProps, number: u64) -> Self {
        self.lww = props.conflict == Conflict::Lww;
        self.durable = props.durable;
        self.least_w = props.least_write_quorum(self.n);
        self.props = number;
        self
    }

    /// Whether an ack under this plan is as good as the bucket demands. What merely is usual in the bucket, and a
    /// request may choose for itself, is not looked at: the request began before.
    pub fn meets(&self, props: &BucketProps) -> bool {
        let as_strict = !props.strict || (self.strict && self.quorum >= props.write_quorum(self.n));
        as_strict && (self.durable || !props.durable)
    }

    /// Sets the times of a request that starts now.
    pub fn starting(mut self, now: Instant, timeout: Duration) -> Self {
        self.deadline = now + timeout;
        self.patience = now + limits::RPC_TIMEOUT.min(timeout);
        self.hedge_pause = HEDGE_DELAY.min(timeout / 4);
        self.hedge = now + self.hedge_pause;
        self
    }
}

//! The moments of a request, as this node's monotonic clock shows them. Limits travel as moments of the cluster's
//! time, so that the time that a request spends in sockets, or before a node that stands still, counts.

use std::time::Duration;

use starling_types::{Instant, Now, WallTime, limits};
use starling_vnode::Tries;
use starling_wire::{Failure, FailureKind, KvRequest};

/// Time for a question to an owner, and for one to another owner if the first is silent.
const LEAST_ASKING: Duration = Duration::from_millis(200);

/// When a try may do what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timing {
    /// When the request was issued, in the cluster's time; no later than a client's clock may be ahead.
    pub(super) issued: WallTime,
    /// No later than that, whatever the client's clock shows: it cannot begin a try before it is here.
    pub(super) no_later: WallTime,
    window: WallTime,
    /// The time at which no client waits for this try any more.
    pub(super) ends: Instant,
    elsewhere: Option<Instant>,
}

impl Timing {
    /// The moments of a request that comes to a node at `now`, when the cluster's time is `cluster`.
    pub(super) fn of(now: Now, cluster: WallTime, request: &KvRequest) -> Self {
        let issued = request.issued.min(cluster.after(limits::REQUEST_MAX_LEAD));
        let began = request.began.min(cluster);
        // The clock that dated it may be behind.
        let left = request.ends().after(limits::MAX_SKEW).since(cluster).min(request.timeout());
        let elsewhere = request.may_go_elsewhere().map(|at| {
            let skew = limits::MAX_SKEW.min(at.since(request.began) / 2);
            now.instant + (at.since(request.began) - skew).saturating_sub(cluster.since(began))
        });
        // A first try that begins long after the issue is no first try, even if it claims to be.
        let is_old = began.since(issued) > limits::FIRST_TRY_WINDOW;
        let elsewhere = if is_old { Some(now.instant) } else { elsewhere };
        let ahead = request.began.since(cluster);
        let no_later = issued.min(request.issued.before(ahead));
        Self {
            issued,
            no_later,
            window: issued.after(limits::FIRST_TRY_WINDOW),
            ends: now.instant + left,
            elsewhere,
        }
    }

    /// Whether another try may be under way by now.
    pub(super) fn is_late(&self, now: Instant) -> bool {
        self.elsewhere.is_some_and(|at| now >= at)
    }

    /// Until when it may be asked what a first try replaces: it is to be made, perhaps in part, before another try may
    /// be under way. `None` where there is none, or where that is too soon to hear from any owner: it is asked as a
    /// later one then.
    pub(super) fn asks_until(&self, now: Instant) -> Option<Instant> {
        let left = self.elsewhere?.since(now);
        (left >= LEAST_ASKING).then(|| now + left * 3 / 4)
    }

    /// How long this try may still take.
    pub(super) const fn left(&self, now: Instant) -> Duration {
        self.ends.since(now)
    }

    /// The tries that the vnode is told of for try number `attempt`.
    pub(super) const fn tries(&self, attempt: u8) -> Tries {
        Tries {
            attempt,
            issued: self.issued,
            window: self.window,
            elsewhere: self.elsewhere,
            is_new: false,
            is_known: false,
        }
    }

    /// No client waits for a write any more when it comes: to make it would be to replace what came after it.
    pub(super) fn check(&self, now: Instant, request: &KvRequest) -> Result<(), Failure> {
        if self.ends > now || !request.op.is_write() {
            return Ok(());
        }
        let detail = "the write came to this node after its time limit, and was not made by this try: the node or the \
                      network stood still, or the client's clock is wrong";
        Err(match request.attempt {
            0 => Failure::refused(FailureKind::Deadline, detail),
            _ => Failure::unknown(FailureKind::Deadline, detail),
        })
    }
}

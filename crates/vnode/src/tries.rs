//! One request may be tried several times, by different nodes. The limits of each: the versions that it may replace,
//! and the times at which its dot may lie (semantics, section 3, *one id, one value*).

use std::borrow::Cow;

use starling_causality::{Hlc, VersionVector};
use starling_types::{Instant, WallTime, limits};

/// Which try of a request a write is, and what is known of the others.
///
/// `no try replaces what has seen another try's dot`
///
/// Dots of tries that are not surely the first lie above the *window*, and such tries replace nothing younger than the
/// request; the first replaces nothing from beyond the window. So two dots of one request never undo each other by way
/// of a third, whatever clocks say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tries {
    /// Which try it is: 0 for the first. Of two tries the higher goes on.
    pub attempt: u8,
    /// When the request was issued, in the cluster's time.
    pub issued: WallTime,
    /// The end of the window of the first try, in the cluster's time.
    pub window: WallTime,
    /// From when on another try may be under way; `None` if there never is one: this is the only try.
    pub elsewhere: Option<Instant>,
    /// Enough owners said that they know no other try.
    pub is_new: bool,
    /// Another owner said that the write was made.
    pub is_known: bool,
}

impl Tries {
    /// A request that is tried once.
    pub const fn only(issued: WallTime) -> Self {
        Self { attempt: 0, issued, window: issued, elsewhere: None, is_new: false, is_known: false }
    }

    /// Whether no other try can have been made before.
    pub(crate) fn is_surely_first(&self, now: Instant) -> bool {
        self.attempt == 0 && !self.is_new && !self.is_known && self.elsewhere.is_none_or(|at| now < at)
    }

    const fn is_only(&self) -> bool {
        self.attempt == 0 && self.elsewhere.is_none()
    }

    /// The part of `context` that a blind write may replace. Versions that lie further ahead of `wall`, and of the
    /// window, than any right clock are replaced by a first try as they are: one that has seen a later try lies there
    /// only if that try was made above such an outlying time, and a replica that holds that knows the request.
    pub(crate) fn bounded<'c>(
        &self,
        first: bool,
        context: Cow<'c, VersionVector>,
        wall: WallTime,
    ) -> Cow<'c, VersionVector> {
        let (most, outlying) = match first {
            _ if self.is_only() => return context,
            true => (at(self.window), at(wall.max(self.window).after(limits::MAX_SKEW))),
            false => (at(self.issued), Hlc::from_bits(u64::MAX)),
        };
        let is_within = |hlc: Hlc| hlc <= most || hlc > outlying;
        if context.iter().all(|(_, hlc)| is_within(hlc)) {
            return context;
        }
        let bound = |hlc: Hlc| if is_within(hlc) { hlc } else { most };
        Cow::Owned(context.iter().map(|(actor, hlc)| (actor, bound(hlc))).collect())
    }

    /// The time above which the dot must lie, besides all that it replaces or stands beside.
    pub(crate) fn floor(&self, first: bool) -> Hlc {
        match first {
            _ if self.is_only() => Hlc::ZERO,
            true => at(self.issued),
            false => at(self.window),
        }
    }

    /// The time that counts as the write's where the last one wins, for a dot at `hlc` that replaces up to `highest`:
    /// that of the request, whichever try made it. `None` is the dot's own.
    pub(crate) fn rank(&self, first: bool, hlc: Hlc, highest: Hlc) -> Option<Hlc> {
        let time = match first {
            _ if self.is_only() => return None,
            true => hlc.min(at(self.window)),
            false => at(self.issued),
        };
        Some(time.max(highest)).filter(|&rank| rank != hlc)
    }

    /// The highest that [`Self::rank`] may be, whatever its dot.
    pub(crate) fn highest_rank(&self, first: bool, highest: Hlc) -> Hlc {
        let hlc = Hlc::from_bits(u64::MAX);
        self.rank(first, hlc, highest).unwrap_or(hlc)
    }
}

const fn at(wall: WallTime) -> Hlc {
    Hlc::from_parts(wall.millis(), 0)
}

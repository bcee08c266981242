//! Hybrid logical time: wall time where it can be, a counter where it must be [Kulkarni et al., "Logical Physical
//! Clocks", 2014].
//!
//! The low 16 bits are both: they start at the wall clock's 65,536ths of a millisecond (15 ns each), and count on from
//! there where times would otherwise be equal or fall. Of two writes within one millisecond by clocks that agree, the
//! later one therefore has the higher time.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use starling_types::{Now, limits};

/// A hybrid logical time: 48 bits of milliseconds since the Unix epoch, then 16 bits that begin as a fraction of the
/// millisecond and count where that is taken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hlc(u64);

impl Hlc {
    /// Before every minted time.
    pub const ZERO: Self = Self(0);

    /// `ms` since the Unix epoch, saturating in the year 10889, and the place within that millisecond.
    pub const fn from_parts(ms: u64, counter: u16) -> Self {
        let ms = if ms > MAX_MILLIS { MAX_MILLIS } else { ms };
        Self((ms << COUNTER_BITS) | counter as u64)
    }

    /// From [`Self::bits`].
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The time as one integer, for encoding: it orders as the time does.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Milliseconds since the Unix epoch.
    pub const fn millis(self) -> u64 {
        self.0 >> COUNTER_BITS
    }

    /// The place within the millisecond.
    pub const fn counter(self) -> u16 {
        self.0 as u16
    }

    /// The least time after this one; the last time of all is its own successor.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The wall time of `now`, as finely as the shell tells it.
    pub const fn of_wall(now: Now) -> Self {
        Self::from_parts(now.wall.millis(), now.fraction)
    }

    const fn ahead(self, span: Duration) -> Self {
        let ms = self.millis().saturating_add(span.as_millis() as u64);
        Self::from_parts(ms, self.counter())
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.millis(), self.counter())
    }
}

impl fmt::Debug for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hlc({self})")
    }
}

/// One node's clock: what its mints start from, and how far it may run before that is durable.
///
/// ```text
/// a mint > everything its key's record and its writer's context have seen
/// the clock ≤ wall + HLC_MAX_LEAD (and the lease, just after a restart)
/// its mints rise, but for outlying ones, while the wall is not set back by more
/// ```
///
/// Times are **not** unique by the clock alone: a mint above an outlying record takes its time from the record and
/// leaves the clock where it is, so that one wrong clock is not handed on from key to key; and a clock whose wall was
/// set back follows it down. The triple (key, actor, time) is unique: a mint is given a bound that covers the key's own
/// record, and so every time this actor ever minted for the key.
///
/// The ceiling is what a restart starts from. It is leased ahead of need and written with the record of a mint
/// that passes it ([`Self::rides`]), so that an ack never rests on a clock that a power cut would take back.
#[derive(Debug, Clone)]
pub struct HlcClock {
    last: Hlc,
    ceiling: Hlc,
}

/// A time for a new dot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Minted {
    /// The time.
    pub hlc: Hlc,
    /// By how much its bound lay ahead of the wall, if that was too far for the clock to follow.
    pub outlying: Option<Duration>,
}

impl HlcClock {
    /// A clock that starts above `durable_ceiling`: the last one that was stored, or [`Hlc::ZERO`] on a node that
    /// never ran.
    pub const fn new(durable_ceiling: Hlc) -> Self {
        Self { last: durable_ceiling, ceiling: durable_ceiling }
    }

    /// A time after `above` (the highest time in the client's context and in the record) and not before the wall of
    /// `now`; after every other one of this clock too, unless `above` is more than [`limits::HLC_MAX_LEAD`] ahead of
    /// that wall, or the wall was set back since. `None` at the very end of time, where no later one exists.
    pub fn mint(&mut self, now: Now, above: Hlc) -> Option<Minted> {
        let (wall, furthest) = (Hlc::of_wall(now), furthest(now));
        if above > furthest {
            let hlc = above.next();
            let outlying = Some(Duration::from_millis(above.millis().saturating_sub(wall.millis())));
            return (hlc > above).then_some(Minted { hlc, outlying });
        }
        let floor = if self.is_stale(now) { above } else { self.last.max(above) };
        self.last = floor.next().max(wall);
        Some(Minted { hlc: self.last, outlying: None })
    }

    /// The ceiling that must be durable before anything is acked that rests on `minted`; `None` if one is already, or
    /// if the time is an outlying one, which a restart finds in its record.
    pub fn rides(&mut self, now: Now, minted: Minted) -> Option<Hlc> {
        if self.ceiling > highest_ceiling(now) {
            // It would be in force until the wall is there again.
            self.ceiling = Hlc::ZERO;
        }
        let passes = minted.outlying.is_none() && minted.hlc > self.ceiling;
        passes.then(|| minted.hlc.ahead(limits::HLC_LEASE))
    }

    /// States that `durable_ceiling` is durable now: times up to it rest on nothing else.
    pub fn lease(&mut self, durable_ceiling: Hlc) {
        self.ceiling = self.ceiling.max(durable_ceiling);
    }

    /// The ceiling to make durable in good time: `Some` when less than half of [`limits::HLC_LEASE`] remains. The
    /// caller keeps track of what it has under way, and may leave an idle clock alone.
    pub fn wants_lease(&self) -> Option<Hlc> {
        let comfortable = self.last.ahead(limits::HLC_LEASE / 2);
        (self.ceiling < comfortable).then(|| self.last.ahead(limits::HLC_LEASE))
    }

    /// Follows a time that another node minted. One that is more than [`limits::HLC_MAX_LEAD`] ahead of the wall
    /// comes from a clock that was wrong, and says nothing about the time: one runaway clock must not drag the
    /// cluster along. Data with such times are accepted all the same.
    pub fn observe(&mut self, remote: Hlc, now: Now) {
        if remote <= furthest(now) {
            self.last = self.last.max(remote);
        }
    }

    /// The latest time minted or observed, but for outlying ones.
    pub const fn last(&self) -> Hlc {
        self.last
    }

    /// How far the next mint would be ahead of the wall, zero if it is not: for a metric.
    pub fn lead(&self, now: Now) -> Duration {
        let lead = self.last.millis().saturating_sub(now.wall.millis());
        if self.is_stale(now) { Duration::ZERO } else { Duration::from_millis(lead) }
    }

    /// Whether the wall was set back since: what the clock says has nothing to do with the time any more.
    fn is_stale(&self, now: Now) -> bool {
        self.last > highest_ceiling(now)
    }
}

/// How far ahead a time may be to be followed.
fn furthest(now: Now) -> Hlc {
    Hlc::of_wall(now).ahead(limits::HLC_MAX_LEAD)
}

/// The highest ceiling that this wall can have brought about, and so the highest clock after a restart.
fn highest_ceiling(now: Now) -> Hlc {
    furthest(now).ahead(limits::HLC_LEASE).ahead(Duration::from_millis(1))
}

const COUNTER_BITS: u32 = 16;
const MAX_MILLIS: u64 = u64::MAX >> COUNTER_BITS;

#[cfg(test)]
mod tests;

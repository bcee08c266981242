//! Bucket properties: cluster-wide, gossiped, versioned (semantics, section 1).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::NodeId;

/// The treatment of concurrent values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Conflict {
    /// Keep them all, side by side, until a write that has seen them replaces them.
    #[default]
    Siblings,
    /// The maximum (Hlc, ActorId) stays. Concurrent writes lose; an application that cannot bear it uses
    /// siblings.
    Lww,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Siblings => "siblings",
            Self::Lww => "lww",
        })
    }
}

/// The rules of one bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketProps {
    /// Raised by every change; a replica with older properties fetches these before it applies a write.
    pub version: u64,
    /// Replies that a read needs; `None` is a majority of N.
    pub r: Option<u8>,
    /// Acks that a write needs; `None` is a majority of N.
    pub w: Option<u8>,
    /// Only owners count towards W, and reads return only what later reads will also see.
    pub strict: bool,
    /// The treatment of concurrent values.
    pub conflict: Conflict,
    /// An ack means fsynced on that replica.
    pub durable: bool,
    /// Time to live of a value in milliseconds, unless the write says otherwise.
    pub ttl_ms: Option<u64>,
    /// The least W that counts: from so many other owners a node that lost its disk learns all that at least so many
    /// had acked. `None` is a majority of N. A write with a lower W is taken, and its receipt says that it is not
    /// vouched for.
    #[serde(default)]
    pub least_w: Option<u8>,
}

impl Default for BucketProps {
    fn default() -> Self {
        Self {
            version: 1,
            r: None,
            w: None,
            strict: false,
            conflict: Conflict::Siblings,
            durable: true,
            ttl_ms: None,
            least_w: None,
        }
    }
}

impl BucketProps {
    /// More than half of `n`.
    pub const fn majority(n: u8) -> u8 {
        n / 2 + 1
    }

    /// Acks a write needs in a cluster with `n` copies, never more than `n`.
    pub fn write_quorum(&self, n: u8) -> u8 {
        self.w.unwrap_or(Self::majority(n)).min(n)
    }

    /// Replies a read needs in a cluster with `n` copies, never more than `n`.
    pub fn read_quorum(&self, n: u8) -> u8 {
        self.r.unwrap_or(Self::majority(n)).min(n)
    }

    /// The least acks of a write that this bucket's refills answer for, in a cluster with `n` copies.
    pub fn least_write_quorum(&self, n: u8) -> u8 {
        self.least_w.unwrap_or(Self::majority(n)).min(n)
    }

    /// From how many other owners that have lost nothing a node must have pulled what it lost, before it says of a key
    /// in this bucket that it is absent: of any `least_w` owners one is among them, or is the node itself.
    pub fn vouchers(&self, n: u8) -> u8 {
        (n - self.least_write_quorum(n) + 1).min(n.saturating_sub(1))
    }

    /// Whether a bucket may have these rules in a cluster with `n` copies.
    pub fn check(&self, n: u8) -> Result<(), BadProps> {
        for (name, asked) in [("r", self.r), ("w", self.w), ("least_w", self.least_w)] {
            if let Some(asked) = asked.filter(|q| !(1..=n).contains(q)) {
                return Err(BadProps::Quorum { name, asked, n });
            }
        }
        if self.strict && !self.durable {
            return Err(BadProps::StrictInMemory);
        }
        Ok(())
    }
}

/// Rules that no bucket may have. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadProps {
    /// A quorum of no replica, or of more than there are copies.
    #[error(
        "{name}={asked} cannot be: this cluster keeps {n} copies, so {name} is 1 to {n} (or 0 for a majority)"
    )]
    Quorum {
        /// `r`, `w` or `least_w`.
        name: &'static str,
        /// The value that was asked for.
        asked: u8,
        /// Copies.
        n: u8,
    },
    /// A strict bucket promises what memory alone cannot keep.
    #[error(
        "strict=true with durable=false cannot be: a strict bucket's acks must survive a restart; choose one"
    )]
    StrictInMemory,
}

/// Changes of a bucket; a property that is not named stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketChanges {
    /// Replies that a read needs; 0 is a majority.
    pub r: Option<u8>,
    /// Acks that a write needs; 0 is a majority.
    pub w: Option<u8>,
    /// See [`BucketProps::strict`].
    pub strict: Option<bool>,
    /// See [`BucketProps::conflict`].
    pub conflict: Option<Conflict>,
    /// See [`BucketProps::durable`].
    pub durable: Option<bool>,
    /// Time to live of a value in milliseconds; 0 is for ever.
    pub ttl_ms: Option<u64>,
    /// See [`BucketProps::least_w`]; 0 is a majority.
    pub least_w: Option<u8>,
}

impl BucketChanges {
    /// `props` with these changes, under the next version if anything differs.
    #[must_use]
    pub fn applied(&self, props: &BucketProps) -> BucketProps {
        let changed = BucketProps {
            version: props.version,
            r: self.r.map_or(props.r, |r| (r > 0).then_some(r)),
            w: self.w.map_or(props.w, |w| (w > 0).then_some(w)),
            strict: self.strict.unwrap_or(props.strict),
            conflict: self.conflict.unwrap_or(props.conflict),
            durable: self.durable.unwrap_or(props.durable),
            ttl_ms: self.ttl_ms.map_or(props.ttl_ms, |ms| (ms > 0).then_some(ms)),
            least_w: self.least_w.map_or(props.least_w, |w| (w > 0).then_some(w)),
        };
        let version = props.version.saturating_add(u64::from(changed != *props));
        BucketProps { version, ..changed }
    }
}

/// Which of two sets of rules for one bucket is the newer one: the higher version, then the higher node.
///
/// As a number it fits into every replicated write. 0 stands before all of them, for data that are written under
/// no rules in particular.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PropsStamp {
    version: u64,
    by: NodeId,
}

impl PropsStamp {
    /// Of a version that `by` made.
    pub const fn new(version: u64, by: NodeId) -> Self {
        Self { version, by }
    }

    /// The version above the leading bits of the node. In order like the stamps themselves; two nodes that change
    /// one bucket at the same time have different numbers but for one case in a million.
    pub const fn number(self) -> u64 {
        let most = u64::MAX >> NODE_BITS;
        let version = if self.version < most { self.version } else { most };
        (version << NODE_BITS) | (self.by.bits() >> (u64::BITS - NODE_BITS))
    }
}

const NODE_BITS: u32 = 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_keep_the_order_of_stamps(
            a in (0u64..1 << 40, any::<u64>()),
            b in (0u64..1 << 40, any::<u64>()),
        ) {
            let stamp = |(version, node)| PropsStamp::new(version, NodeId::from_bits(node));
            let (a, b) = (stamp(a), stamp(b));
            prop_assert!(a.cmp(&b) == a.number().cmp(&b.number()) || a.number() == b.number());
            prop_assert!(a.version == b.version || a.number() != b.number());
        }
    }

    #[test]
    fn rules_that_cannot_be_kept_are_refused_with_what_can() {
        let good = BucketProps { r: Some(1), w: Some(3), strict: true, ..BucketProps::default() };
        assert_eq!(good.check(3), Ok(()));
        for bad in [Some(0), Some(4)] {
            let words = BucketProps { r: bad, ..good.clone() }.check(3).unwrap_err().to_string();
            assert!(words.contains("r is 1 to 3"), "{words}");
            assert!(BucketProps { w: bad, ..good.clone() }.check(3).is_err());
        }
        assert_eq!(BucketProps { durable: false, ..good.clone() }.check(3), Err(BadProps::StrictInMemory));
        assert_eq!(BucketProps { durable: false, strict: false, ..good }.check(3), Ok(()));
    }

    #[test]
    fn so_many_vouchers_meet_every_write_that_counts() {
        for n in 1..=7u8 {
            for w in 1..=n {
                let props = BucketProps { least_w: Some(w), ..BucketProps::default() };
                let others = props.vouchers(n);
                assert!(others < n);
                // W holders, one of which lost its disk, and so many of the n - 1 others: they have one in common.
                assert!(w == 1 || others + (w - 1) > n - 1, "{w} of {n}");
            }
            assert_eq!(BucketProps::default().least_write_quorum(n), n / 2 + 1);
        }
        assert_eq!(BucketProps::default().vouchers(5), 3);
        assert_eq!(BucketProps { least_w: Some(2), ..BucketProps::default() }.vouchers(5), 4);
        assert!(BucketProps { least_w: Some(4), ..BucketProps::default() }.check(3).is_err());
    }

    #[test]
    fn every_change_raises_the_version_and_none_leaves_it() {
        let before = BucketProps { r: Some(1), ttl_ms: Some(5), least_w: Some(1), ..BucketProps::default() };
        assert_eq!(BucketChanges::default().applied(&before), before);
        let changes = BucketChanges {
            r: Some(0),
            ttl_ms: Some(0),
            least_w: Some(0),
            conflict: Some(Conflict::Lww),
            ..Default::default()
        };
        let after = changes.applied(&before);
        assert_eq!(after, BucketProps { version: 2, conflict: Conflict::Lww, ..BucketProps::default() });
        assert_eq!(changes.applied(&after), after);
    }
}

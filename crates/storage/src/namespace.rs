//! The keyspaces of a store.

use std::fmt;

/// A keyspace of the store. The set is fixed: every one costs memory and pins log segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Namespace {
    /// Records of the partitions this node holds.
    Data,
    /// Copies kept for absent owners.
    Hints,
    /// The node's knowledge of itself: layouts, generations, leases, marks.
    Meta,
}

impl Namespace {
    /// Every namespace, in [`Namespace::code`] order.
    pub const ALL: [Self; 3] = [Self::Data, Self::Hints, Self::Meta];

    /// Its number in row checksums, and its index in [`Namespace::ALL`]. Never changes.
    pub const fn code(self) -> u8 {
        match self {
            Self::Data => 0,
            Self::Hints => 1,
            Self::Meta => 2,
        }
    }

    /// The namespace of a code; none if there is none.
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// Its name on disk and in messages. Never changes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Hints => "hints",
            Self::Meta => "meta",
        }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_places_in_all() {
        for (index, namespace) in Namespace::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(namespace.code()), index);
        }
    }
}

//! Identities. Each is a newtype over random bits or a counter; none converts from a bare integer silently.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An identity's text form was not the expected number of hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {kind}: expected {digits} hexadecimal digits")]
pub struct IdParseError {
    kind: &'static str,
    digits: usize,
    text: String,
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $int:ty, $digits:literal, $ser:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($int);

        impl $name {
            /// Wraps raw bits: from a seeded generator, a file, or a test.
            pub const fn from_bits(bits: $int) -> Self {
                Self(bits)
            }

            /// The raw bits, for encoding.
            pub const fn bits(self) -> $int {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!("{:0", $digits, "x}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:0", $digits, "x})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdParseError;

            fn from_str(text: &str) -> Result<Self, IdParseError> {
                let refuse = || IdParseError { kind: stringify!($name), digits: $digits, text: text.into() };
                if text.len() != $digits || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return Err(refuse());
                }
                <$int>::from_str_radix(text, 16).map(Self).map_err(|_| refuse())
            }
        }

        /// Hexadecimal text for people (JSON, TOML), fixed bits for machines.
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    serializer.$ser(self.0)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
                } else {
                    <$int>::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

hex_id!(
    /// One cluster. Chosen at `cluster init`; every frame carries it, so that two clusters can never mix.
    ClusterId, u128, 32, serialize_u128
);
hex_id!(
    /// One node's trustworthy history: made with its data directory; a wiped disk is a new node.
    NodeId, u64, 16, serialize_u64
);
hex_id!(
    /// One request of one client, the same over all its retries: what makes a retry safe.
    RequestId, u128, 32, serialize_u128
);
hex_id!(
    /// One question to another node, or of a client on its connection, and its answer. A request that is tried again
    /// keeps its id and goes by another exchange.
    ExchangeId, u128, 32, serialize_u128
);
hex_id!(
    /// The identity that may mint dots: one vnode's history between two unclean stops (semantics, section 2).
    ActorId, u64, 16, serialize_u64
);

impl ClusterId {
    /// The id in the Hello of a node that belongs to no cluster yet.
    pub const NONE: Self = Self(0);

    /// Whether this node belongs to a cluster.
    pub const fn is_some(self) -> bool {
        self.0 != 0
    }

    /// The seed under which this cluster hashes keys to tokens.
    pub const fn hash_seed(self) -> u64 {
        (self.0 >> 64) as u64 ^ self.0 as u64
    }
}

/// Number of a layout in the cluster's chain of layouts. 0 means: no layout decided yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct LayoutVersion(pub u64);

impl LayoutVersion {
    /// Before `cluster init`.
    pub const NONE: Self = Self(0);
    /// The layout that `cluster init` decides.
    pub const FIRST: Self = Self(1);
}

impl fmt::Display for LayoutVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_refuses_everything_else() {
        let id = NodeId::from_bits(0xabc);
        assert_eq!(id.to_string(), "0000000000000abc");
        assert_eq!("0000000000000abc".parse(), Ok(id));
        for bad in ["", "abc", "0000000000000abg", "+000000000000abc", "00000000000000abc"] {
            assert!(bad.parse::<NodeId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn people_read_text_and_machines_read_bits() {
        let id = ClusterId::from_bits(7);
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"00000000000000000000000000000007\"");
        let packed = rmp_serde::to_vec(&id).unwrap();
        assert_eq!(rmp_serde::from_slice::<ClusterId>(&packed).unwrap(), id);
    }
}

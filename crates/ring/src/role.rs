//! The role of a node in the ring: its place, its weight, and the zone that it fails with.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use starling_types::{BucketName, NodeId, limits};

/// A weight of zero: such a node would hold nothing and should not be a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a weight is at least 1; to take the data off a node, let it leave")]
pub struct ZeroWeight;

/// A node's share of the data relative to the others': weight 2 holds twice what weight 1 does, as far as
/// copies on distinct nodes and zones allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Weight(u32);

impl Weight {
    /// The usual weight.
    pub const ONE: Self = Self(1);

    /// `units` of the fair share, at least 1.
    pub const fn new(units: u32) -> Result<Self, ZeroWeight> {
        if units == 0 { Err(ZeroWeight) } else { Ok(Self(units)) }
    }

    /// The weight as a number.
    pub const fn units(self) -> u32 {
        self.0
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self::ONE
    }
}

impl TryFrom<u32> for Weight {
    type Error = ZeroWeight;

    fn try_from(units: u32) -> Result<Self, ZeroWeight> {
        Self::new(units)
    }
}

impl From<Weight> for u32 {
    fn from(weight: Weight) -> u32 {
        weight.0
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A zone's name broke its rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "zone name {0:?} is not allowed: 1 to {max} characters of A-Z a-z 0-9 . _ -",
    max = limits::MAX_BUCKET_NAME
)]
pub struct BadZone(String);

/// A failure domain: nodes that one fault can take away together. Copies are spread over zones. Named by the
/// rule of bucket names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(Arc<str>);

impl Zone {
    /// Checks and wraps a name.
    pub fn new(name: &str) -> Result<Self, BadZone> {
        match BucketName::new(name) {
            Ok(_) => Ok(Self(name.into())),
            Err(_) => Err(BadZone(name.chars().take(64).collect())),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The zone of nodes that name none.
impl Default for Zone {
    fn default() -> Self {
        Self("default".into())
    }
}

impl TryFrom<String> for Zone {
    type Error = BadZone;

    fn try_from(name: String) -> Result<Self, BadZone> {
        Self::new(&name)
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> String {
        zone.0.as_ref().into()
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({:?})", &*self.0)
    }
}

/// One member of a layout. Two roles are on distinct hosts if they are distinct nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// The node.
    pub node: NodeId,
    /// Its name for people: 1 to [`limits::MAX_BUCKET_NAME`] bytes without control characters.
    pub name: String,
    /// Where its peers reach it over QUIC.
    pub addr: SocketAddr,
    /// The zone that it fails with.
    pub zone: Zone,
    /// How much it bears.
    pub weight: Weight,
}

impl Role {
    /// Whether the name keeps to its rule.
    pub(crate) fn name_is_allowed(&self) -> bool {
        (1..=limits::MAX_BUCKET_NAME).contains(&self.name.len()) && !self.name.chars().any(char::is_control)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_start_at_one_and_zones_keep_their_alphabet() {
        assert_eq!(Weight::new(0), Err(ZeroWeight));
        assert_eq!(rmp_serde::from_slice::<Weight>(&[4]).unwrap().units(), 4);
        assert!(rmp_serde::from_slice::<Weight>(&[0]).is_err());
        assert_eq!(Zone::new("rack-1.a").unwrap().as_str(), "rack-1.a");
        let error = Zone::new("rack 1").unwrap_err().to_string();
        assert!(error.contains("zone name \"rack 1\""), "{error}");
    }
}

//! A layout's content hash: the same on every platform and for every encoding.

use std::fmt;
use std::net::IpAddr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use xxhash_rust::xxh3::Xxh3;

use super::decode::Body;
use crate::role::Role;

/// 128-bit hash of a layout's content. It tells layouts apart; it does not protect against forgery.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LayoutHash(pub u128);

impl LayoutHash {
    /// The parent of the first layout.
    pub const NONE: Self = Self(0);

    pub(super) fn of(body: &Body) -> Self {
        let mut hasher = Xxh3::new();
        hasher.update(b"starling layout 1");
        hasher.update(&body.cluster.bits().to_le_bytes());
        hasher.update(&body.generation.to_le_bytes());
        hasher.update(&body.version.0.to_le_bytes());
        hasher.update(&body.parent.0.to_le_bytes());
        hasher.update(&[body.wanted, body.owners.copies, body.bits.bits()]);
        hasher.update(&(body.roles.len() as u64).to_le_bytes());
        for role in &body.roles {
            absorb_role(&mut hasher, role);
        }
        for owner in &body.owners.slots {
            hasher.update(&owner.to_le_bytes());
        }
        Self(hasher.digest128())
    }
}

/// An IPv6 address's flow label and scope are left out: encodings do not carry them.
fn absorb_role(hasher: &mut Xxh3, role: &Role) {
    hasher.update(&role.node.bits().to_le_bytes());
    absorb_text(hasher, &role.name);
    match role.addr.ip() {
        IpAddr::V4(ip) => absorb_ip(hasher, 4, &ip.octets()),
        IpAddr::V6(ip) => absorb_ip(hasher, 6, &ip.octets()),
    }
    hasher.update(&role.addr.port().to_le_bytes());
    absorb_text(hasher, role.zone.as_str());
    hasher.update(&role.weight.units().to_le_bytes());
}

fn absorb_ip(hasher: &mut Xxh3, family: u8, octets: &[u8]) {
    hasher.update(&[family]);
    hasher.update(octets);
}

/// Length first, so that no two sequences of texts look alike.
fn absorb_text(hasher: &mut Xxh3, text: &str) {
    hasher.update(&(text.len() as u64).to_le_bytes());
    hasher.update(text.as_bytes());
}

impl fmt::Display for LayoutHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for LayoutHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LayoutHash({self})")
    }
}

/// Hexadecimal text for people, fixed bits for machines, as identities do.
impl Serialize for LayoutHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_u128(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for LayoutHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return u128::deserialize(deserializer).map(Self);
        }
        let text = String::deserialize(deserializer)?;
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(D::Error::custom("a layout hash has 32 hexadecimal digits"));
        }
        u128::from_str_radix(&text, 16).map(Self).map_err(D::Error::custom)
    }
}

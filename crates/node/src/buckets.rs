//! The buckets this node knows, and their rules: a table of versioned registers (semantics, section 1).
//!
//! ```text
//! join(a, b)[name] = the register with the higher stamp (version, node) of a[name] and b[name]
//! ```
//!
//! Joining commutes, associates and does nothing the second time, so that tables that meet in any order become
//! equal. A register is never removed, and its stamp only rises.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use starling_types::{
    BadProps, BucketChanges, BucketName, BucketProps, Conflict, NodeId, PropsStamp, Token, limits,
};
use starling_wire::cluster::BucketRegister;

use crate::meta::encode;

/// Bucket properties by name. `default` and the buckets that the Redis protocol numbers are always there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketTable {
    registers: BTreeMap<BucketName, BucketRegister>,
}

/// A change that cannot be. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadChange {
    /// Create what is there.
    #[error(
        "bucket {0} exists already: `starling bucket show {0}` shows it, `starling bucket set {0}` changes it"
    )]
    Exists(BucketName),
    /// Change what is not there.
    #[error(
        "there is no bucket {0}: create it with `starling bucket create {0}`, or look at `starling bucket list`"
    )]
    Missing(BucketName),
    /// Too many.
    #[error("there are {0} buckets, and at most {max} can be created: use one of them", max = limits::MAX_BUCKETS)]
    TooMany(usize),
    /// Rules that no bucket may have.
    #[error(transparent)]
    Props(#[from] BadProps),
}

impl Default for BucketTable {
    fn default() -> Self {
        let names = (0..limits::NUMBERED_BUCKETS).filter_map(BucketName::numbered);
        Self { registers: names.map(|name| (name.clone(), untouched(name))).collect() }
    }
}

/// The setter recorded for a bucket that exists without having been created.
const fn untouched_by() -> NodeId {
    NodeId::from_bits(0)
}

fn untouched(name: BucketName) -> BucketRegister {
    BucketRegister { name, props: BucketProps::default(), by: untouched_by() }
}

impl BucketTable {
    /// A bucket's rules.
    pub fn props(&self, name: &BucketName) -> Option<&BucketProps> {
        self.registers.get(name).map(|r| &r.props)
    }

    /// A bucket's rules, and the node that set them.
    pub fn register(&self, name: &BucketName) -> Option<&BucketRegister> {
        self.registers.get(name)
    }

    /// All buckets, by name.
    pub fn registers(&self) -> impl Iterator<Item = &BucketRegister> {
        self.registers.values()
    }

    /// Whether the last writer wins in the bucket. Not in one that this node has not heard of: it keeps what it gets
    /// until it knows.
    pub fn is_lww(&self, name: &BucketName) -> bool {
        self.props(name).is_some_and(|p| p.conflict == Conflict::Lww)
    }

    /// The number of the bucket's rules, which replicated writes carry; 0 if there is no such bucket.
    pub fn number(&self, name: &BucketName) -> u64 {
        self.register(name).map_or(0, |r| r.stamp().number())
    }

    /// The registers that other nodes need to know: those that were set explicitly.
    pub fn changed(&self) -> Vec<BucketRegister> {
        self.registers.values().filter(|r| r.by != untouched_by()).cloned().collect()
    }

    /// Equal for equal tables; 0 as long as no properties were set.
    pub fn digest(&self) -> u64 {
        let changed = self.changed();
        if changed.is_empty() { 0 } else { Token::of(0, b"buckets", &encode(&changed)).bits() }
    }

    /// Joins what another node knows; whether anything was new.
    pub fn join(&mut self, registers: impl IntoIterator<Item = BucketRegister>) -> bool {
        registers.into_iter().fold(false, |grown, register| self.join_one(register) | grown)
    }

    fn join_one(&mut self, register: BucketRegister) -> bool {
        let newer = self.registers.get(&register.name).is_none_or(|ours| ours.stamp() < register.stamp());
        if newer {
            self.registers.insert(register.name.clone(), register);
        }
        newer
    }

    /// Whether this table knows a bucket's rules of this stamp, or newer ones.
    pub fn covers(&self, name: &BucketName, stamp: PropsStamp) -> bool {
        self.register(name).is_some_and(|r| r.stamp() >= stamp)
    }

    /// The register that `me` would write to create or change a bucket in a cluster with `n` copies. A change that
    /// changes nothing gives the register that is there.
    pub fn change(
        &self,
        name: &BucketName,
        changes: &BucketChanges,
        create: bool,
        me: NodeId,
        n: u8,
    ) -> Result<BucketRegister, BadChange> {
        let before = match (self.register(name), create) {
            (Some(_), true) => return Err(BadChange::Exists(name.clone())),
            (None, false) => return Err(BadChange::Missing(name.clone())),
            (Some(before), false) => before.clone(),
            (None, true) if self.registers.len() >= limits::MAX_BUCKETS => {
                return Err(BadChange::TooMany(self.registers.len()));
            }
            (None, true) => {
                let props = BucketProps { version: 0, ..BucketProps::default() };
                BucketRegister { name: name.clone(), props, by: me }
            }
        };
        let mut props = changes.applied(&before.props);
        props.version = props.version.max(1);
        props.check(n)?;
        let by = if props == before.props { before.by } else { me };
        Ok(BucketRegister { name: name.clone(), props, by })
    }
}

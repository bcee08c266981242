//! The layout: one version of the map from partitions to owners, and everything that is looked up in it.

mod decode;
mod hash;
mod walk;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use starling_types::{ClusterId, LayoutVersion, NodeId, PartitionBits, PartitionId, Token};

pub use self::hash::LayoutHash;
use crate::assign::{ZoneRedundancy, assign, check_copies, sorted_roles};
use crate::error::PlanError;
use crate::owners::OwnerTable;
use crate::role::Role;

/// One link of the cluster's chain of layouts: an immutable value. Decoding refuses bytes that break its rules
/// ([`crate::LayoutError`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "decode::Body")]
pub struct Layout {
    cluster: ClusterId,
    generation: u64,
    version: LayoutVersion,
    parent: LayoutHash,
    wanted: u8,
    bits: PartitionBits,
    roles: Vec<Role>,
    owners: OwnerTable,
    /// Derived: the content hash of all of the above.
    #[serde(skip)]
    hash: LayoutHash,
    /// Derived: the number of each role's zone.
    #[serde(skip)]
    zones: Vec<u16>,
}

impl Layout {
    /// The first layout of a cluster: `requested` copies, or one per node if there are fewer nodes.
    ///
    /// The order of `roles` does not matter. [`PlanError`] says what is wrong with them.
    pub fn first(
        cluster: ClusterId,
        requested: u8,
        bits: PartitionBits,
        roles: Vec<Role>,
    ) -> Result<Self, PlanError> {
        if !cluster.is_some() {
            return Err(PlanError::NoCluster);
        }
        let roles = sorted_roles(&roles)?;
        let copies = usize::from(requested).min(roles.len()) as u8;
        check_copies(requested, usize::MAX)?;
        let owners = assign(None, &roles, copies, bits, ZoneRedundancy::Strict)?.owners;
        Ok(decode::Body {
            cluster,
            generation: 0,
            version: LayoutVersion::FIRST,
            parent: LayoutHash::NONE,
            wanted: requested,
            bits,
            roles,
            owners,
        }
        .sealed())
    }

    /// The layout after this one, with these `roles` (sorted by node id) and `owners` (indexes into them). Nothing in
    /// production asks for it yet: layout changes will.
    pub(crate) fn successor(&self, bits: PartitionBits, roles: Vec<Role>, owners: OwnerTable) -> Self {
        decode::Body {
            cluster: self.cluster,
            generation: self.generation,
            version: LayoutVersion(self.version.0 + 1),
            parent: self.hash,
            wanted: self.wanted,
            bits,
            roles,
            owners,
        }
        .sealed()
    }

    /// The next layout with twice the partitions: p becomes 2p and 2p+1 with p's owners, so nothing moves. Nothing in
    /// production splits partitions yet: layout changes will.
    pub fn split(&self) -> Result<Self, PlanError> {
        let bits = PartitionBits::try_from(self.bits.bits() + 1).map_err(|_| PlanError::LastSplit)?;
        let mut slots = Vec::with_capacity(2 * self.owners.slots.len());
        for (_, owners) in self.owners.iter() {
            slots.extend_from_slice(owners);
            slots.extend_from_slice(owners);
        }
        let owners = OwnerTable { copies: self.n(), slots };
        Ok(self.successor(bits, self.roles.clone(), owners))
    }

    /// The cluster that this layout is of.
    pub const fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// How often the chain was cut and forced after the loss of a majority: 0 in a healthy cluster.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Its number in the chain.
    pub const fn version(&self) -> LayoutVersion {
        self.version
    }

    /// Hash of the layout before it; [`LayoutHash::NONE`] for the first.
    pub const fn parent(&self) -> LayoutHash {
        self.parent
    }

    /// Hash of its content, independent of any encoding: equal layouts, and only they, hash alike.
    pub const fn hash(&self) -> LayoutHash {
        self.hash
    }

    /// N: copies of each partition in this version.
    pub const fn n(&self) -> u8 {
        self.owners.copies()
    }

    /// The N that was asked for, reached as soon as there are as many nodes.
    pub const fn wanted_copies(&self) -> u8 {
        self.wanted
    }

    /// b, where Q = 2^b is the number of partitions.
    pub const fn bits(&self) -> PartitionBits {
        self.bits
    }

    /// All members, by node id.
    pub fn members(&self) -> impl ExactSizeIterator<Item = &Role> + Clone {
        self.roles.iter()
    }

    /// The role of `node`, if it is a member.
    pub fn role(&self, node: NodeId) -> Option<&Role> {
        self.index(node).map(|index| &self.roles[usize::from(index)])
    }

    /// Whether `node` is a member.
    pub fn is_member(&self, node: NodeId) -> bool {
        self.index(node).is_some()
    }

    /// The partition that holds `token`.
    pub const fn partition_of(&self, token: Token) -> PartitionId {
        self.bits.partition_of(token)
    }

    /// The owners of `partition`, primary first; none if there is no such partition.
    pub fn owners(&self, partition: PartitionId) -> impl ExactSizeIterator<Item = NodeId> + Clone {
        self.owners.of(partition).iter().map(|&owner| self.node(owner))
    }

    /// Whether `node` holds a copy of `partition`.
    pub fn owns(&self, node: NodeId, partition: PartitionId) -> bool {
        self.owners(partition).any(|owner| owner == node)
    }

    /// The partitions that `node` holds a copy of, in ring order. Looks through the whole table.
    pub fn partitions_of(&self, node: NodeId) -> impl Iterator<Item = PartitionId> {
        let index = self.index(node);
        self.owners
            .iter()
            .filter(move |(_, owners)| index.is_some_and(|index| owners.contains(&index)))
            .map(|(partition, _)| partition)
    }

    /// The fallbacks for an absent owner of `partition`: every member that is no owner of it, once. The ring is walked
    /// clockwise over the owners of the partitions that follow; nodes in zones that hold no copy come first.
    pub fn fallbacks(&self, partition: PartitionId) -> impl Iterator<Item = NodeId> {
        walk::fallbacks(self, partition).map(|index| self.node(index))
    }

    /// The start of the next assignment: all members, and the table of owners over them.
    pub fn owned(&self) -> (&[Role], &OwnerTable) {
        (&self.roles, &self.owners)
    }

    /// The whole owner table, as indexes into [`Layout::members`].
    pub const fn owner_table(&self) -> &OwnerTable {
        &self.owners
    }

    fn index(&self, node: NodeId) -> Option<u16> {
        self.roles.binary_search_by_key(&node, |role| role.node).ok().map(|index| index as u16)
    }

    fn node(&self, index: u16) -> NodeId {
        self.roles[usize::from(index)].node
    }
}

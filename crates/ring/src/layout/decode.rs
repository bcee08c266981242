//! The parts of a layout, and the checks that bytes from elsewhere must pass to become one.

use std::collections::BTreeSet;

use serde::Deserialize;
use starling_types::{ClusterId, LayoutVersion, PartitionBits, limits};

use super::{Layout, LayoutHash};
use crate::assign::zone_numbers;
use crate::error::LayoutError;
use crate::owners::OwnerTable;
use crate::role::Role;

/// A layout's fields before they are trusted; named and ordered as [`Layout`] writes them.
#[derive(Deserialize)]
pub(super) struct Body {
    pub cluster: ClusterId,
    pub generation: u64,
    pub version: LayoutVersion,
    pub parent: LayoutHash,
    pub wanted: u8,
    pub bits: PartitionBits,
    pub roles: Vec<Role>,
    pub owners: OwnerTable,
}

/// Far beyond the versions of any cluster; it keeps `version + 1` from overflowing.
const LAST_VERSION: u64 = 1 << 48;

impl Body {
    /// Adds what is derived. The fields obey the rules already.
    pub(super) fn sealed(self) -> Layout {
        let hash = LayoutHash::of(&self);
        let zones = zone_numbers(&self.roles);
        Layout {
            cluster: self.cluster,
            generation: self.generation,
            version: self.version,
            parent: self.parent,
            wanted: self.wanted,
            bits: self.bits,
            roles: self.roles,
            owners: self.owners,
            hash,
            zones,
        }
    }

    fn check(&self) -> Result<(), LayoutError> {
        if !self.cluster.is_some() {
            return Err(LayoutError::NoCluster);
        }
        self.check_chain()?;
        self.check_roles()?;
        self.check_copies()?;
        self.check_owners()
    }

    fn check_chain(&self) -> Result<(), LayoutError> {
        let is_first = self.version == LayoutVersion::FIRST;
        let has_parent = self.parent != LayoutHash::NONE;
        if is_first == has_parent || !(1..=LAST_VERSION).contains(&self.version.0) {
            return Err(LayoutError::Chain(self.version));
        }
        Ok(())
    }

    fn check_copies(&self) -> Result<(), LayoutError> {
        let (copies, wanted, members) = (self.owners.copies, self.wanted, self.roles.len());
        let sound =
            (1..=wanted).contains(&copies) && wanted <= limits::MAX_COPIES && usize::from(copies) <= members;
        if sound { Ok(()) } else { Err(LayoutError::Copies { copies, wanted, members }) }
    }

    fn check_roles(&self) -> Result<(), LayoutError> {
        if self.roles.len() > limits::MAX_MEMBERS {
            return Err(LayoutError::TooManyMembers(self.roles.len()));
        }
        if let Some(pair) = self.roles.windows(2).find(|pair| pair[0].node >= pair[1].node) {
            return Err(LayoutError::MemberOrder(pair[1].node));
        }
        match self.roles.iter().find(|role| !role.name_is_allowed()) {
            Some(role) => Err(LayoutError::BadName(role.node)),
            None => Ok(()),
        }
    }

    fn check_owners(&self) -> Result<(), LayoutError> {
        let expected = self.bits.count() as usize * usize::from(self.owners.copies);
        let found = self.owners.slots.len();
        if found != expected {
            return Err(LayoutError::OwnerCount { found, expected });
        }
        for (partition, owners) in self.owners.iter() {
            if let Some(&index) = owners.iter().find(|&&index| usize::from(index) >= self.roles.len()) {
                return Err(LayoutError::UnknownOwner { partition, index });
            }
            if owners.iter().collect::<BTreeSet<_>>().len() < owners.len() {
                return Err(LayoutError::RepeatedOwner(partition));
            }
        }
        Ok(())
    }
}

impl TryFrom<Body> for Layout {
    type Error = LayoutError;

    fn try_from(body: Body) -> Result<Self, LayoutError> {
        body.check()?;
        Ok(body.sealed())
    }
}

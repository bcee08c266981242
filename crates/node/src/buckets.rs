//! The buckets this node knows, and their rules.

use std::collections::BTreeMap;

use starling_types::{BucketName, BucketProps};

/// Bucket properties by name. `default` is always there.
#[derive(Debug, Clone)]
pub struct BucketTable {
    buckets: BTreeMap<BucketName, BucketProps>,
}

impl Default for BucketTable {
    fn default() -> Self {
        Self { buckets: BTreeMap::from([(BucketName::default_bucket(), BucketProps::default())]) }
    }
}

impl BucketTable {
    /// A bucket's rules.
    pub fn props(&self, name: &BucketName) -> Option<&BucketProps> {
        self.buckets.get(name)
    }

    /// Names, for messages.
    pub fn names(&self) -> impl Iterator<Item = &BucketName> {
        self.buckets.keys()
    }
}

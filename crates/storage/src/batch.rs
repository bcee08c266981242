//! Batches: ordered operations that take effect together.

use bytes::Bytes;

use crate::{RowWrite, Space};

/// One change to one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Writes a row, in place of what was there.
    Put {
        /// Where.
        namespace: Space,
        /// The row's key, 1 to [`starling_types::limits::MAX_ROW_KEY`] bytes.
        key: Bytes,
        /// The row's value, at most [`starling_types::limits::MAX_ROW_VALUE`] bytes.
        value: Bytes,
    },
    /// Removes a row, if it is there.
    Delete {
        /// Where.
        namespace: Space,
        /// The row's key, 1 to [`starling_types::limits::MAX_ROW_KEY`] bytes.
        key: Bytes,
    },
}

impl Op {
    /// The namespace it changes.
    pub const fn namespace(&self) -> Space {
        match self {
            Self::Put { namespace, .. } | Self::Delete { namespace, .. } => *namespace,
        }
    }

    /// The row it changes.
    pub const fn key(&self) -> &Bytes {
        match self {
            Self::Put { key, .. } | Self::Delete { key, .. } => key,
        }
    }

    /// The row's value afterwards; none when it is deleted.
    pub const fn value(&self) -> Option<&Bytes> {
        match self {
            Self::Put { value, .. } => Some(value),
            Self::Delete { .. } => None,
        }
    }
}

/// Ordered operations that a crash keeps all together or not at all, over every namespace. Of several on one
/// row the last wins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    ops: Vec<Op>,
    byte_size: usize,
}

impl Batch {
    /// No operations.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the writing of a row.
    pub fn put(&mut self, namespace: Space, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        let (key, value) = (key.into(), value.into());
        self.push(Op::Put { namespace, key, value });
    }

    /// Adds the removal of a row.
    pub fn delete(&mut self, namespace: Space, key: impl Into<Bytes>) {
        let key = key.into();
        self.push(Op::Delete { namespace, key });
    }

    /// Adds an operation.
    pub fn push(&mut self, op: Op) {
        self.byte_size += op.key().len() + op.value().map_or(0, Bytes::len);
        self.ops.push(op);
    }

    /// How many operations it has.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Bytes of its keys and values: what a committer weighs when it fills a group.
    pub fn byte_size(&self) -> usize {
        self.byte_size
    }

    /// Its operations in order.
    pub fn ops(&self) -> impl ExactSizeIterator<Item = &Op> {
        self.ops.iter()
    }
}

impl Extend<Op> for Batch {
    fn extend<I: IntoIterator<Item = Op>>(&mut self, ops: I) {
        ops.into_iter().for_each(|op| self.push(op));
    }
}

impl FromIterator<Op> for Batch {
    fn from_iter<I: IntoIterator<Item = Op>>(ops: I) -> Self {
        let mut batch = Self::new();
        batch.extend(ops);
        batch
    }
}

/// Rows as machines write them.
impl FromIterator<RowWrite> for Batch {
    fn from_iter<I: IntoIterator<Item = RowWrite>>(rows: I) -> Self {
        rows.into_iter().map(Op::from).collect()
    }
}

impl From<RowWrite> for Op {
    fn from(RowWrite { space: namespace, key, value }: RowWrite) -> Self {
        match value {
            Some(value) => Self::Put { namespace, key, value },
            None => Self::Delete { namespace, key },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_weighs_its_keys_and_values() {
        let mut batch = Batch::new();
        assert!(batch.is_empty());
        batch.put(Space::Data, "key", "value");
        batch.delete(Space::Meta, "gone");
        assert_eq!((batch.len(), batch.byte_size()), (2, 12));
        assert_eq!(batch.ops().cloned().collect::<Batch>(), batch);
    }
}

//! How much the `meta` rows of a backup count for a node that has rows of its own, or none.
//!
//! Nothing that this node promised since the backup was made is taken back: times and generations only rise, layouts
//! only get newer, rules of buckets are joined, and what was accepted stays accepted.

use std::collections::BTreeMap;

use bytes::Bytes;
use starling_types::row::{RowWrite, Space};
use starling_vnode::{Vnodes, rows};

use super::{
    Boot, BootError, Life, META_ACCEPTOR, META_BUCKETS, META_LAYOUT, META_LIFE, bucket_row, buckets, ceiling,
};
use crate::buckets::BucketTable;
use crate::losses::{Losses, META_SUSPECT};
use crate::meta::decode;

type Rows<'a> = &'a [(Bytes, Bytes)];

/// The writes that restore the `meta` rows of a backup over the rows `here`. Afterwards no mark of a clean stop is
/// left: the node takes new actors, because others know what it has forgotten (semantics, section 2).
///
/// # Errors
/// If a row of the backup cannot be understood. A row here that cannot be understood counts as missing.
pub fn restore_meta(here: Rows<'_>, backup: Rows<'_>) -> Result<Vec<RowWrite>, BootError> {
    let here: BTreeMap<&[u8], &Bytes> = here.iter().map(|(key, value)| (&key[..], value)).collect();
    // Nothing may come back that the node could not start with.
    Boot::read(backup, &Losses::NONE)?;
    let mut writes = vec![Vnodes::unseal()];
    for (key, value) in backup {
        let ours = here.get(&key[..]).map(|value| &value[..]);
        writes.extend(restored(key, ours, value)?);
    }
    Ok(writes)
}

/// The row as it should be, if that is not how it is.
fn restored(key: &Bytes, ours: Option<&[u8]>, theirs: &Bytes) -> Result<Option<RowWrite>, BootError> {
    let copy = || RowWrite { space: Space::Meta, key: key.clone(), value: Some(theirs.clone()) };
    Ok(match &key[..] {
        // A loss that the backup had is no loss of the rows that are here.
        rows::META_CLEAN_STOP | META_SUSPECT => None,
        rows::META_HLC_CEILING => {
            let (ours, theirs) = (ours.and_then(|row| ceiling(row).ok()), ceiling(theirs)?);
            (ours < Some(theirs)).then(copy)
        }
        META_LAYOUT => {
            let layout = |row| decode::<starling_ring::Layout>("layout", row);
            let (ours, theirs) = (ours.and_then(|row| layout(row).ok()), layout(theirs)?);
            ours.is_none_or(|ours| ours.version() < theirs.version()).then(copy)
        }
        META_ACCEPTOR => {
            let is_ours = ours.is_some_and(|row| decode::<starling_ring::Acceptor>("acceptor", row).is_ok());
            (!is_ours).then(copy)
        }
        META_BUCKETS => joined(ours, theirs)?,
        key if key.starts_with(META_LIFE) => {
            let (ours, theirs) = (ours.and_then(|row| Life::of_row(row).ok()), Life::of_row(theirs)?);
            (ours < Some(theirs)).then(copy)
        }
        // Of state that others keep here, the present rows count.
        _ => ours.is_none().then(copy),
    })
}

fn joined(ours: Option<&[u8]>, theirs: &[u8]) -> Result<Option<RowWrite>, BootError> {
    let mut here = BucketTable::default();
    here.join(ours.and_then(|row| buckets(row).ok()).unwrap_or_default());
    let mut both = here.clone();
    both.join(buckets(theirs)?);
    Ok((both != here).then(|| bucket_row(&both)))
}

/// The row after which the node takes everything it holds for incomplete until it has compared it with the other
/// owners: its store was lost, and what is there now is a backup's.
pub fn suspect_everything() -> RowWrite {
    Losses::everything().row()
}

#[cfg(test)]
mod tests;

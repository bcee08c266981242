//! Ranges of row keys, as damage is told in them.

use starling_causality::Record;
pub(super) use starling_custody::tokens::{token_of, tokens_of, touch};
use starling_types::QualifiedKey;
use starling_types::row::{Page, RowRange};
use starling_vnode::rows::{FIRST_GENERATION, parse_data};

/// What of a page cannot be read: what the engine could not, and rows that are no records.
pub(super) fn unreadable(page: &Page) -> Vec<RowRange> {
    let odd = page.rows.iter().filter(|(_, value)| Record::decode(value).is_err());
    page.damaged.iter().cloned().chain(odd.map(|(key, _)| RowRange::row(key))).collect()
}

/// The key of a data row, if it is one of this cluster's.
pub(super) fn data_key(seed: u64, row: &[u8]) -> Option<QualifiedKey> {
    let (token, generation, bucket, key) = parse_data(row)?;
    let key = QualifiedKey::new(seed, bucket, key);
    (generation == FIRST_GENERATION && key.token() == token).then_some(key)
}

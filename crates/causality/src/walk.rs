//! Two sorted slices, walked side by side: the one loop that joins, comparisons and merges share.

use std::cmp::Ordering;

/// The entries of the two sides for one key.
pub(crate) enum Pair<'a, T> {
    /// The left side alone.
    Left(&'a T),
    /// The right side alone.
    Right(&'a T),
    /// Both sides, left first.
    Both(&'a T, &'a T),
}

/// Every key of either slice once, in order. Both must be strictly ascending by `key`.
pub(crate) fn side_by_side<'a, T, K: Ord>(
    mut left: &'a [T],
    mut right: &'a [T],
    key: impl Fn(&T) -> K,
) -> impl Iterator<Item = Pair<'a, T>> {
    std::iter::from_fn(move || {
        let order = match (left.first(), right.first()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(l), Some(r)) => key(l).cmp(&key(r)),
        };
        let l = if order.is_le() { left.split_off_first() } else { None };
        let r = if order.is_ge() { right.split_off_first() } else { None };
        match (l, r) {
            (Some(l), Some(r)) => Some(Pair::Both(l, r)),
            (Some(l), None) => Some(Pair::Left(l)),
            (None, r) => r.map(Pair::Right),
        }
    })
}

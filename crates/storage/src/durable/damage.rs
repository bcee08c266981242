//! Reading past damage: a walk over a tree that steps over blocks it cannot read, and says which keys they may hold.

use std::sync::Arc;

use bytes::Bytes;

use super::failure::Reason;
use super::found::found;
use super::published::{Published, StoredRows};

use crate::Space;
use crate::engine::Found;
use crate::error::StorageError;
use starling_types::row::{RowRange, successor};

/// The rows of a range, and the damage between them.
pub(super) struct Walk {
    published: Arc<Published>,
    namespace: Space,
    range: RowRange,
    below: u64,
    rows: StoredRows,
    /// From where on nothing has been seen.
    reached: Bytes,
}

impl Walk {
    pub(super) fn new(published: Arc<Published>, namespace: Space, range: RowRange, below: u64) -> Self {
        let rows = published.stored(&range, below);
        Self { published, namespace, reached: range.start().clone(), range, below, rows }
    }

    /// Goes on behind what cannot be read at `reached`. None: nothing can be read up to the end of the range.
    fn step_over(&mut self) -> RowRange {
        let from = std::mem::take(&mut self.reached);
        let is_within = |key: &Bytes| self.range.end().is_none_or(|end| key < end);
        let next = next_readable(&from, is_within, |key| self.is_readable(key));
        self.rows = match &next {
            Some(next) => self.published.stored(&self.range.resume(next.clone()), self.below),
            None => Box::new(std::iter::empty()),
        };
        self.reached = next.clone().unwrap_or_default();
        RowRange::new(from, next.or_else(|| self.range.end().cloned()))
    }

    fn is_readable(&self, from: &Bytes) -> bool {
        let rest = self.range.resume(from.clone());
        !matches!(self.published.stored(&rest, self.below).next(), Some(Err(_)))
    }
}

/// A key behind `damaged` from which on rows can be read again, if there is one in the range that `is_within` tells: by
/// growing steps until one succeeds, then by halves back towards the damage. Rows between two damaged blocks that lie
/// close together may be passed over; they count as damaged.
pub(super) fn next_readable(
    damaged: &[u8],
    is_within: impl Fn(&Bytes) -> bool,
    is_readable: impl Fn(&Bytes) -> bool,
) -> Option<Bytes> {
    let start = position(damaged);
    let mut bad = start;
    let mut step = 1u128;
    let mut good = loop {
        let probe = start.checked_add(step)?;
        let key = key_at(probe);
        if !is_within(&key) {
            return None;
        }
        if is_readable(&key) {
            break probe;
        }
        bad = probe;
        step = step.checked_mul(2)?;
    };
    while good - bad > 1 {
        let middle = bad + (good - bad) / 2;
        *(if is_readable(&key_at(middle)) { &mut good } else { &mut bad }) = middle;
    }
    Some(key_at(good))
}

impl Iterator for Walk {
    type Item = Result<Found, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.rows.next()? {
            Ok((key, stored)) => {
                self.reached = successor(&key);
                Some(Ok(found(self.namespace, key, stored)))
            }
            Err(error) => Some(match Reason::of(&error) {
                Reason::Damage(_) => Ok(Found::Damage(self.step_over())),
                Reason::Unread(_) => Ok(Found::Unread(self.step_over())),
                Reason::Later(error) => Err(error),
            }),
        }
    }
}

/// Where a key stands among all keys, as far as its first 16 bytes tell.
fn position(key: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    let known = key.len().min(16);
    bytes[..known].copy_from_slice(&key[..known]);
    u128::from_be_bytes(bytes)
}

fn key_at(position: u128) -> Bytes {
    Bytes::copy_from_slice(&position.to_be_bytes())
}

//! A write on its way to disk.

use bytes::Bytes;

use crate::{Dot, VersionVector};

/// A coordinated write that has its dot and may be sent to the other owners; its own commit is under way.
#[derive(Debug, Clone)]
pub struct Staged {
    /// The dot of this write (of the first try, if the request id was known).
    pub dot: Dot,
    /// The whole record, encoded.
    pub record: Bytes,
    /// The context of the record, if this write's value is the sole sibling.
    pub context: Option<VersionVector>,
    /// Siblings there are now.
    pub siblings: u32,
    /// Whether there was a live value before.
    pub existed: bool,
    /// Whether an earlier try made it, so that nothing was written again.
    pub repeated: bool,
    /// Whether a blind write was held back from replacing some of what was heard of: another try may have been seen
    /// there.
    pub in_part: bool,
}

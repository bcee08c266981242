//! How large a client's write may leave a record. Merges have no bound: replicas that refuse one never agree.

use starling_causality::{Dot, Hlc, Mint, Payload, Record, VersionVector};
use starling_types::ActorId;

use crate::event::{ClientWrite, Refused};

/// Refuses a value that would leave a record of more than `limit` bytes once what it replaces is gone. Deletes are never refused.
pub(crate) fn check(
    base: &Record,
    write: &ClientWrite,
    replaced: &VersionVector,
    limit: usize,
) -> Result<(), Refused> {
    let Payload::Value(value) = &write.payload else {
        return Ok(());
    };
    // Nearly always this is enough, and costs no copy of the record.
    if base.encoded_len() + value.len() + SIBLING <= limit {
        return Ok(());
    }
    let bytes = left(base, write, replaced) + SIBLING;
    if bytes <= limit { Ok(()) } else { Err(Refused::TooLarge { bytes, limit }) }
}

/// The length of the record after the write, under a dot as long as any.
fn left(base: &Record, write: &ClientWrite, replaced: &VersionVector) -> usize {
    let dot = Dot { actor: ActorId::from_bits(0), hlc: Hlc::from_bits(u64::MAX) };
    let after = base.write(Mint::plain(replaced, dot, write.payload.clone()));
    if write.lww { after.settle_lww() } else { after }.encoded_len()
}

/// More than a sibling has beside its value: its actor in the context, dot, flags, expiry, id, rank, length.
const SIBLING: usize = 128;

//! A disk that is nearly full: no new values, so that there is room for what makes room again (semantics, section 4).
//!
//! Values of clients and copies for absent owners are refused before anything is staged. Deletes, the delivery of
//! hints, read repair and sweeps go on: what other owners hold this one shall hold too, and a delete is how a client
//! gives space back.

use starling_causality::Record;
use starling_types::limits;
use starling_wire::replica::{Merge, Refusal};
use starling_wire::{Failure, FailureKind, KvOp};

use super::{Shard, Turn};
use crate::event::{Effect, Log};

/// The limits of the writes that this node takes, and whether there is room for them.
pub(crate) struct Pressure {
    /// The volume has less room than its reserve.
    pub(crate) disk_full: bool,
    /// The largest value, in bytes.
    pub(super) max_value: usize,
    /// Bytes on their way to disk above which nothing new is staged.
    pub(super) max_staged: usize,
}

impl Shard {
    /// The shell says how the volume is.
    pub(super) fn disk_pressure(&mut self, on: bool, out: &mut Vec<Effect>) {
        if std::mem::replace(&mut self.pressure.disk_full, on) == on {
            return;
        }
        let words = match on {
            true => "the disk is nearly full: new values are refused; deletes and repairs go on".to_owned(),
            false => "the disk has room again: new values are taken".to_owned(),
        };
        out.push(Effect::Log(if on { Log::Alarm(words) } else { Log::Recovered(words) }));
    }

    /// A client's write that this node would coordinate.
    pub(super) fn check_room(&mut self, turn: &Turn<'_>, op: &KvOp) -> Result<(), Failure> {
        if !self.pressure.disk_full || !matches!(op, KvOp::Put { .. }) {
            return Ok(());
        }
        self.counters.refused_disk_full += 1;
        let detail = format!(
            "the disk of node {} is nearly full: it takes deletes and no new values; free space on its data volume or \
             delete what is not needed; nothing was changed",
            turn.view.me
        );
        Err(Failure::refused(FailureKind::DiskFull, detail).retry_after(limits::WRITE_TIMEOUT))
    }

    /// Another coordinator's: it finds another way for a value that a client waits for, and for a copy that another
    /// owner shall have.
    pub(super) fn check_room_for(&mut self, merge: &Merge, record: &Record) -> Result<(), Refusal> {
        let is_new_here = match merge.origin {
            Some(origin) => record.siblings().iter().any(|s| s.dot == origin.dot && !s.is_tombstone()),
            None => merge.stands_for.is_some(),
        };
        if !self.pressure.disk_full || !is_new_here {
            return Ok(());
        }
        self.counters.refused_disk_full += 1;
        Err(Refusal::DiskFull)
    }

    /// Whether a hint of this node's own may be kept: one that only deletes is small.
    pub(super) fn has_room_for_hint(&mut self, record: &Record) -> bool {
        if self.pressure.disk_full && record.value_bytes() > 0 {
            self.counters.refused_disk_full += 1;
            return false;
        }
        self.has_room_for_hints()
    }
}

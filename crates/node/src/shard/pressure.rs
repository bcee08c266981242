//! A disk that is nearly full or does not answer: no new values, so that there is room for what makes room again
//! (semantics, section 4).
//!
//! Values of clients are passed on to an owner with room, once; those and copies for absent owners are refused before
//! anything is staged. Deletes, the delivery of hints, read repair and sweeps go on: what other owners hold this one
//! shall hold too, and a delete is how a client gives space back. When most of the reserve is gone, deletes alone do.

use starling_causality::Record;
use starling_types::{PartitionId, limits};
use starling_wire::replica::{Merge, Refusal};
use starling_wire::{Failure, FailureKind, KvOp, KvRequest};

use super::{Shard, Turn};
use crate::disk::{Disk, Room};
use crate::event::{Effect, Log};

/// The limits of the writes that this node takes, and whether its disk can take them.
pub(crate) struct Pressure {
    /// The disk.
    pub(crate) disk: Disk,
    /// The largest value, in bytes.
    pub(super) max_value: usize,
    /// Bytes on their way to disk above which nothing new is staged.
    pub(super) max_staged: usize,
}

impl Shard {
    /// The shell says how the disk is.
    pub(super) fn disk_is(&mut self, disk: Disk, out: &mut Vec<Effect>) {
        let before = std::mem::replace(&mut self.pressure.disk, disk);
        let (was, is) = (before.alarms(), disk.alarms());
        let begun = is.iter().filter(|words| !was.contains(words));
        out.extend(begun.map(|words| Effect::Log(Log::Alarm(words.clone()))));
        if before.is_full() && !disk.is_full() {
            let words = "the disk has room again: new values are taken".to_owned();
            out.push(Effect::Log(Log::Recovered(words)));
        }
        if before.is_stalled && !disk.is_stalled {
            let words = "the disk answers again: writes are taken".to_owned();
            out.push(Effect::Log(Log::Recovered(words)));
        }
    }

    /// Whether this node, an owner, had better let another one coordinate a client's write: its own disk would refuse
    /// it. One that was passed on already is refused instead.
    pub(super) fn passes_on(&self, turn: &Turn<'_>, partition: PartitionId, request: &KvRequest) -> bool {
        self.objection(turn, &request.op).is_some()
            && !request.forwarded
            && !turn.view.reachable_owners(partition).is_empty()
    }

    /// A client's write that this node would coordinate.
    pub(super) fn check_room(&mut self, turn: &Turn<'_>, op: &KvOp) -> Result<(), Failure> {
        let Some(failure) = self.objection(turn, op) else { return Ok(()) };
        self.counters.refused_disk_full += u64::from(failure.kind == FailureKind::DiskFull);
        Err(failure)
    }

    /// Why the disk would not take a client's write, if so.
    fn objection(&self, turn: &Turn<'_>, op: &KvOp) -> Option<Failure> {
        let (disk, me) = (&self.pressure.disk, turn.view.me);
        let (kind, detail) = match op {
            KvOp::Put { .. } | KvOp::Delete { .. } if disk.is_stalled => {
                let detail = format!(
                    "the disk of node {me} does not answer, so no write is begun there; nothing was changed; ask another \
                     owner, or retry later"
                );
                (FailureKind::NotReady, detail)
            }
            KvOp::Put { .. } if disk.is_full() => {
                let detail = format!(
                    "disk full: the disk of node {me} is nearly full ({}); it takes deletes and no new values; make room \
                     on its data volume or delete what is not needed; nothing was changed",
                    disk.short_of.words()
                );
                (FailureKind::DiskFull, detail)
            }
            _ => return None,
        };
        Some(Failure::refused(kind, detail).retry_after(limits::WRITE_TIMEOUT))
    }

    /// Another coordinator's: it finds another way for a value that a client waits for, and for a copy that another
    /// owner shall have.
    pub(super) fn check_room_for(&mut self, merge: &Merge, record: &Record) -> Result<(), Refusal> {
        let is_new_here = match merge.origin {
            Some(origin) => record.siblings().iter().any(|s| s.dot == origin.dot && !s.is_tombstone()),
            None => merge.stands_for.is_some(),
        };
        let is_refused = match self.pressure.disk.room {
            Room::Enough | Room::Low => false,
            Room::Full => is_new_here,
            Room::Spent => is_new_here || record.value_bytes() > 0,
        };
        if !is_refused {
            return Ok(());
        }
        self.counters.refused_disk_full += 1;
        Err(Refusal::DiskFull)
    }

    /// Whether a hint of this node's own may be kept: one that only deletes is small.
    pub(super) fn has_room_for_hint(&mut self, record: &Record) -> bool {
        if self.pressure.disk.is_full() && record.value_bytes() > 0 {
            self.counters.refused_disk_full += 1;
            return false;
        }
        self.has_room_for_hints()
    }
}

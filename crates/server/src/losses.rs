//! The losses that a start must assume, besides those that the store itself knows of.
//!
//! - The store says so: its log or tables are damaged.
//! - The directory is a copy, or was put back: what the node acknowledged after it was made is not in it.
//! - The machine went down without a clean stop, and some writes were acknowledged before they were synced: a bucket
//!   with `durable=false`, or `storage.sync` other than `always`. (The end of the process alone loses nothing: the
//!   operating system has what was written.)

use std::collections::BTreeSet;
use std::fs;

use bytes::Bytes;
use starling_node::{Boot, Losses};
use starling_storage::{
    Batch, Durability, DurableEngine, Engine, OpenReport, ScanLimit, StorageError, SyncMode,
};
use starling_types::Token;
use starling_types::row::{RowRange, Space};
use starling_vnode::rows::META_CLEAN_STOP;

use crate::error::StartError;

/// Which run of the operating system wrote the store last.
pub(crate) const META_SYSTEM: &[u8] = b"system";

/// The knowledge that a start has of the stop before it.
pub struct Past {
    /// The store held something.
    pub has_rows: bool,
    /// It was written in another place.
    pub is_copy: bool,
    /// How it was synced, as far as the configuration still says so.
    pub sync: SyncMode,
}

/// Reads what the node knows of itself, and what it must take for lost. That is durable before this returns: the store
/// need not tell of it again.
pub fn boot(engine: &DurableEngine, past: &Past) -> Result<Boot, StartError> {
    let rows = meta_rows(engine)?;
    let was_clean = rows.iter().any(|(key, _)| key == META_CLEAN_STOP);
    let system = this_system();
    let same_system = rows.iter().any(|(key, value)| key == META_SYSTEM && Some(value) == system.as_ref());
    let went_down = past.has_rows && !was_clean && !same_system;
    let unsynced = if went_down { unsynced(&rows, past.sync)? } else { Losses::NONE };
    let losses = lost(engine.report(), past.is_copy).join(&unsynced);
    note(engine, &losses, system)?;
    Ok(Boot::read(&meta_rows(engine)?, &losses)?)
}

/// The losses that the store knows of.
fn lost(report: &OpenReport, is_copy: bool) -> Losses {
    if report.may_have_lost_anything() || is_copy {
        return Losses::everything();
    }
    let token = |key: &[u8]| {
        let mut bytes = [0; 8];
        let known = key.len().min(8);
        bytes[..known].copy_from_slice(&key[..known]);
        u64::from_be_bytes(bytes)
    };
    let tokens = report.lost_ranges.iter().map(|range| {
        let last = range.end().map_or(u64::MAX, |end| token(end));
        Token::from_bits(token(range.start()))..=Token::from_bits(last)
    });
    Losses { tokens: tokens.collect(), ..Losses::NONE }.join(&Losses::NONE)
}

/// The writes that the end of the machine may have taken: all buckets' newest where the node does not wait for the
/// disk, and those of the buckets that do not where it does.
fn unsynced(rows: &[(Bytes, Bytes)], sync: SyncMode) -> Result<Losses, StartError> {
    let buckets = Boot::read(rows, &Losses::NONE)?.unsynced_buckets();
    Ok(match (sync, buckets.is_empty()) {
        (SyncMode::Always, true) => Losses::NONE,
        (SyncMode::Always, false) => Losses::of_unsynced(buckets),
        _ => Losses::of_unsynced(BTreeSet::new()),
    })
}

fn note(engine: &DurableEngine, losses: &Losses, system: Option<Bytes>) -> Result<(), StorageError> {
    let mut batch = match losses.is_empty() {
        true => Batch::new(),
        false => Batch::from_iter([losses.row()]),
    };
    if !losses.is_empty() {
        tracing::warn!(
            "what this node holds may be incomplete: it asks the other owners before it vouches for it"
        );
        batch.delete(Space::Meta, META_CLEAN_STOP);
    }
    if let Some(system) = system {
        batch.put(Space::Meta, META_SYSTEM, system);
    }
    engine.commit(&[batch], Durability::Synced)?;
    engine.acknowledge_losses()
}

/// Names this run of the operating system; none where there is no such name: then every start is after another one.
fn this_system() -> Option<Bytes> {
    fs::read("/proc/sys/kernel/random/boot_id").ok().map(Bytes::from)
}

pub(crate) fn meta_rows(engine: &DurableEngine) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
    let limit = ScanLimit { rows: usize::MAX, bytes: usize::MAX };
    Ok(engine.scan(Space::Meta, &RowRange::all(), limit)?.rows)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use starling_storage::Options;

    use super::*;

    fn open(dir: &Path) -> DurableEngine {
        DurableEngine::open(dir, Options { log_segment_bytes: 1 << 20, ..Options::default() }).unwrap()
    }

    fn set(engine: &DurableEngine, key: &'static [u8], value: &'static [u8]) {
        let mut batch = Batch::new();
        batch.put(Space::Meta, key, value);
        engine.commit(&[batch], Durability::Synced).unwrap();
    }

    fn is_lossy(engine: &DurableEngine, past: Past) -> bool {
        boot(engine, &past).unwrap();
        let row = engine.get(Space::Meta, starling_node::losses::META_SUSPECT).unwrap();
        if row.is_some() {
            assert_eq!(engine.get(Space::Meta, META_CLEAN_STOP).unwrap(), None);
        }
        row.is_some()
    }

    #[test]
    fn what_went_with_a_table_is_lost_where_its_rows_lay_and_nowhere_else() {
        let range = RowRange::new(
            [&7u64.to_be_bytes()[..], b"rest"].concat(),
            Some(9u64.to_be_bytes().to_vec().into()),
        );
        let report = OpenReport { lost_ranges: vec![range], ..OpenReport::default() };
        let token = Token::from_bits;
        let some = lost(&report, false);
        assert!(some.touch(&(token(7)..=token(7))) && some.touch(&(token(9)..=token(10))));
        assert!(!some.touch(&(token(0)..=token(6))) && !some.touch(&(token(10)..=token(u64::MAX))));
        assert_eq!(lost(&report, true), Losses::everything());
        let everything = OpenReport { lost_before: true, ..report };
        assert_eq!(lost(&everything, false), Losses::everything());
        assert!(lost(&OpenReport::default(), false).is_empty());
        let all = OpenReport { lost_ranges: vec![RowRange::all()], ..OpenReport::default() };
        assert_eq!(lost(&all, false), Losses::everything());
    }

    const NOTHING_NEW: Past = Past { has_rows: true, is_copy: false, sync: SyncMode::Always };

    #[test]
    fn a_plain_start_misses_nothing_and_a_copy_may_miss_everything() {
        let dir = tempfile::tempdir().unwrap();
        let engine = open(dir.path());
        assert!(!is_lossy(&engine, NOTHING_NEW));
        assert!(is_lossy(&engine, Past { is_copy: true, ..NOTHING_NEW }));
    }

    #[test]
    fn what_was_not_synced_is_gone_with_the_machine_but_not_with_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let engine = open(dir.path());
        let unsynced = || Past { sync: SyncMode::Os, ..NOTHING_NEW };
        assert!(!is_lossy(&engine, Past { has_rows: false, ..unsynced() }), "a new store");
        assert!(!is_lossy(&engine, unsynced()), "the same machine");
        set(&engine, META_SYSTEM, b"another run");
        set(&engine, META_CLEAN_STOP, b"");
        assert!(!is_lossy(&engine, unsynced()), "a clean stop");
        let mut unclean = Batch::new();
        unclean.delete(Space::Meta, META_CLEAN_STOP);
        engine.commit(&[unclean], Durability::Synced).unwrap();
        set(&engine, META_SYSTEM, b"another run");
        assert!(!is_lossy(&engine, NOTHING_NEW), "everything was synced");
        set(&engine, META_SYSTEM, b"another run");
        assert!(is_lossy(&engine, unsynced()));
    }
}

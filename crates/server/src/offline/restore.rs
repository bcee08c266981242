//! A backup back into a data directory: its own node's, or an empty one that becomes it.
//!
//! Every record is merged with the one that is there, so that an old backup takes back nothing newer, and a second run
//! after one that was cut off does what is left to do.

use std::path::Path;

use bytes::Bytes;
use starling_backup::{Manifest, Reader, Row, State, Verdict};
use starling_causality::Record;
use starling_node::boot::{restore_meta, suspect_everything};
use starling_node::{Boot, Losses};
use starling_storage::{Batch, Durability, DurableEngine, Engine, StorageError};
use starling_types::row::Space;
use starling_types::{ClusterId, Lineage};

use super::rows::{FlawedRow, judge};
use super::{OfflineError, all_read, open, walk};
use crate::daemon::{META_BIRTH, birth, birth_row};
use crate::home::{FORMATS, Home, Inhabitant};
use crate::losses::meta_rows;

/// The backup to restore, and the directory to restore it to.
#[derive(Debug, Clone, Copy)]
pub struct Restore<'a> {
    /// The backup.
    pub backup: &'a Path,
    /// The data directory.
    pub data: &'a Path,
    /// Whether a backup that is partial or damaged will do.
    pub incomplete: bool,
}

/// The result of a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The node that the directory belongs to now.
    pub inhabitant: Inhabitant,
    /// Whether it belonged to no node before.
    pub is_new: bool,
    /// Records of owned keys.
    pub data: Counters,
    /// Records kept for others.
    pub hints: Counters,
    /// Rows of the backup that no record can be made of, as far as they fit.
    pub flawed: Vec<FlawedRow>,
    /// The verdict on the backup, as it was read.
    pub verdict: Verdict,
}

/// The counts of records, by what was done with them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// That were not there.
    pub new: u64,
    /// That the one which was there had to be merged with.
    pub merged: u64,
    /// That the one which was there knew of already.
    pub known: u64,
    /// In whose place there was something that could not be read.
    pub healed: u64,
}

/// Restores a backup into the directory of a node that does not run. `progress` is told how many rows are done.
///
/// # Errors
/// If the backup is another node's, or not whole; if a node runs there; if the store or the operating system refuses.
/// Running it again is safe.
pub fn restore(order: Restore<'_>, mut progress: impl FnMut(u64)) -> Result<Restored, OfflineError> {
    let reader = Reader::open(order.backup)?;
    let manifest = reader.manifest();
    let before = Inhabitant::of(order.data)?;
    if let Some(before) = &before {
        check_is_same(order.data, manifest, before)?;
    }
    let mut meta = Vec::new();
    let verdict = reader.verify(|row| {
        if row.namespace == Space::Meta {
            meta.push((row.key.clone(), row.value.clone()));
        }
    });
    if !order.incomplete {
        check_is_whole(manifest, &verdict)?;
    }
    let (engine, _) = open(order.data)?;
    let is_new = before.is_none();
    let inhabitant = inhabitant(manifest, before);
    let home = Home::of(order.data, inhabitant.clone());
    let boot = settle(&engine, &home, &meta, is_new)?;
    let cluster = boot.cluster().or(inhabitant.cluster_id);
    if !is_new {
        // An unreadable row there may be newer than the one that takes its place: noted before it does.
        let damaged = unreadable(&engine)?;
        if damaged {
            engine.commit(&[Batch::from_iter([suspect_everything()])], Durability::Synced)?;
        }
    }
    let mut work = Work::new(&engine, boot, cluster);
    for (done, row) in (1..).zip(reader.rows().flatten()) {
        work.take(row)?;
        progress(done);
    }
    work.merge()?;
    let ([data, hints], flawed) = work.into_counts();
    engine.commit(&[], Durability::Synced)?;
    home.settle()?;
    engine.close()?;
    Ok(Restored { inhabitant, is_new, data, hints, flawed, verdict })
}

/// Writes the rows that the node must know of itself, before any of its records: a restore that is cut off leaves a
/// store that takes itself for incomplete.
fn settle(
    engine: &DurableEngine,
    home: &Home,
    meta: &[(Bytes, Bytes)],
    is_new: bool,
) -> Result<Boot, OfflineError> {
    let (state, _) = birth(engine)?;
    let node = home.inhabitant().node_id;
    if let Some(stored) = state.node.filter(|stored| *stored != node) {
        let path = home.path().into();
        return Err(crate::home::HomeError::Strangers { path, written: node, stored }.into());
    }
    let mut rows = restore_meta(&meta_rows(engine)?, meta)?;
    // Even if node.json says otherwise, a store that holds nothing knows nothing since the backup.
    if is_new || state.node.is_none() || !state.has_rows {
        rows.push(suspect_everything());
    }
    let mut batch = Batch::from_iter(rows);
    batch.put(Space::Meta, META_BIRTH, birth_row(home));
    engine.commit(&[batch], Durability::Synced)?;
    Ok(Boot::read(&meta_rows(engine)?, &Losses::NONE)?)
}

/// Records on their way into a store, where they are merged with what is there.
pub(super) struct Work<'a> {
    engine: &'a DurableEngine,
    boot: Boot,
    cluster: Option<ClusterId>,
    pending: Vec<Row>,
    bytes: u64,
    /// Of data and of hints.
    counts: [Counters; 2],
    flawed: Vec<FlawedRow>,
}

impl<'a> Work<'a> {
    pub(super) fn new(engine: &'a DurableEngine, boot: Boot, cluster: Option<ClusterId>) -> Self {
        let counts = [Counters::default(); 2];
        Self { engine, boot, cluster, pending: Vec::new(), bytes: 0, counts, flawed: Vec::new() }
    }

    /// The counts of data and of hints, and the rows that were no records.
    pub(super) fn into_counts(self) -> ([Counters; 2], Vec<FlawedRow>) {
        (self.counts, self.flawed)
    }

    /// Takes a record; it is merged with others, at the latest by [`Work::merge`].
    pub(super) fn take(&mut self, row: Row) -> Result<(), OfflineError> {
        if row.namespace == Space::Meta {
            return Ok(());
        }
        let turns = self.pending.last().is_some_and(|last| last.namespace != row.namespace);
        if turns || self.pending.len() >= BATCH_ROWS || self.bytes >= BATCH_BYTES {
            self.merge()?;
        }
        self.bytes += row.size();
        self.pending.push(row);
        Ok(())
    }

    /// Merges what is pending, all of one namespace.
    pub(super) fn merge(&mut self) -> Result<(), OfflineError> {
        let rows = std::mem::take(&mut self.pending);
        self.bytes = 0;
        let Some(namespace) = rows.first().map(|row| row.namespace) else { return Ok(()) };
        let keys: Vec<Bytes> = rows.iter().map(|row| row.key.clone()).collect();
        let mut batch = Batch::new();
        for (row, ours) in rows.into_iter().zip(self.engine.multi_get(namespace, &keys)) {
            if let Some(merged) = self.merged(&row, ours)? {
                batch.put(namespace, row.key, merged);
            }
        }
        Ok(self.engine.commit(&[batch], Durability::Buffered)?)
    }

    /// The record that should stand there, if another one does.
    fn merged(
        &mut self,
        row: &Row,
        ours: Result<Option<Bytes>, StorageError>,
    ) -> Result<Option<Bytes>, OfflineError> {
        let held = match judge(self.cluster, row.namespace, &row.key, &row.value) {
            Ok(held) => held,
            Err(flaw) => {
                if self.flawed.len() < MOST_FLAWED {
                    self.flawed.push(FlawedRow { namespace: row.namespace, row: row.key.clone(), flaw });
                }
                return Ok(None);
            }
        };
        let counts = &mut self.counts[usize::from(row.namespace == Space::Hints)];
        let ours = match ours {
            Ok(None) => {
                counts.new += 1;
                return Ok(Some(row.value.clone()));
            }
            Ok(Some(value)) => Record::decode(&value).ok(),
            Err(StorageError::Corrupt { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let Some(ours) = ours else {
            counts.healed += 1;
            return Ok(Some(row.value.clone()));
        };
        let mut merged = ours.merge(&held.record).record;
        if self.boot.is_lww(&held.bucket) {
            merged = merged.settle_lww();
        }
        let is_known = merged == ours;
        *(if is_known { &mut counts.known } else { &mut counts.merged }) += 1;
        Ok((!is_known).then(|| merged.encode()))
    }
}

/// The node that the directory belongs to afterwards. Others believe the last they heard of a node, by the count of its
/// starts: that must be higher now than it ever was, and how often the node started since the backup is not known here.
fn inhabitant(manifest: &Manifest, before: Option<Inhabitant>) -> Inhabitant {
    let origin = &manifest.origin;
    let started = before.as_ref().map_or(origin.generation, |here| here.generation.max(origin.generation));
    Inhabitant {
        format_version: FORMATS.newest,
        node_id: origin.node_id,
        cluster_id: before.and_then(|here| here.cluster_id).or(origin.cluster_id),
        generation: started.skip(STARTS_SINCE),
        lineage: Lineage::default(),
    }
}

fn check_is_same(data: &Path, manifest: &Manifest, here: &Inhabitant) -> Result<(), OfflineError> {
    let origin = &manifest.origin;
    let other_cluster = origin.cluster_id.zip(here.cluster_id).is_some_and(|(theirs, ours)| theirs != ours);
    if origin.node_id == here.node_id && !other_cluster {
        return Ok(());
    }
    Err(OfflineError::OtherNode {
        dir: data.into(),
        backup: origin.node_id,
        backup_cluster: origin.cluster_id.unwrap_or(ClusterId::NONE),
        here: here.node_id,
        here_cluster: here.cluster_id.unwrap_or(ClusterId::NONE),
    })
}

/// Whether any row of the store cannot be read, or is no record.
fn unreadable(engine: &DurableEngine) -> Result<bool, OfflineError> {
    let mut found = false;
    for namespace in [Space::Data, Space::Hints] {
        walk(engine, namespace, |page| {
            all_read(namespace, &page)?;
            found |= !page.damaged.is_empty();
            found |= page.rows.iter().any(|(_, value)| Record::decode(value).is_err());
            Ok(())
        })?;
    }
    Ok(found)
}

fn check_is_whole(manifest: &Manifest, verdict: &Verdict) -> Result<(), OfflineError> {
    let damage = verdict.damage.first();
    let why = match (manifest.state, damage) {
        (State::Partial, _) => "the backup was cut off (finish it with `starling backup create`)".into(),
        (State::Complete, None) if manifest.unreadable.is_empty() => return Ok(()),
        (State::Complete, None) => {
            let gaps = manifest.unreadable.len();
            format!("the node could not read {gaps} ranges of its own rows when the backup was made")
        }
        (State::Complete, Some(damage)) => {
            let places = verdict.damage.len() as u64 + verdict.more;
            format!("the backup is damaged in {places} places, first {damage}")
        }
    };
    Err(OfflineError::Incomplete { why })
}

const BATCH_ROWS: usize = 512;
const BATCH_BYTES: u64 = 1 << 20;
const MOST_FLAWED: usize = 1_000;
/// More starts than a node makes between a backup and its restore.
const STARTS_SINCE: u64 = 1 << 16;

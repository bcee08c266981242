//! Makes good the findings of a check, as far as one node can do that; the rest is for the other replicas.

use std::path::{Path, PathBuf};

use starling_causality::RecordError;
use starling_node::boot::suspect_everything;
use starling_storage::{Batch, Durability, DurableEngine, Engine};
use starling_types::ClusterId;
use starling_types::row::{RowRange, Space};
use starling_vnode::rows::META_CLEAN_STOP;

use super::check::{Check, look};
use super::rows::{Flaw, FlawedRow, judge};
use super::shadow::{hold, keep};
use super::{OfflineError, Opened, all_read, cluster_of, open, walk};
use crate::home::Inhabitant;

/// The result of a repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// The flaws that were found.
    pub found: Check,
    /// The mending that was done; nothing if nothing was wrong.
    pub mended: Option<Mended>,
}

/// The changes that a repair made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mended {
    /// Where the store is kept as it was.
    pub originals: PathBuf,
    /// The findings of the store's last open, and its actions.
    pub opened: Opened,
    /// Rows that were removed.
    pub removed: Vec<FlawedRow>,
    /// Ranges of keys that could not be read; what was in them is not there any more.
    pub gone: Vec<(Space, RowRange)>,
}

/// Repairs the store of a node that does not run. `name` is that of the directory beside the store in which it is kept as
/// it was.
///
/// # Errors
/// If the store cannot be opened, or the operating system refuses. Running it again is safe.
pub fn repair(dir: &Path, name: &str) -> Result<Repair, OfflineError> {
    let held = hold(dir)?;
    let found = look(dir, None)?;
    if found.needs_no_repair() {
        return Ok(Repair { found, mended: None });
    }
    let originals = dir.join(name);
    keep(dir, &originals)?;
    drop(held);
    let (mut engine, opened) = open(dir)?;
    let mut mended = Mended { originals, opened, removed: Vec::new(), gone: Vec::new() };
    if mended.condemn(&engine)? {
        engine.close()?;
        (engine, mended.opened) = open(dir)?;
    }
    // Before anything is served the node asks the other owners what it has lost, and mints under new names. First: a repair
    // that is cut off leaves a store that knows it.
    let mut mark = Batch::from_iter([suspect_everything()]);
    mark.delete(Space::Meta, META_CLEAN_STOP);
    engine.commit(&[mark], Durability::Synced)?;
    mend(&engine)?;
    let cluster = cluster_of(&engine, Inhabitant::of(dir).ok().flatten().as_ref());
    [Space::Data, Space::Hints].into_iter().try_for_each(|space| mended.prune(&engine, space, cluster))?;
    engine.commit(&[], Durability::Synced)?;
    engine.close()?;
    Ok(Repair { found, mended: Some(mended) })
}

/// Puts what can be read of damaged tables in their places: what is missing then is noted by now.
fn mend(engine: &DurableEngine) -> Result<(), OfflineError> {
    // They are found in the first round, and mended in the second.
    engine.compact()?;
    drop(engine.take_damage());
    engine.damage_noted();
    Ok(engine.compact()?)
}

impl Mended {
    /// Finds the ranges that cannot be read; whether there are tables that the next open must look through.
    fn condemn(&mut self, engine: &DurableEngine) -> Result<bool, OfflineError> {
        for namespace in Space::ALL {
            let before = self.gone.len();
            walk(engine, namespace, |page| {
                all_read(namespace, &page)?;
                self.gone.extend(page.damaged.into_iter().map(|range| (namespace, range)));
                Ok(())
            })?;
            if self.gone.len() > before {
                engine.rebuild_at_next_open(namespace)?;
            }
        }
        Ok(!self.gone.is_empty())
    }

    /// Removes the rows that no record can be made of.
    fn prune(
        &mut self,
        engine: &DurableEngine,
        namespace: Space,
        cluster: Option<ClusterId>,
    ) -> Result<(), OfflineError> {
        walk(engine, namespace, |page| {
            let mut batch = Batch::new();
            for (row, value) in page.rows {
                if let Err(flaw) = judge(cluster, namespace, &row, &value)
                    && !matches!(flaw, Flaw::Record(RecordError::Newer { .. }))
                {
                    batch.delete(namespace, row.clone());
                    self.removed.push(FlawedRow { namespace, row, flaw });
                }
            }
            engine.commit(&[batch], Durability::Buffered)?;
            Ok(())
        })
    }
}

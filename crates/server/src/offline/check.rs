//! Everything in a data directory against everything that can be held against it. Changes nothing.

use std::fs;
use std::path::Path;

use starling_node::{Boot, Losses};
use starling_storage::{DurableEngine, Engine, StorageError};
use starling_types::ClusterId;
use starling_types::row::{RowRange, Space};

use super::rows::{FlawedRow, judge};
use super::shadow::{Shadow, hold};
use super::{OfflineError, Opened, cluster_of, walk};
use crate::daemon::birth;
use crate::home::Inhabitant;
use crate::losses::meta_rows;

/// The findings of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Check {
    /// Whose directory it is.
    pub inhabitant: Option<Inhabitant>,
    /// The store's format, as it says itself.
    pub format: String,
    /// The findings of the store's open.
    pub opened: Opened,
    /// The rows there, by namespace; empty if the store could not be opened.
    pub spaces: Vec<SpaceCheck>,
    /// All other problems, in words.
    pub problems: Vec<String>,
}

/// One namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpaceCheck {
    /// Which.
    pub namespace: Space,
    /// Rows that could be read.
    pub rows: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Records that are deletes.
    pub tombstones: u64,
    /// Records with more than one sibling.
    pub conflicts: u64,
    /// Ranges of keys that could not be read.
    pub damaged: Vec<RowRange>,
    /// Ranges of keys that the disk did not give: nothing in them is known to be lost.
    pub unread: Vec<RowRange>,
    /// Rows that could be read and are not what they should be, as far as they fit.
    pub flawed: Vec<FlawedRow>,
    /// How many there are.
    pub flawed_rows: u64,
}

impl Check {
    /// Whether everything is as it should be.
    pub fn is_sound(&self) -> bool {
        let spaces = self.spaces.iter().all(SpaceCheck::is_sound);
        spaces && self.problems.is_empty() && !self.opened.has_losses
    }

    /// Whether there is nothing that a repair could do.
    pub fn needs_no_repair(&self) -> bool {
        let opened =
            Opened { has_losses: self.opened.has_losses && !self.opened.is_known, ..self.opened.clone() };
        Self { opened, ..self.clone() }.is_sound()
    }
}

/// Checks the directory of a node that does not run. The shadow is made in `scratch`, or else in the directory itself.
///
/// # Errors
/// If nothing could be looked at. A flaw of the store is no error: it is in the answer.
pub fn check(dir: &Path, scratch: Option<&Path>) -> Result<Check, OfflineError> {
    let _held = hold(dir)?;
    look(dir, scratch)
}

/// [`check`] for a caller that holds the lock.
pub(super) fn look(dir: &Path, scratch: Option<&Path>) -> Result<Check, OfflineError> {
    let mut found = Check { format: format(dir), ..Check::default() };
    match Inhabitant::of(dir) {
        Ok(Some(inhabitant)) => found.inhabitant = Some(inhabitant),
        Ok(None) => found.problems.push("there is no node.json: nobody can say whose store this is".into()),
        Err(error) => found.problems.push(error.to_string()),
    }
    let shadow = Shadow::cast(dir, scratch)?;
    match shadow.open(dir) {
        Ok((engine, opened)) => {
            found.opened = opened;
            found.store(&engine)?;
            engine.close()?;
        }
        // Whether it may be opened at all is for another version to say.
        Err(OfflineError::Storage(
            error @ (StorageError::OtherFormat { .. } | StorageError::Foreign { .. }),
        )) => {
            return Err(error.into());
        }
        Err(error) => found.problems.push(format!("the store cannot be opened: {error}")),
    }
    Ok(found)
}

impl Check {
    fn store(&mut self, engine: &DurableEngine) -> Result<(), OfflineError> {
        let cluster = cluster_of(engine, self.inhabitant.as_ref());
        for namespace in Space::ALL {
            self.spaces.push(space(engine, namespace, cluster)?);
        }
        if let Err(error) = Boot::read(&meta_rows(engine)?, &Losses::NONE) {
            self.problems.push(error.to_string());
        }
        let (state, _) = birth(engine)?;
        match (state.node, &self.inhabitant) {
            (Some(node), Some(here)) if node != here.node_id => {
                let why = format!("node.json says node {}, the store is of node {node}", here.node_id);
                self.problems.push(why);
            }
            (None, Some(here)) if !state.has_rows => {
                self.problems.push(format!("the store of node {} is gone: it is empty", here.node_id));
            }
            _ => {}
        }
        Ok(())
    }
}

fn space(
    engine: &DurableEngine,
    namespace: Space,
    cluster: Option<ClusterId>,
) -> Result<SpaceCheck, OfflineError> {
    let mut space = SpaceCheck {
        namespace,
        rows: 0,
        bytes: 0,
        tombstones: 0,
        conflicts: 0,
        damaged: Vec::new(),
        unread: Vec::new(),
        flawed: Vec::new(),
        flawed_rows: 0,
    };
    walk(engine, namespace, |page| {
        space.damaged.extend(page.damaged);
        space.unread.extend(page.unread);
        for (key, value) in page.rows {
            space.rows += 1;
            space.bytes += (key.len() + value.len()) as u64;
            if namespace != Space::Meta {
                match judge(cluster, namespace, &key, &value) {
                    Ok(held) => {
                        space.tombstones +=
                            u64::from(held.record.siblings().iter().all(|s| s.is_tombstone()));
                        space.conflicts += u64::from(held.record.value_count() > 1);
                    }
                    Err(flaw) => space.note(FlawedRow { namespace, row: key, flaw }),
                }
            }
        }
        Ok(())
    })?;
    Ok(space)
}

impl SpaceCheck {
    fn is_sound(&self) -> bool {
        self.damaged.is_empty() && self.unread.is_empty() && self.flawed_rows == 0
    }

    fn note(&mut self, row: FlawedRow) {
        self.flawed_rows += 1;
        if self.flawed.len() < MOST_FLAWED {
            self.flawed.push(row);
        }
    }
}

fn format(dir: &Path) -> String {
    let text = fs::read(dir.join("tables").join("FORMAT")).unwrap_or_default();
    String::from_utf8_lossy(&text).trim().chars().take(80).collect()
}

const MOST_FLAWED: usize = 1_000;

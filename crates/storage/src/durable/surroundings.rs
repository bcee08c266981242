//! The surroundings of an engine: its observer, and the files of its log.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::files::{Files, OsFiles, Patience};
use crate::log;
use crate::observer::Observer;

/// The environment of an engine.
#[derive(Clone)]
pub struct Surroundings {
    /// Told what it does.
    pub observer: Arc<dyn Observer>,
    /// Where the files of the log in a directory are.
    pub log_files: OpenFiles,
    /// How often what cannot be read is tried again.
    pub patience: Patience,
    /// Files of the store, by their whole path, of which a person has given up what cannot be read: that counts as
    /// lost. The readable rest is kept aside.
    pub given_up: BTreeSet<PathBuf>,
}

impl Surroundings {
    /// How the files in a directory are read.
    pub(super) fn reading(&self, dir: &Path) -> log::Reading {
        let within = self.given_up.iter().filter(|file| file.parent() == Some(dir));
        let names = within.filter_map(|file| Some(file.file_name()?.to_str()?.to_owned()));
        log::Reading { patience: self.patience.clone(), given_up: names.collect() }
    }
}

/// Opens the files of a directory.
pub type OpenFiles = Arc<dyn Fn(&Path) -> io::Result<Arc<dyn Files>> + Send + Sync>;

impl Default for Surroundings {
    /// No observer, and the operating system's files.
    fn default() -> Self {
        Self {
            observer: Arc::new(()),
            log_files: Arc::new(|dir| Ok(Arc::new(OsFiles::open(dir)?))),
            patience: Patience::default(),
            given_up: BTreeSet::new(),
        }
    }
}

//! Files made ahead of need: to fill a segment with zeros within a commit would make everybody wait.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{LogError, segment};
use crate::files::{Files, LogFile};

/// Spares kept at most.
const MAX_SPARES: usize = 2;

/// The spare files of a log.
#[derive(Debug)]
pub(super) struct Spares {
    files: Arc<dyn Files>,
    length: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    ready: Vec<String>,
    /// Former segments. Under its new header one must not come back with its old name: they are ready when the
    /// directory is synced.
    resting: Vec<String>,
    last_number: u64,
}

/// Makes spares for a log, from another thread than the one that writes it.
#[derive(Debug, Clone)]
pub(crate) struct SpareMaker(Arc<Spares>);

impl SpareMaker {
    /// Sees to it that the next segment can be begun at once.
    ///
    /// # Errors
    /// [`LogError::NoSpace`] if there is no room for it, as the next segment will find too; [`LogError::Io`] if the
    /// system fails: then the log must not be written any more.
    pub(crate) fn prepare(&self) -> Result<(), LogError> {
        self.0.prepare().map_err(LogError::during("preparing a segment of the commit log"))
    }
}

impl Spares {
    /// Removes the spares that an earlier process left. One of them may have been a segment whose new name a power cut took
    /// back: it would have frames in it that are not lower than those to come.
    pub(super) fn begin(files: &Arc<dyn Files>, length: u64) -> io::Result<Arc<Self>> {
        let names = files.list()?;
        names.iter().filter(|name| name.starts_with(PREFIX)).try_for_each(|name| files.remove(name))?;
        Ok(Arc::new(Self { files: files.clone(), length, state: Mutex::default() }))
    }

    pub(super) fn maker(self: &Arc<Self>) -> SpareMaker {
        SpareMaker(self.clone())
    }

    /// A file of at least `length` bytes for a new segment, and its name.
    pub(super) fn take(&self, length: u64) -> io::Result<(String, Arc<dyn LogFile>)> {
        if length > self.length {
            return self.make(|files, name| files.reserve(name, length));
        }
        if self.lock().ready.is_empty() {
            self.wake()?;
        }
        while let Some(name) = { self.lock().ready.pop() } {
            // One that somebody removed is not worth an error.
            if let Ok(file) = self.files.open(&name) {
                return Ok((name, file));
            }
        }
        // A commit waits for it.
        self.make(|files, name| files.reserve(name, self.length))
    }

    /// Removes a file that was not used after all.
    pub(super) fn discard(&self, name: &str) -> io::Result<()> {
        self.files.remove(name)
    }

    /// Takes the file of a segment that is no longer needed.
    pub(super) fn recycle(&self, number: u64, length: u64) -> io::Result<()> {
        let name = segment::name(number);
        let mut state = self.lock();
        if length != self.length || state.ready.len() + state.resting.len() >= MAX_SPARES {
            return self.files.remove(&name);
        }
        let spare = state.next_name();
        self.files.rename(&name, &spare)?;
        state.resting.push(spare);
        Ok(())
    }

    fn prepare(&self) -> io::Result<()> {
        self.wake()?;
        if self.lock().ready.is_empty() {
            let (name, _) = self.make(|files, name| files.create(name, self.length))?;
            self.lock().ready.push(name);
        }
        Ok(())
    }

    /// Makes the resting ready.
    fn wake(&self) -> io::Result<()> {
        let resting = std::mem::take(&mut self.lock().resting);
        if !resting.is_empty() {
            self.files.sync_directory()?;
            self.lock().ready.extend(resting);
        }
        Ok(())
    }

    /// Makes a file under another name first, so that what has the name of a spare is whole.
    fn make(
        &self,
        file: impl FnOnce(&dyn Files, &str) -> io::Result<Arc<dyn LogFile>>,
    ) -> io::Result<(String, Arc<dyn LogFile>)> {
        let name = self.lock().next_name();
        let unfinished = format!("{name}.new");
        let file = file(&*self.files, &unfinished)?;
        self.files.rename(&unfinished, &name)?;
        Ok((name, file))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next_name(&mut self) -> String {
        self.last_number += 1;
        format!("{PREFIX}{}", self.last_number)
    }
}

const PREFIX: &str = "spare-";

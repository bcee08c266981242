//! Files made ahead of need: to fill a segment with zeros within a commit would make every writer wait.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::LogError;
use super::segment;
use crate::files::{Files, LogFile};

/// Spares kept at most.
const MAX_SPARES: usize = 2;

/// The spare files of a log.
#[derive(Debug)]
pub(super) struct Spares {
    files: Arc<dyn Files>,
    length: u64,
    state: Mutex<State>,
    /// Held while a file is made.
    making: Mutex<()>,
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
    /// [`LogError::Scarce`] if no file can be made ahead, for any reason: nothing of the log is in it, and the
    /// next segment will find out whether it can be made. [`LogError::Io`] if what was renamed cannot be made durable:
    /// then the log must not be written any more.
    pub(crate) fn prepare(&self) -> Result<(), LogError> {
        self.0.prepare()
    }
}

impl Spares {
    /// Removes the spares that an earlier process left. One of them may have been a segment whose new name a power cut took
    /// back: it would have frames in it that are not lower than those to come. Files that only look like spares stay.
    pub(super) fn begin(files: &Arc<dyn Files>, length: u64) -> io::Result<Arc<Self>> {
        let names = files.list()?;
        names.iter().filter(|name| is_spare(name)).try_for_each(|name| files.remove(name))?;
        Ok(Arc::new(Self { files: files.clone(), length, state: Mutex::default(), making: Mutex::default() }))
    }

    pub(super) fn maker(self: &Arc<Self>) -> SpareMaker {
        SpareMaker(self.clone())
    }

    /// A file of at least `needed` bytes for a new segment, its name and its length.
    pub(super) fn take(&self, needed: u64) -> io::Result<(String, Arc<dyn LogFile>, u64)> {
        if needed <= self.length
            && let Some((name, file)) = self.take_ready()?
        {
            return Ok((name, file, self.length));
        }
        // One that is being made is waited for.
        let _alone = self.making();
        if needed <= self.length
            && let Some((name, file)) = self.take_ready()?
        {
            return Ok((name, file, self.length));
        }
        let length = needed.max(self.length);
        let (name, file) = self.make(length)?;
        Ok((name, file, length))
    }

    /// A spare, if there is one.
    fn take_ready(&self) -> io::Result<Option<(String, Arc<dyn LogFile>)>> {
        if self.lock().ready.is_empty() {
            self.wake()?;
        }
        while let Some(name) = { self.lock().ready.pop() } {
            match self.files.open(&name) {
                Ok(file) => return Ok(Some((name, file))),
                // One that was removed from outside is not worth an error.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    self.lock().ready.push(name);
                    return Err(error);
                }
            }
        }
        Ok(None)
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

    fn prepare(&self) -> Result<(), LogError> {
        self.wake().map_err(LogError::during("syncing the directory of the commit log"))?;
        let _alone = self.making();
        if self.lock().ready.is_empty() {
            // Nothing of the log is in it: the log finds out by itself whether it can do without.
            let made = self.make(self.length);
            let (name, _) = made.map_err(|error| LogError::Scarce { cause: error.to_string() })?;
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
    fn make(&self, length: u64) -> io::Result<(String, Arc<dyn LogFile>)> {
        let name = self.lock().next_name();
        let unfinished = format!("{name}{UNFINISHED}");
        let file = self.files.create(&unfinished, length)?;
        self.files.rename(&unfinished, &name)?;
        Ok((name, file))
    }

    fn making(&self) -> MutexGuard<'_, ()> {
        self.making.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Whether a name is one that this program gives.
fn is_spare(name: &str) -> bool {
    let number = name.strip_prefix(PREFIX).map(|name| name.strip_suffix(UNFINISHED).unwrap_or(name));
    number.is_some_and(|number| number.parse::<u64>().is_ok_and(|parsed| parsed.to_string() == number))
}

const PREFIX: &str = "spare-";
const UNFINISHED: &str = ".new";

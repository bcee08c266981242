//! A disk whose fsyncs take longer: the operating system's files, and a sleep behind every fsync.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use starling_storage::durable::OpenFiles;
use starling_storage::files::{Files, LogFile, OsFiles};

/// Files of a slow disk.
#[derive(Debug)]
pub struct SlowFiles {
    files: OsFiles,
    delay: Duration,
}

#[derive(Debug)]
struct SlowFile {
    file: Arc<dyn LogFile>,
    delay: Duration,
}

/// The delay of the slow disk at the end of an fsync.
#[expect(clippy::disallowed_methods, reason = "it is the disk that sleeps")]
pub fn linger(delay: Duration) {
    if !delay.is_zero() {
        std::thread::sleep(delay);
    }
}

impl SlowFiles {
    /// Opens directories of a disk whose fsyncs take `delay` longer.
    pub fn opener(delay: Duration) -> OpenFiles {
        Arc::new(move |dir: &Path| Ok(Arc::new(Self { files: OsFiles::open(dir)?, delay })))
    }

    fn slow(&self, file: Arc<dyn LogFile>) -> Arc<dyn LogFile> {
        Arc::new(SlowFile { file, delay: self.delay })
    }
}

impl Files for SlowFiles {
    fn list(&self) -> io::Result<Vec<String>> {
        self.files.list()
    }

    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn LogFile>> {
        Ok(self.slow(self.files.create(name, length)?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        Ok(self.slow(self.files.open(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.files.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.files.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.files.sync_directory()
    }
}

impl LogFile for SlowFile {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()?;
        linger(self.delay);
        Ok(())
    }
}

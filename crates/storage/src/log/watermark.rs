//! The last acknowledged sequence, in a small file that is never synced: it can only lag.
//!
//! ```text
//! slot = magic u64 | store u64 | sequence u64 | xxh3-64 of these      at 0 and at 4096
//! ```
//! The slots take turns, a page apart, so that a torn write leaves the older one.

use std::io;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::error::LogError;
use super::opening::Reading;
use super::ruin;
use super::sequence::Sequence;
use crate::files::{Files, LogFile, read_all};

/// The watermark of an open store.
#[derive(Debug)]
pub(crate) struct Watermark {
    file: Arc<dyn LogFile>,
    store: u64,
    slot: usize,
    highest: Sequence,
}

impl Watermark {
    /// Opens the watermark among `files`, and says what it was: none if it is not there or damaged. A new one is
    /// durable, and 0, before this returns: from then on its absence means that it was lost.
    ///
    /// # Errors
    /// If it can be neither opened nor made, or not read: unless that was given up.
    pub(crate) fn open(
        files: Arc<dyn Files>,
        store: u64,
        reading: &Reading,
    ) -> Result<(Self, Option<Sequence>), LogError> {
        let failed = LogError::during("opening the watermark");
        let read = reading.patience.try_read(|| Self::read(files.open(FILE)?, store));
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) if reading.given_up.contains(FILE) => {
                ruin::set_aside(&*files, FILE).map_err(&failed)?;
            }
            read => return read.map_err(LogError::reading(FILE)),
        }
        Ok((Self::create(&*files, store).map_err(failed)?, None))
    }

    /// Reads the watermark among `files`. Changes nothing.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn inspect(files: &dyn Files, store: u64) -> Result<Option<Sequence>, LogError> {
        match files.open(FILE).and_then(|file| Self::read(file, store)) {
            Ok((_, found)) => Ok(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(LogError::reading(FILE)(error)),
        }
    }

    /// Batches up to `sequence` are acknowledged, synced or not: if one of them is missing later, that is a loss. Lower
    /// ones than before change nothing.
    ///
    /// # Errors
    /// If it cannot be written. It lags then, which does no harm by itself.
    pub(crate) fn record(&mut self, sequence: Sequence) -> Result<(), LogError> {
        if sequence <= self.highest {
            return Ok(());
        }
        let (offset, bytes) = (SLOTS[self.slot], encode(self.store, sequence));
        self.file.write_at(offset as u64, &bytes).map_err(LogError::during("writing the watermark"))?;
        (self.slot, self.highest) = (1 - self.slot, sequence);
        Ok(())
    }

    fn read(file: Arc<dyn LogFile>, store: u64) -> io::Result<(Self, Option<Sequence>)> {
        let bytes = read_all(&*file)?;
        let [one, other] = SLOTS.map(|slot| decode(store, bytes.get(slot..).unwrap_or_default()));
        let found = one.max(other);
        let slot = usize::from(one > other);
        Ok((Self { file, store, slot, highest: found.unwrap_or_default() }, found))
    }

    fn create(files: &dyn Files, store: u64) -> io::Result<Self> {
        let file = files.create(NEW_FILE, FILE_BYTES)?;
        file.write_at(0, &encode(store, Sequence(0)))?;
        file.sync_data()?;
        files.rename(NEW_FILE, FILE)?;
        files.sync_directory()?;
        Ok(Self { file, store, slot: 1, highest: Sequence(0) })
    }
}

fn encode(store: u64, sequence: Sequence) -> [u8; SLOT_BYTES] {
    let mut bytes = [0; SLOT_BYTES];
    for (bytes, word) in bytes.chunks_exact_mut(8).zip([MAGIC, store, sequence.0]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    let sum = xxh3_64(&bytes[..SLOT_BYTES - 8]);
    bytes[SLOT_BYTES - 8..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn decode(store: u64, bytes: &[u8]) -> Option<Sequence> {
    let slot: &[u8; SLOT_BYTES] = bytes.first_chunk()?;
    let sequence = Sequence(u64::from_le_bytes(*slot[16..].first_chunk()?));
    (encode(store, sequence) == *slot).then_some(sequence)
}

const FILE: &str = "watermark";
const NEW_FILE: &str = "watermark.new";
const MAGIC: u64 = u64::from_le_bytes(*b"SLmark1\0");
const SLOT_BYTES: usize = 32;
const SLOTS: [usize; 2] = [0, 4096];
const FILE_BYTES: u64 = 8192;

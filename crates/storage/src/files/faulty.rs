//! A disk in memory that fails on demand, and the same way each time.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Files, LogFile};

/// The fate of writes that were not synced when the power is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsynced {
    /// All are lost.
    Lost,
    /// All are kept: only the process ended.
    Kept,
    /// Any of the sectors and directory entries are kept, as the seed has it, in no order.
    Torn,
}

/// How a write fails. None of them is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteFault {
    /// No space; nothing is written.
    NoSpace,
    /// No space after the first half.
    Short,
    /// The device fails; nothing is written.
    Io,
}

/// A directory in memory, for tests and the simulator. It keeps apart what was written and what would survive a power
/// cut, in sectors of 512 bytes, and fails in the ways that disks do. Deterministic: all chance comes from the seed.
/// Clones are the same disk.
#[derive(Debug, Clone)]
pub struct FaultyFiles {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Debug, Default)]
struct Disk {
    random: u64,
    /// Counts the power cuts: what was opened before one is of no use after it.
    epoch: u64,
    next_inode: u64,
    inodes: BTreeMap<u64, Inode>,
    entries: BTreeMap<String, u64>,
    durable_entries: BTreeMap<String, u64>,
    pending: Vec<Change>,
    faults: Faults,
}

#[derive(Debug, Default)]
struct Inode {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
    unreadable: BTreeSet<usize>,
}

/// A change of the directory that is not durable yet.
#[derive(Debug)]
enum Change {
    Link(String, u64),
    Rename { from: String, to: String, inode: u64 },
    Unlink(String),
}

#[derive(Debug, Default)]
struct Faults {
    write: Option<WriteFault>,
    sync: bool,
    directory_sync: bool,
    full: bool,
    /// So many reads fail.
    reads: u32,
    /// How the next call that needs a descriptor fails.
    descriptor: Option<i32>,
}

impl FaultyFiles {
    /// An empty directory.
    pub fn new(seed: u64) -> Self {
        Self { disk: Arc::new(Mutex::new(Disk { random: seed, ..Disk::default() })) }
    }

    /// Cuts the power, and brings it back. Files that were open fail from now on; faults that were still to come do not.
    pub fn crash(&self, unsynced: Unsynced) {
        let mut disk = self.lock();
        disk.crash(unsynced);
        disk.epoch += 1;
        disk.faults = Faults::default();
    }

    /// The next write fails.
    pub fn fail_next_write(&self, fault: WriteFault) {
        self.lock().faults.write = Some(fault);
    }

    /// The next sync of a file fails: what it was to make durable is not, and counts as written from then on, so that
    /// another sync will claim success. Reads give what was written, until the power is cut.
    pub fn fail_next_sync(&self) {
        self.lock().faults.sync = true;
    }

    /// The next sync of the directory fails.
    pub fn fail_next_directory_sync(&self) {
        self.lock().faults.directory_sync = true;
    }

    /// The next so many reads fail, of any file, and what is on the disk is whole: a path to it fails over.
    pub fn fail_next_reads(&self, reads: u32) {
        self.lock().faults.reads = reads;
    }

    /// The next file to be opened or made is not, with this error of the system's (24: too many open files).
    pub fn fail_next_open(&self, code: i32) {
        self.lock().faults.descriptor = Some(code);
    }

    /// Whether there is room for new files.
    pub fn set_full(&self, full: bool) {
        self.lock().faults.full = full;
    }

    /// Damages a byte on the disk, if it is there.
    pub fn flip(&self, name: &str, offset: usize, mask: u8) {
        self.change(name, |bytes| bytes.get_mut(offset).into_iter().for_each(|byte| *byte ^= mask));
    }

    /// Cuts a file off, if it is there.
    pub fn truncate(&self, name: &str, length: usize) {
        self.change(name, |bytes| bytes.truncate(length));
    }

    /// Puts other bytes in the place of a file, there or not.
    pub fn put(&self, name: &str, contents: &[u8]) {
        let mut disk = self.lock();
        let inode = disk.link_new(name, contents.to_vec());
        disk.durable_entries.insert(name.into(), inode);
    }

    /// Removes a file as if it had never been there.
    pub fn lose(&self, name: &str) {
        let mut disk = self.lock();
        disk.entries.remove(name);
        disk.durable_entries.remove(name);
    }

    /// All that could not be read can be read again, as it was.
    pub fn heal(&self) {
        let mut disk = self.lock();
        disk.faults.reads = 0;
        disk.inodes.values_mut().for_each(|inode| inode.unreadable.clear());
    }

    /// Makes the sector at `offset` unreadable until it is written again, or the disk heals.
    pub fn spoil(&self, name: &str, offset: usize) {
        let mut disk = self.lock();
        if let Some(inode) = disk.entries.get(name).copied().and_then(|inode| disk.inodes.get_mut(&inode)) {
            inode.unreadable.insert(offset / SECTOR);
        }
    }

    /// The present bytes of a file, if it is there.
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let disk = self.lock();
        disk.entries.get(name).and_then(|inode| disk.inodes.get(inode)).map(|inode| inode.bytes.clone())
    }

    fn change(&self, name: &str, change: impl Fn(&mut Vec<u8>)) {
        let mut disk = self.lock();
        let inode = disk.entries.get(name).copied();
        if let Some(inode) = inode.and_then(|inode| disk.inodes.get_mut(&inode)) {
            change(&mut inode.bytes);
            change(&mut inode.durable);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, disk: &Disk, inode: u64) -> Arc<dyn LogFile> {
        Arc::new(FaultyFile { disk: self.disk.clone(), epoch: disk.epoch, inode })
    }
}

impl Files for FaultyFiles {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().entries.keys().cloned().collect())
    }

    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn LogFile>> {
        let mut disk = self.lock();
        disk.take_descriptor()?;
        if disk.faults.full {
            return Err(ErrorKind::StorageFull.into());
        }
        let inode = disk.link_new(name, vec![0; length as usize]);
        disk.pending.push(Change::Link(name.into(), inode));
        Ok(self.file(&disk, inode))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let mut disk = self.lock();
        let inode = *disk.entries.get(name).ok_or(ErrorKind::NotFound)?;
        disk.take_descriptor()?;
        Ok(self.file(&disk, inode))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.lock();
        let inode = disk.entries.remove(from).ok_or(ErrorKind::NotFound)?;
        disk.entries.insert(to.into(), inode);
        disk.pending.push(Change::Rename { from: from.into(), to: to.into(), inode });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.lock();
        disk.entries.remove(name).ok_or(ErrorKind::NotFound)?;
        disk.pending.push(Change::Unlink(name.into()));
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut disk = self.lock();
        if std::mem::take(&mut disk.faults.directory_sync) {
            // As with files: what was to become durable is forgotten.
            disk.pending.clear();
            return Err(broken());
        }
        let pending = std::mem::take(&mut disk.pending);
        pending.into_iter().for_each(|change| disk.settle(change));
        Ok(())
    }
}

impl Disk {
    /// A new file whose bytes are durable, while its name is not.
    fn link_new(&mut self, name: &str, bytes: Vec<u8>) -> u64 {
        self.next_inode += 1;
        let inode = Inode { durable: bytes.clone(), bytes, ..Inode::default() };
        self.inodes.insert(self.next_inode, inode);
        self.entries.insert(name.into(), self.next_inode);
        self.next_inode
    }

    fn take_descriptor(&mut self) -> io::Result<()> {
        self.faults.descriptor.take().map_or(Ok(()), |code| Err(io::Error::from_raw_os_error(code)))
    }

    fn settle(&mut self, change: Change) {
        match change {
            Change::Link(name, inode) => drop(self.durable_entries.insert(name, inode)),
            Change::Unlink(name) => drop(self.durable_entries.remove(&name)),
            Change::Rename { from, to, inode } => {
                self.durable_entries.remove(&from);
                self.durable_entries.insert(to, inode);
            }
        }
    }

    fn crash(&mut self, unsynced: Unsynced) {
        let mut random = self.random;
        let mut is_kept = || match unsynced {
            Unsynced::Lost => false,
            Unsynced::Kept => true,
            Unsynced::Torn => next(&mut random).is_multiple_of(2),
        };
        for change in std::mem::take(&mut self.pending) {
            if is_kept() {
                self.settle(change);
            }
        }
        // The end of a process alone takes nothing, not even what a failed sync left in memory only.
        if unsynced != Unsynced::Kept {
            self.inodes.values_mut().for_each(|inode| inode.crash(&mut is_kept));
            self.entries = self.durable_entries.clone();
        }
        self.random = random;
    }

    fn inode(&mut self, file: &FaultyFile) -> io::Result<&mut Inode> {
        if self.epoch != file.epoch {
            return Err(io::Error::other("the power was cut after this file was opened"));
        }
        self.inodes.get_mut(&file.inode).ok_or(ErrorKind::NotFound.into())
    }
}

impl Inode {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        self.bytes.resize(self.bytes.len().max(end), 0);
        self.bytes[offset..end].copy_from_slice(bytes);
        for sector in offset / SECTOR..=(end - 1) / SECTOR {
            self.dirty.insert(sector);
            self.unreadable.remove(&sector);
        }
    }

    fn sync(&mut self) {
        while let Some(sector) = self.dirty.pop_first() {
            self.settle(sector);
        }
    }

    fn crash(&mut self, is_kept: &mut impl FnMut() -> bool) {
        while let Some(sector) = self.dirty.pop_first() {
            if is_kept() {
                self.settle(sector);
            }
        }
        self.bytes.clone_from(&self.durable);
    }

    fn settle(&mut self, sector: usize) {
        let range = sector * SECTOR..((sector + 1) * SECTOR).min(self.bytes.len());
        self.durable.resize(self.durable.len().max(range.end), 0);
        self.durable[range.clone()].copy_from_slice(&self.bytes[range]);
    }
}

#[derive(Debug)]
struct FaultyFile {
    disk: Arc<Mutex<Disk>>,
    epoch: u64,
    inode: u64,
}

impl FaultyFile {
    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogFile for FaultyFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.lock().inode(self)?.bytes.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut disk = self.lock();
        if let Some(reads) = disk.faults.reads.checked_sub(1) {
            disk.faults.reads = reads;
            return Err(broken());
        }
        let inode = disk.inode(self)?;
        let start = inode.bytes.len().min(offset as usize);
        let end = inode.bytes.len().min(start + buffer.len());
        if inode.unreadable.range(start / SECTOR..end.div_ceil(SECTOR)).next().is_some() {
            return Err(broken());
        }
        buffer[..end - start].copy_from_slice(&inode.bytes[start..end]);
        Ok(end - start)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.lock();
        let fault = disk.faults.write.take();
        let inode = disk.inode(self)?;
        match fault {
            None => {
                inode.write(offset as usize, bytes);
                Ok(())
            }
            Some(WriteFault::NoSpace) => Err(ErrorKind::StorageFull.into()),
            Some(WriteFault::Short) => {
                inode.write(offset as usize, &bytes[..bytes.len() / 2]);
                Err(ErrorKind::StorageFull.into())
            }
            Some(WriteFault::Io) => Err(broken()),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.lock();
        let fails = std::mem::take(&mut disk.faults.sync);
        let inode = disk.inode(self)?;
        if fails {
            inode.dirty.clear();
            return Err(broken());
        }
        inode.sync();
        Ok(())
    }
}

fn broken() -> io::Error {
    io::Error::other("input/output error")
}

/// The next random number (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

const SECTOR: usize = 512;

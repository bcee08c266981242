//! A tree's manifest names its tables. The library writes a checksum of it and does not look at it again: a damaged number
//! of tables would make a tree that opens, and has lost them.

use std::io::Write as _;
use std::path::Path;
use std::{fs, io};

use xxhash_rust::xxh3::xxh3_128;

use crate::directory::sync_directory;

/// The number of the version in force in the tree in `dir`.
pub(super) fn in_force(dir: &Path) -> io::Result<u64> {
    let current = fs::read(dir.join("current"))?;
    current.first_chunk().map(|number| u64::from_le_bytes(*number)).ok_or(io::ErrorKind::InvalidData.into())
}

/// Whether the manifest of the tree in `dir` is there, and as it was written. `current` holds the number of the version in
/// force (8 bytes, little-endian), the checksum of its file `vNUMBER` (16 bytes), and the kind of checksum (0).
///
/// # Errors
/// If it cannot be read.
pub(super) fn is_sound(dir: &Path) -> io::Result<bool> {
    let Some(current) = read(&dir.join("current"))? else { return Ok(false) };
    let (Some(version), Some([0])) = (current.first_chunk::<8>(), current.get(24..)) else {
        return Ok(false);
    };
    let manifest = read(&dir.join(format!("v{}", u64::from_le_bytes(*version))))?;
    Ok(manifest.is_some_and(|manifest| current[8..24] == xxh3_128(&manifest).to_le_bytes()))
}

/// The bytes of a file; none if it is not there.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A table as a manifest names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its number, which is the name of its file.
    pub(super) id: u64,
    /// The checksum of the file.
    pub(super) sum: u128,
    /// Added to the numbers of its rows; 0 in all tables made here.
    seqno: u64,
}

/// Levels of runs of tables. The version of a key in a run is newer than those in later ones.
pub(super) type Levels = Vec<Vec<Vec<Entry>>>;

impl Entry {
    pub(super) const fn new(id: u64, sum: u128) -> Self {
        Self { id, sum, seqno: 0 }
    }
}

/// The tables of the version in force of the tree in `dir`.
pub(super) fn levels(dir: &Path) -> io::Result<Levels> {
    let bytes = fs::read(dir.join(format!("v{}", in_force(dir)?)))?;
    decode(section(&bytes, TABLES)?)
}

/// Puts another version in force, durably, in which `exchange` names the tables that take the place of one, if it is to be
/// replaced. They must have no other keys than it had. Afterwards the manifest on disk is another than the one that the
/// library has in memory; after an error it may be. Gives a way back, as long as nobody has opened the tree.
pub(super) fn rewrite(dir: &Path, exchange: impl Fn(u64) -> Option<Vec<Entry>>) -> io::Result<Former> {
    let former = Former { current: fs::read(dir.join("current"))? };
    let number = in_force(dir)?;
    let bytes = fs::read(dir.join(format!("v{number}")))?;
    let mut levels = decode(section(&bytes, TABLES)?)?;
    for run in levels.iter_mut().flatten() {
        let exchanged = run.iter().flat_map(|entry| exchange(entry.id).unwrap_or_else(|| vec![*entry]));
        *run = exchanged.collect();
    }
    levels.iter_mut().for_each(|runs| runs.retain(|run| !run.is_empty()));
    let fresh = archive(&bytes, &encode(&levels))?;
    let next = number + 1;
    let version = dir.join(format!("v{next}"));
    let mut current = Vec::from(next.to_le_bytes());
    current.extend(xxh3_128(&fresh).to_le_bytes());
    current.push(0);
    let written = write_synced(&version, &fresh).and_then(|()| sync_directory(dir));
    if let Err(error) = written.and_then(|()| put_in_force(dir, &current)) {
        // Unless it came as far as to be in force.
        if in_force(dir).is_ok_and(|in_force| in_force == number) {
            let _ = fs::remove_file(&version);
        }
        return Err(error);
    }
    Ok(former)
}

/// The version that was in force before.
pub(super) struct Former {
    current: Vec<u8>,
}

impl Former {
    /// Puts it in force again, in the tree in `dir`.
    pub(super) fn restore(&self, dir: &Path) -> io::Result<()> {
        put_in_force(dir, &self.current)
    }
}

fn put_in_force(dir: &Path, current: &[u8]) -> io::Result<()> {
    let unfinished = dir.join("current.new");
    if let Err(error) = write_synced(&unfinished, current) {
        let _ = fs::remove_file(&unfinished);
        return Err(error);
    }
    fs::rename(&unfinished, dir.join("current"))?;
    sync_directory(dir)
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// The same archive with other tables.
fn archive(bytes: &[u8], tables: &[u8]) -> io::Result<Vec<u8>> {
    let reader = sfa::Reader::from_reader(&mut io::Cursor::new(bytes)).map_err(unreadable)?;
    let mut writer = sfa::Writer::from_writer(io::Cursor::new(Vec::new()));
    for entry in reader.toc().iter() {
        writer.start(entry.name().to_vec())?;
        match entry.name() == TABLES {
            true => writer.write_all(tables)?,
            false => writer.write_all(part(bytes, entry)?)?,
        }
    }
    writer.into_inner().map(io::Cursor::into_inner).map_err(unreadable)
}

fn section<'a>(bytes: &'a [u8], name: &[u8]) -> io::Result<&'a [u8]> {
    let reader = sfa::Reader::from_reader(&mut io::Cursor::new(bytes)).map_err(unreadable)?;
    reader.toc().section(name).ok_or_else(cut_short).and_then(|entry| part(bytes, entry))
}

fn part<'a>(bytes: &'a [u8], entry: &sfa::TocEntry) -> io::Result<&'a [u8]> {
    let (from, length) = (entry.pos() as usize, entry.len() as usize);
    bytes.get(from..).and_then(|rest| rest.get(..length)).ok_or_else(cut_short)
}

/// The number of levels (one byte), and for each of runs (one byte), and for each of tables (four, little-endian), and for
/// each its number (8), kind of checksum (1, 0), checksum (16), and what is added to the numbers of its rows (8).
fn decode(mut bytes: &[u8]) -> io::Result<Levels> {
    let take =
        |bytes: &mut &[u8], count: usize| bytes.split_off(..count).map(<[u8]>::to_vec).ok_or_else(cut_short);
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0u128, |sum, byte| sum << 8 | u128::from(*byte));
    let mut levels = Levels::new();
    for _ in 0..take(&mut bytes, 1)?[0] {
        let mut runs = Vec::new();
        for _ in 0..take(&mut bytes, 1)?[0] {
            let tables = number(&take(&mut bytes, 4)?);
            let entry = |entry: Vec<u8>| Entry {
                id: number(&entry[..8]) as u64,
                sum: number(&entry[9..25]),
                seqno: number(&entry[25..]) as u64,
            };
            let run = (0..tables).map(|_| take(&mut bytes, ENTRY).map(entry));
            runs.push(run.collect::<io::Result<Vec<Entry>>>()?);
        }
        levels.push(runs);
    }
    Ok(levels)
}

fn encode(levels: &Levels) -> Vec<u8> {
    let mut bytes = vec![levels.len() as u8];
    for runs in levels {
        bytes.push(runs.len() as u8);
        for run in runs {
            bytes.extend((run.len() as u32).to_le_bytes());
            for entry in run {
                bytes.extend(entry.id.to_le_bytes());
                bytes.push(0);
                bytes.extend(entry.sum.to_le_bytes());
                bytes.extend(entry.seqno.to_le_bytes());
            }
        }
    }
    bytes
}

fn cut_short() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the manifest is not what it should be")
}

fn unreadable(error: sfa::Error) -> io::Error {
    match error {
        sfa::Error::Io(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, format!("{other:?}")),
    }
}

const TABLES: &[u8] = b"tables";
/// Bytes of a table in the manifest.
const ENTRY: usize = 33;

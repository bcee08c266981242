//! Reading a backup: every byte against its checksum.

use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use crate::error::BackupError;
use crate::frame::{self, FRAME_HEADER, FrameError, FrameIndex, HEAD, Row};
use crate::manifest::{Amounts, Chunk, Manifest};

/// A backup to read.
#[derive(Debug)]
pub struct Reader {
    dir: PathBuf,
    manifest: Manifest,
}

/// A part of a backup that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub chunk: String,
    /// The fault there.
    pub flaw: Flaw,
}

/// A fault in a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// It is not there, or its beginning is not that of a chunk, or the system does not read it.
    Unreadable(String),
    /// A row is lost.
    Frame {
        /// The frame, counted from 0.
        frame: u32,
        /// Where it begins.
        at: u64,
        /// The fault.
        why: &'static str,
        /// Whether the rest of the chunk is lost with it.
        rest: bool,
    },
    /// The frames are in order, but not those that the manifest counted.
    Other {
        /// The fault.
        why: String,
    },
}

/// The result of reading the whole backup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Rows that could be read.
    pub totals: Amounts,
    /// Damage, as far as it fits.
    pub damage: Vec<Damage>,
    /// Damage that did not fit.
    pub more: u64,
}

impl Verdict {
    /// Whether all is as it was written.
    pub const fn is_whole(&self) -> bool {
        self.damage.is_empty()
    }

    /// Takes note of one.
    pub fn note(&mut self, damage: Damage) {
        match self.damage.len() < MOST_DAMAGE {
            true => self.damage.push(damage),
            false => self.more += 1,
        }
    }
}

impl Reader {
    /// The backup in `dir`.
    ///
    /// # Errors
    /// If there is none, or its manifest cannot be trusted.
    pub fn open(dir: &Path) -> Result<Self, BackupError> {
        let manifest = Manifest::load(dir)?.ok_or_else(|| BackupError::NoBackup { dir: dir.into() })?;
        Ok(Self { dir: dir.into(), manifest })
    }

    /// Its manifest.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// All rows in their order, and what is damaged between them. Reading goes on behind damage.
    pub fn rows(&self) -> impl Iterator<Item = Result<Row, Damage>> {
        let chunks = self.manifest.chunks.iter().enumerate();
        chunks.flat_map(|(before, chunk)| {
            ChunkRows::open(&self.dir, chunk, u32::try_from(before + 1).unwrap_or(u32::MAX))
        })
    }

    /// Reads everything, against every checksum and count; shows each row to `look`.
    pub fn verify(&self, mut look: impl FnMut(&Row)) -> Verdict {
        let mut verdict = Verdict::default();
        for row in self.rows() {
            match row {
                Ok(row) => {
                    verdict.totals.count(row.namespace, row.size());
                    look(&row);
                }
                Err(damage) => verdict.note(damage),
            }
        }
        if verdict.is_whole() && verdict.totals != self.manifest.totals {
            let why = "it counts other rows than its chunks hold".into();
            verdict.note(Damage { chunk: crate::manifest::FILE.into(), flaw: Flaw::Other { why } });
        }
        verdict
    }
}

/// The rows of one chunk.
struct ChunkRows {
    chunk: Chunk,
    place: FrameIndex,
    at: u64,
    length: u64,
    lost_rows: bool,
    /// None when there is nothing left to say.
    file: Option<Hashing>,
    /// Why the chunk cannot be read at all.
    unreadable: Option<String>,
}

struct Hashing {
    file: BufReader<File>,
    sum: Xxh3,
}

impl Read for Hashing {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(out)?;
        self.sum.update(&out[..read]);
        Ok(read)
    }
}

impl ChunkRows {
    fn open(dir: &Path, chunk: &Chunk, number: u32) -> Self {
        let opened = match chunk.file == Chunk::name(number) {
            true => open(&dir.join(&chunk.file)),
            false => Err("the manifest names the chunks out of order".into()),
        };
        let (file, length, unreadable) = match opened {
            Ok((file, length)) => (Some(file), length, None),
            Err(why) => (None, 0, Some(why)),
        };
        let place = FrameIndex { chunk: number, frame: 0 };
        Self {
            chunk: chunk.clone(),
            place,
            at: HEAD.len() as u64,
            length,
            lost_rows: false,
            file,
            unreadable,
        }
    }

    fn damage(&self, flaw: Flaw) -> Damage {
        Damage { chunk: self.chunk.file.clone(), flaw }
    }

    /// The end of the frames: is it the chunk that was written?
    fn end(&mut self, file: &Hashing) -> Option<Damage> {
        let sum = format!("{:032x}", file.sum.digest128());
        let Chunk { bytes, rows, xxh3, .. } = &self.chunk;
        let why = if self.length != *bytes {
            format!("it has {} bytes, and {bytes} were written", self.length)
        } else if self.lost_rows {
            // Each was named.
            return None;
        } else if self.place.frame != *rows {
            format!("it holds {} rows, and {rows} were written", self.place.frame)
        } else if sum != *xxh3 {
            format!("its checksum is {sum}, and that of what was written {xxh3}")
        } else {
            return None;
        };
        Some(self.damage(Flaw::Other { why }))
    }

    fn row(&mut self, file: &mut Hashing) -> Step {
        let (place, at) = (self.place, self.at);
        let flaw = |why, rest| Flaw::Frame { frame: place.frame, at, why, rest };
        match frame::read(file, place, self.length.saturating_sub(at)) {
            Ok(None) => Step::End,
            Ok(Some(row)) => {
                self.pass(3 + row.key.len() + row.value.len());
                Step::Row(row)
            }
            Err(FrameError::Body(why, length)) => {
                self.pass(length);
                self.lost_rows = true;
                Step::Damaged(self.damage(flaw(why, false)))
            }
            Err(FrameError::Lost(why)) => Step::Lost(self.damage(flaw(why, true))),
            Err(FrameError::Io(error)) => Step::Lost(self.damage(Flaw::Unreadable(error.to_string()))),
        }
    }

    fn pass(&mut self, body: usize) {
        self.at += (FRAME_HEADER + body) as u64;
        self.place.frame += 1;
    }
}

enum Step {
    Row(Row),
    Damaged(Damage),
    /// The rest of the chunk is out of reach.
    Lost(Damage),
    End,
}

impl Iterator for ChunkRows {
    type Item = Result<Row, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(why) = self.unreadable.take() {
            return Some(Err(self.damage(Flaw::Unreadable(why))));
        }
        let mut file = self.file.take()?;
        let item = match self.row(&mut file) {
            Step::Row(row) => Ok(row),
            Step::Damaged(damage) => Err(damage),
            Step::Lost(damage) => return Some(Err(damage)),
            Step::End => return self.end(&file).map(Err),
        };
        self.file = Some(file);
        Some(item)
    }
}

fn open(path: &Path) -> Result<(Hashing, u64), String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    let length = file.metadata().map_err(|e| e.to_string())?.len();
    let mut file = Hashing { file: BufReader::with_capacity(1 << 18, file), sum: Xxh3::new() };
    let mut head = [0; HEAD.len()];
    file.read_exact(&mut head).map_err(|e| e.to_string())?;
    match head == *HEAD {
        true => Ok((file, length)),
        false if head.starts_with(HEAD_WORDS) => {
            let version = String::from_utf8_lossy(&head[HEAD_WORDS.len()..]);
            Err(format!(
                "it has format {}, and this version reads format 1: use the version that wrote it",
                version.trim()
            ))
        }
        false => Err("it does not begin as a chunk does".into()),
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.chunk, self.flaw)
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(why) => write!(f, "it cannot be read: {why}"),
            Self::Other { why } => f.write_str(why),
            Self::Frame { frame, at, why, rest } => {
                write!(f, "row {frame} at byte {at}: {why}")?;
                if *rest { f.write_str("; the rest of the chunk is lost with it") } else { Ok(()) }
            }
        }
    }
}

const HEAD_WORDS: &[u8] = b"starling rows ";
const MOST_DAMAGE: usize = 1_000;

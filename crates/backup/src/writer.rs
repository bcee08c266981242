//! Writing a backup, from its beginning or from where an earlier run was cut off.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use starling_types::BucketName;
use starling_types::row::{Page, Space};
use xxhash_rust::xxh3::Xxh3;

use crate::error::BackupError;
use crate::files;
use crate::frame::{self, FrameIndex, HEAD, Row};
use crate::manifest::{Amounts, Base64, Chunk, Cursor, FILE, FORMATS, Gap, Manifest, Origin, State};
use crate::utc::Utc;

/// Bytes from which on a chunk is full: what a run that is cut off has to read again.
pub const CHUNK_BYTES: u64 = 64 << 20;

/// A backup under way.
#[derive(Debug)]
pub struct Writer {
    dir: PathBuf,
    manifest: Manifest,
    /// The manifest once the open chunk is complete.
    ahead: Manifest,
    chunk: Option<OpenChunk>,
    chunk_bytes: u64,
    _lock: File,
}

#[derive(Debug)]
struct OpenChunk {
    number: u32,
    rows: u32,
    file: Hashed,
}

/// A file, and the checksum of what was written to it.
struct Hashed {
    file: BufWriter<File>,
    sum: Xxh3,
    bytes: u64,
}

impl Writer {
    /// Where a run into `dir` has to begin to read: at the start, or where an earlier run was cut off.
    ///
    /// # Errors
    /// If `dir` holds a complete backup, or anything else that is in the way.
    pub fn cursor_in(dir: &Path) -> Result<Cursor, BackupError> {
        Ok(begun(dir)?.and_then(|manifest| manifest.cursor).unwrap_or(Cursor::START))
    }

    /// Begins a backup of `origin` in `dir`, made if it is not there, or goes on with one that was cut off.
    ///
    /// # Errors
    /// As [`Writer::cursor_in`], and if the backup that was begun there is of something else.
    pub fn begin(
        dir: &Path,
        origin: Origin,
        buckets: Option<Vec<BucketName>>,
        now: Utc,
    ) -> Result<Self, BackupError> {
        // A directory that is not ours is refused before anything is made in it.
        begun(dir)?;
        fs::create_dir_all(dir).map_err(BackupError::io("creating", dir))?;
        files::sync_parent(dir).map_err(BackupError::io("creating", dir))?;
        let lock = lock(dir)?;
        // Under the lock: another run may just have finished it.
        let earlier = begun(dir)?;
        if let Some(earlier) = &earlier {
            check_same(dir, earlier, &origin, buckets.as_deref())?;
        }
        let mut manifest = earlier.unwrap_or_else(|| empty(origin.clone(), buckets, now));
        // A restart in between gives the node another generation and perhaps another layout.
        manifest.origin = origin;
        manifest.runs += 1;
        manifest.store(dir)?;
        let ahead = manifest.clone();
        Ok(Self { dir: dir.into(), manifest, ahead, chunk: None, chunk_bytes: CHUNK_BYTES, _lock: lock })
    }

    /// Makes chunks of another size.
    #[must_use]
    pub const fn with_chunk_bytes(mut self, bytes: u64) -> Self {
        self.chunk_bytes = bytes;
        self
    }

    /// The chunks that are safely written, and how often the backup was begun.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The rows written, whether they are safe already or not.
    pub const fn progress(&self) -> &Amounts {
        &self.ahead.totals
    }

    /// The row that is wanted next; none when there is none left.
    pub const fn cursor(&self) -> Option<&Cursor> {
        self.ahead.cursor.as_ref()
    }

    /// Adds a page of a namespace: the one at [`Writer::cursor`].
    ///
    /// # Errors
    /// If the operating system refuses. The backup stays as it was at the end of its last chunk.
    pub fn append(&mut self, namespace: Space, page: Page) -> Result<(), BackupError> {
        if self.ahead.first_sequence == 0 {
            self.ahead.first_sequence = page.sequence;
        }
        self.ahead.last_sequence = self.ahead.last_sequence.max(page.sequence);
        self.ahead.unreadable.extend(page.damaged.iter().map(|range| Gap {
            namespace,
            start: range.start().clone(),
            end: range.end().cloned().map(Base64),
        }));
        for (key, value) in page.rows {
            self.row(Row { namespace, key, value })?;
        }
        self.ahead.cursor = Cursor::behind(namespace, page.next);
        match &self.chunk {
            Some(chunk) if chunk.file.bytes >= self.chunk_bytes => self.finish_chunk(),
            _ => Ok(()),
        }
    }

    /// The node was read to the end: the backup is complete.
    ///
    /// # Errors
    /// As [`Writer::append`].
    pub fn finish(mut self, now: Utc) -> Result<Manifest, BackupError> {
        self.ahead.state = State::Complete;
        self.ahead.ended_at = Some(now);
        self.ahead.cursor = None;
        self.finish_chunk()?;
        Ok(self.manifest)
    }

    fn row(&mut self, row: Row) -> Result<(), BackupError> {
        let chunk = match &mut self.chunk {
            Some(chunk) => chunk,
            none => none.insert(OpenChunk::create(&self.dir, self.ahead.chunks.len())?),
        };
        let place = FrameIndex { chunk: chunk.number, frame: chunk.rows };
        let path = self.dir.join(Chunk::name(chunk.number));
        frame::write(&mut chunk.file, place, &row).map_err(BackupError::io("writing", &path))?;
        chunk.rows += 1;
        self.ahead.totals.count(row.namespace, row.size());
        Ok(())
    }

    /// Makes what was written durable, then says so.
    fn finish_chunk(&mut self) -> Result<(), BackupError> {
        if let Some(chunk) = self.chunk.take() {
            let path = self.dir.join(Chunk::name(chunk.number));
            let finished = chunk.finish().map_err(BackupError::io("writing", &path))?;
            files::sync_directory(&self.dir).map_err(BackupError::io("writing", &path))?;
            self.ahead.chunks.push(finished);
        }
        self.ahead.store(&self.dir)?;
        self.manifest = self.ahead.clone();
        Ok(())
    }
}

impl OpenChunk {
    /// In place of any chunk that an interrupted run left there.
    fn create(dir: &Path, before: usize) -> Result<Self, BackupError> {
        let number = u32::try_from(before + 1).unwrap_or(u32::MAX);
        let path = dir.join(Chunk::name(number));
        let failed = BackupError::io("writing", &path);
        let file = BufWriter::with_capacity(1 << 18, File::create(&path).map_err(&failed)?);
        let mut file = Hashed { file, sum: Xxh3::new(), bytes: 0 };
        file.write_all(HEAD).map_err(failed)?;
        Ok(Self { number, rows: 0, file })
    }

    fn finish(self) -> io::Result<Chunk> {
        let Hashed { file, sum, bytes } = self.file;
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        let xxh3 = format!("{:032x}", sum.digest128());
        Ok(Chunk { file: Chunk::name(self.number), bytes, rows: self.rows, xxh3 })
    }
}

impl fmt::Debug for Hashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hashed").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.sum.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The backup that was begun in `dir`; none if there is nothing.
fn begun(dir: &Path) -> Result<Option<Manifest>, BackupError> {
    match Manifest::load(dir)? {
        Some(manifest) if manifest.state == State::Complete => Err(BackupError::Complete { dir: dir.into() }),
        Some(manifest) => Ok(Some(manifest)),
        None => check_vacant(dir).map(|()| None),
    }
}

/// Nothing is there but what a run leaves that was cut off before its first manifest.
fn check_vacant(dir: &Path) -> Result<(), BackupError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(BackupError::io("reading", dir)(error)),
    };
    let ours = [LOCK.into(), Path::new(FILE).with_extension("new").into_os_string()];
    for entry in entries {
        let name = entry.map_err(BackupError::io("reading", dir))?.file_name();
        if !ours.contains(&name) {
            return Err(BackupError::Foreign { dir: dir.into() });
        }
    }
    Ok(())
}

fn check_same(
    dir: &Path,
    earlier: &Manifest,
    origin: &Origin,
    buckets: Option<&[BucketName]>,
) -> Result<(), BackupError> {
    let differs = if !earlier.origin.is_same_node(origin) {
        format!("this is node {} ({})", origin.node_id, origin.name)
    } else if earlier.buckets.as_deref() != buckets {
        "other buckets were asked for".into()
    } else {
        return Ok(());
    };
    Err(BackupError::OtherBackup { dir: dir.into(), begun: earlier.origin.node_id, differs })
}

fn empty(origin: Origin, buckets: Option<Vec<BucketName>>, now: Utc) -> Manifest {
    Manifest {
        format_version: FORMATS.newest,
        state: State::Partial,
        origin,
        buckets,
        begun_at: now,
        ended_at: None,
        runs: 0,
        first_sequence: 0,
        last_sequence: 0,
        totals: Amounts::default(),
        unreadable: Vec::new(),
        chunks: Vec::new(),
        cursor: Some(Cursor::START),
    }
}

fn lock(dir: &Path) -> Result<File, BackupError> {
    let path = dir.join(LOCK);
    let failed = BackupError::io("locking", &path);
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(&failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(BackupError::Busy { dir: dir.into() }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

const LOCK: &str = "LOCK";

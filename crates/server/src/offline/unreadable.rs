//! Bytes that the disk does not give are given up only by an operator, and a copy is kept of those that it does.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use starling_node::boot::suspect_everything;
use starling_storage::{Batch, Durability, DurableEngine, Engine, Options, Surroundings};
use starling_types::row::Space;
use starling_vnode::rows::META_CLEAN_STOP;

use super::shadow::{hold, keep_but};
use super::{OfflineError, Opened, SEGMENT};

/// The bytes that were given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenUp {
    /// Where the store is kept as it was, as far as it could be read.
    pub originals: PathBuf,
    /// The files, and how many bytes of each could not be read.
    pub files: Vec<(PathBuf, u64)>,
    /// The findings of the store's open, and its actions.
    pub opened: Opened,
}

/// Goes on without what cannot be read of some files of the store of a node that does not run: it counts as lost, and the
/// node asks the other owners for it. `name` is that of the directory beside the store in which it is kept as it was.
///
/// # Errors
/// If a file is no part of the store, or can be read; if others cannot be read either; if the operating system refuses.
/// Nothing was changed then, but for the copy.
pub fn give_up(dir: &Path, name: &str, files: &[PathBuf]) -> Result<GivenUp, OfflineError> {
    let held = hold(dir)?;
    let files = files.iter().map(|file| within(dir, file)).collect::<Result<BTreeSet<_>, _>>()?;
    if let Some(file) = files.iter().find(|file| is_readable(file)) {
        return Err(OfflineError::Readable { file: file.clone() });
    }
    let originals = dir.join(name);
    keep_but(dir, &originals, &files)?;
    let mut unread = Vec::new();
    for file in &files {
        let to = originals.join(file.strip_prefix(dir).unwrap_or(file));
        let lost = copy_readable(file, &to).map_err(OfflineError::io("copying what can be read of", file))?;
        unread.push((file.clone(), lost));
    }
    drop(held);
    let options = Options { log_segment_bytes: SEGMENT, ..Options::default() };
    let surroundings = Surroundings { given_up: files, ..Surroundings::default() };
    let engine = DurableEngine::open_in(dir, options, surroundings)?;
    let opened = Opened::of(engine.report());
    let mut mark = Batch::from_iter([suspect_everything()]);
    mark.delete(Space::Meta, META_CLEAN_STOP);
    engine.commit(&[mark], Durability::Synced)?;
    engine.close()?;
    Ok(GivenUp { originals, files: unread, opened })
}

/// The file as a path that begins with `dir`. Links are not followed.
fn within(dir: &Path, file: &Path) -> Result<PathBuf, OfflineError> {
    let stranger = || OfflineError::NoPart { file: file.into(), dir: dir.into() };
    let (parent, name) = file.parent().zip(file.file_name()).ok_or_else(stranger)?;
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let resolve = |path: &Path| fs::canonicalize(path).map_err(OfflineError::io("looking for", path));
    let place = resolve(parent)?;
    let place = place.strip_prefix(resolve(dir)?).map_err(|_| stranger())?.to_owned();
    let part = place.iter().next().and_then(|part| part.to_str());
    let file = dir.join(&place).join(name);
    let is_there = fs::symlink_metadata(&file).is_ok_and(|metadata| !metadata.is_dir());
    match part {
        Some("tables" | "log" | "meta") if is_there => Ok(file),
        _ => Err(stranger()),
    }
}

fn is_readable(file: &Path) -> bool {
    File::open(file).and_then(|mut file| io::copy(&mut file, &mut io::sink())).is_ok()
}

/// Copies what can be read, with zeros for the rest, and says how many bytes that are. A file that cannot even be opened
/// has no copy.
fn copy_readable(from: &Path, to: &Path) -> io::Result<u64> {
    let Ok(mut from) = File::open(from) else { return Ok(0) };
    let length = from.metadata()?.len();
    let mut to = File::create(to)?;
    let (mut at, mut unread, mut block) = (0, 0, vec![0; BLOCK as usize]);
    while at < length {
        let wanted = BLOCK.min(length - at);
        let piece = &mut block[..wanted as usize];
        if from.seek(SeekFrom::Start(at)).and_then(|_| from.read_exact(piece)).is_err() {
            piece.fill(0);
            unread += wanted;
        }
        to.write_all(piece)?;
        at += wanted;
    }
    to.sync_all()?;
    Ok(unread)
}

const BLOCK: u64 = 4096;

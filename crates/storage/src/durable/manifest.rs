//! A tree's manifest names its tables. The library writes a checksum of it and does not look at it again: a damaged number
//! of tables would make a tree that opens, and has lost them.

use std::path::Path;
use std::{fs, io};

use xxhash_rust::xxh3::xxh3_128;

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

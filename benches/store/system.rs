//! The system's figures about this process and a directory.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{Advice, fadvise};

/// Bytes of memory that no file backs.
pub fn anonymous_memory() -> Result<u64> {
    field("/proc/self/status", "RssAnon:").map(|kib| kib * 1_024)
}

/// Bytes that this process caused to be written to disks so far.
pub fn bytes_written() -> Result<u64> {
    field("/proc/self/io", "write_bytes:")
}

fn field(path: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number =
        line.and_then(|rest| rest.split_whitespace().next()).with_context(|| format!("{path}: {name}"))?;
    Ok(number.parse()?)
}

/// Bytes that the files below `dir` occupy.
pub fn disk_use(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    every_file(dir, &mut |path| {
        // One that was removed meanwhile occupies nothing.
        bytes += fs::metadata(path).map_or(0, |file| blocks(&file) * 512);
        Ok(())
    })?;
    Ok(bytes)
}

fn blocks(file: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(file)
}

/// Drops what the page cache holds of the files below `dir`, once it is on the disk.
pub fn drop_pages(dir: &Path) -> Result<()> {
    every_file(dir, &mut |path| {
        let file = File::open(path)?;
        file.sync_all()?;
        Ok(fadvise(&file, 0, None, Advice::DontNeed)?)
    })
}

fn every_file(dir: &Path, visit: &mut impl FnMut(&Path) -> Result<()>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        match path.is_dir() {
            true => every_file(&path, visit)?,
            false => visit(&path)?,
        }
    }
    Ok(())
}

/// Waits, for a store that cannot be asked.
#[cfg(feature = "rivals")]
#[expect(clippy::disallowed_methods, reason = "there is nothing to wait for")]
pub fn linger(span: std::time::Duration) {
    std::thread::sleep(span);
}

//! The baseline of the engine: a file that only grows. No tables, no order, no reads.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::Result;
use xxhash_rust::xxh3::xxh3_64;

use crate::Put;
use crate::serial::Place;

/// The file, and the group that is being written to it.
pub struct Log {
    file: File,
    buffer: Vec<u8>,
}

impl Log {
    /// A new file at `path`.
    pub fn create(path: &Path) -> Result<Self> {
        Ok(Self { file: File::create_new(path)?, buffer: Vec::new() })
    }
}

impl Place for Log {
    fn commit(&mut self, puts: &[Put]) -> Result<()> {
        self.buffer.clear();
        puts.iter().for_each(|put| frame(put, &mut self.buffer));
        self.file.write_all(&self.buffer)?;
        Ok(self.file.sync_data()?)
    }
}

/// Both lengths, the bytes, and a checksum over all of it.
fn frame(put: &Put, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&(put.key.len() as u32).to_le_bytes());
    out.extend_from_slice(&(put.value.len() as u32).to_le_bytes());
    out.extend_from_slice(&put.key);
    out.extend_from_slice(&put.value);
    let checksum = xxh3_64(&out[start..]);
    out.extend_from_slice(&checksum.to_le_bytes());
}

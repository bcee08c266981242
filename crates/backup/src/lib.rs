//! # Backup directories
//!
//! **Job.** The format of a backup: raw rows of one node's store, and the node's identity, in files of a directory.
//!
//! ```text
//! DIR/manifest.json        who, when, what, and a checksum of every other file; replaced whole, by rename
//! DIR/chunk-000001.rows    rows, each framed with its length and checksums
//! DIR/LOCK                 held while the backup is being written
//! ```
//!
//! **Invariants.** The manifest names a chunk only when all of it is on disk. A backup that was cut off goes on behind
//! the last chunk that the manifest names, in place of any files beyond it. Nothing is read that does not match its
//! checksum; what does not is named, chunk and frame, and what can be read beyond it is read. No input makes the reader
//! panic, or take more memory than the largest row.
//!
//! **Deliberately absent.** Where rows come from (`starling-cli` asks a node for them), what they mean and how they get
//! back into a store (`starling-server`). Private keys: a backup holds none.
//!
//! **How to read this crate.** [`manifest`] what a backup says of itself, [`frame`] one row in a chunk, [`writer`] and
//! [`reader`], [`error`]; below them `files` and [`utc`].

pub mod error;
mod files;
pub mod frame;
pub mod manifest;
pub mod reader;
#[cfg(test)]
mod tests;
pub mod utc;
pub mod writer;

pub use error::BackupError;
pub use frame::Row;
pub use manifest::{Amount, Amounts, Chunk, Cursor, Gap, Manifest, Origin, State};
pub use reader::{Damage, Flaw, Reader, Verdict};
pub use utc::Utc;
pub use writer::Writer;

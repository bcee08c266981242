//! Helpers that all tests of faults share.

use std::path::{Path, PathBuf};

use rand::SeedableRng;
use rand::rngs::StdRng;
use starling_storage::{DurableEngine, Options, StorageError};
use starling_sys::fork;
pub use starling_sys::or_skip;
use tempfile::TempDir;

pub mod child;
pub mod damage;

pub mod files;
pub mod judge;
pub mod ledger;
pub mod process;
pub mod workload;

/// Opens the store in `dir`, with little memory for reads so that they come from the files.
pub fn open(dir: &Path) -> Result<DurableEngine, StorageError> {
    let options = Options {
        cache_bytes: 1 << 20,
        write_buffer_bytes: 1 << 20,
        log_bytes: 8 << 20,
        log_segment_bytes: 4 << 20,
        ..Options::default()
    };
    // Or a store that was just closed may still be locked.
    fork::wait_for_forks();
    DurableEngine::open(dir, options)
}

/// Whether the open of `engine` found and reported that something is gone.
pub fn reported(engine: &DurableEngine) -> bool {
    engine.report().has_losses()
}

/// Whether an open was refused in a way that tells an operator that the store is damaged or not ours.
pub fn is_clear(refusal: &StorageError) -> bool {
    use StorageError::{Corrupt, Foreign, OtherFormat, Unreadable};
    matches!(refusal, Unreadable { .. } | Corrupt { .. } | Foreign { .. } | OtherFormat { .. })
}

/// A directory for many small stores, in memory where the system has a place for that.
pub fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// The data directory below `root`: two levels that the engine has to make.
pub fn data_dir(root: &Path) -> PathBuf {
    root.join("node/data")
}

/// The generator of a test, from a printed seed.
pub fn seeded(test: &str) -> (u64, StdRng) {
    let seed = number("STARLING_FAULT_SEED", 0x5eed);
    println!("{test}: STARLING_FAULT_SEED={seed}");
    (seed, StdRng::seed_from_u64(seed))
}

/// A number from the environment.
pub fn number(variable: &str, otherwise: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text:?}")),
        Err(_) => otherwise,
    }
}

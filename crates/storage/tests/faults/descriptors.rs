//! A process that has no descriptor left: nothing that was answered is lost, nothing is taken for damaged, and the store
//! goes on when there are some again.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use starling_storage::{Batch, Durability, DurableEngine, Engine, StorageError};
use starling_types::row::Space;

use crate::common::process::run_alone;
use crate::common::{data_dir, open};

#[test]
fn want_of_descriptors_refuses_and_passes() {
    run_alone("starving");
}

/// The test of [`want_of_descriptors_refuses_and_passes`], in a process of its own.
pub fn starve() {
    let home = tempfile::tempdir().unwrap();
    let dir = data_dir(home.path());
    let engine = open(&dir).unwrap();
    let mut taken = Vec::new();
    commit(&engine, 0, &mut taken).unwrap();
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(0), ..before }).unwrap();
    // More than write buffers and the log can take in without another file.
    let refused = (1..2_000).find_map(|n| commit(&engine, n, &mut taken).err());
    let refused = refused.expect("there must be an end to it");
    assert!(matches!(refused, StorageError::Scarce { .. }), "{refused}");
    assert_eq!(engine.failure(), None);
    setrlimit(Resource::Nofile, before).unwrap();
    for n in 2_000..2_400 {
        commit(&engine, n, &mut taken).unwrap();
    }
    engine.flush().unwrap();
    engine.compact().unwrap();
    assert_eq!(engine.sizes().damaged_tables, 0);
    check(&engine, &taken);
    engine.close().unwrap();
    let engine = open(&dir).unwrap();
    assert!(!engine.report().has_losses(), "{}", engine.report());
    check(&engine, &taken);
}

fn commit(engine: &DurableEngine, n: u32, taken: &mut Vec<u32>) -> Result<(), StorageError> {
    let mut batch = Batch::new();
    batch.put(Space::Data, n.to_be_bytes().to_vec(), value(n));
    engine.commit(&[batch], Durability::Synced)?;
    taken.push(n);
    Ok(())
}

fn value(n: u32) -> Vec<u8> {
    vec![n as u8; 10 << 10]
}

fn check(engine: &DurableEngine, taken: &[u32]) {
    for n in taken {
        let found = engine.get(Space::Data, &n.to_be_bytes()).unwrap();
        assert_eq!(found, Some(value(*n).into()), "row {n}");
    }
}

//! Directories of which part, or all, is from an earlier day.

use std::path::Path;
use std::sync::OnceLock;

use crate::common::damage::{Findings, Known, Outcome, Prepared, examine, prepared};
use crate::common::files::Files;
use crate::common::{data_dir, scratch};

/// The prepared store, some work later.
fn later() -> &'static Prepared {
    static LATER: OnceLock<Prepared> = OnceLock::new();
    LATER.get_or_init(|| {
        let earlier = prepared();
        Prepared::grown(&earlier.closed, earlier.ledger.clone())
    })
}

/// Whether the store was here before is for the node to know; that it is whole is what the engine can tell.
#[test]
fn an_old_copy_of_the_whole_directory_opens_as_it_was() {
    let (old, home) = (prepared(), scratch());
    let dir = data_dir(home.path());
    later().closed.lay_out(&dir);
    assert_eq!(examine(&dir, &later().known_closed), Ok(Outcome::Intact));
    old.closed.lay_out(&dir);
    assert_eq!(examine(&dir, &old.known_closed), Ok(Outcome::Intact));
}

/// Log older than tables, tables older than the log, a mark older than both, and every other file.
#[test]
fn a_part_from_an_old_copy_is_noticed_or_harmless() {
    let (old, new) = (prepared(), later());
    mix(&new.closed, &old.closed, &[&new.known_closed]);
}

#[test]
fn a_part_from_an_old_copy_in_a_killed_store_is_noticed_or_harmless() {
    let (old, new) = (prepared(), later());
    mix(&new.killed, &old.closed, &[&new.known_killed]);
}

/// With a part of a newer store an old one may well stay what it was; it must not become anything between.
#[test]
fn a_part_from_a_newer_copy_is_noticed_or_harmless() {
    let (old, new) = (prepared(), later());
    mix(&old.closed, &new.closed, &[&old.known_closed, &new.known_closed]);
}

/// Replaces each file and each directory of `files` by that of `others`. The store must then be one of `known`, or say
/// that it is not.
#[track_caller]
fn mix(files: &Files, others: &Files, known: &[&Known]) {
    let home = scratch();
    let dir = data_dir(home.path());
    let mut tally = Findings::default();
    let paths = files.0.keys().chain(others.0.keys().filter(|path| !files.0.contains_key(*path)));
    for path in paths {
        let mixed = files.with_part_of(path, others);
        // All of it: an old copy, or a new one.
        if is_same(&mixed, files) || is_same(&mixed, others) {
            continue;
        }
        tally.note(format!("{} of the other", path.display()), one_of(&mixed, &dir, known));
    }
    tally.assert_none();
}

/// The lock names the process that had the store open, and tells nothing of the store.
fn is_same(one: &Files, other: &Files) -> bool {
    let lock = Path::new("LOCK");
    one.without(lock) == other.without(lock)
}

fn one_of(files: &Files, dir: &Path, known: &[&Known]) -> Result<Outcome, String> {
    let tried = known.iter().map(|known| {
        files.lay_out(dir);
        examine(dir, known)
    });
    let tried: Vec<_> = tried.collect();
    tried.iter().find(|outcome| outcome.is_ok()).unwrap_or(&tried[0]).clone()
}

//! Files that are not there any more.

use crate::common::damage::{Findings, Known, Outcome, prepared};
use crate::common::files::Files;
use crate::common::{data_dir, scratch};

#[test]
fn a_file_missing_from_a_killed_store_is_noticed() {
    let prepared = prepared();
    remove_each(&prepared.killed, &prepared.known_killed);
}

#[test]
fn a_file_missing_from_a_closed_store_is_noticed() {
    let prepared = prepared();
    remove_each(&prepared.closed, &prepared.known_closed);
}

/// Each file and each directory in turn. A store that lost all of its directories is no store any more: an open gives a
/// new one, and the node that has another copy of its identity knows.
#[track_caller]
fn remove_each(files: &Files, known: &Known) {
    let home = scratch();
    let mut tally = Findings::default();
    for path in files.0.keys() {
        let rest = files.without(path);
        if rest.contents().all(|(_, content)| content.used().len() < SMALL) {
            continue;
        }
        tally.examine(format!("without {}", path.display()), &rest, &data_dir(home.path()), known);
    }
    tally.assert_none();
    let noticed = tally.outcomes.keys().any(|outcome| *outcome > Outcome::Corrupt);
    assert!(noticed, "{tally:?}");
}

/// Files below hold no rows.
const SMALL: usize = 4 << 10;

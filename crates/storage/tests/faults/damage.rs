//! Files that were cut short, or in which a byte changed.

use std::path::Path;

use rand::RngExt;

use crate::common::damage::{Findings, Known, prepared};
use crate::common::files::Files;
use crate::common::{data_dir, scratch, seeded};

/// Lengths to which a file is cut.
const LENGTHS: u64 = 100;
/// Bytes flipped per file.
const PLACES: u64 = 50;

#[test]
fn the_newest_file_cut_at_100_lengths_hides_nothing() {
    let newest = |_: &Path| true;
    cut(newest, false);
}

#[test]
fn the_newest_segment_of_the_log_cut_at_100_lengths_hides_nothing() {
    cut(is_log, false);
}

/// As a power cut leaves a log that is allocated ahead.
#[test]
fn the_newest_segment_of_the_log_zeroed_from_100_places_hides_nothing() {
    cut(is_log, true);
}

#[test]
fn a_byte_flipped_at_50_places_of_each_file_of_a_killed_store_hides_nothing() {
    let prepared = prepared();
    flip(&prepared.killed, &prepared.known_killed);
}

#[test]
fn a_byte_flipped_at_50_places_of_each_file_of_a_closed_store_hides_nothing() {
    let prepared = prepared();
    flip(&prepared.closed, &prepared.known_closed);
}

/// Segments have their own directory; an engine that keeps its log elsewhere is asked for its largest file.
fn is_log(path: &Path) -> bool {
    path.iter().any(|part| part == "log") || path.extension().is_some_and(|extension| extension == "jnl")
}

#[track_caller]
fn cut(wanted: impl Fn(&Path) -> bool, keep_len: bool) {
    let (_, mut rng) = seeded("cut");
    let prepared = prepared();
    let file = prepared.newest(wanted);
    let content = prepared.killed.0[&file].clone().expect("a file");
    let used = content.used().len() as u64;
    let home = scratch();
    let mut tally = Findings::default();
    let ends = [0, 1, used - 1, used, content.len() - 1];
    let random = (ends.len() as u64..LENGTHS).map(|_| rng.random_range(0..used));
    for len in random.chain(ends) {
        let files = prepared.killed.with(&file, content.cut(len, keep_len));
        let what = format!("{} of {used} bytes, cut at {len}", file.display());
        tally.examine(what, &files, &data_dir(home.path()), &prepared.known_killed);
    }
    tally.assert_none();
}

#[track_caller]
fn flip(files: &Files, known: &Known) {
    let (_, mut rng) = seeded("flip");
    let home = scratch();
    let mut tally = Findings::default();
    for (path, content) in files.contents() {
        for at in Files::places(content, PLACES, |range| rng.random_range(range)) {
            let flipped = files.with(path, content.flipped(at, rng.random_range(0..8)));
            let what = format!("{} of {} bytes, flipped at {at}", path.display(), content.len());
            tally.examine(what, &flipped, &data_dir(home.path()), known);
        }
    }
    tally.assert_none();
    assert!(tally.outcomes.len() > 1, "no flip was noticed: {tally:?}");
}

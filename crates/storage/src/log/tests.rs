//! The log against a disk that fails.

use std::ops::Range;
use std::sync::Arc;

use bytes::{BufMut, Bytes};

use super::group::{Frames, Group};
use super::*;
use crate::files::{FaultyFiles, Files, Patience, Unsynced, WriteFault};

mod crash;
mod damage;
mod faults;
mod form;
mod unread;

const STORE: u64 = 0x5747_0b57_0b57_0b57;

/// Small, so that there are many segments.
const SETTINGS: Settings = Settings { segment_bytes: 3 * 4096 };

/// The result of an open.
struct Opened {
    log: Log,
    findings: Findings,
    replayed: Vec<(u64, Bytes)>,
}

impl Opened {
    fn sequences(&self) -> Vec<u64> {
        self.replayed.iter().map(|(sequence, _)| *sequence).collect()
    }
}

fn known(flushed: u64, acknowledged: u64) -> Known {
    let flushed = Sequence(flushed);
    Known { flushed, persisted: flushed, acknowledged: Some(Sequence(acknowledged)) }
}

/// Tries again a few times, and gives up what cannot be read of some files.
fn reading(given_up: &[&str]) -> Reading {
    let patience = Patience::new(3, std::time::Duration::ZERO);
    Reading { patience, given_up: given_up.iter().map(|name| (*name).into()).collect() }
}

fn try_open(files: &FaultyFiles, known: Known) -> Result<Opened, LogError> {
    open_giving_up(files, known, &[])
}

fn open_giving_up(files: &FaultyFiles, known: Known, given_up: &[&str]) -> Result<Opened, LogError> {
    let reading = reading(given_up);
    let mut replayed = Vec::new();
    let mut replay = |sequence: Sequence, payload| {
        replayed.push((sequence.0, payload));
        Ok::<_, LogError>(())
    };
    let (log, findings) = Log::open(Arc::new(files.clone()), STORE, SETTINGS, known, &reading, &mut replay)?;
    Ok(Opened { log, findings, replayed })
}

fn open(files: &FaultyFiles, known: Known) -> Opened {
    let inspected = Log::inspect(files, STORE, known).unwrap();
    let opened = try_open(files, known).unwrap();
    assert_eq!(inspected, opened.findings);
    opened
}

/// The payload that the tests give a sequence.
fn payload(sequence: u64) -> Vec<u8> {
    let length = 10 + (sequence * 37 % 900) as usize;
    (0..length).map(|at| (at as u64 * 7 + sequence * 13) as u8).collect()
}

/// Appends a group of so many batches.
fn append(log: &mut Log, batches: u64) -> Result<(), LogError> {
    let group = group_of(log, batches);
    log.append(&group)
}

fn group_of(log: &Log, batches: u64) -> Frames {
    let mut group = log.group();
    let mut places: Vec<(u64, Range<usize>)> = Vec::new();
    for sequence in log.last().0 + 1..=log.last().0 + batches {
        let (found, place) = group.push(0, |out| out.put_slice(&payload(sequence)));
        assert_eq!(found.0, sequence);
        places.push((sequence, place));
    }
    let frames = group.freeze();
    let bytes = frames.clone().into_bytes();
    places.into_iter().for_each(|(sequence, place)| assert_eq!(bytes.slice(place), payload(sequence)));
    frames
}

/// A log of synced groups.
fn written(files: &FaultyFiles, groups: &[u64]) -> Log {
    let mut log = open(files, known(0, 0)).log;
    for batches in groups {
        append(&mut log, *batches).unwrap();
        log.sync().unwrap();
    }
    log
}

/// Another disk that holds the same.
fn copy(files: &FaultyFiles) -> FaultyFiles {
    let copy = FaultyFiles::new(1);
    for name in files.list().unwrap() {
        copy.put(&name, &files.contents(&name).unwrap());
    }
    copy
}

/// The segment files, in order.
fn segments(files: &FaultyFiles) -> Vec<String> {
    files.list().unwrap().into_iter().filter(|name| name.ends_with(".log")).collect()
}

fn assert_whole(opened: &Opened, expected: impl Iterator<Item = u64>) {
    assert_eq!(opened.sequences(), expected.collect::<Vec<_>>(), "{}", opened.findings);
    opened.replayed.iter().for_each(|(sequence, found)| assert_eq!(*found, payload(*sequence)));
}

fn ranges(findings: &Findings) -> Vec<(u64, u64)> {
    findings.lost.iter().map(|range| (range.start().0, range.end().0)).collect()
}

#[test]
fn what_was_written_is_replayed_and_goes_on() {
    let files = FaultyFiles::new(1);
    let mut log = written(&files, &[1, 5, 20, 40]);
    assert!(log.segments() > 2, "{}", log.segments());
    assert!(log.bytes() >= log.segments() as u64 * SETTINGS.segment_bytes);
    append(&mut log, 1).unwrap();
    for round in 0..4 {
        let mut opened = open(&files, known(3, 66));
        assert_whole(&opened, 4..=67 + round);
        assert_eq!(opened.findings.torn_bytes, None);
        assert_eq!(ranges(&opened.findings), []);
        append(&mut opened.log, 1).unwrap();
        opened.log.sync().unwrap();
    }
}

//! A file in which something was lost is set aside, never used again or removed.

use std::io;

use bytes::Bytes;

use super::error::LogError;
use super::frame::{ALIGNMENT, FRAME_HEADER, FrameHeader};
use super::opening::Reading;
use super::segment;
use super::segment::SEGMENT_HEADER;
use crate::files::{Files, read_all, read_what_can_be};

/// Renames a file to `NAME.ruin-1`, or the next such name that is free. Durable after the next sync of the directory.
pub(super) fn set_aside(files: &dyn Files, name: &str) -> io::Result<()> {
    let ruin = free_name(files, name)?;
    tracing::warn!(name, ruin, "what is left of a damaged file is set aside");
    files.rename(name, &ruin)
}

/// Keeps a copy of a file, from which something is about to be cut off.
pub(super) fn keep_copy(files: &dyn Files, name: &str, bytes: &[u8]) -> io::Result<()> {
    let ruin = free_name(files, name)?;
    write_whole(files, &ruin, bytes)?;
    tracing::warn!(name, ruin, "a copy of a damaged file is kept");
    files.sync_directory()
}

/// Puts what can be read in the place of segments of which a person has given up the rest, and sets them aside as they
/// were.
pub(super) fn replace_given_up(files: &dyn Files, reading: &Reading) -> Result<(), LogError> {
    let failed = LogError::during("setting aside what cannot be read of the commit log");
    finish(files).map_err(&failed)?;
    for name in reading.given_up.iter().filter(|name| segment::number(name).is_some()) {
        let file = match files.open(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened.map_err(&failed)?,
        };
        if reading.patience.try_read(|| read_all(&*file)).is_ok() {
            continue;
        }
        let rest = read_what_can_be(&*file).map_err(LogError::reading(name))?;
        let replace = || {
            write_whole(files, &format!("{name}{REPLACEMENT}"), &rest)?;
            set_aside(files, name)?;
            finish(files)
        };
        replace().map_err(&failed)?;
    }
    Ok(())
}

/// Puts replacements in their place, as far as that is free: others were not finished.
fn finish(files: &dyn Files) -> io::Result<()> {
    let names = files.list()?;
    for name in names.iter().filter(|name| name.ends_with(REPLACEMENT)) {
        let place = name.trim_end_matches(REPLACEMENT);
        match segment::number(place) {
            Some(_) if names.iter().any(|name| name == place) => files.remove(name)?,
            Some(_) => files.rename(name, place)?,
            None => {}
        }
    }
    files.sync_directory()
}

fn write_whole(files: &dyn Files, name: &str, bytes: &[u8]) -> io::Result<()> {
    let file = files.create(name, bytes.len() as u64)?;
    file.write_at(0, bytes)?;
    file.sync_data()
}

fn free_name(files: &dyn Files, name: &str) -> io::Result<String> {
    let names = files.list()?;
    let free = (1u32..).map(|n| format!("{name}{MARK}{n}")).find(|ruin| !names.contains(ruin));
    free.ok_or_else(|| io::ErrorKind::AlreadyExists.into())
}

/// The payloads of the whole frames of a store in a segment, of any use of the file; and how often others lie between
/// them, or behind them.
pub(crate) fn whole_payloads(store: u64, segment: &Bytes) -> (Vec<Bytes>, u64) {
    let (mut payloads, mut damaged, mut at, mut is_within) = (Vec::new(), 0, SEGMENT_HEADER, false);
    while let Some(rest) = segment.get(at..).filter(|rest| rest.len() >= FRAME_HEADER) {
        let header = FrameHeader::decode(store, rest).filter(|header| header.payload(store, rest).is_some());
        if let Some(header) = header {
            let start = at + FRAME_HEADER;
            payloads.push(segment.slice(start..start + header.length as usize));
            at += header.frame_bytes();
            is_within = false;
            continue;
        }
        let is_zero = rest[..ALIGNMENT] == [0; ALIGNMENT];
        damaged += u64::from(!is_within && !is_zero);
        is_within |= !is_zero;
        at += ALIGNMENT;
    }
    (payloads, damaged)
}

/// How the names of ruins go on, before a number.
const MARK: &str = ".ruin-";
const REPLACEMENT: &str = ".replacement";

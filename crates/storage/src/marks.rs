//! The few facts that must outlive the log they are about: `meta/marks`, a short text, replaced by rename and synced.
//!
//! ```text
//! starling marks 1
//! flushed 4711            tables hold every batch up to this one: the log may begin behind it
//! damaged data            compaction met damage in these tables: rebuild them at the next open
//! lost all                acknowledged rows may be missing, and that is not acknowledged yet
//! lost 00ab 01            the same of data rows from one key on up to another; `-`: up to the end
//! sum 0123456789abcdef    xxh3-64 of the lines above
//! ```

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use crate::Space;
use crate::directory::sync_directory;
use crate::log::{LogError, Reading, Sequence};
use crate::ruins;
use starling_types::row::RowRange;

const FILE: &str = "marks";
/// Ranges remembered one by one.
const MOST_RANGES: usize = 1_024;
const TITLE: &str = "starling marks 1";

/// The marks of an open store.
#[derive(Debug)]
pub(crate) struct Marks {
    dir: PathBuf,
    facts: Facts,
}

/// Their content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) flushed: Sequence,
    pub(crate) damaged: BTreeSet<Space>,
    pub(crate) lost: bool,
    /// Where nothing else is: ranges of data rows.
    pub(crate) lost_ranges: Vec<RowRange>,
}

impl Marks {
    /// Reads the marks in `dir`. The facts of a store without marks are those of a new one; whether it was, the log
    /// tells. Of damaged marks nothing is believed but that something was lost.
    ///
    /// # Errors
    /// If they cannot be read: unless that was given up, which makes them damaged ones.
    pub(crate) fn open(dir: &Path, reading: &Reading) -> Result<Self, LogError> {
        let file = dir.join(FILE);
        let facts = match reading.patience.try_read(|| fs::read(&file)) {
            Ok(bytes) => Facts::decode(&bytes).unwrap_or_else(|| {
                tracing::error!(dir = %dir.display(), "the marks of the store are damaged");
                Facts { lost: true, ..Facts::default() }
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Facts::default(),
            Err(_) if reading.given_up.contains(FILE) => {
                ruins::set_aside(&file).map_err(LogError::during("setting the marks of the store aside"))?;
                Facts { lost: true, ..Facts::default() }
            }
            Err(error) => return Err(LogError::reading(FILE)(error)),
        };
        Ok(Self { dir: dir.into(), facts })
    }

    pub(crate) fn facts(&self) -> &Facts {
        &self.facts
    }

    pub(crate) fn flushed(&self) -> Sequence {
        self.facts.flushed
    }

    pub(crate) fn set_flushed(&mut self, flushed: Sequence) -> io::Result<()> {
        self.change(|facts| facts.flushed = flushed)
    }

    pub(crate) fn set_damaged(&mut self, namespace: Space) -> io::Result<()> {
        self.change(|facts| {
            facts.damaged.insert(namespace);
        })
    }

    pub(crate) fn set_rebuilt(&mut self, namespace: Space) -> io::Result<()> {
        self.change(|facts| {
            facts.damaged.remove(&namespace);
        })
    }

    pub(crate) fn set_lost(&mut self, lost: bool) -> io::Result<()> {
        self.change(|facts| facts.lost = lost)
    }

    /// Rows of data in these ranges may be missing.
    pub(crate) fn add_lost(&mut self, ranges: &[RowRange]) -> io::Result<()> {
        self.change(|facts| {
            facts.lost_ranges.extend(ranges.iter().cloned());
            facts.lost |= facts.lost_ranges.len() > MOST_RANGES;
        })
    }

    /// All that is lost is noted elsewhere.
    pub(crate) fn set_found(&mut self) -> io::Result<()> {
        self.change(|facts| {
            facts.lost = false;
            facts.lost_ranges.clear();
        })
    }

    fn change(&mut self, change: impl FnOnce(&mut Facts)) -> io::Result<()> {
        let mut facts = self.facts.clone();
        change(&mut facts);
        if facts == self.facts {
            return Ok(());
        }
        let new = self.dir.join("marks.new");
        let mut file = File::create(&new)?;
        file.write_all(facts.encode().as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, self.dir.join(FILE))?;
        sync_directory(&self.dir)?;
        self.facts = facts;
        Ok(())
    }
}

impl Facts {
    fn encode(&self) -> String {
        let mut text = format!("{TITLE}\nflushed {}\n", self.flushed.0);
        for namespace in &self.damaged {
            text += &format!("damaged {namespace}\n");
        }
        if self.lost {
            text += "lost all\n";
        }
        for range in &self.lost_ranges {
            let end = range.end().map_or("-".into(), |end| hex(end));
            text += &format!("lost {} {end}\n", hex(range.start()));
        }
        let sum = xxh3_64(text.as_bytes());
        text + &format!("sum {sum:016x}\n")
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (body, sum) = text.split_at(text.rfind("sum ")?);
        if sum != format!("sum {:016x}\n", xxh3_64(body.as_bytes())) {
            return None;
        }
        let mut lines = body.lines();
        lines.next().filter(|title| *title == TITLE)?;
        let mut facts = Self::default();
        for line in lines {
            match line.split_once(' ')? {
                ("flushed", number) => facts.flushed = Sequence(number.parse().ok()?),
                ("damaged", name) => {
                    facts.damaged.insert(Space::ALL.into_iter().find(|n| n.name() == name)?);
                }
                ("lost", "all") => facts.lost = true,
                ("lost", range) => facts.lost_ranges.push(range_of(range)?),
                _ => return None,
            }
        }
        Some(facts)
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    if digits.is_empty() { "0".into() } else { digits }
}

fn bytes_of(hex: &str) -> Option<Bytes> {
    let digit = |at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    if hex == "0" { Some(Bytes::new()) } else { (0..hex.len()).step_by(2).map(digit).collect() }
}

fn range_of(text: &str) -> Option<RowRange> {
    let (start, end) = text.split_once(' ')?;
    let end = if end == "-" { None } else { Some(bytes_of(end)?) };
    Some(RowRange::new(bytes_of(start)?, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_as_they_were_left() {
        let dir = tempfile::tempdir().unwrap();
        let mut marks = Marks::open(dir.path(), &Reading::default()).unwrap();
        assert_eq!(*marks.facts(), Facts::default());
        marks.set_flushed(Sequence(7)).unwrap();
        marks.set_damaged(Space::Hints).unwrap();
        marks.set_damaged(Space::Data).unwrap();
        marks.set_rebuilt(Space::Hints).unwrap();
        marks.set_lost(true).unwrap();
        let ranges = [RowRange::new("", Some("b\0".into())), RowRange::new("k", None)];
        marks.add_lost(&ranges).unwrap();
        let lost_ranges = ranges.to_vec();
        let expected = Facts { flushed: Sequence(7), damaged: [Space::Data].into(), lost: true, lost_ranges };
        assert_eq!(*Marks::open(dir.path(), &Reading::default()).unwrap().facts(), expected);
        marks.set_found().unwrap();
        let found = Marks::open(dir.path(), &Reading::default()).unwrap();
        assert!(!found.facts().lost && found.facts().lost_ranges.is_empty());
    }

    #[test]
    fn of_damaged_marks_nothing_is_believed() {
        let facts = Facts { flushed: Sequence(4711), damaged: [Space::Data].into(), ..Facts::default() };
        let text = facts.encode();
        assert_eq!(Facts::decode(text.as_bytes()), Some(facts));
        for at in 0..text.len() {
            let mut damaged = text.clone().into_bytes();
            damaged[at] ^= 1;
            assert_eq!(Facts::decode(&damaged), None, "byte {at}");
            assert_eq!(Facts::decode(&text.as_bytes()[..at]), None, "cut at {at}");
        }
    }
}

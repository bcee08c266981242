//! The losses that were acknowledged: a short text, replaced by rename and synced.
//!
//! ```text
//! starling known losses 1
//! lost 10 12
//! sum 0123456789abcdef    xxh3-64 of the lines above, seeded with the store
//! ```

use std::io;
use std::ops::RangeInclusive;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::error::LogError;
use super::opening::Reading;
use super::sequence::Sequence;
use crate::files::Files;

type Ranges = Vec<RangeInclusive<Sequence>>;

/// The losses noted. If they are damaged there are none: they will be reported again.
pub(super) fn read(files: &dyn Files, store: u64, reading: &Reading) -> Result<Ranges, LogError> {
    match reading.patience.try_read(|| files.open(FILE)) {
        Ok(file) => Ok(decode(store, &reading.all(FILE, &*file)?).unwrap_or_else(|| {
            tracing::warn!("the note of known losses in the log is damaged");
            Ranges::new()
        })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Ranges::new()),
        Err(error) => Err(LogError::reading(FILE)(error)),
    }
}

/// Puts `ranges` in the place of what was noted.
pub(super) fn write(files: &dyn Files, store: u64, ranges: &[RangeInclusive<Sequence>]) -> io::Result<()> {
    let text = encode(store, ranges);
    let file = files.create(NEW_FILE, text.len() as u64)?;
    file.write_at(0, text.as_bytes())?;
    file.sync_data()?;
    files.rename(NEW_FILE, FILE)?;
    files.sync_directory()
}

fn encode(store: u64, ranges: &[RangeInclusive<Sequence>]) -> String {
    let lines = ranges.iter().map(|range| format!("lost {} {}\n", range.start(), range.end()));
    let text = [TITLE.into(), String::from("\n")].into_iter().chain(lines).collect::<String>();
    let sum = xxh3_64_with_seed(text.as_bytes(), store);
    text + &format!("sum {sum:016x}\n")
}

fn decode(store: u64, bytes: &[u8]) -> Option<Ranges> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (body, sum) = text.split_at(text.rfind("sum ")?);
    if sum != format!("sum {:016x}\n", xxh3_64_with_seed(body.as_bytes(), store)) {
        return None;
    }
    let lines = body.strip_prefix(TITLE)?.strip_prefix('\n')?.lines();
    lines
        .map(|line| {
            let (first, last) = line.strip_prefix("lost ")?.split_once(' ')?;
            Some(Sequence(first.parse().ok()?)..=Sequence(last.parse().ok()?))
        })
        .collect()
}

const FILE: &str = "known-losses";
const NEW_FILE: &str = "known-losses.new";
const TITLE: &str = "starling known losses 1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_golden() {
        let text = encode(7, &[Sequence(1)..=Sequence(9)]);
        assert_eq!(text, "starling known losses 1\nlost 1 9\nsum d48a32e6c5bd702f\n");
    }

    #[test]
    fn a_note_is_read_back_or_not_at_all() {
        for ranges in [vec![], vec![Sequence(1)..=Sequence(1), Sequence(7)..=Sequence(u64::MAX)]] {
            let text = encode(7, &ranges);
            assert_eq!(decode(7, text.as_bytes()), Some(ranges));
            assert_eq!(decode(8, text.as_bytes()), None, "of another store");
            for at in 0..text.len() {
                let mut damaged = text.clone().into_bytes();
                damaged[at] ^= 1;
                assert_eq!(decode(7, &damaged), None, "byte {at}");
            }
        }
    }
}

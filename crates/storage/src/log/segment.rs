//! The first page of a segment file, and the file's name.

use starling_types::Formats;
use xxhash_rust::xxh3::xxh3_64;

use super::error::LogError;
use super::sequence::Sequence;

/// Where the frames of a segment begin.
pub(super) const SEGMENT_HEADER: usize = 4096;
/// Bytes of that page that mean something.
pub(super) const HEADER_BYTES: usize = 64;
/// The formats that this version reads.
const FORMATS: Formats = Formats { oldest: 1, newest: 1 };

const MAGIC: u64 = u64::from_le_bytes(*b"SLseg\r\n\0");
const WORDS: usize = HEADER_BYTES / size_of::<u64>();

/// A segment's statement of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) store: u64,
    pub(super) number: u64,
    /// The frames in it have this sequence and higher ones; those in segments before it have lower ones.
    pub(super) first: Sequence,
    /// The log was synced up to here when the segment was begun.
    pub(super) synced: Sequence,
    /// The checksum of the frame before its first.
    pub(super) chain: u64,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let words = [
            MAGIC,
            u64::from(FORMATS.newest),
            self.store,
            self.number,
            self.first.0,
            self.synced.0,
            self.chain,
        ];
        let mut page = [0; SEGMENT_HEADER];
        for (bytes, word) in page.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        let sum = xxh3_64(&page[..HEADER_BYTES - 8]);
        page[HEADER_BYTES - 8..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
        page
    }

    /// Whether a file that begins so may have been made by this program: it has a header, of any segment, or zeros.
    pub(super) fn may_be_ours(bytes: &[u8; HEADER_BYTES]) -> bool {
        bytes.starts_with(&MAGIC.to_le_bytes()) || *bytes == [0; HEADER_BYTES]
    }

    /// The header of segment `number` of this store, if `bytes` are one. That a format is another one is believed only of a
    /// whole header: where magic, format and checksum stand is the same in all formats.
    pub(super) fn decode(
        store: u64,
        number: u64,
        bytes: &[u8; HEADER_BYTES],
    ) -> Result<Option<Self>, LogError> {
        let mut words = [0; WORDS];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        let [magic, format, found_store, found_number, first, synced, chain, sum] = words;
        if magic != MAGIC || sum != xxh3_64(&bytes[..HEADER_BYTES - 8]) {
            return Ok(None);
        }
        FORMATS.check(format as u32).map_err(LogError::OtherFormat)?;
        if (found_store, found_number) != (store, number) {
            return Ok(None);
        }
        Ok(Some(Self { store, number, first: Sequence(first), synced: Sequence(synced), chain }))
    }
}

pub(super) fn name(number: u64) -> String {
    format!("{number:010}.log")
}

/// The number of the segment that a file of this name is.
pub(super) fn number(name_of_file: &str) -> Option<u64> {
    let number = name_of_file.strip_suffix(".log")?.parse().ok()?;
    (name(number) == name_of_file).then_some(number)
}

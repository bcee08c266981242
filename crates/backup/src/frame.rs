//! One row in a chunk.
//!
//! ```text
//! chunk   "starling rows 1\n", then frames
//! frame   length of the body u32 | its checksum u32 | checksum of the body u64 | body
//! body    namespace u8 | length of the key u16 | key | value
//! ```
//!
//! Integers are big-endian, checksums xxh3 seeded with the frame's place, so that a frame that moved is no frame. The
//! length has a checksum of its own: behind a damaged body the next frame can be found.

use std::io::{self, Read, Write};

use bytes::Bytes;
use starling_types::limits::{MAX_ROW_KEY, MAX_ROW_VALUE};
use starling_types::row::Space;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The first bytes of a chunk: the version of the format is in them.
pub const HEAD: &[u8; 16] = b"starling rows 1\n";

/// Bytes of a frame before its body.
pub const FRAME_HEADER: usize = 16;

const LARGEST_BODY: usize = 3 + MAX_ROW_KEY + MAX_ROW_VALUE;
const _: () = assert!(LARGEST_BODY <= u32::MAX as usize && MAX_ROW_KEY <= u16::MAX as usize);

/// A row of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its namespace.
    pub namespace: Space,
    /// Its key.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
}

impl Row {
    /// Bytes of key and value.
    pub fn size(&self) -> u64 {
        (self.key.len() + self.value.len()) as u64
    }
}

/// Where a frame stands: the number of its chunk, and how many frames are before it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameIndex {
    /// The chunk, counted from 1.
    pub chunk: u32,
    /// The frame, counted from 0.
    pub frame: u32,
}

impl FrameIndex {
    fn seed(self) -> u64 {
        (u64::from(self.chunk) << 32) | u64::from(self.frame)
    }

    fn check_of_length(self, length: [u8; 4]) -> u32 {
        (xxh3_64_with_seed(&length, self.seed()) >> 32) as u32
    }
}

/// Why a frame cannot be read.
#[derive(Debug)]
pub enum FrameError {
    /// The length is damaged or too large, or the chunk ends: the beginning of the next frame is unknown.
    Lost(&'static str),
    /// The body, of this length, is damaged; the next frame follows.
    Body(&'static str, usize),
    /// The operating system failed the read.
    Io(io::Error),
}

/// Writes a row.
///
/// # Errors
/// If the system refuses, or the row is one that no store takes.
pub fn write(out: &mut impl Write, place: FrameIndex, row: &Row) -> io::Result<()> {
    let unstorable = || io::Error::new(io::ErrorKind::InvalidInput, "a row that no store takes");
    let key_length = u16::try_from(row.key.len()).map_err(|_| unstorable())?;
    let mut body = Vec::with_capacity(3 + row.key.len() + row.value.len());
    body.push(row.namespace.code());
    body.extend(key_length.to_be_bytes());
    body.extend_from_slice(&row.key);
    body.extend_from_slice(&row.value);
    let length = u32::try_from(body.len()).map_err(|_| unstorable())?;
    if body.len() > LARGEST_BODY {
        return Err(unstorable());
    }
    let length = length.to_be_bytes();
    out.write_all(&length)?;
    out.write_all(&place.check_of_length(length).to_be_bytes())?;
    out.write_all(&xxh3_64_with_seed(&body, place.seed()).to_be_bytes())?;
    out.write_all(&body)
}

/// Reads the row at `place` of a chunk of which `left` bytes remain. None at its end.
///
/// # Errors
/// If there is no such row.
pub fn read(from: &mut impl Read, place: FrameIndex, left: u64) -> Result<Option<Row>, FrameError> {
    if left == 0 {
        return Ok(None);
    }
    let length: [u8; 4] = take(from)?;
    let check: [u8; 4] = take(from)?;
    let sum: [u8; 8] = take(from)?;
    if place.check_of_length(length).to_be_bytes() != check {
        return Err(FrameError::Lost("the length does not match its checksum"));
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > LARGEST_BODY {
        return Err(FrameError::Lost("it is longer than any row"));
    }
    if (length + FRAME_HEADER) as u64 > left {
        return Err(FrameError::Lost(CUT));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).map_err(cut_or_failed)?;
    if xxh3_64_with_seed(&body, place.seed()).to_be_bytes() != sum {
        return Err(FrameError::Body("the row does not match its checksum", length));
    }
    row_of(body.into()).map(Some).ok_or(FrameError::Body("it holds no row", length))
}

fn row_of(body: Bytes) -> Option<Row> {
    let code = *body.first()?;
    let namespace = Space::ALL.into_iter().find(|namespace| namespace.code() == code)?;
    let length = usize::from(u16::from_be_bytes(body.get(1..3)?.try_into().ok()?));
    let is_key = (1..=MAX_ROW_KEY).contains(&length) && body.len() >= 3 + length;
    is_key.then(|| Row { namespace, key: body.slice(3..3 + length), value: body.slice(3 + length..) })
}

fn take<const N: usize>(from: &mut impl Read) -> Result<[u8; N], FrameError> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes).map_err(cut_or_failed)?;
    Ok(bytes)
}

fn cut_or_failed(error: io::Error) -> FrameError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => FrameError::Lost(CUT),
        _ => FrameError::Io(error),
    }
}

const CUT: &str = "the chunk ends within it";

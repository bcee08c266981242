//! One batch in a segment.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::sequence::Sequence;

/// Bytes of a frame in front of its payload.
pub(super) const FRAME_HEADER: usize = 48;
/// Frames begin at multiples of this.
pub(super) const ALIGNMENT: usize = 8;

const MAGIC: [u8; 4] = *b"SLfr";

/// The header in front of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) length: u32,
    pub(super) sequence: Sequence,
    /// The log was synced up to here when the frame was written.
    pub(super) synced: Sequence,
    /// [`FrameHeader::sum`] of the frame before it.
    pub(super) previous: u64,
    payload_sum: u64,
    /// The checksum of the header, and with it of the payload.
    pub(super) sum: u64,
}

/// Where in which log a frame stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FramePosition {
    pub(super) store: u64,
    pub(super) sequence: Sequence,
    pub(super) synced: Sequence,
    pub(super) previous: u64,
}

impl FrameHeader {
    /// The header of `payload`, encoded, and its checksum.
    pub(super) fn encode(place: FramePosition, length: u32, payload: &[u8]) -> ([u8; FRAME_HEADER], u64) {
        let mut bytes = [0; FRAME_HEADER];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&length.to_le_bytes());
        bytes[8..16].copy_from_slice(&place.sequence.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&place.synced.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&place.previous.to_le_bytes());
        let payload_sum = payload_sum(place.store, &bytes, payload);
        bytes[32..40].copy_from_slice(&payload_sum.to_le_bytes());
        let sum = xxh3_64_with_seed(&bytes[..40], place.store);
        bytes[40..48].copy_from_slice(&sum.to_le_bytes());
        (bytes, sum)
    }

    /// The header that `bytes` begin with, if they begin with one of this store.
    pub(super) fn decode(store: u64, bytes: &[u8]) -> Option<Self> {
        let header: &[u8; FRAME_HEADER] = bytes.first_chunk()?;
        if header[..4] != MAGIC || xxh3_64_with_seed(&header[..40], store) != number(header, 40) {
            return None;
        }
        Some(Self {
            length: number(header, 4) as u32,
            sequence: Sequence(number(header, 8)),
            synced: Sequence(number(header, 16)),
            previous: number(header, 24),
            payload_sum: number(header, 32),
            sum: number(header, 40),
        })
    }

    /// The payload in the frame that `bytes` begin with, if it is whole.
    pub(super) fn payload<'a>(&self, store: u64, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let header: &[u8; FRAME_HEADER] = bytes.first_chunk()?;
        let payload = bytes[FRAME_HEADER..].get(..self.length as usize)?;
        (payload_sum(store, header, payload) == self.payload_sum).then_some(payload)
    }

    /// Bytes of the whole frame.
    pub(super) fn frame_bytes(&self) -> usize {
        (FRAME_HEADER + self.length as usize).next_multiple_of(ALIGNMENT)
    }
}

/// Eight bytes of a header as a number. Four are read as the low half of eight.
fn number(header: &[u8; FRAME_HEADER], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&header[at..at + 8]);
    u64::from_le_bytes(bytes)
}

fn payload_sum(store: u64, header: &[u8; FRAME_HEADER], payload: &[u8]) -> u64 {
    xxh3_64_with_seed(payload, xxh3_64_with_seed(&header[..32], store))
}

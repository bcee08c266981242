//! A record as bytes, stored and sent alike. Little-endian; `count` is an unsigned LEB128 in its shortest form:
//!
//! ```text
//! record   = version u8 · count of actors · (actor u64 · time u64)* · count of siblings · sibling* · dead · checksum u64
//! sibling  = actor u64 · time u64 · flags u8 · [expires_at u64] · [id u128] · [rank u64] · [count of bytes · value]
//! flags    = 1 tombstone (no value follows) | 2 expires (expires_at follows) | 4 id | 8 rank | 16 rescued
//! dead     = count of superseded requests · (id u128 · time u64)*
//! checksum = xxh3-64 of everything before it, in this and every later version
//! ```
//!
//! Version 1, still read, has no `dead` and no flags but the first two.

use bytes::{Buf, Bytes};
use starling_types::{RequestId, WallTime};
use xxhash_rust::xxh3::xxh3_64;

use super::dead::DeadIds;
use super::{Payload, Record, Sibling};
use crate::dot::Dot;
use crate::hlc::Hlc;
use crate::version_vector::{ENTRY_BYTES, VersionVector, entry_bytes, entry_from};

/// Bytes that are no record. Nothing was decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The checksum does not match, or the end is missing: quarantine the copy and fetch another replica's.
    #[error(
        "the record is damaged ({bytes} bytes): its checksum does not match; fetch it from another replica"
    )]
    Damaged {
        /// How many bytes there were.
        bytes: usize,
    },
    /// Intact, but written by a later release.
    #[error("the record has format version {version}, this release reads up to {VERSION}: upgrade this node")]
    Newer {
        /// The version it names.
        version: u8,
    },
    /// Intact, yet no encoding that any release writes: a bug in the writer.
    #[error("the record is intact but malformed: {0}; keep the bytes and report a bug")]
    Malformed(&'static str),
}

impl Record {
    /// The one encoding of this record.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.encoded_len());
        out.push(VERSION);
        put_count(&mut out, self.context.len());
        self.context.encode_into(&mut out);
        put_count(&mut out, self.siblings.len());
        for sibling in &self.siblings {
            put_sibling(&mut out, sibling);
        }
        put_dead(&mut out, &self.dead);
        out.extend_from_slice(&xxh3_64(&out).to_le_bytes());
        out.into()
    }

    /// Reverses [`Self::encode`] and what earlier releases did, and accepts nothing else: what decodes from this
    /// version encodes to the same bytes. Values are slices of `bytes`, not copies.
    pub fn decode(bytes: &Bytes) -> Result<Self, RecordError> {
        let mut body = intact(bytes)?;
        let version = match body.try_get_u8() {
            Ok(version @ FIRST_VERSION..=VERSION) => version,
            Ok(version @ 1..) => return Err(RecordError::Newer { version }),
            Ok(0) | Err(_) => return Err(RecordError::Malformed("no version")),
        };
        let first = version == FIRST_VERSION;
        let context = take_context(&mut body)?;
        let siblings = take_siblings(&mut body, if first { FIRST_FLAGS } else { FLAGS })?;
        let dead = if first { DeadIds::default() } else { take_dead(&mut body)? };
        if body.has_remaining() {
            return Err(RecordError::Malformed("bytes at the end"));
        }
        if !siblings.iter().all(|sibling| context.covers(sibling.dot)) {
            return Err(RecordError::Malformed("a sibling that the context does not cover"));
        }
        Ok(Self { context, siblings, dead })
    }

    /// How many bytes [`Self::encode`] makes.
    pub fn encoded_len(&self) -> usize {
        let siblings: usize = self.siblings.iter().map(sibling_len).sum();
        1 + count_len(self.context.len())
            + self.context.len() * ENTRY_BYTES
            + count_len(self.siblings.len())
            + siblings
            + count_len(self.dead.len())
            + self.dead.len() * DEAD_BYTES
            + CHECKSUM_BYTES
    }
}

/// Everything before the checksum, if that matches.
fn intact(bytes: &Bytes) -> Result<Bytes, RecordError> {
    match bytes.split_last_chunk() {
        Some((body, checksum)) if xxh3_64(body).to_le_bytes() == *checksum => Ok(bytes.slice_ref(body)),
        _ => Err(RecordError::Damaged { bytes: bytes.len() }),
    }
}

fn take_context(body: &mut Bytes) -> Result<VersionVector, RecordError> {
    let wrong = RecordError::Malformed("a context that is cut short or out of order");
    // A count beyond what the bytes can hold ends here, before anything is allocated for it.
    let length = take_count(body)?.checked_mul(ENTRY_BYTES);
    let Some(entries) = length.and_then(|length| body.get(..length)) else {
        return Err(wrong);
    };
    let context = VersionVector::decode(entries).ok_or(wrong)?;
    body.advance(context.len() * ENTRY_BYTES);
    Ok(context)
}

fn take_siblings(body: &mut Bytes, known: u8) -> Result<Vec<Sibling>, RecordError> {
    let count = take_count(body)?;
    if count > body.remaining() / MIN_SIBLING_BYTES {
        return Err(RecordError::Malformed("more siblings than bytes"));
    }
    let mut siblings: Vec<Sibling> = Vec::with_capacity(count);
    for _ in 0..count {
        let sibling = take_sibling(body, known)?;
        if siblings.last().is_some_and(|last| last.dot >= sibling.dot) {
            return Err(RecordError::Malformed("siblings out of order"));
        }
        siblings.push(sibling);
    }
    Ok(siblings)
}

fn put_sibling(out: &mut Vec<u8>, sibling: &Sibling) {
    out.extend_from_slice(&entry_bytes(sibling.dot.actor, sibling.dot.hlc));
    out.push(flags(sibling));
    if let Some(end) = sibling.expires_at {
        out.extend_from_slice(&end.millis().to_le_bytes());
    }
    if let Some(id) = sibling.id {
        out.extend_from_slice(&id.bits().to_le_bytes());
    }
    if let Some(rank) = sibling.rank {
        out.extend_from_slice(&rank.bits().to_le_bytes());
    }
    if let Some(value) = sibling.value() {
        put_count(out, value.len());
        out.extend_from_slice(value);
    }
}

fn flags(sibling: &Sibling) -> u8 {
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    flag(sibling.is_tombstone(), TOMBSTONE)
        | flag(sibling.expires_at.is_some(), EXPIRES)
        | flag(sibling.id.is_some(), ID)
        | flag(sibling.rank.is_some(), RANK)
        | flag(sibling.rescued, RESCUED)
}

fn take_sibling(body: &mut Bytes, known: u8) -> Result<Sibling, RecordError> {
    let (actor, hlc) = entry_from(body.first_chunk().ok_or(CUT_SHORT)?);
    body.advance(ENTRY_BYTES);
    let flags = body.try_get_u8().map_err(|_| CUT_SHORT)?;
    if flags & !known != 0 || flags & (TOMBSTONE | ID) == TOMBSTONE | ID {
        return Err(RecordError::Malformed("a flag that is unknown, or a tombstone with an id"));
    }
    let has = |flag: u8| flags & flag != 0;
    let expires_at = has(EXPIRES).then(|| body.try_get_u64_le()).transpose().map_err(|_| CUT_SHORT)?;
    let id = has(ID).then(|| body.try_get_u128_le()).transpose().map_err(|_| CUT_SHORT)?;
    let rank = has(RANK).then(|| body.try_get_u64_le()).transpose().map_err(|_| CUT_SHORT)?;
    if rank == Some(hlc.bits()) {
        return Err(RecordError::Malformed("a rank that says nothing"));
    }
    let payload = if has(TOMBSTONE) { Payload::Tombstone } else { Payload::Value(take_value(body)?) };
    Ok(Sibling {
        dot: Dot { actor, hlc },
        payload,
        expires_at: expires_at.map(WallTime::from_millis),
        id: id.map(RequestId::from_bits),
        rank: rank.map(Hlc::from_bits),
        rescued: has(RESCUED),
    })
}

fn put_dead(out: &mut Vec<u8>, dead: &DeadIds) {
    put_count(out, dead.len());
    for (id, at) in dead.iter() {
        out.extend_from_slice(&id.bits().to_le_bytes());
        out.extend_from_slice(&at.bits().to_le_bytes());
    }
}

fn take_dead(body: &mut Bytes) -> Result<DeadIds, RecordError> {
    let count = take_count(body)?;
    if count > body.remaining() / DEAD_BYTES {
        return Err(RecordError::Malformed("more superseded requests than bytes"));
    }
    let one = |_| (RequestId::from_bits(body.get_u128_le()), Hlc::from_bits(body.get_u64_le()));
    DeadIds::from_ordered((0..count).map(one).collect())
        .ok_or(RecordError::Malformed("superseded requests out of order, or too many"))
}

fn take_value(body: &mut Bytes) -> Result<Bytes, RecordError> {
    let length = take_count(body)?;
    if length > body.remaining() {
        return Err(CUT_SHORT);
    }
    Ok(body.split_to(length))
}

fn sibling_len(sibling: &Sibling) -> usize {
    let expires = sibling.expires_at.map_or(0, |_| size_of::<u64>());
    let value = sibling.value().map_or(0, |value| count_len(value.len()) + value.len());
    let id = sibling.id.map_or(0, |_| size_of::<u128>());
    let rank = sibling.rank.map_or(0, |_| size_of::<u64>());
    ENTRY_BYTES + 1 + expires + id + rank + value
}

fn put_count(out: &mut Vec<u8>, mut count: usize) {
    while count >= 0x80 {
        out.push(count as u8 | 0x80);
        count >>= 7;
    }
    out.push(count as u8);
}

fn count_len(count: usize) -> usize {
    (usize::BITS - (count | 1).leading_zeros()).div_ceil(7) as usize
}

fn take_count(body: &mut Bytes) -> Result<usize, RecordError> {
    let mut count = 0usize;
    for shift in (0..usize::BITS).step_by(7) {
        let byte = body.try_get_u8().map_err(|_| CUT_SHORT)?;
        let bits = usize::from(byte & 0x7f);
        count |= bits << shift;
        if byte < 0x80 {
            let shortest = (byte != 0 || shift == 0) && count >> shift == bits;
            return if shortest { Ok(count) } else { Err(RecordError::Malformed("an overlong count")) };
        }
    }
    Err(RecordError::Malformed("an overlong count"))
}

const VERSION: u8 = 2;
const FIRST_VERSION: u8 = 1;
const TOMBSTONE: u8 = 1;
const EXPIRES: u8 = 2;
const ID: u8 = 4;
const RANK: u8 = 8;
const RESCUED: u8 = 16;
const FIRST_FLAGS: u8 = TOMBSTONE | EXPIRES;
const FLAGS: u8 = FIRST_FLAGS | ID | RANK | RESCUED;
/// A superseded request and its time.
const DEAD_BYTES: usize = 24;
const CHECKSUM_BYTES: usize = 8;
/// A tombstone that never expires: dot and flags.
const MIN_SIBLING_BYTES: usize = ENTRY_BYTES + 1;
const CUT_SHORT: RecordError = RecordError::Malformed("a sibling cut short");

#[cfg(test)]
mod tests;

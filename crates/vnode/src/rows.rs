//! How records lie on disk: token first, so that a partition is one contiguous range for any Q.
//!
//! ```text
//! data   token u64 | generation u32 | bucket | 0x00 | key
//! hints  target u64 | token u64 | bucket | 0x00 | key
//! meta   short names
//! ```
//! All integers big-endian. A bucket name has no 0x00, so the first one ends it.

use std::hash::{Hash, Hasher};

use bytes::{BufMut, Bytes, BytesMut};
use starling_types::row::{RowWrite, Space};
use starling_types::{ActorId, BucketName, Key, NodeId, PartitionId, QualifiedKey, Token};

use crate::event::CellKind;

/// The generation of a partition that was never dropped. A partition that comes back gets a higher one, so that
/// nothing old can reappear.
pub const FIRST_GENERATION: u32 = 1;

/// The hybrid logical clock's durable ceiling: 8 bytes.
pub const META_HLC_CEILING: &[u8] = b"hlc";
/// Present only after a clean stop: the actors of all vnodes, 12 bytes each.
pub const META_CLEAN_STOP: &[u8] = b"clean";

/// One record's place: whose, and which key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CellKey {
    /// As an owner, or for one.
    pub kind: CellKind,
    /// The key.
    pub key: QualifiedKey,
}

impl Hash for CellKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let space = match self.kind {
            CellKind::Data => 0,
            CellKind::Hint(target) => target.bits(),
        };
        state.write_u64(self.key.token().bits() ^ space);
    }
}

impl CellKey {
    /// A record held as an owner.
    pub const fn data(key: QualifiedKey) -> Self {
        Self { kind: CellKind::Data, key }
    }

    /// A record held for `target`.
    pub const fn hint(target: NodeId, key: QualifiedKey) -> Self {
        Self { kind: CellKind::Hint(target), key }
    }

    /// The row that holds it.
    pub fn row(&self) -> (Space, Bytes) {
        let key = &self.key;
        let mut row = BytesMut::with_capacity(24 + key.bucket().as_str().len() + key.key().as_bytes().len());
        let space = match self.kind {
            CellKind::Data => {
                row.put_u64(key.token().bits());
                row.put_u32(FIRST_GENERATION);
                Space::Data
            }
            CellKind::Hint(target) => {
                row.put_u64(target.bits());
                row.put_u64(key.token().bits());
                Space::Hints
            }
        };
        row.put_slice(key.bucket().as_str().as_bytes());
        row.put_u8(0);
        row.put_slice(key.key().as_bytes());
        (space, row.freeze())
    }

    /// A write of its row.
    pub fn write(&self, value: Option<Bytes>) -> RowWrite {
        let (space, key) = self.row();
        RowWrite { space, key, value }
    }
}

/// All hint rows for `target`: the prefix of their keys.
pub fn hints_for(target: NodeId) -> Bytes {
    Bytes::copy_from_slice(&target.bits().to_be_bytes())
}

/// The fields of a hint row's key: target, token, bucket and key; `None` if it is no hint row's. Only a reader that
/// knows the cluster's seed can tell whether the token is the key's.
pub fn hint_parts(row: &[u8]) -> Option<(NodeId, Token, BucketName, Key)> {
    let (target, rest) = row.split_first_chunk::<8>()?;
    let (token, rest) = rest.split_first_chunk::<8>()?;
    let end = rest.iter().position(|&b| b == 0)?;
    let bucket = BucketName::new(std::str::from_utf8(&rest[..end]).ok()?).ok()?;
    let key = Key::new(rest[end + 1..].to_vec()).ok()?;
    let (target, token) = (u64::from_be_bytes(*target), u64::from_be_bytes(*token));
    Some((NodeId::from_bits(target), Token::from_bits(token), bucket, key))
}

/// Which record a data row is: its token, the partition's generation, bucket and key; `None` if the row's key is no
/// data row's. Only a reader that knows the cluster's seed can tell whether the token is the key's.
pub fn parse_data(row: &[u8]) -> Option<(Token, u32, BucketName, Key)> {
    let (token, rest) = row.split_first_chunk::<8>()?;
    let (generation, rest) = rest.split_first_chunk::<4>()?;
    let end = rest.iter().position(|&b| b == 0)?;
    let bucket = BucketName::new(std::str::from_utf8(&rest[..end]).ok()?).ok()?;
    let key = Key::new(rest[end + 1..].to_vec()).ok()?;
    let token = Token::from_bits(u64::from_be_bytes(*token));
    Some((token, u32::from_be_bytes(*generation), bucket, key))
}

/// The name of the bucket in a data row's key; `None` if it holds none.
pub fn bucket_of_data(row: &[u8]) -> Option<&[u8]> {
    name_behind(row, 12)
}

/// The name of the bucket in a hint row's key; `None` if it holds none.
pub fn bucket_of_hint(row: &[u8]) -> Option<&[u8]> {
    name_behind(row, 16)
}

fn name_behind(row: &[u8], numbers: usize) -> Option<&[u8]> {
    let rest = row.get(numbers..)?;
    rest.iter().position(|&b| b == 0).map(|end| &rest[..end])
}

/// The value of [`META_CLEAN_STOP`].
pub fn encode_actors(actors: impl Iterator<Item = (PartitionId, ActorId)>) -> Bytes {
    let mut out = BytesMut::new();
    for (partition, actor) in actors {
        out.put_u32(partition.0);
        out.put_u64(actor.bits());
    }
    out.freeze()
}

/// Reads the value of [`META_CLEAN_STOP`]; `None` if it is damaged, which counts as an unclean stop.
pub fn decode_actors(bytes: &[u8]) -> Option<Vec<(PartitionId, ActorId)>> {
    let (entries, rest) = bytes.as_chunks::<12>();
    let entry = |e: &[u8; 12]| {
        let (partition, actor) = e.split_first_chunk::<4>()?;
        let actor = u64::from_be_bytes(*actor.first_chunk::<8>()?);
        Some((PartitionId(u32::from_be_bytes(*partition)), ActorId::from_bits(actor)))
    };
    if rest.is_empty() { entries.iter().map(entry).collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_row_tells_its_record_and_nothing_else_passes_for_one() {
        let bucket = BucketName::default_bucket();
        for key in [&b"k"[..], b"\0\xff", &[0; 300]] {
            let key = QualifiedKey::new(7, bucket.clone(), Key::new(key.to_vec()).unwrap());
            let (space, row) = CellKey::data(key.clone()).row();
            assert_eq!(space, Space::Data);
            let parts = (key.token(), FIRST_GENERATION, bucket.clone(), key.key().clone());
            assert_eq!(parse_data(&row), Some(parts));
            let shortest = 12 + bucket.as_str().len() + 1;
            (0..=shortest).for_each(|len| assert_eq!(parse_data(&row[..len]), None, "{len}"));
        }
        assert_eq!(parse_data(b"tttttttt\0\0\0\x01not a name\0key"), None);
    }
}

//! A batch as the commit log holds it.
//!
//! ```text
//! op      = tag u8 | key length u16 | key                                delete: tag = 0x80 + namespace
//!         | tag u8 | key length u16 | key | row length u32 | stored row     put: tag = namespace
//! ```
//! Little-endian. Rows are stored as the tables hold them ([`crate::row`]), so that what is applied are slices of what
//! was logged.

use bytes::{BufMut, Bytes, BytesMut};

use crate::Space;
use crate::batch::Batch;
use crate::row;

const DELETE: u8 = 0x80;
const OP_OVERHEAD: usize = 1 + 2 + 4 + row::HEADER;

/// One operation with its row in stored form; none when it deletes.
pub(crate) struct StoredOp {
    pub(crate) namespace: Space,
    pub(crate) key: Bytes,
    pub(crate) row: Option<Bytes>,
}

/// At most how many bytes a batch takes.
pub(crate) fn size(batch: &Batch) -> usize {
    batch.byte_size() + batch.len() * OP_OVERHEAD
}

/// Writes a batch, whose rows were checked.
pub(crate) fn encode(batch: &Batch, out: &mut BytesMut) {
    for op in batch.ops() {
        let (namespace, key) = (op.namespace(), op.key());
        out.put_u8(if op.value().is_some() { namespace.code() } else { namespace.code() | DELETE });
        // A row key has at most 8 KiB.
        out.put_u16_le(key.len() as u16);
        out.put_slice(key);
        if let Some(value) = op.value() {
            // A row value has at most 1 GiB.
            out.put_u32_le((row::HEADER + value.len()) as u32);
            row::encode_into(namespace, key, value, out);
        }
    }
}

/// The operations of a batch; slices of `payload`. Ends early at bytes that are no operation.
pub(crate) fn ops(payload: Bytes) -> impl Iterator<Item = StoredOp> {
    let mut rest = payload;
    std::iter::from_fn(move || take_op(&mut rest))
}

fn take_op(rest: &mut Bytes) -> Option<StoredOp> {
    let (&[tag, low, high], _) = rest.split_first_chunk::<3>()?;
    let namespace = Space::from_code(tag & !DELETE)?;
    let key_end = 3 + usize::from(u16::from_le_bytes([low, high]));
    rest.get(..key_end)?;
    let key = rest.slice(3..key_end);
    if tag & DELETE != 0 {
        *rest = rest.slice(key_end..);
        return Some(StoredOp { namespace, key, row: None });
    }
    let length = rest.get(key_end..)?.first_chunk::<4>()?;
    let row_start = key_end + 4;
    let row_end = row_start + u32::from_le_bytes(*length) as usize;
    rest.get(..row_end)?;
    let row = rest.slice(row_start..row_end);
    *rest = rest.slice(row_end..);
    Some(StoredOp { namespace, key, row: Some(row) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::batch::Op;

    /// The operation as it was submitted.
    fn submitted(op: StoredOp) -> Op {
        let StoredOp { namespace, key, row } = op;
        match row {
            Some(row) => Op::Put { value: row::decode(namespace, &key, row).unwrap(), namespace, key },
            None => Op::Delete { namespace, key },
        }
    }

    fn op() -> impl Strategy<Value = Op> {
        let key = prop::collection::vec(any::<u8>(), 1..20);
        let value = prop::option::of(prop::collection::vec(any::<u8>(), 0..40));
        (prop::sample::select(Space::ALL.to_vec()), key, value).prop_map(|(namespace, key, value)| {
            let key = Bytes::from(key);
            match value {
                Some(value) => Op::Put { namespace, key, value: value.into() },
                None => Op::Delete { namespace, key },
            }
        })
    }

    proptest! {
        #[test]
        fn a_batch_comes_back_as_it_was(batch in prop::collection::vec(op(), 0..9)) {
            let batch: Batch = batch.into_iter().collect();
            let mut out = BytesMut::new();
            encode(&batch, &mut out);
            prop_assert!(out.len() <= size(&batch));
            let back: Batch = ops(out.freeze()).map(submitted).collect();
            prop_assert_eq!(back, batch);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            ops(bytes.into()).for_each(drop);
        }
    }
}

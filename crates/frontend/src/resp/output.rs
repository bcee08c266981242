//! Bytes on their way out: small replies side by side in one buffer, large values by reference.

use std::collections::VecDeque;
use std::io::{IoSlice, Write as _};

use bytes::{Buf, BufMut as _, Bytes, BytesMut};

/// A connection's unsent replies.
#[derive(Debug, Default)]
pub struct Output {
    sealed: VecDeque<Bytes>,
    sealed_len: usize,
    tail: BytesMut,
}

impl Output {
    /// Appends pieces of a line.
    pub fn parts(&mut self, parts: &[&[u8]]) {
        parts.iter().for_each(|part| self.tail.extend_from_slice(part));
    }

    /// Appends `marker`, `number` and the line's end.
    pub fn header(&mut self, marker: u8, number: i64) {
        self.tail.reserve(HEADER_MAX);
        // Writing to memory that grows cannot fail.
        let _ = write!((&mut self.tail).writer(), "{}{number}\r\n", char::from(marker));
    }

    /// Appends a value, a large one without copying it.
    pub fn value(&mut self, value: Bytes) {
        if value.len() < SHARED {
            self.tail.extend_from_slice(&value);
            return;
        }
        let before = self.tail.split().freeze();
        for piece in [before, value] {
            self.sealed_len += piece.len();
            self.sealed.push_back(piece);
        }
    }

    /// Gives memory back after a burst.
    pub fn trim(&mut self) {
        if self.tail.is_empty() && self.tail.capacity() > TAIL_KEPT {
            self.tail = BytesMut::new();
        }
    }
}

impl Buf for Output {
    fn remaining(&self) -> usize {
        self.sealed_len + self.tail.len()
    }

    fn chunk(&self) -> &[u8] {
        self.sealed.iter().find(|piece| !piece.is_empty()).map_or(&self.tail, |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let pieces = self.sealed.iter().map(|piece| &piece[..]).chain([&self.tail[..]]);
        let pieces = pieces.filter(|piece| !piece.is_empty());
        slices.iter_mut().zip(pieces).map(|(slice, piece)| *slice = IoSlice::new(piece)).count()
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(piece) = self.sealed.front_mut() {
            let step = count.min(piece.len());
            piece.advance(step);
            self.sealed_len -= step;
            count -= step;
            if !piece.is_empty() {
                return;
            }
            self.sealed.pop_front();
        }
        self.tail.advance(count);
    }
}

/// Values from this size on are not copied: a slice of its own costs about as much as copying this.
const SHARED: usize = 16 << 10;
const TAIL_KEPT: usize = 64 << 10;
const HEADER_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_order_however_they_are_taken() {
        let large = Bytes::from(vec![b'x'; SHARED]);
        let mut expected = b":1\r\n".to_vec();
        expected.extend_from_slice(&large);
        expected.extend_from_slice(&large);
        expected.extend_from_slice(b"+end\r\n");
        for step in [1_usize, 3, 5_000, usize::MAX] {
            let mut out = Output::default();
            out.header(b':', 1);
            out.value(large.clone());
            out.value(large.clone());
            out.parts(&[b"+end", b"\r\n"]);
            assert_eq!(out.remaining(), expected.len());
            assert_eq!(vectored(&out), expected);
            let mut got = Vec::new();
            while out.has_remaining() {
                let chunk = out.chunk();
                let taken = chunk.len().min(step);
                got.extend_from_slice(&chunk[..taken]);
                out.advance(taken);
            }
            assert_eq!(got, expected, "in steps of {step}");
        }
    }

    fn vectored(out: &Output) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 8];
        let used = out.chunks_vectored(&mut slices);
        slices[..used].iter().flat_map(|slice| slice.to_vec()).collect()
    }
}

//! Cuts the bytes of a stream into frames. A frame that lies whole within one chunk is read where it lies; only one
//! that straddles two chunks is copied together.

use starling_wire::FrameError;
use starling_wire::frame::{HEADER, frame_length};

/// The bytes of a frame that has not arrived whole.
#[derive(Debug)]
pub(crate) struct Cutter {
    carry: Vec<u8>,
    limit: usize,
}

impl Cutter {
    /// Refuses frames above `limit` bytes before it keeps any of them.
    pub(crate) const fn new(limit: usize) -> Self {
        Self { carry: Vec::new(), limit }
    }

    /// Hands every frame that `chunk` completes to `deliver`, in order.
    pub(crate) fn feed<E: From<FrameError>>(
        &mut self,
        mut chunk: &[u8],
        mut deliver: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while !self.carry.is_empty() && !chunk.is_empty() {
            chunk = self.top_up(chunk)?;
            if self.length_of(&self.carry)? == Some(self.carry.len()) {
                deliver(&self.carry)?;
                self.carry.clear();
            }
        }
        while let Some(length) = self.length_of(chunk)?.filter(|length| *length <= chunk.len()) {
            let (frame, rest) = chunk.split_at(length);
            deliver(frame)?;
            chunk = rest;
        }
        self.carry.extend_from_slice(chunk);
        Ok(())
    }

    /// Moves what the carried frame lacks: first up to its header, which tells its length, then the rest.
    fn top_up<'a>(&mut self, chunk: &'a [u8]) -> Result<&'a [u8], FrameError> {
        let whole = self.length_of(&self.carry)?.unwrap_or(HEADER);
        let lacking = (whole - self.carry.len()).min(chunk.len());
        let (missing, rest) = chunk.split_at(lacking);
        self.carry.extend_from_slice(missing);
        Ok(rest)
    }

    fn length_of(&self, bytes: &[u8]) -> Result<Option<usize>, FrameError> {
        match frame_length(bytes)? {
            Some(length) if length > self.limit => Err(FrameError::Length(length)),
            length => Ok(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(body: usize) -> Vec<u8> {
        let mut bytes = vec![body as u8; HEADER + body];
        bytes[..4].copy_from_slice(&((HEADER + body - 4) as u32).to_be_bytes());
        bytes
    }

    #[test]
    fn frames_come_out_whole_however_the_bytes_arrive() {
        let frames: Vec<Vec<u8>> = [0, 1, 200, 3, 90].map(frame).into();
        let stream = frames.concat();
        for step in 1..=stream.len() {
            let mut cutter = Cutter::new(1_000);
            let mut seen = Vec::new();
            for chunk in stream.chunks(step) {
                let deliver = |frame: &[u8]| {
                    seen.push(frame.to_vec());
                    Ok::<_, FrameError>(())
                };
                cutter.feed(chunk, deliver).unwrap();
            }
            assert_eq!(seen, frames, "in steps of {step}");
        }
    }

    #[test]
    fn a_long_frame_is_refused_before_it_is_kept() {
        let mut cutter = Cutter::new(100);
        let refused = cutter.feed(&frame(49)[..10], |_| Ok::<_, FrameError>(()));
        assert_eq!(refused, Err(FrameError::Length(101)));
        assert!(cutter.carry.is_empty());
        assert_eq!(cutter.feed(&[0, 0, 0, 1], |_| Ok(())), Err(FrameError::Length(5)));
    }
}

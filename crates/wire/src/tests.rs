//! Every message there and back, the bytes as they are, and bytes as an enemy sends them.

mod golden;
mod hellos;
mod hostile;
mod samples;

use std::collections::BTreeSet;

use bytes::BufMut;
use proptest::prelude::*;
use starling_types::{ClusterId, ExchangeId, LayoutVersion, limits};

use crate::frame::{Envelope, FrameBuffer, FrameError, HEADER, frame_length};
use crate::message::Message;
use samples::samples;

fn envelope(message: Message) -> Envelope {
    Envelope {
        cluster: ClusterId::from_bits(0xc1),
        epoch: LayoutVersion(3),
        exchange: ExchangeId::from_bits(0x4e),
        deadline_ms: 1_500,
        message,
    }
}

fn frame(message: Message) -> Vec<u8> {
    let mut out = Vec::new();
    envelope(message).encode(&mut out).unwrap();
    out
}

/// The frame of `op` around any body, its length field in order.
fn framed(op: u16, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u32(u32::try_from(HEADER - 4 + body.len()).unwrap());
    out.put_u8(1);
    out.put_u8(0);
    out.put_u16(op);
    out.put_bytes(0, HEADER - out.len());
    out.put_slice(body);
    out
}

#[test]
fn every_message_comes_back_as_it_went() {
    for message in samples() {
        let sent = envelope(message);
        let mut out = b"before".to_vec();
        sent.encode(&mut out).unwrap();
        assert_eq!(&out[..6], b"before", "appended");
        assert_eq!(frame_length(&out[6..]), Ok(Some(out.len() - 6)));
        assert_eq!(Envelope::decode(&out[6..]), Ok(sent));
    }
}

#[test]
fn op_codes_are_distinct_and_every_one_has_a_sample() {
    let ops: BTreeSet<u16> = Message::OPS.iter().copied().collect();
    assert_eq!(ops.len(), Message::OPS.len());
    let sampled: BTreeSet<u16> = samples().iter().map(Message::op).collect();
    assert_eq!(sampled, ops);
    let names: BTreeSet<&str> = samples().iter().map(Message::name).collect();
    assert_eq!(names.len(), ops.len());
}

#[test]
fn a_length_is_refused_before_anything_is_buffered_for_it() {
    let beyond = u32::try_from(limits::MAX_MESSAGE - 4 + 1).unwrap();
    let cases = [0, u32::try_from(HEADER - 5).unwrap(), beyond, u32::MAX];
    for field in cases {
        let error = frame_length(&field.to_be_bytes());
        assert!(matches!(error, Err(FrameError::Length(_))), "{field}");
    }
    assert_eq!(frame_length(&(beyond - 1).to_be_bytes()), Ok(Some(limits::MAX_MESSAGE)));
    let mut buffer = FrameBuffer::default();
    buffer.extend(&1_000u32.to_be_bytes());
    assert_eq!(buffer.next_frame(1_003), Err(FrameError::Length(1_004)));
    assert_eq!(buffer.next_frame(1_004), Ok(None));
}

#[test]
fn other_releases_are_told_apart_from_garbage() {
    let mut other = frame(samples().remove(0));
    other[4] = 2;
    assert_eq!(Envelope::decode(&other), Err(FrameError::Version(2)));
    assert_eq!(Envelope::decode(&framed(999, &[])), Err(FrameError::Op(999)));
    assert!(matches!(Envelope::decode(&framed(1, &[0xc1])), Err(FrameError::Body { op: 1, .. })));
}

proptest! {
    #[test]
    fn frames_come_out_whole_however_the_bytes_arrive(
        picks in prop::collection::vec(any::<prop::sample::Index>(), 1..6),
        cuts in prop::collection::vec(1usize..200, 1..50),
    ) {
        let samples = samples();
        let frames: Vec<Vec<u8>> = picks.iter().map(|i| frame(samples[i.index(samples.len())].clone())).collect();
        let stream = frames.concat();
        let (mut buffer, mut rest, mut seen) = (FrameBuffer::default(), &stream[..], Vec::new());
        for cut in cuts.into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at(cut.min(rest.len()));
            buffer.extend(now);
            rest = later;
            while let Some(frame) = buffer.next_frame(limits::MAX_MESSAGE).unwrap() {
                seen.push(frame.to_vec());
            }
        }
        prop_assert_eq!(seen, frames);
    }
}

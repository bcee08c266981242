//! Bytes as damage or an enemy makes them.

use super::*;

#[test]
fn a_cut_frame_is_never_a_message() {
    for message in samples() {
        let op = message.op();
        let whole = frame(message);
        for end in 0..whole.len() {
            assert!(Envelope::decode(&whole[..end]).is_err(), "op {op} cut at {end}");
        }
        // Cut in the body, with a length field that knows of it.
        for end in HEADER..whole.len() {
            let cut = framed(op, &whole[HEADER..end]);
            assert!(Envelope::decode(&cut).is_err(), "op {op} shortened to {end}");
        }
    }
}

#[test]
fn a_length_field_that_lies_is_refused() {
    let whole = frame(samples().remove(0));
    let length = u32::try_from(whole.len() - 4).unwrap();
    for lie in [length - 1, length + 1] {
        let mut lying = whole.clone();
        lying[..4].copy_from_slice(&lie.to_be_bytes());
        assert_eq!(Envelope::decode(&lying), Err(FrameError::Length(whole.len())));
    }
}

#[test]
fn nothing_may_follow_the_body() {
    for message in samples() {
        let op = message.op();
        let body = frame(message).split_off(HEADER);
        assert!(Envelope::decode(&framed(op, &body)).is_ok());
        // Any byte, whether a value, the start of one, or none; a list; the start of a list; the same body again.
        for more in [&[0x00][..], &[0xc0], &[0xc1], &[0xcf], &[0xdd, 0xff, 0xff, 0xff, 0xff], &body] {
            let longer = framed(op, &[&body, more].concat());
            assert!(Envelope::decode(&longer).is_err(), "op {op} and {more:02x?}");
        }
    }
}

#[test]
fn a_flipped_bit_never_panics_and_what_decodes_encodes() {
    for message in samples() {
        let whole = frame(message);
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(envelope) = Envelope::decode(&flipped) {
                let mut again = Vec::new();
                envelope.encode(&mut again).unwrap();
                assert_eq!(Envelope::decode(&again), Ok(envelope));
            }
        }
    }
}

proptest! {
    #[test]
    fn garbage_is_refused(op in prop::sample::select(Message::OPS), body in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = Envelope::decode(&framed(op, &body));
        let _ = Envelope::decode(&body);
    }
}

#[test]
fn values_nested_without_end_are_refused() {
    let deep = vec![0x91; 1 << 20];
    for message in samples() {
        let op = message.op();
        assert!(Envelope::decode(&framed(op, &deep)).is_err());
        let body = frame(message).split_off(HEADER);
        let behind = framed(op, &[&body[..], &deep].concat());
        assert!(Envelope::decode(&behind).is_err());
    }
}

//! Lengths that a frame's body claims are not allocated: an array, map, string or blob of four billion, and then
//! nothing.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "tests")]

use starling_wire::{Envelope, Message};

#[test]
fn a_claim_costs_no_memory() {
    let claims = [0xdd, 0xdf, 0xdb, 0xc6].map(|marker| [marker, 0xff, 0xff, 0xff, 0xff]);
    let before = peak_kib();
    let mut refused = 0;
    for &op in Message::OPS {
        // Behind the heads of nested lists of up to fifteen, where the claim stands for a field.
        for depth in 0..4 {
            for fields in 0x91..=0x9f {
                for claim in claims {
                    let body = [vec![fields; depth], claim.to_vec()].concat();
                    refused += u32::from(Envelope::decode(&framed(op, &body)).is_err());
                }
            }
        }
    }
    assert!(refused > 1_000, "{refused} frames were refused");
    let grown = peak_kib() - before;
    assert!(grown < 256 << 10, "address space grew by {grown} KiB");
}

/// A frame with the given op and body, its length field right.
fn framed(op: u16, body: &[u8]) -> Vec<u8> {
    let rest = 48 + body.len();
    let mut frame = u32::try_from(rest).unwrap().to_be_bytes().to_vec();
    frame.extend([1, 0]);
    frame.extend(op.to_be_bytes());
    frame.resize(52, 0);
    frame.extend(body);
    frame
}

/// The most address space this process has had.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmPeak:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

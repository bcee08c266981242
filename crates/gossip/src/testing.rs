//! Helpers for the unit tests of several modules.

use std::net::{Ipv4Addr, SocketAddr};

use starling_types::{Generation, NodeId};
use starling_wire::gossip::MemberInfo;

pub(crate) fn node(bits: u64) -> NodeId {
    NodeId::from_bits(bits)
}

pub(crate) fn info(bits: u64, generation: u64) -> MemberInfo {
    let address = |base: u16| SocketAddr::from((Ipv4Addr::new(10, 0, 0, bits as u8), base));
    MemberInfo {
        node: node(bits),
        generation: Generation(generation),
        name: format!("node-{bits}"),
        quic: address(7400),
        resp: Some(address(6379)),
        http: Some(address(8080)),
        zone: "a".into(),
        version: "0.1.0".into(),
    }
}

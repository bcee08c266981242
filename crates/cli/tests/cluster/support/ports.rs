//! Ports that a node can be given, lose by being killed, and have again.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range from which the system takes ports for outgoing connections: those could be gone by the time
/// that a killed node starts again.
const FIRST: u16 = 10_000;
const COUNT: u16 = 22_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// An address on this host at which nobody listens, never given out twice in this process.
pub fn free() -> SocketAddr {
    loop {
        // Test processes that run at once start in different places.
        let start = std::process::id().wrapping_mul(97) % u32::from(COUNT);
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let offset = u16::try_from((start + step) % u32::from(COUNT)).unwrap();
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST + offset));
        if TcpListener::bind(addr).is_ok() && UdpSocket::bind(addr).is_ok() {
            return addr;
        }
    }
}

//! Ports that a node can be given, lose by being killed, and have again.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::place::Doors;

/// Below the range from which the system takes ports for outgoing connections: those could be gone by the time
/// that a killed node starts again.
const FIRST: u32 = 10_000;
const COUNT: u32 = 22_000;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// An address on this host at which no process listens, not given out by this process before.
pub fn free() -> io::Result<SocketAddr> {
    // Processes that run at once start in different places.
    let start = std::process::id().wrapping_mul(97) % COUNT;
    for _ in 0..COUNT {
        let offset = (start + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + offset).map_err(io::Error::other)?;
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(addr).is_ok() && UdpSocket::bind(addr).is_ok() {
            return Ok(addr);
        }
    }
    Err(io::ErrorKind::AddrNotAvailable.into())
}

impl Doors {
    /// On addresses that are [`free`].
    pub fn free() -> io::Result<Self> {
        Ok(Self { resp: free()?, http: free()?, quic: free()? })
    }
}

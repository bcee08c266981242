//! Stopping a mounted file system at once, as a power cut does.

#![allow(unsafe_code, reason = "an ioctl that no safe library offers: ADR 009")]

use std::fs::File;
use std::io;

/// Stops the file system that `file` lies on, without writing anything back: what was not synced is gone, and every
/// later call on it fails until it is unmounted and mounted again. For ext4 and xfs; needs `CAP_SYS_ADMIN`.
///
/// # Errors
/// The error of the system; `Unsupported` on other systems than Linux.
#[cfg(target_os = "linux")]
pub fn shut_down_file_system(file: &File) -> io::Result<()> {
    use rustix::ioctl::{self, Opcode, Setter, opcode};

    /// `EXT4_IOC_SHUTDOWN` and `XFS_IOC_GOINGDOWN`: `_IOR('X', 125, __u32)` in the kernel's headers, although the
    /// kernel reads the number.
    const SHUTDOWN: Opcode = opcode::read::<u32>(b'X', 125);
    /// `EXT4_GOING_FLAGS_NOLOGFLUSH`: not even the journal is written back.
    const NO_LOG_FLUSH: u32 = 2;

    // SAFETY: this operation takes a pointer to a `u32`, which `Setter` hands over and keeps alive for the call, and
    // only reads it. A file system that does not know the operation answers ENOTTY and touches nothing.
    let done = unsafe {
        let request = Setter::<SHUTDOWN, u32>::new(NO_LOG_FLUSH);
        ioctl::ioctl(file, request)
    };
    done.map_err(io::Error::from)
}

/// As on Linux.
///
/// # Errors
/// Always `Unsupported`.
#[cfg(not(target_os = "linux"))]
pub fn shut_down_file_system(_file: &File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

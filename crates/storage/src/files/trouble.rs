//! The meaning of a system error for a writer.

use std::io::{self, ErrorKind};

/// Whether another try may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The volume is full.
    NoSpace,
    /// Others hold what was needed, for now: descriptors or memory; or a signal came in between.
    Scarce,
    /// Anything else.
    Other,
}

impl Trouble {
    pub(crate) fn of(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::NoSpace,
            ErrorKind::OutOfMemory | ErrorKind::WouldBlock | ErrorKind::Interrupted => Self::Scarce,
            _ if error.raw_os_error().is_some_and(|code| DESCRIPTORS.contains(&code)) => Self::Scarce,
            _ => Self::Other,
        }
    }
}

/// ENFILE, EMFILE.
const DESCRIPTORS: [i32; 2] = [23, 24];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_hold_for_now_is_scarce() {
        let of = |code| Trouble::of(&io::Error::from_raw_os_error(code));
        let (eintr, eio, eagain, enomem, enfile, emfile, enospc) = (4, 5, 11, 12, 23, 24, 28);
        assert!([eintr, eagain, enomem, enfile, emfile].iter().all(|code| of(*code) == Trouble::Scarce));
        assert_eq!((of(enospc), of(eio)), (Trouble::NoSpace, Trouble::Other));
    }
}

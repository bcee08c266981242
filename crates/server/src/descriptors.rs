//! The descriptors that this process may have open, shared out so that clients' connections never take the store's last.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The parts of the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// Open tables of the store; it keeps as many again for merging them.
    pub tables: usize,
    /// Connections at each of the doors for RESP and HTTP.
    pub connections: usize,
}

/// The limit leaves no room for a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this process may have {0} files open, and a node needs {LEAST}: raise the limit (ulimit -n, LimitNOFILE= of \
     systemd, nofile of a container)"
)]
pub struct TooFew(u64);

/// Raises the limit as far as the system lets this process; the limit in force.
pub fn raise() -> u64 {
    let before = getrlimit(Resource::Nofile);
    if before.current != before.maximum {
        // Where the hard one is unlimited, the kernel has a limit of its own.
        let most = before.maximum.unwrap_or(MOST);
        // Refused: the limit stays as it was, which is what is shared out.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(most), ..before });
    }
    getrlimit(Resource::Nofile).current.unwrap_or(MOST)
}

impl Shares {
    /// Of `limit` descriptors, for `wanted` connections at each door.
    ///
    /// # Errors
    /// If there are too few for any node.
    pub fn of(limit: u64, wanted: usize) -> Result<Self, TooFew> {
        if limit < LEAST {
            return Err(TooFew(limit));
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let rest = limit - BASE - limit / 32;
        let tables = (rest / 4).min(TABLES);
        Ok(Self { tables, connections: wanted.min((rest - 2 * tables) / 2) })
    }
}

/// Descriptors besides those of tables and clients: the log, sockets, directories, and those of a moment.
const BASE: usize = 24;
/// With less it could not serve more than a client or two.
const LEAST: u64 = 40;
/// More open tables save nothing.
const TABLES: usize = 256;
/// The kernel's own limit, unless it was raised.
const MOST: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_and_the_doors_never_want_more_than_there_are() {
        for limit in (LEAST..2_000).chain([4_096, 20_000, 65_536, 1 << 20, u64::MAX]) {
            let shares = Shares::of(limit, 10_000).unwrap();
            let needed = BASE + 2 * shares.tables + 2 * shares.connections;
            assert!(
                needed as u64 <= limit && shares.connections >= 2 && shares.tables >= 3,
                "{limit} {shares:?}"
            );
        }
        assert_eq!(Shares::of(1_024, 10_000), Ok(Shares { tables: 242, connections: 242 }));
        assert_eq!(Shares::of(65_536, 10_000), Ok(Shares { tables: 256, connections: 10_000 }));
        assert_eq!(Shares::of(LEAST - 1, 1), Err(TooFew(LEAST - 1)));
    }
}

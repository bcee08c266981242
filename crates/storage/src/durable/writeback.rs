//! Tables go to the disk while they are written, not all at once at their end: the fsync that closes one would hold up
//! every fsync of the log behind it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io;
use std::path::Path;

use super::store::Store;
use super::tree::Tree;
use crate::Space;

/// Bytes that are worth a write of their own.
const PIECE: u64 = 256 << 10;
/// Tables of a tree that may be written at the same time, those included that were just begun.
const WATCHED: u64 = 4;

/// Follows the tables that are being written for as long as the store runs.
pub(super) fn follow(store: &Store) {
    let making = &store.trees.shared.making;
    while making.wait() {
        let mut growing: [Growing; Space::ALL.len()] = Default::default();
        loop {
            store.trees.iter().zip(&mut growing).for_each(|(tree, growing)| growing.follow(tree));
            if !making.rest() {
                break;
            }
        }
    }
}

/// Tables of one tree that are being written, by number.
#[derive(Default)]
struct Growing(BTreeMap<u64, Table>);

struct Table {
    file: File,
    /// Bytes that were sent to the disk.
    sent: u64,
}

impl Growing {
    fn follow(&mut self, tree: &Tree) {
        if let Err(error) = self.push_out(tree) {
            // The thread that makes the table meets the same failure, and says so.
            tracing::debug!(%error, namespace = %tree.namespace, "a growing table could not be followed");
        }
    }

    fn push_out(&mut self, tree: &Tree) -> io::Result<()> {
        let next = tree.next_table();
        let watched = next.saturating_sub(WATCHED)..next;
        self.0.retain(|number, _| watched.contains(number));
        for number in watched {
            if let Some(table) = self.table(&tree.table_path(number), number)? {
                table.push_out()?;
            }
        }
        Ok(())
    }

    /// A table, if it was begun.
    fn table(&mut self, path: &Path, number: u64) -> io::Result<Option<&mut Table>> {
        Ok(match self.0.entry(number) {
            Entry::Occupied(known) => Some(known.into_mut()),
            Entry::Vacant(place) => match File::open(path) {
                Ok(file) => Some(place.insert(Table { file, sent: 0 })),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            },
        })
    }
}

impl Table {
    fn push_out(&mut self) -> io::Result<()> {
        let bytes = self.file.metadata()?.len();
        if bytes >= self.sent + PIECE {
            self.file.sync_data()?;
            self.sent = bytes;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_growing_table_is_sent_piece_by_piece() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1");
        let mut growing = Growing::default();
        assert!(growing.table(&path, 1).unwrap().is_none(), "not begun yet");
        let mut file = File::create(&path).unwrap();
        let mut sent = |bytes: u64| {
            file.write_all(&vec![1; bytes as usize]).unwrap();
            let table = growing.table(&path, 1).unwrap().unwrap();
            table.push_out().unwrap();
            table.sent
        };
        assert_eq!(sent(PIECE - 1), 0, "too little");
        assert_eq!(sent(1), PIECE);
        assert_eq!(sent(PIECE / 2), PIECE);
        assert_eq!(sent(PIECE), 5 * PIECE / 2, "all there is");
    }
}

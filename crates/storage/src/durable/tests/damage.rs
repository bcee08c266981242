use std::collections::BTreeMap;

use super::*;
use crate::range::KeyRange;

/// A directory's files with their bytes.
#[derive(PartialEq, Eq)]
pub(super) struct Files(BTreeMap<PathBuf, Vec<u8>>);

impl Files {
    pub(super) fn of(dir: &Path) -> Self {
        let mut files = BTreeMap::new();
        let mut todo = vec![dir.to_path_buf()];
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => todo.push(path),
                    false => drop(files.insert(path.clone(), fs::read(&path).unwrap())),
                }
            }
        }
        Self(files)
    }

    /// Makes the directory hold just these files again.
    fn restore(&self, dir: &Path) {
        fs::remove_dir_all(dir).unwrap();
        for (path, bytes) in &self.0 {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    /// The one file that holds `needle`, and where.
    fn find(&self, needle: &[u8]) -> (PathBuf, usize) {
        let places = self.0.iter().filter_map(|(path, bytes)| {
            let at = bytes.windows(needle.len()).position(|window| window == needle)?;
            Some((path.clone(), at))
        });
        let places: Vec<_> = places.collect();
        assert_eq!(places.len(), 1, "{places:?}");
        places[0].clone()
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn key(n: u32) -> Vec<u8> {
    n.to_be_bytes().to_vec()
}

fn value(n: u32) -> String {
    format!("the value of row {n:04}").repeat(3)
}

const ROWS: u32 = 300;

/// A closed store of [`ROWS`] rows, in tables or in the log.
fn filled(in_tables: bool) -> (Directory, Files) {
    let mut home = Directory::new();
    let engine = home.open();
    for n in 0..ROWS {
        engine.commit(&[put(key(n), value(n))], Durability::Buffered).unwrap();
    }
    if in_tables {
        engine.flush();
    }
    engine.close().unwrap();
    if in_tables {
        // The log is allocated ahead; only the next open cuts it to what it holds, which is now in tables too.
        home.open().close().unwrap();
        empty_log(&home.path());
    } else {
        home.open().close().unwrap();
    }
    let files = Files::of(&home.path());
    (home, files)
}

fn empty_log(dir: &Path) {
    for path in Files::of(dir).0.into_keys() {
        if path.extension().is_some_and(|extension| extension == "jnl") {
            fs::write(path, "").unwrap();
        }
    }
}

#[test]
fn a_flipped_value_byte_in_a_table_is_corrupt_and_others_still_answer() {
    let (mut home, files) = filled(true);
    let (table, at) = files.find(value(150).as_bytes());
    flip(&table, at);
    let engine = home.open();

    let error = engine.get(Namespace::Data, &key(150)).unwrap_err();
    assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
    assert_eq!(engine.get(Namespace::Data, &key(0)).unwrap(), Some(value(0).into()));
    let limit = ScanLimit { rows: 9_999, bytes: 1 << 20 };
    let error = engine.scan(Namespace::Data, &KeyRange::all(), limit).unwrap_err();
    let StorageError::Corrupt { key: from, .. } = error else {
        panic!("{error}");
    };
    let before = KeyRange::new("", Some(from.clone()));
    let rows = engine.scan(Namespace::Data, &before, limit).unwrap().rows;
    assert!(rows.len() > 50, "what lies before the damage can be read: {} rows", rows.len());
    assert!(*from <= *key(150));
}

#[test]
fn a_flipped_value_byte_in_the_log_refuses_the_open() {
    let (home, files) = filled(false);
    let (log, at) = files.find(value(150).as_bytes());
    flip(&log, at);
    assert!(matches!(refusal(&home.path()), StorageError::Unreadable { .. }));
}

/// Damage to any part of a table file shows at open or at read; a row never comes back changed or missing.
#[test]
fn no_flipped_byte_of_a_table_changes_or_hides_a_row() {
    let (home, files) = filled(true);
    let (table, _) = files.find(value(150).as_bytes());
    for at in (0..files.0[&table].len()).step_by(211) {
        files.restore(&home.path());
        flip(&table, at);
        let Ok(engine) = open(&home.path()) else {
            continue;
        };
        for n in 0..ROWS {
            match engine.get(Namespace::Data, &key(n)) {
                Ok(found) => assert_eq!(found, Some(value(n).into()), "row {n}, flipped {at}"),
                Err(error) => assert!(matches!(error, StorageError::Corrupt { .. }), "{error}"),
            }
        }
    }
}

#[test]
fn a_missing_file_refuses_the_open_and_loses_nothing() {
    let (mut home, files) = filled(true);
    let markers = files.0.keys().filter(|path| path.ends_with("current") || path.ends_with("version"));
    for marker in markers {
        fs::remove_file(marker).unwrap();
        assert!(matches!(refusal(&home.path()), StorageError::Unreadable { .. }), "{marker:?}");
        fs::write(marker, &files.0[marker]).unwrap();
    }
    assert_eq!(home.open().get(Namespace::Data, &key(7)).unwrap(), Some(value(7).into()));
}

/// Below the library's own checksums: ours are the last guard.
#[test]
fn a_row_whose_checksum_does_not_match_is_corrupt() {
    let mut home = Directory::new();
    let engine = home.open();
    let mut stored = row::encode(Namespace::Data, b"k", b"value");
    *stored.last_mut().unwrap() ^= 1;
    let planted = engine.with_tables(|tables| {
        let planted = tables.keyspace(Namespace::Data).insert("k", stored);
        planted.map_err(failure::of_commit)
    });
    planted.unwrap();
    let error = engine.get(Namespace::Data, b"k").unwrap_err();
    let detail = "checksum mismatch".into();
    let key = Bytes::from("k");
    let namespace = Namespace::Data;
    assert_eq!(error, StorageError::Corrupt { namespace, key, detail });
    engine.commit(&[put("k", "again")], Durability::Synced).unwrap();
    assert_eq!(engine.get(Namespace::Data, b"k").unwrap(), Some("again".into()), "damage does not poison");
}

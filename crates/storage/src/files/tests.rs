//! Both kinds of files do what the trait says, and the faulty ones lose what they should.

use super::*;

fn both(test: impl Fn(&dyn Files)) {
    let dir = tempfile::tempdir().unwrap();
    test(&OsFiles::open(&dir.path().join("log")).unwrap());
    test(&FaultyFiles::new(7));
}

fn contents(files: &dyn Files, name: &str) -> Vec<u8> {
    read_all(&*files.open(name).unwrap()).unwrap()
}

#[test]
fn files_hold_what_was_written() {
    both(|files| {
        let file = files.create("a", 5000).unwrap();
        assert_eq!(contents(files, "a"), [0; 5000]);
        file.write_at(4990, b"written").unwrap();
        file.sync_data().unwrap();
        files.create("b", 1).unwrap();
        files.rename("a", "c").unwrap();
        files.remove("b").unwrap();
        files.sync_directory().unwrap();
        assert_eq!(files.list().unwrap(), ["c"]);
        assert_eq!(file.length().unwrap(), 5000);
        assert_eq!(contents(files, "c")[4990..4997], *b"written");
        assert_eq!(files.open("a").unwrap_err().kind(), io::ErrorKind::NotFound);
    });
}

#[test]
fn what_is_made_in_the_place_of_another_holds_nothing_of_it() {
    both(|files| {
        files.create("a", 9).unwrap().write_at(0, b"former").unwrap();
        let file = files.create("a", 70_000).unwrap();
        assert_eq!(contents(files, "a"), [0; 70_000]);
        file.write_at(69_999, b"x").unwrap();
        assert_eq!(file.length().unwrap(), 70_000);
    });
}

/// Blocks that are only allocated may be lost although they were synced, when the journal of the file system aborts.
#[cfg(target_os = "linux")]
#[test]
fn a_file_is_written_not_only_allocated() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let files = OsFiles::open(dir.path()).unwrap();
    files.create("a", 1 << 20).unwrap();
    let path = dir.path().join("a");
    let metadata = std::fs::metadata(&path).unwrap();
    assert!(metadata.blocks() * 512 >= 1 << 20, "no holes");
}

#[test]
fn a_power_cut_takes_what_was_not_synced() {
    let files = FaultyFiles::new(1);
    let file = files.create("kept", 2048).unwrap();
    files.sync_directory().unwrap();
    file.write_at(0, b"synced").unwrap();
    file.sync_data().unwrap();
    file.write_at(512, b"not synced").unwrap();
    files.create("lost", 1).unwrap();
    files.crash(Unsynced::Lost);
    assert_eq!(files.list().unwrap(), ["kept"]);
    let bytes = contents(&files, "kept");
    assert_eq!((&bytes[..6], &bytes[512..522]), (&b"synced"[..], &[0; 10][..]));
    assert!(file.write_at(0, b"late").is_err(), "opened before the cut");
}

#[test]
fn a_torn_write_keeps_some_sectors_in_no_order() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..64 {
        let files = FaultyFiles::new(seed);
        let file = files.create("a", 3 * 512).unwrap();
        files.sync_directory().unwrap();
        file.write_at(0, &[1; 3 * 512]).unwrap();
        files.crash(Unsynced::Torn);
        seen.insert(contents(&files, "a").chunks(512).map(|sector| sector == [1; 512]).collect::<Vec<_>>());
    }
    assert_eq!(seen.len(), 8, "every subset");
}

#[test]
fn a_failed_sync_lies_afterwards() {
    let files = FaultyFiles::new(1);
    let file = files.create("a", 512).unwrap();
    files.sync_directory().unwrap();
    file.write_at(0, b"gone").unwrap();
    files.fail_next_sync();
    assert!(file.sync_data().is_err());
    file.sync_data().unwrap();
    assert_eq!(&contents(&files, "a")[..4], b"gone");
    files.crash(Unsynced::Torn);
    assert_eq!(contents(&files, "a"), [0; 512]);
}

#[test]
fn what_cannot_be_read_is_an_error_until_it_can_be() {
    let files = FaultyFiles::new(1);
    files.put("a", &[1; 3 * BLOCK]);
    files.spoil("a", BLOCK + 600);
    let file = files.open("a").unwrap();
    assert!(read_all(&*file).is_err());
    let rest = [[1; BLOCK], [0; BLOCK], [1; BLOCK]].concat();
    assert_eq!(read_what_can_be(&*file).unwrap(), rest, "a block that is given up costs only itself");
    files.heal();
    assert_eq!(contents(&files, "a"), [1; 3 * BLOCK]);
    files.fail_next_reads(2);
    let tries = |tries| Patience::new(tries, std::time::Duration::ZERO);
    assert!(tries(0).try_read(|| read_all(&*file)).is_err());
    assert_eq!(tries(1).try_read(|| read_all(&*file)).unwrap(), [1; 3 * BLOCK]);
}

use std::io::{ErrorKind, Write};

use super::*;

const SIZE: u64 = 64 << 20;

#[test]
fn a_power_cut_keeps_what_was_synced_and_nothing_else() {
    let Some(volume) = or_skip(LoopVolume::create(SIZE)) else {
        return;
    };
    let [kept, lost] = ["kept", "lost"].map(|name| volume.root().join(name));
    let mut file = File::create_new(&kept).unwrap();
    file.write_all(b"synced").unwrap();
    file.sync_all().unwrap();
    File::open(volume.root()).unwrap().sync_all().unwrap();
    fs::write(&lost, "not synced").unwrap();

    volume.cut_power().unwrap();
    assert!(file.write_all(b"more").and_then(|()| file.sync_all()).is_err());
    drop(file);
    volume.restore_power().unwrap();
    assert_eq!(fs::read(&kept).unwrap(), b"synced");
    assert_eq!(fs::read(&lost).unwrap_or_default(), b"");
}

#[test]
fn a_volume_goes_with_its_value() {
    let Some(volume) = or_skip(LoopVolume::create(SIZE)) else {
        return;
    };
    let root = volume.root().to_path_buf();
    let open = File::create_new(root.join("open")).unwrap();
    drop(volume);
    assert!(!root.exists(), "even while a file on it is open");
    drop(open);
}

#[test]
fn a_memory_volume_runs_full_grows_and_refuses_writes() {
    let Some(volume) = or_skip(MemoryVolume::create(1 << 20)) else {
        return;
    };
    let path = volume.root().join("file");
    let two = vec![1; 2 << 20];
    assert_eq!(fs::write(&path, &two).unwrap_err().kind(), ErrorKind::StorageFull);
    volume.resize(4 << 20).unwrap();
    fs::write(&path, &two).unwrap();
    volume.make_read_only().unwrap();
    assert_eq!(fs::write(&path, &two).unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
    volume.make_writable().unwrap();
    fs::write(&path, &two).unwrap();
}

/// Memory file systems cannot be shut down: nothing happens to them.
#[test]
fn what_cannot_be_shut_down_says_so() {
    let Some(volume) = or_skip(MemoryVolume::create(1 << 20)) else {
        return;
    };
    assert!(shut_down_file_system(&File::open(volume.root()).unwrap()).is_err());
    fs::write(volume.root().join("file"), "still there").unwrap();
}

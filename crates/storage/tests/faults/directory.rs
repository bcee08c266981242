//! Directories in which no store of this version can work. Refused, with instructions, and left as they are.

use std::fs;
use std::path::{Path, PathBuf};

use starling_storage::{Engine, StorageError};
use starling_sys::MemoryVolume;
use starling_types::Formats;

use crate::common::damage::{Outcome, examine, prepared};
use crate::common::files::{Content, Files};
use crate::common::{data_dir, is_clear, open, or_skip, scratch};

/// The error of an open that must not succeed, and must not change anything.
#[track_caller]
fn refusal(dir: &Path) -> StorageError {
    let before = Files::of(dir);
    let refusal = open(dir).err().unwrap_or_else(|| panic!("opened: {:?}", before.0.keys()));
    assert!(Files::of(dir) == before, "changed by an open that was refused: {refusal}");
    refusal
}

#[test]
fn a_read_only_directory_is_refused_and_opens_when_it_is_writable_again() {
    let Some(volume) = or_skip(MemoryVolume::create(256 << 20)) else {
        return;
    };
    let dir = data_dir(volume.root());
    for files in [&prepared().killed, &prepared().closed] {
        files.lay_out(&dir);
        volume.make_read_only().unwrap();
        let refusal = refusal(&dir);
        assert!(matches!(refusal, StorageError::Io { .. }), "{refusal}");
        assert!(refusal.to_string().contains("Read-only file system"), "{refusal}");
        volume.make_writable().unwrap();
        assert_eq!(examine(&dir, &prepared().known_killed), Ok(Outcome::Intact));
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_refused() {
    let Some(volume) = or_skip(MemoryVolume::create(1 << 20)) else {
        return;
    };
    volume.make_read_only().unwrap();
    let refusal = refusal(&data_dir(volume.root()));
    assert!(matches!(refusal, StorageError::Io { .. }), "{refusal}");
}

#[test]
fn a_store_of_a_newer_format_is_refused_with_instructions_and_left_alone() {
    for files in [&prepared().killed, &prepared().closed] {
        let home = scratch();
        let dir = data_dir(home.path());
        let (path, format) = format_of(files);
        let newer = format!("starling store {}\n", format + 1).into_bytes();
        files.with(&path, Content::new(newer)).lay_out(&dir);

        let refusal = refusal(&dir);
        let format = Formats { oldest: format, newest: format }.check(format + 1).unwrap_err();
        assert_eq!(refusal, StorageError::OtherFormat { dir, format });
        let message = refusal.to_string();
        assert!(message.contains("use the version that wrote it"), "{message}");
    }
}

/// The file that says what the store is, and its number.
fn format_of(files: &Files) -> (PathBuf, u32) {
    let mut formats = files.contents().filter_map(|(path, content)| {
        let words = std::str::from_utf8(content.used()).ok()?.strip_prefix("starling store ")?;
        let (number, _) = words.split_once(' ')?;
        Some((path.to_path_buf(), number.parse().ok()?))
    });
    formats.next().expect("a store says what it is")
}

/// Files of another program, where those of a store would be.
#[test]
fn what_is_no_store_is_refused_with_instructions_and_left_alone() {
    let ours =
        prepared().closed.0.iter().filter(|(path, content)| path.iter().count() == 1 && content.is_none());
    for (path, _) in ours {
        let strange = [
            Files([(path.join("photo.jpg"), Some(Content::new(b"a photo".to_vec())))].into()),
            Files([(path.clone(), Some(Content::new(b"a file".to_vec())))].into()),
        ];
        for files in strange {
            let home = scratch();
            let dir = data_dir(home.path());
            files.lay_out(&dir);
            let refusal = refusal(&dir);
            assert!(matches!(refusal, StorageError::Foreign { .. }), "{refusal}");
            assert!(refusal.to_string().contains("choose another data directory"), "{refusal}");
        }
    }
}

#[test]
fn a_store_whose_format_file_is_another_text_is_refused_and_left_alone() {
    let home = scratch();
    let dir = data_dir(home.path());
    let files = &prepared().closed;
    let (path, _) = format_of(files);
    for text in ["", "starling store one\n", "starling store 4294967296\n", "another program's\n"] {
        files.with(&path, Content::new(text.into())).lay_out(&dir);
        let refusal = refusal(&dir);
        assert!(is_clear(&refusal), "{text:?}: {refusal}");
    }
    files.lay_out(&dir);
    assert_eq!(examine(&dir, &prepared().known_closed), Ok(Outcome::Intact));
}

/// A node keeps other files beside its store.
#[test]
fn files_beside_the_store_are_nobodys_business() {
    let home = scratch();
    let dir = data_dir(home.path());
    fs::create_dir_all(dir.join("identity")).unwrap();
    fs::write(dir.join("identity/key.pem"), "a key").unwrap();
    open(&dir).unwrap().close().unwrap();
    open(&dir).unwrap().close().unwrap();
    assert_eq!(fs::read_to_string(dir.join("identity/key.pem")).unwrap(), "a key");
}

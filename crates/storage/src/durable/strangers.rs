//! Files among the tables that this program did not make: backup agents, editors and network file systems leave some. The
//! library takes them for damage, or removes them; they never held rows.

use std::path::Path;
use std::{fs, io};

use crate::ruins::free_name;

/// Moves what is strange in the directory of a tree to one beside it, `NAME.strange`, which the store does not read.
pub(super) fn move_aside(tree: &Path) -> io::Result<()> {
    move_from(tree, tree, is_strange_in_tree)?;
    ["tables", "blobs"].iter().try_for_each(|part| move_from(tree, &tree.join(part), is_strange_among_tables))
}

fn move_from(tree: &Path, dir: &Path, is_strange: fn(&fs::DirEntry) -> io::Result<bool>) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if is_strange(&entry)? {
            let aside = tree.with_extension("strange");
            fs::create_dir_all(&aside)?;
            let place = free_name(&aside.join(entry.file_name()), "")?;
            tracing::warn!(from = %entry.path().display(), to = %place.display(), "a strange file is moved aside");
            fs::rename(entry.path(), place)?;
        }
    }
    Ok(())
}

/// The library removes files whose names begin like those of its manifests.
fn is_strange_in_tree(entry: &fs::DirEntry) -> io::Result<bool> {
    let name = entry.file_name();
    let rest = name.to_str().and_then(|name| name.strip_prefix('v'));
    let is_manifest = rest.is_some_and(is_number);
    Ok(name.as_encoded_bytes().starts_with(b"v") && !is_manifest && !entry.file_type()?.is_dir())
}

/// Tables have numbers for names.
fn is_strange_among_tables(entry: &fs::DirEntry) -> io::Result<bool> {
    Ok(!entry.file_name().to_str().is_some_and(is_number) || entry.file_type()?.is_dir())
}

fn is_number(name: &str) -> bool {
    name.parse::<u64>().is_ok_and(|number| number.to_string() == name)
}

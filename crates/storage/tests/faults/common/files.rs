//! The files of a directory, of a store or not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file's bytes. Zeros at its end are only counted: logs are allocated ahead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    used: Arc<Vec<u8>>,
    len: u64,
}

/// A directory's files by their paths in it; a directory has no content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files(pub BTreeMap<PathBuf, Option<Content>>);

impl Content {
    /// Of these bytes.
    pub fn new(mut used: Vec<u8>) -> Self {
        let len = used.len() as u64;
        used.truncate(used.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1));
        Self { used: Arc::new(used), len }
    }

    /// The bytes before the zeros at the end.
    pub fn used(&self) -> &[u8] {
        &self.used
    }

    /// With the zeros.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Cut off at `len`, or all zeros from there on.
    pub fn cut(&self, len: u64, keep_len: bool) -> Self {
        let used = self.used.iter().copied().take(len as usize).collect();
        let len = if keep_len { self.len } else { len };
        Self { len, ..Self::new(used) }
    }

    /// With one bit of one byte changed.
    pub fn flipped(&self, at: u64, bit: u8) -> Self {
        let mut used = self.used.to_vec();
        used.resize(used.len().max(at as usize + 1), 0);
        used[at as usize] ^= 1 << bit;
        Self { len: self.len, ..Self::new(used) }
    }

    fn write(&self, path: &Path) {
        let mut file = File::create(path).unwrap();
        file.write_all(&self.used).unwrap();
        file.set_len(self.len).unwrap();
    }
}

impl Files {
    /// The files of `dir`.
    pub fn of(dir: &Path) -> Self {
        let mut files = BTreeMap::new();
        walk(dir, &mut |path| {
            let content = path.is_file().then(|| Content::new(fs::read(path).unwrap()));
            files.insert(path.strip_prefix(dir).unwrap().to_path_buf(), content);
        });
        Self(files)
    }

    /// Makes `dir` hold these files and nothing else.
    pub fn lay_out(&self, dir: &Path) {
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
            _ => fs::create_dir_all(dir).unwrap(),
        }
        for (path, content) in &self.0 {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match content {
                Some(content) => content.write(&path),
                None => fs::create_dir_all(path).unwrap(),
            }
        }
    }

    /// The files, without the directories.
    pub fn contents(&self) -> impl Iterator<Item = (&Path, &Content)> {
        self.0.iter().filter_map(|(path, content)| Some((path.as_path(), content.as_ref()?)))
    }

    /// With another content for one file.
    pub fn with(&self, path: &Path, content: Content) -> Self {
        let mut files = self.clone();
        files.0.insert(path.into(), Some(content));
        files
    }

    /// Without a file, or a directory and all in it.
    pub fn without(&self, path: &Path) -> Self {
        let rest = self.0.iter().filter(|(other, _)| !other.starts_with(path));
        Self(rest.map(|(path, content)| (path.clone(), content.clone())).collect())
    }

    /// With a file, or a directory and all in it, as it is in `others`, or is not.
    pub fn with_part_of(&self, path: &Path, others: &Self) -> Self {
        let mut files = self.without(path);
        let part = others.0.iter().filter(|(other, _)| other.starts_with(path));
        files.0.extend(part.map(|(path, content)| (path.clone(), content.clone())));
        files
    }

    /// Where to damage a file: `count` places, most of them among what is not zero.
    pub fn places(content: &Content, count: u64, mut random: impl FnMut(Range<u64>) -> u64) -> BTreeSet<u64> {
        let used = content.used.len() as u64;
        let pick = |n| if n % 5 == 4 || used == 0 { random(0..content.len) } else { random(0..used) };
        if content.len <= count { (0..content.len).collect() } else { (0..count).map(pick).collect() }
    }
}

/// The paths of all files in `dir`, which may change meanwhile.
pub fn names(dir: &Path) -> BTreeSet<PathBuf> {
    let mut names = BTreeSet::new();
    walk(dir, &mut |path| {
        names.insert(path.to_path_buf());
    });
    names
}

fn walk(dir: &Path, visit: &mut impl FnMut(&Path)) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        visit(&path);
        if path.is_dir() {
            walk(&path, visit);
        }
    }
}

//! The repository as the checks see it: which files there are, and the text of those that hold some.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Directories that hold nothing of ours.
const SKIPPED: &[&str] = &[".git", "target", "starling-data", "starling-tls", "proptest-regressions"];

/// Files that are read, by extension; others are only known to be there.
const READ: &[&str] = &["rs", "toml", "md", "yml", "yaml", "json", "service", "sh"];

/// One text file of the repository.
#[derive(Debug)]
pub struct Page {
    /// From the root, with `/` between.
    pub path: String,
    pub text: String,
}

/// All files, in order of their paths.
#[derive(Debug, Default)]
pub struct Tree {
    pub pages: Vec<Page>,
    /// Every file, also those that are not read, and every directory that holds one.
    pub paths: BTreeSet<String>,
}

impl Tree {
    pub fn read(root: &Path) -> Result<Self> {
        let mut files = Vec::new();
        collect(root, &mut files)?;
        files.sort();
        let mut tree = Self::default();
        for file in files {
            tree.add(root, &file)?;
        }
        Ok(tree)
    }

    fn add(&mut self, root: &Path, file: &Path) -> Result<()> {
        let path = inner(root, file);
        self.note(&path);
        if is_read(file) {
            let text = fs::read_to_string(file);
            let text = text.with_context(|| format!("{} cannot be read", file.display()))?;
            self.pages.push(Page { path, text });
        }
        Ok(())
    }

    fn note(&mut self, path: &str) {
        let directories = path.match_indices('/').map(|(end, _)| path[..end].to_owned());
        self.paths.extend(directories);
        self.paths.insert(path.to_owned());
    }

    pub fn page(&self, path: &str) -> Option<&Page> {
        self.pages.iter().find(|page| page.path == path)
    }

    /// The text files whose names end in `.extension`.
    pub fn of_kind(&self, extension: &str) -> impl Iterator<Item = &Page> {
        self.pages
            .iter()
            .filter(move |page| page.path.rsplit_once('.').is_some_and(|(_, end)| end == extension))
    }
}

impl Page {
    /// Lines with their number, from 1.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }

    pub fn at(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.path)
    }
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(dir).with_context(|| format!("{} cannot be listed", dir.display()))?;
    for entry in entries {
        let entry = entry?;
        let skipped = SKIPPED.iter().any(|name| entry.file_name() == *name);
        match entry.file_type()? {
            kind if kind.is_dir() && !skipped => collect(&entry.path(), files)?,
            kind if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
    Ok(())
}

fn is_read(file: &Path) -> bool {
    let extension = file.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| READ.contains(&extension)) || file.ends_with(".ci/run")
}

fn inner(root: &Path, file: &Path) -> String {
    let inner = file.strip_prefix(root).unwrap_or(file);
    let parts: Vec<_> = inner.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("/")
}

#[cfg(test)]
impl Tree {
    /// A tree of these files.
    pub fn of(files: &[(&str, &str)]) -> Self {
        let mut tree = Self::default();
        for (path, text) in files {
            tree.note(path);
            tree.pages.push(Page { path: (*path).into(), text: (*text).into() });
        }
        tree
    }
}

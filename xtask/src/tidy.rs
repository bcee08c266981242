//! What a file may hold: rules that no compiler checks.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

mod rules;
#[cfg(test)]
mod tests;

/// Directories that hold nothing of ours.
const SKIPPED: &[&str] = &[".git", "target", "starling-data", "starling-tls", "proptest-regressions"];

/// Files that are read, by extension; others pass.
const READ: &[&str] = &["rs", "toml", "md", "yml", "yaml", "json", "service", "sh"];

/// One text file of the repository.
struct Page {
    /// From the root, with `/` between.
    path: String,
    text: String,
}

/// Everything in the tree that breaks a rule.
pub fn findings(root: &Path) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    collect(root, &mut paths)?;
    paths.sort();
    let mut findings = Vec::new();
    for path in paths {
        findings.extend(rules::check(&read(root, &path)?));
    }
    Ok(findings)
}

fn collect(dir: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(dir).with_context(|| format!("{} cannot be listed", dir.display()))?;
    for entry in entries {
        let entry = entry?;
        let skipped = SKIPPED.iter().any(|name| entry.file_name() == *name);
        match entry.file_type()? {
            kind if kind.is_dir() && !skipped => collect(&entry.path(), paths)?,
            kind if kind.is_file() && is_read(&entry.path()) => paths.push(entry.path()),
            _ => {}
        }
    }
    Ok(())
}

fn is_read(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| READ.contains(&extension)) || path.ends_with(".ci/run")
}

fn read(root: &Path, path: &Path) -> Result<Page> {
    let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let inner = path.strip_prefix(root).unwrap_or(path);
    let parts: Vec<_> = inner.iter().map(|part| part.to_string_lossy()).collect();
    Ok(Page { path: parts.join("/"), text })
}

//! The content that a file may have: rules that no compiler checks.

use std::path::Path;

use anyhow::Result;

use crate::tree::{Page, Tree};

mod rules;
#[cfg(test)]
mod tests;

/// Everything in the tree that breaks a rule.
pub fn findings(root: &Path) -> Result<Vec<String>> {
    Ok(Tree::read(root)?.pages.iter().flat_map(rules::check).collect())
}

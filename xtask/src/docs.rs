//! The documentation held against the code.

use std::path::Path;

use anyhow::Result;

use crate::edges;
use crate::tree::{Page, Tree};

mod adrs;
mod crates;
mod effects;
mod links;
mod markdown;
mod openings;
#[cfg(test)]
mod tests;

const ARCHITECTURE: &str = "docs/design/architecture.md";

/// Every statement that does not hold.
pub fn findings(root: &Path) -> Result<Vec<String>> {
    let tree = Tree::read(root)?;
    let checks = [
        crates::check(&tree, &edges::table()),
        effects::check(&tree),
        adrs::check(&tree),
        links::check(&tree),
        openings::check(&tree),
    ];
    Ok(checks.into_iter().flatten().collect())
}

/// A page that a check cannot do without.
fn page<'a>(tree: &'a Tree, path: &str) -> Result<&'a Page, Vec<String>> {
    let missing = || vec![format!("{path}: it is not there, and `cargo xtask docs` reads it: put it back")];
    tree.page(path).ok_or_else(missing)
}

//! "How to read this crate": every file that an opening names is there.

use super::markdown::spans;
use crate::tree::{Page, Tree};

const PART: &str = "//! **How to read this crate.**";

pub fn check(tree: &Tree) -> Vec<String> {
    let openings = tree
        .pages
        .iter()
        .filter(|page| page.path.ends_with("/src/lib.rs") || page.path.ends_with("/src/main.rs"));
    openings.flat_map(|page| opening(tree, page)).collect()
}

fn opening(tree: &Tree, page: &Page) -> Vec<String> {
    let part = page.lines().skip_while(|(_, line)| !line.starts_with(PART));
    let part = part.take_while(|(_, line)| line.starts_with("//! "));
    part.flat_map(|(number, line)| unfound(tree, page, number, line)).collect()
}

fn unfound(tree: &Tree, page: &Page, number: usize, line: &str) -> Vec<String> {
    let package = page.path.split("src/").next().unwrap_or_default();
    let lost = spans(line).filter(|name| is_file(name) && !exists(tree, package, name));
    let say = |name| format!("{package} has no file {name}: name it as it is called now, or leave it out");
    lost.map(|name| page.at(number, &say(name))).collect()
}

/// Types, paths of items and other crates are not files.
fn is_file(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_./".contains(c))
}

/// Anywhere in the package: an opening names files by their last name, and directories by a `/` behind it.
fn exists(tree: &Tree, package: &str, name: &str) -> bool {
    let wanted = match name.strip_suffix('/') {
        Some(directory) => format!("/{directory}"),
        None => format!("/{}.rs", name.trim_end_matches(".rs")),
    };
    tree.paths.iter().any(|path| path.starts_with(package) && path.ends_with(&wanted))
}

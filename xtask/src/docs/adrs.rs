//! The index of decisions in `docs/README.md`: each is linked once, under its number and title.

use super::markdown::{Link, To, links};
use super::page;
use crate::tree::{Page, Tree};

const INDEX: &str = "docs/README.md";
const DECISIONS: &str = "docs/adr/";
const TEMPLATE: &str = "docs/adr/000-template.md";

pub fn check(tree: &Tree) -> Vec<String> {
    let index = match page(tree, INDEX) {
        Ok(index) => index,
        Err(missing) => return missing,
    };
    let links = links(index);
    let decisions =
        tree.pages.iter().filter(|page| page.path.starts_with(DECISIONS) && page.path != TEMPLATE);
    decisions.flat_map(|decision| numbering(decision).or_else(|| listing(index, &links, decision))).collect()
}

/// The number in the title is the one of the file.
fn numbering(decision: &Page) -> Option<String> {
    let number = decision.path.strip_prefix(DECISIONS)?.split('-').next()?;
    let same = title(decision).split_once(": ").is_some_and(|(told, _)| told == number);
    (!same)
        .then(|| decision.at(1, &format!("the title of this file begins with \"# {number}: \": write that")))
}

fn title(decision: &Page) -> &str {
    decision.text.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap_or_default()
}

fn listing(index: &Page, links: &[Link], decision: &Page) -> Option<String> {
    let path = decision.path.strip_prefix("docs/")?;
    let wanted = format!("[{}]({path})", title(decision));
    let mut listed = links.iter().filter(|link| link.to == To::Target(path));
    let Some(first) = listed.next() else {
        return Some(format!("{INDEX}: {path} is not in the index: add {wanted}"));
    };
    if let Some(again) = listed.next() {
        return Some(index.at(again.line, &format!("{path} is linked twice: once is enough")));
    }
    (first.text != title(decision))
        .then(|| index.at(first.line, &format!("{path} has another title: write {wanted}")))
}

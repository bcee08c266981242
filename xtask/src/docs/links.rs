//! Links between pages, and into the code.

use super::markdown::{Link, To, anchors, links, spans};
use crate::tree::{Page, Tree};

pub fn check(tree: &Tree) -> Vec<String> {
    tree.of_kind("md").flat_map(|page| View::of(tree, page).findings()).collect()
}

/// One page, with what its links may lead to.
struct View<'a> {
    tree: &'a Tree,
    page: &'a Page,
    links: Vec<Link<'a>>,
}

impl<'a> View<'a> {
    fn of(tree: &'a Tree, page: &'a Page) -> Self {
        Self { tree, page, links: links(page) }
    }

    fn findings(&self) -> Vec<String> {
        self.links.iter().filter_map(|link| Some(self.page.at(link.line, &self.objection(link)?))).collect()
    }

    /// The fault of a link, and the remedy.
    fn objection(&self, link: &Link<'a>) -> Option<String> {
        match link.to {
            To::Target(target) => self.nowhere(target).or_else(|| self.misnamed(link.text, target)),
            To::Definition(target) => self.idle(link.text).or_else(|| self.nowhere(target)),
            To::Name(name) => match self.definition(name) {
                Some(target) => self.misnamed(link.text, target),
                None => Some(format!(
                    "[{name}] is defined nowhere on this page: add \"[{name}]: PATH\" at its end"
                )),
            },
            To::Itself => self.misnamed(link.text, self.definition(link.text)?),
        }
    }

    fn definition(&self, name: &str) -> Option<&'a str> {
        self.links.iter().find_map(|link| match link.to {
            To::Definition(target) if link.text.eq_ignore_ascii_case(name) => Some(target),
            _ => None,
        })
    }

    /// A definition that no link uses, or that another one hides.
    fn idle(&self, name: &str) -> Option<String> {
        let same = |other: &str| other.eq_ignore_ascii_case(name);
        let uses = |link: &Link| match link.to {
            To::Name(other) => same(other),
            To::Itself => same(link.text),
            _ => false,
        };
        let twins =
            self.links.iter().filter(|link| matches!(link.to, To::Definition(_)) && same(link.text)).count();
        match (self.links.iter().any(uses), twins) {
            (false, _) => Some(format!("[{name}] is defined and no link uses it: take it out")),
            (true, 1) => None,
            (true, _) => Some(format!("[{name}] is defined more than once: keep one")),
        }
    }

    /// A target that is not there.
    fn nowhere(&self, target: &str) -> Option<String> {
        let (file, anchor) =
            target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
        let path = self.resolve(file)?;
        if !self.tree.paths.contains(&path) {
            return Some(format!(
                "{target} leads to {path}, which is not there: correct the link or take it out"
            ));
        }
        let anchor = anchor?;
        let headings = self.tree.page(&path).filter(|page| page.path.ends_with(".md")).map(anchors);
        let found = headings.unwrap_or_default().iter().any(|heading| heading == anchor);
        (!found).then(|| format!("{path} has no heading #{anchor}: name one that it has"))
    }

    /// The path of a file from the root of the repository; nothing for what is elsewhere.
    fn resolve(&self, file: &str) -> Option<String> {
        if file.contains("://") || file.starts_with("mailto:") {
            return None;
        }
        let mut parts: Vec<&str> = self.page.path.split('/').collect();
        if file.is_empty() {
            return Some(parts.join("/"));
        }
        parts.pop();
        for part in file.trim_end_matches('/').split('/').filter(|part| *part != ".") {
            // Above the root there is nothing of ours: the path that is left names no file.
            if part != ".." || parts.pop().is_none() {
                parts.push(part);
            }
        }
        Some(parts.join("/"))
    }

    /// Code that a source file is said to hold, and does not.
    fn misnamed(&self, text: &str, target: &str) -> Option<String> {
        let name = code(text)?;
        let source = self.tree.page(&self.resolve(target)?).filter(|page| page.path.ends_with(".rs"))?;
        let path = &source.path;
        if name.contains(['.', '/']) {
            return (!is_path_of(name, path))
                .then(|| format!("the link says {name} and leads to {path}: make them one"));
        }
        if path.ends_with(&format!("/{name}.rs")) {
            return None;
        }
        let last = name.rsplit("::").next()?.trim_end_matches("()");
        let (what, found) = match last.starts_with(|c: char| c.is_ascii_lowercase()) {
            true => (format!("fn {last}"), defines(&source.text, last)),
            false => (last.to_owned(), words(&source.text).any(|word| word == last)),
        };
        (!found)
            .then(|| format!("{path} holds no {what}: name it as it is called now, or the file where it is"))
    }
}

/// The name in a link that is nothing but code.
fn code(text: &str) -> Option<&str> {
    let name = spans(text).next()?;
    (text.len() == name.len() + 2).then_some(name)
}

/// Shortened in front by directories, or behind to a directory.
fn is_path_of(name: &str, path: &str) -> bool {
    if name.ends_with(".rs") {
        path.ends_with(name.rsplit('/').next().unwrap_or(name))
    } else {
        path.contains(name)
    }
}

fn defines(source: &str, name: &str) -> bool {
    words(source).zip(words(source).skip(1)).any(|(before, word)| before == "fn" && word == name)
}

fn words(source: &str) -> impl Iterator<Item = &str> {
    source.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

//! The two tables of crates in the architecture: the crates, and which of ours each may import.

use super::markdown::{Row, section, spans, table};
use super::{ARCHITECTURE, page};
use crate::tree::{Page, Tree};

/// A crate and those of ours that it may import.
type Edges<'a> = (&'a str, Vec<&'a str>);

pub fn check(tree: &Tree, edges: &[Edges]) -> Vec<String> {
    let page = match page(tree, ARCHITECTURE) {
        Ok(page) => page,
        Err(missing) => return missing,
    };
    let mut findings = crate_table(page, &crates(tree), edges);
    findings.extend(edge_table(page, edges));
    findings
}

/// The packages under `crates/`.
fn crates(tree: &Tree) -> Vec<&str> {
    let manifests =
        tree.paths.iter().filter_map(|path| path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml"));
    manifests.filter(|name| !name.contains('/')).collect()
}

fn crate_table(page: &Page, crates: &[&str], edges: &[Edges]) -> Vec<String> {
    let rows = table(&section(page, "Crates"));
    let named: Vec<&str> = rows.iter().map(name).collect();
    let mut findings = once_each(page, "the table of crates", &named, crates);
    for row in &rows {
        findings.extend(unknown(page, row, crates).or_else(|| objection(page, row, &rows, edges)));
    }
    findings
}

fn name<'a>(row: &Row<'a>) -> &'a str {
    spans(row.cell(1)).next().unwrap_or_default()
}

/// Which of `wanted` does not stand in `named` exactly once.
fn once_each(page: &Page, place: &str, named: &[&str], wanted: &[&str]) -> Vec<String> {
    let count = |name: &str| named.iter().filter(|other| **other == name).count();
    let wrong = wanted.iter().filter(|name| count(name) != 1);
    let say =
        |name: &&str| format!("{}: {place} names {name} {} times: give it one row", page.path, count(name));
    wrong.map(say).collect()
}

fn unknown(page: &Page, row: &Row, crates: &[&str]) -> Option<String> {
    let name = name(row);
    let say = || {
        page.at(row.line, &format!("there is no crates/{name}: take the row out, or name the crate as it is"))
    };
    (!crates.contains(&name)).then(say)
}

/// A crate is linked, and lies no deeper than what it imports.
fn objection(page: &Page, row: &Row, rows: &[Row], edges: &[Edges]) -> Option<String> {
    let name = name(row);
    if !row.cell(1).ends_with(&format!("/crates/{name})")) {
        return Some(
            page.at(row.line, &format!("{name} is not linked to its directory: write ../../crates/{name}")),
        );
    }
    let ours = &edges.iter().find(|(known, _)| *known == name)?.1;
    let above = rows.iter().find(|other| ours.contains(&self::name(other)) && other.cell(0) > row.cell(0))?;
    let what =
        format!("{name} stands in {} and imports {} from {}", row.cell(0), self::name(above), above.cell(0));
    Some(page.at(row.line, &format!("{what}: raise the one or lower the other")))
}

fn edge_table(page: &Page, edges: &[Edges]) -> Vec<String> {
    let rows = table(&section(page, "Who may import whom"));
    let named: Vec<&str> = rows.iter().flat_map(|row| spans(row.cell(0))).collect();
    let wanted: Vec<&str> = edges.iter().map(|(name, _)| *name).collect();
    let mut findings = once_each(page, "the table of edges", &named, &wanted);
    for row in &rows {
        findings.extend(spans(row.cell(0)).filter_map(|name| differs(page, row, name, edges)));
    }
    findings
}

fn differs(page: &Page, row: &Row, name: &str, edges: &[Edges]) -> Option<String> {
    let Some((_, ours)) = edges.iter().find(|(known, _)| *known == name) else {
        return Some(
            page.at(row.line, &format!("{name} is not in xtask/src/edges.rs: name the crate as it is there")),
        );
    };
    let mut told: Vec<&str> = spans(row.cell(1)).collect();
    let mut held = ours.clone();
    told.sort_unstable();
    held.sort_unstable();
    let say = || {
        page.at(
            row.line,
            &format!("{name} may import [{}] by xtask/src/edges.rs: write that", ours.join(" ")),
        )
    };
    (told != held).then(say)
}

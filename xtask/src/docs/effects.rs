//! The effects and events of the node in the architecture, against the two enums.

use super::markdown::{Row, section, spans, table};
use super::{ARCHITECTURE, page};
use crate::tree::{Page, Tree};

const ENUMS: &str = "crates/node/src/event.rs";

/// How the line begins that names the events in no row of the table.
const UNASKED: &str = "Events that answer no effect: ";

/// A name of a variant, and where it stands.
type Named<'a> = (usize, &'a str);

pub fn check(tree: &Tree) -> Vec<String> {
    match (page(tree, ARCHITECTURE), page(tree, ENUMS)) {
        (Ok(page), Ok(enums)) => both(page, enums),
        (one, other) => [one.err(), other.err()].into_iter().flatten().flatten().collect(),
    }
}

fn both(page: &Page, enums: &Page) -> Vec<String> {
    let lines = section(page, "Effects and events");
    let rows = table(&lines);
    let effects: Vec<Named> = column(&rows, 0);
    let mut events: Vec<Named> = column(&rows, 2);
    let unasked = lines.iter().filter(|(_, line)| line.starts_with(UNASKED));
    events.extend(unasked.flat_map(|(number, line)| spans(line).map(|span| (*number, variant(span)))));
    let mut findings = compare(page, "Effect", &effects, &variants(enums, "Effect"));
    findings.extend(compare(page, "Event", &events, &variants(enums, "Event")));
    findings
}

fn column<'a>(rows: &[Row<'a>], column: usize) -> Vec<Named<'a>> {
    rows.iter().flat_map(|row| spans(row.cell(column)).map(|span| (row.line, variant(span)))).collect()
}

/// The name in front of what it carries.
fn variant(span: &str) -> &str {
    span.split(|c: char| !c.is_alphanumeric()).next().unwrap_or(span)
}

fn compare(page: &Page, name: &str, told: &[Named], variants: &[&str]) -> Vec<String> {
    let missing = variants.iter().filter(|variant| told.iter().all(|(_, told)| told != *variant));
    let missing = missing.map(|variant| {
        format!("{}: \"Effects and events\" does not name {name}::{variant} of {ENUMS}: add it", page.path)
    });
    let invented = told.iter().filter(|(_, told)| !variants.contains(told));
    let invented = invented.map(|(line, told)| {
        page.at(*line, &format!("{ENUMS} has no {name}::{told}: name the variant as it is there"))
    });
    missing.chain(invented).collect()
}

/// The variants of an enum, as rustfmt lays it out.
fn variants<'a>(page: &'a Page, name: &str) -> Vec<&'a str> {
    let opening = format!("pub enum {name} {{");
    let body = page.text.lines().skip_while(|line| *line != opening).skip(1).take_while(|line| *line != "}");
    let inner = body.filter_map(|line| line.strip_prefix("    "));
    inner.filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase())).map(variant).collect()
}

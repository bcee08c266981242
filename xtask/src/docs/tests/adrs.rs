use super::super::adrs::check;
use super::{finds, passes};
use crate::tree::Tree;

fn found(index: &str) -> Vec<String> {
    check(&Tree::of(&[
        ("docs/README.md", index),
        ("docs/adr/000-template.md", "# NNN: Title\n"),
        ("docs/adr/001-rows.md", "# 001: The `node` speaks rows\n"),
        ("docs/adr/002-log.md", "# 002: Our own log\n"),
    ]))
}

const INDEX: &str =
    "- [001: The `node` speaks rows](adr/001-rows.md)\n- [002: Our own log](adr/002-log.md)\n";

#[test]
fn an_index_of_all_decisions_passes() {
    passes(found(INDEX));
}

#[test]
fn a_decision_is_listed_once_under_its_number_and_title() {
    let gone = INDEX.lines().next().unwrap();
    finds(
        found(gone),
        &[("docs/README.md: ", "002-log.md is not in the index: add [002: Our own log](adr/002-log.md)")],
    );
    finds(
        found(&INDEX.replace("Our own", "A")),
        &[("docs/README.md:2: ", "another title: write [002: Our own")],
    );
    finds(
        found(&INDEX.replace("001: ", "010: ")),
        &[("docs/README.md:1: ", "another title: write [001: The")],
    );
    finds(found(&format!("{INDEX}[again](adr/001-rows.md)")), &[("docs/README.md:3: ", "linked twice")]);
}

#[test]
fn the_number_of_a_title_is_the_one_of_its_file() {
    let tree = Tree::of(&[("docs/README.md", "[7: A](adr/007-a.md)"), ("docs/adr/007-a.md", "# 7: A\n")]);
    finds(check(&tree), &[("docs/adr/007-a.md:1: ", "begins with \"# 007: \"")]);
}

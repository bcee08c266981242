use super::super::links::check;
use super::{finds, passes};
use crate::tree::Tree;

const TEST: &str = "struct Store;\nimpl Store { fn open() {} }\n#[test]\nfn it_holds() {}\n";

/// The faults of a page among others.
fn found(text: &str) -> Vec<String> {
    check(&Tree::of(&[
        ("docs/a.md", text),
        ("docs/adr/b.md", "# A title\n"),
        ("README.md", ""),
        ("crates/x/src/store.rs", TEST),
        ("dashboards/one.json", ""),
    ]))
}

#[test]
fn links_that_lead_somewhere_pass() {
    for target in [
        "adr/b.md",
        "./adr/b.md",
        "adr",
        "adr/",
        "../README.md",
        "../crates/x/src",
        "adr/b.md#a-title",
        "../dashboards/one.json",
        "https://example.org/none.md#x",
        "mailto:a@example.org",
    ] {
        passes(found(&format!("[x]({target})")));
        passes(found(&format!("[x][y]\n\n[y]: {target}")));
    }
    passes(found("# Here\n[x](#here)"));
}

#[test]
fn links_that_lead_nowhere_are_found() {
    for (target, said) in [
        ("b.md", "b.md leads to docs/b.md, which is not there"),
        ("adr/B.md", "docs/adr/B.md, which is not there"),
        ("../../README.md", "../README.md, which is not there"),
        ("../crates/y", "crates/y, which is not there"),
        ("adr/b.md#a-titel", "docs/adr/b.md has no heading #a-titel"),
        ("#here", "docs/a.md has no heading #here"),
        ("../crates/x/src/store.rs#L3", "store.rs has no heading #L3"),
    ] {
        finds(found(&format!("\n[x]({target})")), &[("docs/a.md:2: ", said)]);
        finds(found(&format!("[x][y]\n\n[y]: {target}")), &[("docs/a.md:3: ", said)]);
    }
}

#[test]
fn names_of_links_are_defined_once_and_used() {
    passes(found("[x][y] [Y][Y] [y]\n\n[y]: adr/b.md"));
    passes(found("a [word] in brackets, and `x[1][2]`"));
    finds(found("[x][y]"), &[("docs/a.md:1: ", "[y] is defined nowhere")]);
    finds(found("\n[y]: adr/b.md"), &[("docs/a.md:2: ", "no link uses it")]);
    let twice = "[x][y]\n\n[y]: adr/b.md\n[y]: adr/b.md";
    finds(found(twice), &[("docs/a.md:3: ", "more than once"), ("docs/a.md:4: ", "more than once")]);
}

#[test]
fn code_that_is_linked_is_in_the_file() {
    let to = "../crates/x/src/store.rs";
    for name in ["it_holds", "Store", "Store::open", "Store::open()", "store", "x/store.rs", "x/src"] {
        passes(found(&format!("[`{name}`]({to})")));
        passes(found(&format!("[`{name}`][s]\n\n[s]: {to}")));
    }
    for (name, said) in [
        ("it_held", "crates/x/src/store.rs holds no fn it_held"),
        ("it", "holds no fn it:"),
        ("Store::close", "holds no fn close"),
        ("Stores", "holds no Stores"),
        ("log.rs", "the link says log.rs and leads to crates/x/src/store.rs"),
        ("y/src", "the link says y/src"),
    ] {
        finds(found(&format!("[`{name}`]({to})")), &[("docs/a.md:1: ", said)]);
        finds(found(&format!("[`{name}`][s]\n\n[s]: {to}")), &[("docs/a.md:1: ", said)]);
    }
}

#[test]
fn prose_and_other_files_name_no_code() {
    passes(found("[the `Stores` of x](../crates/x/src/store.rs)"));
    passes(found("[`Stores`](../dashboards/one.json)"));
}

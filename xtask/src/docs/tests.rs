use crate::tree::Tree;

mod adrs;
mod architecture;
mod links;
mod markdown;
mod openings;

#[track_caller]
fn passes(found: Vec<String>) {
    assert_eq!(found, Vec::<String>::new());
}

/// Exactly these, each by how it begins and by something that it says.
#[track_caller]
fn finds(found: Vec<String>, wanted: &[(&str, &str)]) {
    let same = found.len() == wanted.len()
        && found
            .iter()
            .zip(wanted)
            .all(|(found, (place, said))| found.starts_with(place) && found.contains(said));
    assert!(same, "{found:#?}\nis not {wanted:#?}");
}

/// A tree that cannot be without these pages says so, and nothing panics.
#[test]
fn a_page_that_a_check_reads_must_be_there() {
    let tree = Tree::of(&[("README.md", "")]);
    let gone = &[("docs/design/architecture.md: ", "put it back")];
    finds(super::crates::check(&tree, &[]), gone);
    finds(super::effects::check(&tree), &[gone[0], ("crates/node/src/event.rs: ", "put it back")]);
    finds(super::adrs::check(&tree), &[("docs/README.md: ", "put it back")]);
}

use super::super::openings::check;
use super::{finds, passes};
use crate::tree::Tree;

fn found(names: &str) -> Vec<String> {
    let opening = format!(
        "//! **Job.** `nothing`\n//!\n//! **How to read this crate.** {names}\n//!\n//! `no_more`\n\nmod a; // `not`\n"
    );
    check(&Tree::of(&[
        ("crates/x/src/lib.rs", &opening),
        ("crates/x/src/log.rs", ""),
        ("crates/x/src/log/frame.rs", ""),
        ("crates/x/tests/faults/main.rs", ""),
        ("crates/y/src/other.rs", ""),
    ]))
}

#[test]
fn files_directories_and_what_is_no_file_pass() {
    passes(found("[`log`] and\n//! `frame`, `log/frame.rs`, `tests/faults/main.rs`, `log/`"));
    passes(found("[`Log`], [two](mod@b), `Pace::gap`, `starling-wire`, `cluster init`, `COUNT`"));
}

#[test]
fn a_file_that_is_gone_is_found() {
    finds(found("`telemetry`"), &[("crates/x/src/lib.rs:3: ", "crates/x/ has no file telemetry:")]);
    finds(found("`log`,\n//! [`other`]"), &[("crates/x/src/lib.rs:4: ", "no file other:")]);
    finds(found("`log/frames.rs` `logs/`"), &[("crates/x", "log/frames.rs"), ("crates/x", "no file logs/")]);
}

#[test]
fn a_binary_has_an_opening_too() {
    let tree = Tree::of(&[("xtask/src/main.rs", "//! **How to read this crate.** `steps`\n")]);
    finds(check(&tree), &[("xtask/src/main.rs:1: ", "xtask/ has no file steps:")]);
}

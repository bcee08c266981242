//! The rules themselves. Each sees one file.

use super::Page;
use crate::edges;

/// Longest source file, in lines.
const LONGEST: usize = 500;

/// Names that reach past the shell, in code; and the crate that may use them. (The processes of storage are its tests'
/// own: they are killed to see what survives.)
const IMPURE: &[(&str, Option<&str>)] = &[
    ("Instant::now", None),
    ("SystemTime::now", None),
    ("tokio::", None),
    ("TcpStream", None),
    ("TcpListener", None),
    ("UdpSocket", None),
    ("std::env", Some("storage")),
    ("std::process", Some("storage")),
    ("std::thread", Some("storage")),
    ("thread::", Some("storage")),
    ("std::fs", Some("storage")),
    ("fs::", Some("storage")),
];

/// Words of unfinished work, split so that this file may hold them.
const UNFINISHED: &[&str] = &[
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("to", "do!("),
    concat!("un", "implemented!("),
    concat!("#[ig", "nore"),
];

/// An ignored test that another one starts is run after all.
const RUN_BY_ANOTHER: &str = concat!("#[ig", "nore = \"run by ");

/// Places on a developer's machine, likewise.
const MACHINE_PATHS: &[&str] = &[
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/Us", "ers/"),
    concat!("/wo", "rk/"),
    concat!("/tm", "p/"),
];

/// The parts with which a crate introduces itself.
const PARTS: &[&str] =
    &["**Job.**", "**Invariants.**", "**Deliberately absent.**", "**How to read this crate.**"];

/// A rule: what it finds in a file.
type Rule = fn(&Page, &mut Vec<String>);

const RULES: &[Rule] =
    &[length, purity, unfinished, machine_paths, introduction, workspace_lints, unsafe_code];

pub(super) fn check(page: &Page) -> Vec<String> {
    let mut findings = Vec::new();
    RULES.iter().for_each(|rule| rule(page, &mut findings));
    findings
}

fn length(page: &Page, findings: &mut Vec<String>) {
    let lines = page.text.lines().count();
    if page.is_rust() && lines > LONGEST {
        findings
            .push(format!("{}: {lines} lines; above {LONGEST} a file has two subjects: split it", page.path));
    }
}

fn purity(page: &Page, findings: &mut Vec<String>) {
    let Some(name) = page.crate_below_the_shell() else {
        return;
    };
    for (number, line) in page.code() {
        let reach = IMPURE.iter().find(|(path, except)| *except != Some(name) && holds_path(line, path));
        if let Some((path, _)) = reach {
            findings.push(
                page.at(
                    number,
                    &format!("{path} below the shell: make it an event, an effect or an argument"),
                ),
            );
        }
    }
}

fn unfinished(page: &Page, findings: &mut Vec<String>) {
    if !page.is_rust() {
        return;
    }
    for (number, line) in page.lines() {
        let line = line.trim_start();
        if line.starts_with(RUN_BY_ANOTHER) {
            continue;
        }
        if let Some(word) = UNFINISHED.iter().find(|word| holds_word(line, word)) {
            findings
                .push(page.at(number, &format!("{word}: finish it, or leave it out and say so in the docs")));
        }
    }
}

fn machine_paths(page: &Page, findings: &mut Vec<String>) {
    for (number, line) in page.lines() {
        if let Some(path) = MACHINE_PATHS.iter().find(|path| holds_path(line, path)) {
            findings.push(
                page.at(
                    number,
                    &format!("{path} is a place on one machine: use a relative path, or tempfile"),
                ),
            );
        }
    }
}

fn introduction(page: &Page, findings: &mut Vec<String>) {
    if !page.path.ends_with("src/lib.rs") {
        return;
    }
    let opening: String = page.text.lines().take_while(|line| line.starts_with("//!")).collect();
    let missing: Vec<_> = PARTS.iter().copied().filter(|part| !opening.contains(part)).collect();
    if !missing.is_empty() {
        findings.push(format!("{}: its opening lacks {}", page.path, missing.join(", ")));
    }
}

/// Without this, the ban on unsafe code does not hold there.
fn workspace_lints(page: &Page, findings: &mut Vec<String>) {
    let package = page.path.ends_with("/Cargo.toml") && page.path != UNSAFE_PACKAGE;
    if package && !page.text.contains("[lints]\nworkspace = true\n") {
        findings.push(format!(
            "{}: the lints of the workspace are not on: add [lints] workspace = true",
            page.path
        ));
    }
}

/// One package has lints of its own, because `forbid` cannot be lifted in one module: there the ban is `deny`, and one
/// module lifts it (ADR 009).
fn unsafe_code(page: &Page, findings: &mut Vec<String>) {
    if page.path == UNSAFE_PACKAGE && !page.text.contains("[lints.rust]\nunsafe_code = \"deny\"\n") {
        findings.push(format!("{}: unsafe code is not denied", page.path));
    }
    // Where the compiler forbids it, no attribute can lift it.
    let checked = page.is_rust() && page.path.starts_with("crates/sys/") && page.path != UNSAFE_MODULE;
    for (number, line) in page.code().filter(|_| checked) {
        if holds_word(line, "unsafe_code") {
            findings.push(page.at(number, &format!("unsafe code belongs into {UNSAFE_MODULE}")));
        }
    }
}

/// The package that may have unsafe code, and the module of it that has.
const UNSAFE_PACKAGE: &str = "crates/sys/Cargo.toml";
const UNSAFE_MODULE: &str = "crates/sys/src/shutdown.rs";

impl Page {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    fn crate_below_the_shell(&self) -> Option<&str> {
        let name = self.path.strip_prefix("crates/")?.split('/').next()?;
        (self.is_rust() && edges::is_below_the_shell(name)).then_some(name)
    }

    /// Lines without their comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines().map(|(number, line)| (number, line.split("//").next().unwrap_or(line)))
    }
}

/// Whether `line` holds `path` and not the end of a longer name.
fn holds_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        !line[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == '.')
    })
}

/// Whether `line` holds `word` by itself.
fn holds_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let after = &line[at + word.len()..];
        !line[..at].ends_with(part) && (!word.ends_with(part) || !after.starts_with(part))
    })
}

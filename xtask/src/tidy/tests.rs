use super::Page;
use super::rules::check;

fn found(path: &str, text: &str) -> Vec<String> {
    check(&Page { path: path.into(), text: text.into() })
}

#[track_caller]
fn finds(path: &str, text: &str, said: &str) {
    let found = found(path, text);
    assert!(found.len() == 1 && found[0].contains(said), "{path}: {text:?}: {found:?}");
}

#[track_caller]
fn passes(path: &str, text: &str) {
    assert_eq!(found(path, text), Vec::<String>::new(), "{path}: {text:?}");
}

#[test]
fn a_file_has_at_most_500_lines() {
    passes("crates/ring/src/a.rs", &"\n".repeat(500));
    finds("crates/ring/src/a.rs", &"\n".repeat(501), "501 lines");
    passes("docs/long.md", &"\n".repeat(501));
}

#[test]
fn nothing_below_the_shell_reaches_past_it() {
    let node = "crates/node/src/node.rs";
    for line in [
        "let now = Instant::now();",
        "let now = std::time::SystemTime::now();",
        "use std::fs;",
        "use std::{fs::File, io};",
        "    fs::read(path)?;",
        "use tokio::sync::Notify;",
        "let socket: UdpSocket = bind()?;",
        "std::thread::spawn(work);",
        "    thread::spawn(work);",
        "std::env::var(name)",
    ] {
        finds(node, &format!("\n{line}\n"), "crates/node/src/node.rs:2: ");
        passes("crates/server/src/reactor.rs", line);
    }
}

#[test]
fn what_only_looks_like_it_passes() {
    for line in [
        "// as tokio::select does",
        "let now = MyInstant::nowhere();",
        "offs::et(1)",
        "let x = 1; // std::fs is for storage",
        "self.std::env",
    ] {
        passes("crates/node/src/node.rs", line);
    }
}

#[test]
fn storage_has_files_and_no_clock() {
    passes("crates/storage/src/directory.rs", "use std::fs::File;\nstd::thread::sleep(PAUSE);\n");
    finds("crates/storage/src/directory.rs", "let now = Instant::now();", "Instant::now");
}

#[test]
fn unfinished_work_is_found_and_its_letters_in_other_words_are_not() {
    for line in [
        concat!("to", "do!()"),
        concat!("un", "implemented!(\"x\")"),
        concat!("// FIX", "ME later"),
        concat!("// XX", "X"),
        concat!("#[ig", "nore]"),
        concat!("#[ig", "nore = \"slow\"]"),
    ] {
        finds("crates/cli/src/main.rs", line, "finish it");
    }
    passes("crates/cli/src/main.rs", "let MAXXXX = my_todo!();");
    passes("crates/cli/src/main.rs", concat!("    #[ig", "nore = \"run by the test above\"]"));
}

#[test]
fn a_path_of_one_machine_is_found_in_any_text() {
    for line in
        [concat!("data = \"/ho", "me/me/data\""), concat!("see /wo", "rk/main"), concat!("cd /ro", "ot/x")]
    {
        finds("docs/guide.md", line, "docs/guide.md:1: ");
    }
    passes("docs/guide.md", "see ./tmp/main and https://example.org/home/x");
}

const OPENING: &str = "//! # A crate\n//!\n//! **Job.** x\n//! **Invariants.** x\n//! **Deliberately absent.** x\n\
                       //! **How to read this crate.** x\n\npub mod a;\n";

#[test]
fn a_crate_introduces_itself() {
    passes("crates/ring/src/lib.rs", OPENING);
    let without = OPENING.replace("**Job.**", "Job");
    finds("crates/ring/src/lib.rs", &without, "lacks **Job.**");
    let late = OPENING.replace("//! # A crate\n", "mod first;\n");
    finds("crates/ring/src/lib.rs", &late, "lacks **Job.**, **Invariants.**, ");
}

#[test]
fn every_package_takes_the_lints_of_the_workspace() {
    passes("crates/ring/Cargo.toml", "[package]\n\n[lints]\nworkspace = true\n");
    finds("crates/ring/Cargo.toml", "[package]\n", "lints of the workspace");
    passes("Cargo.toml", "[workspace]\n");
}

#[test]
fn unsafe_code_has_one_place() {
    let lints = "[lints.rust]\nunsafe_code = \"deny\"\n";
    passes("crates/sys/Cargo.toml", lints);
    finds("crates/sys/Cargo.toml", &lints.replace("deny", "allow"), "not denied");
    finds("crates/ring/Cargo.toml", lints, "lints of the workspace");
    passes("crates/sys/src/shutdown.rs", "#![allow(unsafe_code, reason = \"one call\")]");
    finds("crates/sys/src/mount.rs", "#[allow(unsafe_code)]", "belongs into");
    passes("crates/sys/src/mount.rs", "// no unsafe_code here");
}

#[test]
fn the_walk_reads_text_and_skips_what_is_not_ours() {
    let root = tempfile::tempdir().unwrap();
    let bad = concat!("/ho", "me/me");
    for path in ["target/a.md", ".git/a.md", "a.bin", "docs/a.md", ".ci/run", "config/a.toml"] {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("{bad}/x")).unwrap();
    }
    let found = super::findings(root.path()).unwrap();
    let places: Vec<_> = found.iter().map(|finding| finding.split(':').next().unwrap()).collect();
    assert_eq!(places, [".ci/run", "config/a.toml", "docs/a.md"]);
}

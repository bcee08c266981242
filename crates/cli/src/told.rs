//! Every command that a person is told to type exists: in remedies, messages, alerts, docs and configuration files. And
//! none is told to remove what may be the only copy.

use std::path::{Path, PathBuf};

use clap::CommandFactory;
use starling_types::remedy;

use crate::args::Arguments;

/// First words of files and rows that are no commands.
const FORMATS: [&str; 5] = ["rows", "marks", "known", "store", "restore"];
/// Orders that have destroyed data before: nobody is to give them.
const NEVER: [&str; 7] = [
    "remove its data",
    "remove the data directory",
    "remove their data",
    "remove the directory",
    "rm -rf",
    "join as a new node",
    "start as a new node",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All files below `dir` with one of the endings.
fn files(dir: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if path.is_dir() {
            files(&path, endings, found);
        } else if endings.contains(&ending) {
            found.push(path);
        }
    }
}

/// All texts for people: pages, alerts, configuration, and the sources with their messages.
fn texts() -> Vec<(PathBuf, String)> {
    let mut found = vec![root().join("README.md")];
    for dir in ["docs", "dashboards", "config"] {
        files(&root().join(dir), &["md", "yml", "toml", "service"], &mut found);
    }
    for krate in ["types", "ring", "node", "transport", "client", "frontend", "server", "cli"] {
        files(&root().join("crates").join(krate).join("src"), &["rs"], &mut found);
    }
    found.retain(|path| {
        !path.ends_with("told.rs") && !path.iter().any(|part| part == "tests" || part == "tests.rs")
    });
    found.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

/// The commands in a text: what follows the program's name in backticks, and at the beginning of a line.
fn commands(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines() {
        let quoted = line.split("`starling ").skip(1).map(|rest| rest.split('`').next().unwrap_or_default());
        let typed = line.trim_start().trim_start_matches("$ ").strip_prefix("starling ");
        let typed =
            typed.filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()) && !rest.ends_with('.'));
        found
            .extend(quoted.chain(typed).map(|words| words.split(" #").next().unwrap_or_default().to_owned()));
    }
    found
}

/// Why the words are no command; none if they are.
fn objection(words: &str) -> Option<String> {
    let mut command = Arguments::command();
    command.build();
    for word in words.split_whitespace() {
        if ["|", "&&", "·", ">", "2>"].contains(&word) || word.starts_with('…') {
            return None;
        }
        let word = word.trim_matches(|c: char| "[],;:".contains(c));
        if let Some(flag) = word.strip_prefix("--") {
            let flag = flag.split('=').next().unwrap_or_default();
            if !command.get_arguments().any(|known| known.get_long() == Some(flag)) {
                return Some(format!("{} has no --{flag}", command.get_name()));
            }
        } else if command.has_subcommands() {
            match command.find_subcommand(word) {
                Some(found) => command = found.clone(),
                None => return Some(format!("{} has no command {word:?}", command.get_name())),
            }
        }
    }
    None
}

#[test]
fn every_command_that_is_named_exists() {
    let mut seen = 0;
    let remedies = remedy::ALL.iter().map(|text| (PathBuf::from("remedy"), (*text).to_owned()));
    for (path, text) in texts().into_iter().chain(remedies) {
        for words in commands(&text) {
            if FORMATS.iter().any(|format| words.starts_with(format)) {
                continue;
            }
            seen += 1;
            assert_eq!(objection(&words), None, "{}: `starling {words}`", path.display());
        }
    }
    assert!(seen > 100, "{seen}");
    for wrong in ["cluster join", "backup restore B --dat D", "nod"] {
        assert!(objection(wrong).is_some(), "{wrong}");
    }
}

#[test]
fn nothing_orders_the_removal_of_what_may_be_the_only_copy() {
    for (path, text) in texts() {
        let is_history =
            ["adr", "STATUS.md", "proof.md"].iter().any(|part| path.to_string_lossy().contains(part));
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ").replace("\\ ", "").to_lowercase();
        for never in NEVER {
            assert!(is_history || !words.contains(never), "{}: {never}", path.display());
        }
    }
}

/// Alerts give their orders in their own words; what they name of ours exists too.
#[test]
fn alerts_name_commands_that_exist() {
    let text = std::fs::read_to_string(root().join("dashboards/starling-alerts.yml")).unwrap();
    let named = text
        .split("starling ")
        .skip(1)
        .map(|rest| rest.split(['.', ',', '`', '"']).next().unwrap_or_default());
    let named: Vec<_> = named.filter(|words| words.starts_with(|c: char| c.is_ascii_lowercase())).collect();
    assert!(named.len() >= 3, "{named:?}");
    for words in named {
        assert_eq!(objection(words), None, "starling {words}");
    }
}

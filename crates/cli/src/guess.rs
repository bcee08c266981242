//! Commands that people try and that do not exist, with what does what they want.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// A command as it is typed, and the one to type instead.
const GUESSES: &[(&[&str], &str)] = &[
    (
        &["start", "run", "serve", "server", "daemon"],
        "`starling node` runs one node, `starling dev` a cluster on this machine",
    ),
    (
        &["init"],
        "`starling cluster init --nodes A,B,C` forms a cluster, `starling cert init` makes certificates",
    ),
    (
        &["list", "ls", "keys", "scan"],
        "a node lists the records that it holds itself over HTTP: GET /v1/local",
    ),
    (&["info", "health", "nodes", "members", "ring"], "`starling status`"),
    (&["buckets"], "`starling bucket list`"),
    (
        &["check", "dump", "fsck"],
        "`starling data check DIR` and `starling data dump DIR`, for a node that does not run",
    ),
    (&["restore", "verify"], "`starling backup restore` and `starling backup verify`"),
    (
        &["join", "leave", "replace", "remove", "add"],
        "not built: a cluster keeps the nodes of `starling cluster init`",
    ),
    (&["stop", "shutdown", "kill"], "SIGTERM stops a node cleanly: kill PID, or systemctl stop"),
    (&["config", "reload"], "`starling node --config FILE`; SIGHUP puts telemetry.log of the file in force"),
];

/// The hint for a command that does not exist, if there is one.
pub fn hint(error: &clap::Error) -> Option<&'static str> {
    let typed = match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(typed)) if error.kind() == ErrorKind::InvalidSubcommand => typed,
        _ => return None,
    };
    GUESSES.iter().find(|(words, _)| words.contains(&typed.as_str())).map(|(_, hint)| *hint)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::args::Arguments;

    #[test]
    fn a_guess_does_not_exist_and_its_hint_does() {
        let commands: Vec<_> =
            Arguments::command().get_subcommands().map(|c| c.get_name().to_owned()).collect();
        for (words, _) in GUESSES {
            for word in *words {
                assert!(!commands.iter().any(|command| command == word), "{word} exists");
                let error = Arguments::try_parse_from(["starling", word]).unwrap_err();
                assert!(hint(&error).is_some(), "{word}: {error}");
            }
        }
        for exists in [&["starling", "status"][..], &["starling", "version"], &["starling", "set", "k", "v"]]
        {
            assert!(Arguments::try_parse_from(exists).is_ok(), "{exists:?}");
        }
        assert_eq!(hint(&Arguments::try_parse_from(["starling", "blah"]).unwrap_err()), None);
    }
}

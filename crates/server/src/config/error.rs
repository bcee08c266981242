//! Errors of a configuration, worded so that it can be put right without reading anything else.

use std::fmt;
use std::path::PathBuf;

use super::keys::{self, Key};
use super::value;

/// A configuration that is refused. The node was not started.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there, or cannot be read.
    #[error("the configuration file {path} cannot be read ({source}): check the path and its permissions", path = path.display())]
    Unreadable {
        /// As given.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{origin}: this is not TOML ({why})")]
    Syntax {
        /// Where.
        origin: Origin,
        /// The description of what the parser expected.
        why: String,
    },
    /// A section that does not exist, or something else at the top of the file.
    #[error("{origin}: there is no section [{section}]{}: the sections are {}", hint(.section, keys::sections()), list(keys::sections()))]
    UnknownSection {
        /// Where.
        origin: Origin,
        /// As written.
        section: String,
    },
    /// A section's name with a value instead of keys.
    #[error("{origin}: {section} is a section: write [{section}] and its keys below it ({})", list(keys::names(.section)))]
    NotASection {
        /// Where.
        origin: Origin,
        /// The section.
        section: String,
    },
    /// A key that its section does not have.
    #[error("{origin}: there is no key {section}.{key}{}: the keys of [{section}] are {}", hint(.key, keys::names(.section)), list(keys::names(.section)))]
    UnknownKey {
        /// Where.
        origin: Origin,
        /// A section that exists.
        section: String,
        /// As written.
        key: String,
    },
    /// A value that the key does not take.
    #[error("{origin}: {key} = {value} is not allowed: it must be {allowed}")]
    Value {
        /// Where.
        origin: Origin,
        /// Section and name.
        key: String,
        /// As written.
        value: String,
        /// The values that the key takes.
        allowed: String,
    },
    /// A value that does not go together with another.
    #[error("{origin}: {key} = {value} is not allowed: {why}")]
    Conflict {
        /// Where.
        origin: Origin,
        /// Section and name.
        key: &'static str,
        /// The value in force.
        value: String,
        /// The other value and what to do.
        why: String,
    },
}

impl ConfigError {
    pub(super) fn value(origin: Origin, key: &Key, value: String) -> Self {
        Self::Value { origin, key: key.path(), value, allowed: key.rule.to_string() }
    }
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It was not set.
    Default,
    /// A configuration file.
    File {
        /// The file, as given.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable.
    Variable(String),
    /// A command-line flag, without its dashes.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("by default"),
            Self::File { path, line } => write!(f, "{}, line {line}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag --{name}"),
        }
    }
}

fn hint<S: AsRef<str> + fmt::Display>(written: &str, known: impl Iterator<Item = S>) -> String {
    let nearest = value::nearest(written, known);
    nearest.map_or_else(String::new, |name| format!(" (did you mean {name}?)"))
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

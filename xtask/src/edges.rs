//! The edges between crates (architecture, "Who may import whom"): direct dependencies, as cargo sees them.

use std::path::Path;

use anyhow::{Context, Result};
use cargo_metadata::{Dependency, DependencyKind, Metadata, MetadataCommand, Package};

#[cfg(test)]
mod tests;

/// The dependencies that a crate may have.
#[derive(Debug)]
struct Crate {
    /// Its name, without the prefix.
    name: &'static str,
    /// Our own crates that it may import, separated by spaces.
    ours: &'static str,
    /// Libraries of others.
    libraries: Libraries,
}

#[derive(Debug)]
enum Libraries {
    /// [`PURE`] and these: layers 0 to 5, where a new library is a decision.
    Pure(&'static [&'static str]),
    /// Anything but [`IMPURE`]: the simulator and the judge of its histories.
    Deterministic,
    /// Anything: the shell.
    Any,
}

/// Every crate under `crates/`, bottom layer first. One that is not here fails the check.
const CRATES: &[Crate] = &[
    pure("types", "", &[]),
    pure("causality", "types", &[]),
    pure("ring", "types", &[]),
    // It owns files, and says so when they fail.
    pure("storage", "types", &["lsm-tree", "rustix", "sfa", "tracing"]),
    pure("wire", "types causality ring", &[]),
    // Carries layouts as blobs with a version: it does not know the ring.
    pure("gossip", "types wire", &[]),
    pure("coordinator", "types causality ring wire", &[]),
    // Records it only compares and passes on: what a merge is, causality says.
    pure("antientropy", "types causality wire", &[]),
    pure("handoff", "types wire", &[]),
    pure("custody", "types", &[]),
    // Sees only the verdict on a request's epoch: neither ring nor gossip nor coordinator.
    pure("vnode", "types causality wire", &[]),
    // Speaks rows, never an engine: its storage is the shell that answers its effects.
    pure("node", "types causality ring wire gossip coordinator antientropy handoff custody vnode", &[]),
    // No runtime and no socket, but files.
    shell("backup", "types storage"),
    shell("transport", "types wire"),
    shell("frontend", "types causality wire"),
    shell("client", "types causality ring wire transport"),
    // gossip for a node's preset, vnode for what its rows are; as in sim.
    shell("server", "types causality ring wire gossip vnode node storage backup transport frontend"),
    deterministic("checker", "types causality"),
    deterministic("sim", "types causality ring wire gossip vnode node storage checker"),
    // Knows nodes by their processes and what these print, not by any code of theirs.
    shell("cluster", "types"),
    shell("cli", "types causality wire storage backup transport client server cluster checker sim"),
    shell("sys", ""),
];

const fn pure(name: &'static str, ours: &'static str, extra: &'static [&'static str]) -> Crate {
    let libraries = Libraries::Pure(extra);
    Crate { name, ours, libraries }
}

const fn deterministic(name: &'static str, ours: &'static str) -> Crate {
    let libraries = Libraries::Deterministic;
    Crate { name, ours, libraries }
}

const fn shell(name: &'static str, ours: &'static str) -> Crate {
    let libraries = Libraries::Any;
    Crate { name, ours, libraries }
}

/// Packages outside `crates/` that may import anything; nothing imports them.
const ABOVE: &[&str] = &["tests", "benches"];

/// Nothing but the packages [`ABOVE`] imports these, not even in a test.
const ROOTS: &[&str] = &["cli", "xtask"];

/// Faults of the machine, for the tests of any layer; no crate but a test imports them (ADR 009).
const FAULTS: &str = "sys";

/// Libraries for every layer: data, encodings, hashing, errors, a seeded generator.
const PURE: &[&str] = &[
    "base64",
    "bytes",
    "lru",
    "rand",
    "rmp-serde",
    "serde",
    "serde_bytes",
    "serde_json",
    "thiserror",
    "xxhash-rust",
];

/// Runtimes and sockets: what makes a run differ from the last.
const IMPURE: &[&str] = &[
    "tokio",
    "quinn",
    "quinn-proto",
    "quinn-udp",
    "rustls",
    "socket2",
    "mio",
    "hyper",
    "hyper-util",
    "axum",
    "smol",
    "async-std",
    "async-io",
    "futures-timer",
    "rayon",
    "libc",
    "nix",
    "rustix",
    "reqwest",
    "ureq",
];

/// Every edge that should not be there.
pub fn findings(root: &Path) -> Result<Vec<String>> {
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("cargo metadata failed")?;
    Ok(check(&metadata))
}

fn check(metadata: &Metadata) -> Vec<String> {
    metadata.packages.iter().flat_map(check_package).collect()
}

fn check_package(package: &Package) -> Vec<String> {
    let name = short(&package.name);
    if ABOVE.contains(&name) {
        return Vec::new();
    }
    if name == "xtask" {
        let ours = package.dependencies.iter().filter(|edge| is_ours(edge));
        return ours.map(|edge| refusal(name, edge, "it checks the store and is no part of it")).collect();
    }
    let Some(row) = CRATES.iter().find(|row| row.name == name) else {
        return vec![format!(
            "crate {name} is unknown: say in architecture.md and in xtask/src/edges.rs what it may import"
        )];
    };
    let edges = package.dependencies.iter();
    edges.filter_map(|edge| row.objection(edge).map(|why| refusal(name, edge, &why))).collect()
}

impl Crate {
    /// Why `edge` should not be there.
    fn objection(&self, edge: &Dependency) -> Option<String> {
        match (is_ours(edge), edge.kind == DependencyKind::Development) {
            (true, false) => self.object_to_ours(short(&edge.name)),
            (true, true) => self.object_to_ours_in_tests(short(&edge.name)),
            (false, false) => self.object_to_library(&edge.name),
            (false, true) => self.object_to_library_in_tests(&edge.name),
        }
    }

    fn object_to_ours(&self, name: &str) -> Option<String> {
        let allowed = self.ours.split(' ').any(|ours| ours == name);
        (!allowed).then(|| match self.ours {
            "" => "it may import none of our crates".into(),
            ours => format!("it may import {}", ours.replace(' ', ", ")),
        })
    }

    /// Tests below the shell stay below the shell; above it they may use anything that has an API.
    fn object_to_ours_in_tests(&self, name: &str) -> Option<String> {
        if ROOTS.contains(&name) {
            return Some("nothing imports it".into());
        }
        let above = self.is_pure() && !is_below_the_shell(name) && name != FAULTS;
        above.then(|| "a test below the shell may import only what is below the shell".into())
    }

    fn object_to_library(&self, name: &str) -> Option<String> {
        match self.libraries {
            Libraries::Any => None,
            Libraries::Pure(extra) if PURE.contains(&name) || extra.contains(&name) => None,
            Libraries::Pure(_) => {
                Some("below the shell a library must be on the list in xtask/src/edges.rs".into())
            }
            Libraries::Deterministic => self.object_to_library_in_tests(name),
        }
    }

    fn object_to_library_in_tests(&self, name: &str) -> Option<String> {
        let impure = !matches!(self.libraries, Libraries::Any) && IMPURE.contains(&name);
        impure.then(|| "it must run the same every time: no runtime, no socket".into())
    }

    const fn is_pure(&self) -> bool {
        matches!(self.libraries, Libraries::Pure(_))
    }
}

/// Whether `name` is a crate that must run the same every time.
pub fn is_below_the_shell(name: &str) -> bool {
    CRATES.iter().any(|row| row.name == name && row.is_pure())
}

/// Every crate with those of ours that it may import, bottom layer first.
pub fn table() -> Vec<(&'static str, Vec<&'static str>)> {
    CRATES.iter().map(|row| (row.name, row.ours.split_whitespace().collect())).collect()
}

/// In this repository, under any name.
fn is_ours(edge: &Dependency) -> bool {
    edge.path.is_some() || edge.name.starts_with(PREFIX)
}

const PREFIX: &str = "starling-";

fn short(package: &str) -> &str {
    package.strip_prefix(PREFIX).unwrap_or(package)
}

fn refusal(from: &str, edge: &Dependency, why: &str) -> String {
    let kind = match edge.kind {
        DependencyKind::Development => " in its tests",
        DependencyKind::Build => " in its build script",
        _ => "",
    };
    format!("{from} must not import {}{kind}: {why}", short(&edge.name))
}

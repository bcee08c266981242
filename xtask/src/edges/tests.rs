use cargo_metadata::{Metadata, MetadataCommand};
use serde_json::{Value, json};

use super::{CRATES, check};

/// A workspace of one package with one dependency.
fn one_edge(from: &str, to: &str, kind: Option<&str>) -> Metadata {
    let id = format!("path+file:///repository/{from}#0.1.0");
    let dependency = json!({
        "name": to, "source": null, "req": "*", "kind": kind, "optional": false, "uses_default_features": true,
        "features": [], "target": null, "rename": null, "registry": null, "path": path_of(to),
    });
    let document = json!({
        "packages": [{
            "name": from, "version": "0.1.0", "id": id, "dependencies": [dependency], "targets": [], "features": {},
            "manifest_path": format!("/repository/{from}/Cargo.toml"),
        }],
        "workspace_members": [id], "workspace_default_members": [id], "resolve": null, "version": 1,
        "workspace_root": "/repository", "target_directory": "/repository/target", "metadata": null,
    });
    MetadataCommand::parse(document.to_string()).unwrap()
}

fn path_of(name: &str) -> Value {
    match name.strip_prefix("starling-") {
        Some(short) => format!("/repository/crates/{short}").into(),
        None => Value::Null,
    }
}

fn findings(from: &str, to: &str, kind: Option<&str>) -> Vec<String> {
    check(&one_edge(from, to, kind))
}

const DEV: Option<&str> = Some("dev");

#[test]
fn edges_of_the_architecture_pass() {
    for (from, to, kind) in [
        ("starling-causality", "starling-types", None),
        ("starling-wire", "starling-ring", None),
        ("starling-node", "starling-vnode", None),
        ("starling-server", "starling-storage", None),
        ("starling-sim", "starling-storage", None),
        ("starling-cli", "starling-server", None),
        ("starling-tests", "starling-cli", None),
        ("starling-benches", "tokio", None),
        ("starling-ring", "rand", None),
        ("starling-ring", "proptest", DEV),
        ("starling-node", "starling-storage", DEV),
        ("starling-client", "starling-server", DEV),
        ("starling-storage", "lsm-tree", None),
        ("starling-storage", "starling-sys", DEV),
        ("starling-sys", "rustix", None),
        ("starling-server", "tokio", None),
        ("xtask", "anyhow", None),
    ] {
        assert_eq!(findings(from, to, kind), Vec::<String>::new(), "{from} -> {to}");
    }
}

#[test]
fn forbidden_edges_are_found() {
    for (from, to, kind, said) in [
        // Rule 1: nothing below the shell touches a runtime or a socket, even in a test.
        ("starling-node", "tokio", None, "below the shell a library"),
        ("starling-ring", "quinn", None, "below the shell a library"),
        ("starling-types", "chrono", None, "below the shell a library"),
        ("starling-gossip", "tokio", DEV, "no runtime, no socket"),
        ("starling-wire", "socket2", Some("build"), "in its build script"),
        ("starling-coordinator", "lsm-tree", None, "below the shell a library"),
        // Faults are for tests, and know nothing of what they are done to.
        ("starling-storage", "starling-sys", None, "it may import types"),
        ("starling-server", "starling-sys", None, "must not import sys"),
        ("starling-sys", "starling-types", None, "it may import none of our crates"),
        // Rule 2.
        ("starling-storage", "starling-causality", None, "it may import types"),
        ("starling-storage", "starling-ring", None, "it may import types"),
        ("starling-storage", "starling-wire", None, "it may import types"),
        ("starling-vnode", "starling-ring", None, "must not import ring"),
        ("starling-vnode", "starling-gossip", None, "must not import gossip"),
        ("starling-vnode", "starling-coordinator", None, "must not import coordinator"),
        ("starling-coordinator", "starling-vnode", None, "must not import vnode"),
        ("starling-coordinator", "starling-storage", None, "must not import storage"),
        ("starling-gossip", "starling-ring", None, "must not import ring"),
        ("starling-node", "starling-storage", None, "must not import storage"),
        // Rule 3.
        ("starling-transport", "starling-node", None, "must not import node"),
        ("starling-frontend", "starling-node", None, "must not import node"),
        ("starling-frontend", "starling-transport", None, "must not import transport"),
        ("starling-transport", "starling-frontend", None, "must not import frontend"),
        ("starling-sim", "tokio", None, "no runtime, no socket"),
        ("starling-sim", "tokio", DEV, "no runtime, no socket"),
        ("starling-sim", "starling-transport", None, "must not import transport"),
        ("starling-checker", "quinn", None, "no runtime, no socket"),
        // Rule 4.
        ("starling-client", "starling-server", None, "must not import server"),
        ("starling-server", "starling-sim", None, "must not import sim"),
        ("starling-server", "starling-cli", DEV, "nothing imports it"),
        ("starling-server", "starling-xtask", DEV, "nothing imports it"),
        ("xtask", "starling-types", None, "no part of it"),
        // Upwards, and to itself in a test through the shell.
        ("starling-types", "starling-causality", None, "none of our crates"),
        ("starling-ring", "starling-server", DEV, "only what is below the shell"),
        // A crate without a place.
        ("starling-novelty", "starling-types", None, "crate novelty is unknown"),
    ] {
        let found = findings(from, to, kind);
        assert!(found.len() == 1 && found[0].contains(said), "{from} -> {to}: {found:?}");
    }
}

#[test]
fn a_crate_of_ours_under_another_name_is_still_ours() {
    let mut metadata = one_edge("starling-transport", "starling-node", None);
    metadata.packages[0].dependencies[0].rename = Some("harmless".into());
    assert_eq!(check(&metadata).len(), 1);
    metadata.packages[0].dependencies[0].name = "unprefixed".into();
    assert_eq!(check(&metadata).len(), 1);
}

#[test]
fn the_table_goes_from_the_bottom_up() {
    for (i, row) in CRATES.iter().enumerate() {
        for ours in row.ours.split_whitespace() {
            let below = CRATES[..i].iter().any(|lower| lower.name == ours);
            assert!(below, "{} -> {ours}", row.name);
        }
    }
}

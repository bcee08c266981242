use super::super::{crates, effects};
use super::{finds, passes};
use crate::tree::Tree;

const PAGE: &str = "\
## Crates

| layer | crate | job |
|---|---|---|
| L0 | [`types`](../../crates/types) | words |
| L1 | [`ring`](../../crates/ring) | layouts |
| L2 | [`wire`](../../crates/wire) | messages |

## Who may import whom

| crate | may import of ours |
|---|---|
| `types` | nothing |
| `ring` | `types` |
| `wire` | `ring` `types` |
";

fn crates(page: &str) -> Vec<String> {
    let tree = Tree::of(&[
        ("docs/design/architecture.md", page),
        ("crates/types/Cargo.toml", ""),
        ("crates/ring/Cargo.toml", ""),
        ("crates/wire/Cargo.toml", ""),
        ("crates/wire/fuzz/Cargo.toml", ""),
    ]);
    crates::check(&tree, &[("types", vec![]), ("ring", vec!["types"]), ("wire", vec!["types", "ring"])])
}

/// The faults of the page once `from` is `to`.
#[track_caller]
fn finds_after(from: &str, to: &str, wanted: &[(&str, &str)]) {
    assert!(PAGE.contains(from), "{from}");
    finds(crates(&PAGE.replace(from, to)), wanted);
}

#[test]
fn tables_of_all_crates_pass() {
    passes(crates(PAGE));
    passes(crates(
        &PAGE.replace("| `types` | nothing |\n| `ring` | `types` |", "| `ring` | `types` |\n| `types` | |"),
    ));
}

#[test]
fn the_table_of_crates_is_the_workspace() {
    let page = "docs/design/architecture.md";
    finds_after(
        "| L1 | [`ring`](../../crates/ring) | layouts |\n",
        "",
        &[(page, "crates names ring 0 times")],
    );
    let again = "| L2 | [`wire`](../../crates/wire) | messages |\n";
    finds_after(again, &again.repeat(2), &[(page, "crates names wire 2 times")]);
    let sys = format!("{again}| L3 | [`sys`](../../crates/sys) | |\n");
    finds_after(again, &sys, &[("docs/design/architecture.md:8: ", "there is no crates/sys")]);
    finds_after(
        "(../../crates/ring)",
        "(../../crates/wire)",
        &[("docs/design/architecture.md:6: ", "ring is not linked")],
    );
    finds_after(
        "| L1 |",
        "| L3 |",
        &[("docs/design/architecture.md:7: ", "wire stands in L2 and imports ring from L3")],
    );
    finds_after("## Crates", "## Rooms", &[(page, "ring 0"), (page, "types 0"), (page, "wire 0")]);
}

#[test]
fn the_table_of_edges_is_the_one_that_is_held() {
    let page = "docs/design/architecture.md";
    finds_after("| `ring` | `types` |\n", "", &[(page, "edges names ring 0 times")]);
    finds_after(
        "| `ring` | `types` |",
        "| `ring` | nothing |",
        &[(&format!("{page}:14: "), "ring may import [types]")],
    );
    finds_after(
        "`ring` `types`",
        "`ring` `types` `sys`",
        &[(&format!("{page}:15: "), "wire may import [types ring]")],
    );
    let both = [(page, "ring may import"), (page, "sys is not in xtask/src/edges.rs")];
    finds_after("| `ring` | `types` |", "| `ring`, `sys` | `types` `wire` |", &both);
}

const EFFECTS: &str = "\
## Effects and events

| effect | carried out by | answered by |
|---|---|---|
| `Load(cell)` | the engine, in a `Turn` | `Loaded(cell, row)` |
| `Scan{id, from}` | the engine | `Scanned(id)` |
| `Drained` | the process | |

Events that answer no effect: `Tick`, `Drain`.

Inside, `vnode` says `Staged`.
";

const ENUMS: &str = "\
pub enum Log {
    Alarm(String),
}

pub enum Event {
    /// A row.
    Loaded(Cell, Row),
    Scanned(ScanId),
    Tick,
    Drain,
}

pub enum Effect {
    Load(Cell),
    /// A page.
    Scan {
        id: ScanId,
        from: Option<Bytes>,
    },
    Drained,
}
";

fn effects(page: &str, enums: &str) -> Vec<String> {
    effects::check(&Tree::of(&[("docs/design/architecture.md", page), ("crates/node/src/event.rs", enums)]))
}

#[test]
fn a_table_of_all_effects_and_events_passes() {
    passes(effects(EFFECTS, ENUMS));
}

#[test]
fn every_variant_is_named_and_none_is_invented() {
    let page = "docs/design/architecture.md";
    let more = ENUMS
        .replace("    Drained,\n", "    Drained,\n    Log(Log),\n")
        .replace("    Tick,\n", "    Tick,\n    Damaged,\n");
    let missing = [(page, "does not name Effect::Log"), (page, "does not name Event::Damaged")];
    finds(effects(EFFECTS, &more), &missing);
    let fewer = EFFECTS.replace("`Tick`, ", "").replace("| `Drained` | the process | |\n", "");
    finds(
        effects(&fewer, ENUMS),
        &[(page, "does not name Effect::Drained"), (page, "does not name Event::Tick")],
    );
    let row = EFFECTS.replace("`Load(cell)`", "`Load(cell)` or `Read`");
    finds(effects(&row, ENUMS), &[("docs/design/architecture.md:5: ", "no Effect::Read")]);
    let event = EFFECTS.replace("`Drain`.", "`Drain`, `Local`.");
    finds(effects(&event, ENUMS), &[("docs/design/architecture.md:9: ", "no Event::Local")]);
}

#[test]
fn an_enum_that_is_not_found_has_no_variants() {
    let renamed = ENUMS.replace("pub enum Effect", "pub enum Effects");
    assert_eq!(effects(EFFECTS, &renamed).len(), 3);
}

//! Metrics: every name and label in `dashboards/` is exported, and everything exported is written down.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use starling_server::metrics::{Declaration, Kind, declarations};
use tempfile::TempDir;

use super::support::node::Node;
use super::support::{command, http};

/// Labels that Prometheus adds to what it scrapes, and that of a histogram's buckets.
const FOREIGN: [&str; 4] = ["cluster_id", "instance", "job", "le"];

/// The metrics that one node exports after a few requests through every door, one of them nonsense.
fn scrape() -> Exported {
    let dir = TempDir::new().unwrap();
    let tls = dir.path().join("tls");
    let mut node = Node::new(dir.path(), "n1", &tls);
    node.start();
    command::init(&[node.quic], &tls).well();
    node.serves_with(0);
    let mut resp = node.resp();
    resp.ask("SET k v");
    resp.ask("GET k");
    resp.send_raw(b"*-1\r\n").unwrap();
    assert!(resp.receive().unwrap().error().contains("Protocol"));
    assert_eq!(http::get(node.http, "/v1/kv/default/k").unwrap().status, 200);
    command::run_at(node.quic, &tls, &["del", "k"]).well();
    Exported::parse(&http::get(node.http, "/metrics").unwrap().body)
}

/// Series by name: their labels, each with the values it has.
struct Exported(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl Exported {
    fn parse(text: &str) -> Self {
        let mut series: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let end = line.find(['{', ' ']).unwrap();
            let labels = series.entry(line[..end].to_owned()).or_default();
            let pairs = line[end..].strip_prefix('{').and_then(|rest| rest.split_once('}'));
            for pair in pairs.map(|(pairs, _)| pairs.split(',')).into_iter().flatten() {
                let (name, value) = pair.split_once('=').unwrap();
                labels.entry(name.to_owned()).or_default().insert(value.trim_matches('"').to_owned());
            }
        }
        Self(series)
    }

    fn of(&self, declared: &Declaration) -> Option<&BTreeMap<String, BTreeSet<String>>> {
        let name = match declared.kind {
            Kind::Histogram => format!("{}_bucket", declared.name),
            Kind::Counter | Kind::Gauge => declared.name.to_owned(),
        };
        self.0.get(&name)
    }
}

#[test]
fn every_name_and_label_that_is_watched_is_exported() {
    let exported = scrape();
    for declared in &declarations() {
        let labels = exported.of(declared).unwrap_or_else(|| panic!("{} is not exported", declared.name));
        let labels: BTreeSet<_> = labels.keys().map(String::as_str).filter(|l| *l != "le").collect();
        assert_eq!(labels, declared.labels.iter().copied().collect(), "{}", declared.name);
    }
    for name in exported.0.keys() {
        assert!(declaration(name).is_some(), "{name} is exported and not declared");
    }
    for file in files(&["json", "yml"]) {
        let text = std::fs::read_to_string(&file).unwrap();
        let used = uses(&text);
        assert!(!used.is_empty(), "{} watches nothing", file.display());
        used.iter().for_each(|used| check(used, &exported, &file));
    }
}

fn check(used: &Use, exported: &Exported, file: &Path) {
    let shown = format!("{}: {} {:?}", file.display(), used.name, used.labels);
    let declared = declaration(&used.name).unwrap_or_else(|| panic!("{shown}: no such metric"));
    let series = exported.of(&declared).unwrap();
    for (label, value) in &used.labels {
        let is_known = declared.labels.contains(&label.as_str()) || FOREIGN.contains(&label.as_str());
        assert!(is_known, "{shown}: no label {label}");
        if let (Some(value), Some(values)) = (value, series.get(label)) {
            assert!(values.contains(value), "{shown}: {label} is one of {values:?}");
        }
    }
}

#[test]
fn the_dashboard_is_one_that_grafana_reads() {
    let path = directory().join("starling.json");
    let board: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(board["schemaVersion"].as_u64() >= Some(36));
    let panels = board["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "every panel has an id of its own");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        assert!(panel["description"].is_string() && panel["targets"][0]["expr"].is_string());
        let place = &panel["gridPos"];
        assert!(place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap() <= 24, "{}", panel["title"]);
    }
}

/// The reference page's table is the table of declarations, in words.
#[test]
fn every_metric_stands_on_the_reference_page_as_it_is_declared() {
    let page = std::fs::read_to_string(directory().join("README.md")).unwrap();
    let rows: BTreeMap<&str, &str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .map(|row| row.split_once('`').unwrap())
        .collect();
    for declared in declarations() {
        let labels: Vec<_> = declared.labels.iter().map(|label| format!("`{label}`")).collect();
        let kind = format!("{:?}", declared.kind).to_lowercase();
        let row = rows.get(declared.name).unwrap_or_else(|| panic!("{} is not on the page", declared.name));
        let columns: Vec<_> = row.split('|').map(str::trim).collect();
        let expected =
            ["", &kind, declared.unit.as_str(), &labels.join(", "), declared.help, ""].map(str::to_owned);
        assert_eq!(columns, expected, "{}", declared.name);
    }
    for used in uses(&page) {
        assert!(declaration(&used.name).is_some(), "{} is on the page and not declared", used.name);
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dashboards")
}

fn files(kinds: &[&str]) -> Vec<PathBuf> {
    let all = std::fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> =
        all.filter(|path| path.extension().is_some_and(|e| kinds.iter().any(|k| e == *k))).collect();
    assert!(files.len() >= kinds.len(), "{files:?}");
    files
}

/// The declaration of a series, which for a histogram has another name.
fn declaration(name: &str) -> Option<Declaration> {
    let find = |name: &str| declarations().into_iter().find(|declared| declared.name == name);
    let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
    find(name).or_else(|| find(family?).filter(|declared| declared.kind == Kind::Histogram))
}

/// A metric in an expression, with the labels it is selected by (and the value, where it is one) and those that the
/// sum around it keeps.
struct Use {
    name: String,
    labels: Vec<(String, Option<String>)>,
}

fn uses(text: &str) -> Vec<Use> {
    let text = text.replace("\\\"", "\"");
    let mut uses = Vec::new();
    for line in text.lines() {
        let words = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
        let mut rest = line;
        let kept: Vec<_> = line.split(" by (").skip(1).flat_map(labels_kept).collect();
        while let Some(at) = ["starling_", "process_"].iter().filter_map(|prefix| rest.find(prefix)).min() {
            let end = rest[at..].find(words).map_or(rest.len(), |len| at + len);
            let (name, after) = (&rest[at..end], &rest[end..]);
            let selected =
                after.strip_prefix('{').and_then(|rest| rest.split_once('}')).map(|(pairs, _)| pairs);
            let mut labels: Vec<_> =
                selected.into_iter().flat_map(|pairs| pairs.split(',')).map(pair).collect();
            labels.extend(kept.iter().map(|label| (label.clone(), None)));
            uses.push(Use { name: name.to_owned(), labels });
            rest = after;
        }
    }
    uses
}

fn labels_kept(rest: &str) -> Vec<String> {
    let inside = rest.split(')').next().unwrap_or_default();
    inside.split(',').map(|label| label.trim().to_owned()).collect()
}

/// `label="value"`, or another comparison, whose value is no single one.
fn pair(text: &str) -> (String, Option<String>) {
    let (label, value) = text.split_once('=').unwrap_or_else(|| panic!("{text:?} selects nothing"));
    let plain = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    (label.trim_end_matches('!').to_owned(), plain.filter(|_| !label.ends_with('!')).map(str::to_owned))
}

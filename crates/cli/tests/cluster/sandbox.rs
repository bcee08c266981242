//! The system calls that `config/starling.service` allows are those that a node makes: under its filter, with death in
//! place of an error for any other, a node starts, serves, writes tables, and stops.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use seccompiler::{BpfProgram, TargetArch};

use crate::support::node::Cluster;
use crate::support::resp::Reply;

/// The lines of the unit that make its filter, in their order.
fn lines() -> Vec<String> {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/starling.service");
    let unit = std::fs::read_to_string(unit).unwrap();
    unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")).map(str::to_owned).collect()
}

/// As systemd reads them: the first line says what is allowed, `~` takes away, further names are added.
fn allowed() -> BTreeSet<String> {
    let groups: BTreeMap<&str, Vec<&str>> = include_str!("syscalls.txt")
        .lines()
        .filter(|line| line.starts_with('@'))
        .map(|line| line.split_once(' ').unwrap())
        .map(|(group, calls)| (group, calls.split(' ').collect()))
        .collect();
    let mut allowed = BTreeSet::new();
    for line in lines() {
        let (takes, names) = line.strip_prefix('~').map_or((false, line.as_str()), |names| (true, names));
        for name in names.split(' ') {
            let calls = groups.get(name).cloned().unwrap_or_else(|| vec![name]);
            for call in calls {
                if takes {
                    allowed.remove(call)
                } else {
                    allowed.insert(call.to_owned())
                };
            }
        }
    }
    allowed
}

/// Calls of other machines have no number here.
fn filter(allowed: &BTreeSet<String>) -> BpfProgram {
    let arch: TargetArch = std::env::consts::ARCH.try_into().unwrap();
    let compile = |calls: &[serde_json::Value]| {
        let filter = serde_json::json!({ "node": {
            "mismatch_action": "kill_process", "match_action": "allow", "filter": calls,
        }});
        let text = filter.to_string();
        seccompiler::compile_from_json(text.as_bytes(), arch).map(|mut made| made.remove("node").unwrap())
    };
    let rule = |call: &String| serde_json::json!({ "syscall": call });
    let known: Vec<_> =
        allowed.iter().map(rule).filter(|rule| compile(std::slice::from_ref(rule)).is_ok()).collect();
    assert!(known.len() > 250, "{}", known.len());
    compile(&known).unwrap()
}

#[test]
fn a_node_lives_under_the_filter_of_its_unit() {
    let allowed = allowed();
    assert!(allowed.contains("read") && !allowed.contains("reboot") && !allowed.contains("nice"));
    let program = filter(&allowed);
    // The filter is of the thread, and of all that it starts.
    let story = move || {
        seccompiler::apply_filter(&program).unwrap();
        let mut cluster = Cluster::of(1);
        let mut resp = cluster.nodes[0].resp();
        let value = vec![b'v'; 1 << 20];
        for n in 0..48 {
            assert_eq!(
                resp.call(&[b"SET".as_slice(), format!("k{n}").as_bytes(), &value]).unwrap(),
                Reply::ok()
            );
        }
        assert_eq!(resp.call(&["GET", "k7"]).unwrap(), Reply::Bulk(value));
        let status = cluster.nodes[0].stop();
        assert!(status.success(), "{status}");
    };
    std::thread::Builder::new().spawn(story).unwrap().join().unwrap();
}

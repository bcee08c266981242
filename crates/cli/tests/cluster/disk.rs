//! Disks that do not give what they hold, and files that others leave in the data directory.

use std::path::Path;

use tempfile::TempDir;

use crate::support::command::{finish, init, run};
use crate::support::eventually;
use crate::support::node::Node;
use crate::support::resp::Reply;

/// A node that is a cluster by itself, and holds a value.
fn alone(dir: &Path) -> Node {
    let mut node = Node::new(dir, "a", &dir.join("tls"));
    node.start();
    init(&[node.quic], &node.tls).well();
    node.serves_with(0);
    assert_eq!(node.resp().ask("SET k v"), Reply::ok());
    node
}

#[test]
fn a_start_that_cannot_read_its_tables_says_so_and_all_is_there_when_it_can() {
    let dir = TempDir::new().unwrap();
    let mut node = alone(dir.path());
    assert!(node.stop().success());
    // There, and not to be opened: a link to itself.
    let (manifest, whole) = (node.data.join("tables/data/current"), dir.path().join("whole"));
    std::fs::rename(&manifest, &whole).unwrap();
    std::os::unix::fs::symlink("current", &manifest).unwrap();
    let refused = finish(&mut node.command());
    assert_eq!(refused.code, 1, "{refused:?}");
    for words in ["cannot be read", "nothing was changed", &manifest.display().to_string()] {
        assert!(refused.err.contains(words), "{words}: {refused:?}");
    }
    let data = node.data.display().to_string();
    let manifest_text = manifest.display().to_string();
    std::fs::rename(&whole, &manifest).unwrap();
    let nothing = run(&["data", "repair", &data, "--accept-unreadable", &manifest_text]);
    assert!(nothing.code == 1 && nothing.err.contains("can be read"), "{nothing:?}");
    node.start();
    node.serves_with(0);
    assert_eq!(node.resp().ask("GET k"), Reply::bulk("v"));
    assert!((node.metric("starling_store_losses") + node.metric("starling_ruins")).abs() < 0.5);
}

#[test]
fn what_a_person_gives_up_is_lost_and_the_node_goes_on() {
    let dir = TempDir::new().unwrap();
    let mut node = alone(dir.path());
    assert!(node.stop().success());
    let manifest = node.data.join("tables/hints/current");
    std::fs::remove_file(&manifest).unwrap();
    std::os::unix::fs::symlink("current", &manifest).unwrap();
    let (data, file) = (node.data.display().to_string(), manifest.display().to_string());
    let done = run(&["data", "repair", &data, "--accept-unreadable", &file]).well();
    assert!(done.out.contains("given up") && done.out.contains(&file), "{done:?}");
    node.start();
    node.serves_with(0);
    // It looks through its rows before it vouches for them.
    eventually("the value is shown", || node.resp().ask("GET k") == Reply::bulk("v"));
    assert_eq!(node.status()["storage"]["ruins"], 1);
    assert!(node.data.join("tables/hints.ruin-1").is_dir());
}

#[test]
fn files_of_others_in_the_data_directory_do_no_harm_and_stay() {
    let dir = TempDir::new().unwrap();
    let mut node = alone(dir.path());
    assert!(node.stop().success());
    let strange = [
        "log/0000000001.log~",
        "log/core.1234",
        "log/spare-parts.txt",
        "tables/data/tables/9999.tmp",
        "tables/data/tables/.nfs0001",
        "tables/data/vmcore",
        "meta/watermark.swp",
        "tls/node.pem.bak",
        "node.json~",
        "heap.prof",
    ];
    for file in strange {
        std::fs::write(node.data.join(file), "not ours").unwrap();
    }
    node.start();
    node.serves_with(0);
    assert_eq!(node.resp().ask("GET k"), Reply::bulk("v"));
    let storage = node.status()["storage"].clone();
    assert_eq!((&storage["suspect_partitions"], &storage["ruins"]), (&0.into(), &0.into()), "{storage}");
    for file in strange {
        let name = Path::new(file).file_name().unwrap();
        let places = [node.data.join(file), node.data.join("tables/data.strange").join(name)];
        assert!(
            places.iter().any(|place| std::fs::read(place).is_ok_and(|text| text == b"not ours")),
            "{file}"
        );
    }
}

//! SIGKILL under load. An ack means: durable on W nodes, and found again after any node is killed.

use starling_cluster::Signal;

use crate::support::eventually;
use crate::support::load::{is_all_there, under_load, writers};
use crate::support::node::{Cluster, Node};

/// Clients at once.
const WRITERS: usize = 64;
/// Times that the whole cluster is killed; `STARLING_KILL_ROUNDS` says otherwise.
const ROUNDS: u64 = 5;

#[test]
fn one_killed_node_costs_no_acked_write_and_comes_back_complete() {
    let mut cluster = Cluster::of_three();
    let (others, mut load) = (vec![cluster.nodes[0].resp, cluster.nodes[1].resp], writers(WRITERS));
    let gauge = under_load(&mut load, &others, |gauge| {
        gauge.every_writer_acks(20);
        assert_eq!(gauge.refused_in_time(), [""; 0], "nothing has happened yet");
        cluster.nodes[2].kill();
        gauge.every_writer_acks(40);
        eventually("writes for the killed node are kept for it", || {
            cluster.nodes[..2].iter().any(|n| n.metric("starling_hints_kept_total") > 0.0)
        });
        cluster.nodes[2].start();
        cluster.serves();
        gauge.every_writer_acks(20);
    });
    // Two of three are W=2: the writers are connected with those two, and the death of the third does not concern them.
    let refused = gauge.refused_in_time();
    assert!(refused.len() <= WRITERS, "{} writes failed: {refused:?}", refused.len());
    assert!(gauge.acked() >= 80 * WRITERS as u64, "{} acks", gauge.acked());
    cluster.is_settled();
    for node in &cluster.nodes {
        let read = is_all_there(node, &load, &[]);
        assert!(read >= 60 * WRITERS, "{read} keys");
    }
    // The one that was away has everything, alone.
    cluster.nodes[..2].iter_mut().for_each(Node::kill);
    is_all_there(&cluster.nodes[2], &load, &["STARLING.CONSISTENCY R 1"]);
}

#[test]
fn every_node_killed_in_turn_under_writers_to_all() {
    let mut cluster = Cluster::of_three();
    let (addrs, mut load) = (cluster.nodes.iter().map(|n| n.resp).collect::<Vec<_>>(), writers(WRITERS));
    under_load(&mut load, &addrs, |gauge| {
        for victim in 0..3 {
            gauge.every_writer_acks(10);
            cluster.nodes[victim].kill();
            gauge.every_writer_acks(20);
            cluster.nodes[victim].start();
            cluster.serves();
            // With hints outstanding the next kill could take the second of two copies out of reach.
            cluster.is_settled_under_load();
        }
    });
    cluster.is_settled();
    let read: usize = cluster.nodes.iter().map(|node| is_all_there(node, &load, &[])).sum();
    assert!(read >= 3 * 60 * WRITERS, "{read} keys");
    for survivor in 0..3 {
        let others = (0..3).filter(|&k| k != survivor);
        others.for_each(|k| cluster.nodes[k].kill());
        is_all_there(&cluster.nodes[survivor], &load, &["STARLING.CONSISTENCY R 1"]);
        for k in (0..3).filter(|&k| k != survivor) {
            cluster.nodes[k].start();
        }
        cluster.serves();
        cluster.is_settled();
    }
}

#[test]
fn all_nodes_killed_at_once_lose_no_acked_write() {
    let rounds = std::env::var("STARLING_KILL_ROUNDS").map_or(ROUNDS, |n| n.parse().unwrap());
    let mut cluster = Cluster::of_three();
    let (addrs, mut load) = (cluster.nodes.iter().map(|n| n.resp).collect::<Vec<_>>(), writers(WRITERS));
    let mut acked = 0;
    for round in 0..rounds {
        let point = point_of(round);
        let gauge = under_load(&mut load, &addrs, |gauge| {
            gauge.all_ack(point);
            cluster.kill_all();
        });
        acked += gauge.acked();
        eprintln!("round {round}: all killed after {point} acks, {} in all", gauge.acked());
        cluster.start_all();
        for node in &cluster.nodes {
            is_all_there(node, &load, &[]);
        }
    }
    assert!(acked >= rounds * LEAST, "{acked} acks");
    cluster.is_settled();
    cluster.nodes[..2].iter_mut().for_each(Node::kill);
    is_all_there(&cluster.nodes[2], &load, &["STARLING.CONSISTENCY R 1"]);
}

/// A paused process is the worst kind of dead: it comes back in the middle of what it was doing.
#[test]
fn a_paused_node_is_done_without_and_comes_back_complete() {
    let mut cluster = Cluster::of_three();
    let (others, mut load) = (vec![cluster.nodes[0].resp, cluster.nodes[1].resp], writers(WRITERS));
    let paused = cluster.nodes[2].status()["node_id"].clone();
    under_load(&mut load, &others, |gauge| {
        gauge.every_writer_acks(10);
        cluster.nodes[2].process().signal(Signal::STOP);
        eventually("the others count it as dead", || {
            cluster.nodes[..2].iter().all(|n| {
                let status = n.status();
                let mut members = status["members"].as_array().into_iter().flatten();
                members.any(|m| m["node_id"] == paused && m["state"] == "dead")
            })
        });
        gauge.every_writer_acks(20);
        cluster.nodes[2].process().signal(Signal::CONT);
        cluster.serves();
        gauge.every_writer_acks(10);
    });
    cluster.is_settled();
    cluster.nodes[..2].iter_mut().for_each(Node::kill);
    let read = is_all_there(&cluster.nodes[2], &load, &["STARLING.CONSISTENCY R 1"]);
    assert!(read >= 30 * WRITERS, "{read} keys");
}

#[test]
fn nodes_stopped_in_turn_under_load_stop_cleanly() {
    let mut cluster = Cluster::of_three();
    let (addrs, mut load) = (cluster.nodes.iter().map(|n| n.resp).collect::<Vec<_>>(), writers(WRITERS));
    under_load(&mut load, &addrs, |gauge| {
        for k in 0..3 {
            gauge.every_writer_acks(10);
            let status = cluster.nodes[k].stop();
            assert!(status.success(), "{status}");
            gauge.every_writer_acks(10);
            cluster.nodes[k].start();
            cluster.serves();
        }
    });
    cluster.is_settled();
    for survivor in &cluster.nodes {
        is_all_there(survivor, &load, &[]);
    }
    cluster.nodes[1..].iter_mut().for_each(Node::kill);
    is_all_there(&cluster.nodes[0], &load, &["STARLING.CONSISTENCY R 1"]);
}

/// Fewest acks before a kill.
const LEAST: u64 = 50;

/// After how many acks the nodes are killed: another number in every round and every run.
fn point_of(round: u64) -> u64 {
    let seed = u64::from(std::process::id()) + (round << 32);
    LEAST + seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_right(17) % 1_500
}

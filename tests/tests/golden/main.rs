//! Golden transcripts: stories of the machines as text, in `tests/golden`. Each line with a time is an event that a node
//! was told, each arrow below it an effect that it wanted; names are given in `names.rs`. A change that tells a story
//! otherwise is seen by whoever reads the diff: `UPDATE_EXPECT=1 cargo test -p starling-tests --test golden`.

#![expect(clippy::unwrap_used, reason = "tests")]

mod gossip;
mod names;
mod script;
mod stage;
mod words;

use std::time::Duration;

use expect_test::expect_file;
use starling_node::Pace;
use starling_storage::CrashMode;
use starling_types::row::Space;
use starling_wire::client::Seen;
use starling_wire::gossip::Status;
use starling_wire::{KvReply, KvRequest};

use crate::gossip::Watch;
use crate::stage::Stage;

#[test]
fn a_put() {
    let mut stage = Stage::cluster(3, Pace::OFF);
    stage.tell(
        "A put on three nodes, all of them owners. n0 names the write n0.1 and sends the record to the others while its \
         own disk is at work. Two acks of three answer the client.",
    );
    stage.put(0, "red", Seen::Nothing);
    stage.end(expect_file!["../../golden/put.txt"]);
}

/// n0 and n1 hold a write, n2 does not.
fn n2_has_missed_red() -> Stage {
    let mut stage = Stage::cluster(3, Pace::OFF);
    stage.world.hold(0, 2);
    stage.put(0, "red", Seen::Nothing);
    stage.world.release(0, 2, true);
    stage
}

#[test]
fn a_get_repairs_a_stale_owner() {
    let mut stage = n2_has_missed_red();
    stage.tell(
        "n0 and n1 hold a write that n2 has missed. A get that asks all three answers what they hold together, and \
         sends it to n2.",
    );
    stage.get(1, 3);
    stage.end(expect_file!["../../golden/read_repair.txt"]);
}

#[test]
fn a_blind_set_learns_its_context() {
    let mut stage = n2_has_missed_red();
    stage.tell(
        "n2 has missed \"red\", which two owners acked. A client that has read nothing sets \"blue\" there. n2 asks \
         others first what there is to replace, so that \"red\" does not stay beside \"blue\".",
    );
    stage.put(2, "blue", Seen::Quorum);
    stage.end(expect_file!["../../golden/blind_set.txt"]);
}

#[test]
fn a_hint_is_kept_and_delivered() {
    let mut stage = Stage::cluster(3, Pace::OFF);
    stage.world.crash_as(2, CrashMode::KeepAll);
    stage.run(10_000);
    stage.tell("n2 is down. n0 keeps on its own disk what n2 misses: a hint.");
    stage.put(0, "red", Seen::Nothing);
    stage.tell("n2 is back. n0 sends it the record, and drops the hint once n2 has it on disk.");
    stage.world.start(2);
    stage.run(10_000);
    stage.end(expect_file!["../../golden/hint.txt"]);
}

#[test]
fn a_retry_is_told_the_first_answer() {
    let mut stage = Stage::cluster(3, Pace::OFF);
    stage.tell("A put is acked, but its client does not hear of it.");
    let first = stage.write("red", Seen::Nothing);
    stage.ask(0, first.clone());
    stage.tell(
        "The client tries again at another node, under the same request id. n1 remembers which write the request made: \
         nothing is written twice, and the answer names the first write.",
    );
    stage.ask(1, KvRequest { attempt: 1, ..first });
    stage.end(expect_file!["../../golden/retry.txt"]);
}

#[test]
fn concurrent_writes_become_siblings_until_one_has_seen_both() {
    let mut stage = Stage::cluster(3, Pace::OFF);
    stage.tell("Two clients write at the same time at two nodes. Neither has seen the other's value.");
    let red = stage.write("red", Seen::Nothing);
    stage.world.request(0, red);
    stage.put(1, "blue", Seen::Nothing);
    stage.tell("A get shows both values, and a context that names them.");
    let KvReply::Read(read) = stage.get(2, 2) else { panic!("no read") };
    stage.tell("A put with this context replaces both.");
    stage.put(2, "violet", Seen::Context(read.context.unwrap()));
    stage.end(expect_file!["../../golden/siblings.txt"]);
}

#[test]
fn a_forwarded_put_fails_over() {
    let mut stage = Stage::cluster(5, Pace::OFF);
    stage.run(30_000);
    let [first, .., stranger, _] = stage.by_preference()[..] else { panic!("five nodes") };
    stage.world.hold(stranger, first);
    stage.tell(&format!(
        "n{stranger} does not own k and passes a put on to n{first}, where it does not arrive. When its patience ends, \
         n{stranger} asks another owner. This one asks first whether the earlier try has been made.",
    ));
    let red = stage.write("red", Seen::Nothing);
    stage.world.request(stranger, red);
    stage.run(1_500);
    stage.end(expect_file!["../../golden/failover.txt"]);
}

#[test]
fn a_sweep_mends_a_missing_record() {
    let pace = Pace {
        period: Duration::from_secs(60),
        soon: Duration::from_secs(5),
        gap: Duration::from_millis(20),
    };
    let mut stage = Stage::cluster(3, pace);
    stage.run(20_000);
    stage.world.hold(0, 2);
    stage.put(0, "red", Seen::Nothing);
    stage.world.crash_as(0, CrashMode::KeepAll);
    stage.world.release(0, 2, true);
    stage.run(1_000);
    stage.tell(
        "n0 crashed before n2 had heard of \"red\", and before it could keep a hint. It is back, and compares what it \
         holds with each of the others.",
    );
    stage.world.start(0);
    stage.run(10_000);
    stage.end(expect_file!["../../golden/sweep.txt"]);
}

#[test]
fn a_damaged_row_is_pulled_from_the_other_owners() {
    let mut stage = Stage::cluster(3, Pace::OFF);
    stage.put(0, "red", Seen::Nothing);
    stage.world.crash_as(2, CrashMode::KeepAll);
    stage.world.start(2);
    stage.run(5_000);
    let row = stage.world.rows(2, Space::Data).remove(0);
    stage.world.damage(2, Space::Data, &row);
    stage.tell(
        "The row of k on n2's disk has rotted, and scrubbing finds it. Until n2 has heard what the others hold there, \
         it vouches for nothing in the partition.",
    );
    stage.world.scrub(2);
    stage.run(5_000);
    stage.end(expect_file!["../../golden/damage.txt"]);
}

#[test]
fn three_founders_decide_the_first_layout() {
    let mut stage = Stage::empty(3, Pace::OFF);
    stage.tell(
        "Three empty nodes become a cluster. Each accepts one first layout, durably. When all have accepted it, it is \
         decided.",
    );
    stage.init();
    stage.end(expect_file!["../../golden/founding.txt"]);
}

#[test]
fn a_silent_member_is_suspected_refutes_and_is_declared_dead() {
    let mut watch = Watch::new();
    watch.tell(
        "The membership machine of n0 alone. n1 and n2 answer its pings. Then n2 falls silent, and n1 does not reach it \
         either: n0 suspects n2, and tells both.",
    );
    watch.silence();
    watch.run_until(|status| status == Status::Suspect);
    watch.tell("n2 has heard of it, and refutes with a higher incarnation.");
    watch.refute();
    watch.run(500);
    watch.tell("n2 falls silent for good. n1 suspects it too, which shortens its time to refute.");
    watch.silence();
    watch.run_until(|status| status == Status::Suspect);
    watch.confirm();
    watch.run_until(|status| status == Status::Dead);
    watch.run(300);
    watch.end(expect_file!["../../golden/suspicion.txt"]);
}

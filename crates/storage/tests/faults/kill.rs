//! Processes that end at any moment.

use std::process::Command;

use rand::RngExt;
use starling_storage::{Batch, Durability, Engine};
use starling_types::row::Space;

use crate::common::child::{Manner, Orders};
use crate::common::judge::judge;
use crate::common::ledger::Ledger;
use crate::common::process::{Child, Life, Moment, Survives};
use crate::common::workload::{Sizes, Workload};
use crate::common::{data_dir, number, open, seeded};

const WRITERS: u16 = 64;

#[test]
fn kill_9_under_64_writers_loses_nothing_answered() {
    let home = tempfile::tempdir().unwrap();
    let (seed, mut rng) = seeded("kill");
    let workload = Workload { seed, writers: WRITERS, sizes: Sizes::Mixed };
    let orders = Orders { dir: data_dir(home.path()), workload, manner: Manner::Mixed };
    let mut ledger = Ledger::new(workload);
    let mut open_calls = 100;
    for round in 0..number("STARLING_KILL_ROUNDS", 20) {
        let answers = rng.random_range(0..1_000);
        let mut moments = match round % 4 {
            0 | 1 => vec![Moment::Answers(answers)],
            2 => vec![Moment::NewFile(answers)],
            _ => vec![Moment::Answers(answers)],
        };
        // Recoveries are killed too, before one comes to its end.
        let recoveries = if round % 4 == 3 { rng.random_range(1..3) } else { 0 };
        moments.extend((0..recoveries).map(|_| Moment::Opening(rng.random_range(0..open_calls))));
        println!("round {round}: {moments:?}");
        for moment in moments {
            let life = Child::start(&orders).live(moment, &mut ledger, Survives::Answered, Child::kill);
            open_calls = life.open_calls.unwrap_or(open_calls).max(1);
        }
        let engine = open(&orders.dir).unwrap();
        let verdict = judge(&engine, &ledger);
        verdict.assert_none(&format!("round {round}"));
        engine.close().unwrap();
        ledger.settle(&verdict.found);
    }
}

/// A write that fails for good, here at a file size limit: the engine stops, and what it answered is kept.
#[cfg(unix)]
#[test]
fn a_failed_write_poisons_and_keeps_what_was_answered() {
    let home = tempfile::tempdir().unwrap();
    let (seed, _) = seeded("failed write");
    let workload = Workload { seed, writers: 8, sizes: Sizes::Mixed };
    let orders = Orders { dir: data_dir(home.path()), workload, manner: Manner::Mixed };
    let engine = open(&orders.dir).unwrap();
    // The log gets its first file, longer than the child may write, however it was made.
    let mut first = Batch::new();
    first.put(Space::Meta, "first", "");
    first.delete(Space::Meta, "first");
    engine.commit(&[first], Durability::Synced).unwrap();
    engine.close().unwrap();

    let mut ledger = Ledger::new(workload);
    let mut shell = Command::new("sh");
    let limited = format!("trap '' XFSZ; ulimit -f {LARGEST_FILE}; exec \"$0\" \"$@\"");
    shell.args(["-c", &limited]).arg(std::env::current_exe().unwrap());
    let child = Child::start_by(shell, &orders);
    let life: Life = child.live(Moment::Never, &mut ledger, Survives::Answered, |_| {});
    assert!(life.answers > 0 && !life.complaints.is_empty(), "{life:?}");
    let verdict = judge(&open(&orders.dir).unwrap(), &ledger);
    verdict.assert_none("after a failed write");
}

/// In blocks of 512 bytes: less than the shortest segment of the log, and less than a write buffer.
const LARGEST_FILE: u32 = 1_000;

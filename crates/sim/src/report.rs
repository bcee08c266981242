//! The result of a run, for programs and for people.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use starling_checker::{Finding, KeyHistory, Misread};

use crate::counters::Counters;
use crate::history::Endings;
use crate::judges::{Complaint, Judge};
use crate::rules::Rules;
use crate::toll::Toll;

/// The result of a run.
#[derive(Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// Fingerprint of all events.
    pub trace: u64,
    /// How many there were.
    pub events: u64,
    /// How much virtual time passed, from the first start to the verdict.
    pub virtual_time: Duration,
    /// The rules of the clients' bucket.
    pub rules: Rules,
    /// How many nodes there were.
    pub nodes: usize,
    /// Operations that clients began.
    pub operations: u64,
    /// The effects of faults.
    pub toll: Toll,
    /// Counts of events.
    pub counters: Counters,
    /// How operations ended.
    pub endings: Endings,
    /// Hints delivered, by the nodes' own count since their last start.
    pub hints_delivered: u64,
    /// Operations that were minted more than once.
    pub doubles: usize,
    /// The findings of the judge of survival.
    pub findings: Vec<Finding>,
    /// The findings of the judge of registers.
    pub misreads: Vec<Misread>,
    /// The findings of all other judges.
    pub complaints: Vec<Complaint>,
    /// Work that did not end in time, and differences that no client sees.
    pub unrest: Vec<String>,
    /// The histories that the judge was given.
    pub histories: Vec<KeyHistory>,
    /// For each of these, its mints and their nodes.
    pub mints: Vec<Vec<String>>,
    /// The last messages of nodes to their operators.
    pub logs: Vec<String>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.is_safe() && self.unrest.is_empty() && self.complaints.is_empty()
    }

    /// Whether no judge found harm to data: what did not come to rest, or not in time, is another matter.
    pub fn is_safe(&self) -> bool {
        let harm = self.complaints.iter().any(|complaint| complaint.judge.is_of_safety());
        self.findings.is_empty() && self.misreads.is_empty() && !harm
    }

    /// Silences all judges but these.
    pub(crate) fn hear_only(&mut self, judges: &[Judge]) {
        self.complaints.retain(|complaint| judges.contains(&complaint.judge));
        if !judges.contains(&Judge::Survival) {
            self.findings.clear();
        }
        if !judges.contains(&Judge::Registers) {
            self.misreads.clear();
        }
        if !judges.contains(&Judge::Rest) {
            self.unrest.clear();
        }
    }

    /// Which judges found something.
    pub fn judges(&self) -> BTreeSet<Judge> {
        let others = self.complaints.iter().map(|complaint| complaint.judge);
        let named = [
            (Judge::Survival, self.findings.is_empty()),
            (Judge::Registers, self.misreads.is_empty()),
            (Judge::Rest, self.unrest.is_empty()),
        ];
        others.chain(named.into_iter().filter(|(_, none)| !none).map(|(judge, _)| judge)).collect()
    }

    /// Everything that is wrong, a line each.
    pub fn complaints(&self) -> Vec<String> {
        let findings = self.findings.iter().map(ToString::to_string);
        let misreads = self.misreads.iter().map(ToString::to_string);
        let others = self.complaints.iter().map(ToString::to_string);
        findings.chain(misreads).chain(others).chain(self.unrest.iter().cloned()).collect()
    }

    /// For a person: what is wrong, and the story of the keys concerned.
    pub fn explain(&self) -> String {
        let (doubles, rules) = (self.doubles, &self.rules);
        let (seed, endings, counters) = (self.seed, self.endings, self.counters);
        let mut text =
            format!("seed {seed}: {endings:?}, {doubles} minted more than once, {counters:?}, {rules:?}\n");
        for line in self.complaints() {
            let _ = writeln!(text, "  {line}");
        }
        let lines = self.complaints();
        for (key, mints) in self.histories.iter().zip(&self.mints).filter(|(h, _)| {
            let name = format!("{}:", h.key);
            lines.iter().any(|line| line.starts_with(&name))
        }) {
            mints.iter().for_each(|mint| text.push_str(&format!("    {mint}\n")));
            let _ = writeln!(text, "{}: {:?}", key.key, key.replicas);
            for write in &key.writes {
                let seen: Vec<u64> = write.seen.iter().map(|w| w.0).collect();
                let what = if write.deletes { "delete" } else { "put" };
                let _ = writeln!(text, "    {} {what} {:?} saw {seen:?}", write.id, write.outcome);
            }
        }
        text
    }
}

//! After the storm: everything heals, hints drain, and every key is read from all its owners.

use std::time::Duration;

use starling_types::{BucketName, RequestId};
use starling_wire::{KvOp, KvReply, KvRequest};

use crate::nemesis::{Step, carry_out};
use crate::run::Run;
use crate::verdict::Ledger;
use crate::workload::key_name;
use crate::world::{Notice, Weather};

/// Virtual seconds for hints to drain: gossip must find every node alive again, and replay has its pauses.
const PATIENCE_S: u32 = 120;

impl Run {
    pub(crate) fn settle(&mut self) {
        self.heal();
        for _ in 0..PATIENCE_S {
            self.pass(Duration::from_secs(1));
            if self.is_quiet() {
                break;
            }
        }
        if !self.is_quiet() {
            let words = self.restlessness();
            self.unrest.push(words);
        }
        if !self.options.sweep.is_on() {
            let debts = self.unpaid(&Ledger::new(self));
            self.complaints.extend(debts);
        }
        if !self.options.final_reads {
            return;
        }
        // Reads repair what they see, after they answer: the second round shows the result of the first.
        for round in 0..2 {
            (0..self.options.workload.all_keys()).for_each(|key| self.read_everywhere(round, key));
            self.pass(Duration::from_secs(3));
        }
    }

    fn heal(&mut self) {
        self.is_healed = true;
        self.world.mend();
        self.world.set_weather(Weather::CALM);
        for node in 0..self.world.len() {
            carry_out(&mut self.world, Step::Fsync(node, 0));
            carry_out(&mut self.world, Step::Clock(node, 0));
            carry_out(&mut self.world, Step::Fill(node, false, false));
            self.world.spare_disk(node);
            self.world.start(node);
        }
    }

    fn is_quiet(&self) -> bool {
        self.workload.is_idle() && (0..self.world.len()).all(|n| self.quiet_at(n))
    }

    fn quiet_at(&self, node: usize) -> bool {
        let Some(machine) = self.world.node(node) else {
            return false;
        };
        let now = self.world.now_at(node);
        self.world.serves(node)
            && !self.world.is_paused(node)
            && self.world.sees_all(node)
            && machine.data_plane().under_way() == 0
            && self.world.damaged(node) == 0
            && machine.status(now).repair.quiescent
    }

    fn restlessness(&self) -> String {
        let mut text = String::from("never came to rest:");
        for node in (0..self.world.len()).filter(|&n| !self.quiet_at(n)) {
            let story = self.world.node(node).map_or("down".into(), |machine| {
                let status = machine.status(self.world.now_at(node));
                let under_way = machine.data_plane().under_way();
                format!("{} {:?}, {under_way} under way", status.state, status.hints)
            });
            text.push_str(&format!(" n{node} is {story};"));
        }
        text
    }

    /// A read that needs all owners, tried at one node after the other.
    fn read_everywhere(&mut self, round: u64, key: usize) {
        for node in 0..self.world.len() {
            let number = (u128::from(round) << 32) | ((key as u128) << 16) | node as u128;
            let (id, issued) = (RequestId::from_bits(number | 1 << 127), self.world.now_at(node).wall);
            let bucket = BucketName::default_bucket();
            let mut request = KvRequest::new(id, issued, bucket, key_name(key), KvOp::Get);
            request.quorum.r = Some(self.copies());
            let handle = self.world.request(node, request);
            let until = self.world.now() + Duration::from_secs(2);
            while let Some(notice) = self.world.next(until) {
                match notice {
                    Notice::Reply(h, KvReply::Read(_)) if h == handle => return,
                    Notice::Reply(h, _) if h == handle => break,
                    _ => {}
                }
            }
        }
        self.unrest.push(format!("key {key} could not be read from all owners"));
    }

    pub(crate) fn copies(&self) -> u8 {
        self.options.copies.min(u8::try_from(self.world.len()).unwrap_or(u8::MAX))
    }
}

//! The input of the observer: records on their way to disks, and answers on their way to clients.

use bytes::{BufMut, Bytes, BytesMut};
use starling_causality::Record;
use starling_node::{CommitId, ReplyHandle};
use starling_types::row::{RowWrite, Space};
use starling_types::{BucketName, QualifiedKey, Token};
use starling_vnode::CellKey;
use starling_vnode::rows::FIRST_GENERATION;
use starling_wire::KvReply;

use crate::judges::{Complaint, Judge};
use crate::observer::Handover;
use crate::world::World;

impl World {
    pub(crate) fn observe(&mut self, node: usize, id: CommitId, row: &RowWrite) {
        let decode = |value: Option<Bytes>| value.and_then(|v| Record::decode(&v).ok()).unwrap_or_default();
        let host = &mut self.hosts[node];
        let before = host.newest.insert(row.key.clone(), row.value.clone()).flatten();
        let (before, after) = (decode(before), decode(row.value.clone()));
        let life = host.life;
        let told = host.now(self.now);
        let wall = host.machine.as_ref().map_or(told.wall, |machine| machine.cluster_wall(told));
        let layout = host.machine.as_ref().and_then(|m| m.view().layout().cloned());
        let (Some(layout), Some(token)) = (layout, token(&row.key)) else { return };
        let partition = layout.partition_of(token);
        let place = Handover { at: self.now, wall, node, life, partition, row: &row.key };
        if self.observer.staged(id, place, &before, &after) {
            self.feel_clock(node);
        }
    }

    pub(crate) fn observe_hint(&mut self, node: usize, id: CommitId, row: &RowWrite) {
        let record = row.value.as_ref().and_then(|v| Record::decode(v).ok());
        if let Some((record, data)) = record.zip(data_row(&row.key)) {
            self.observer.stashed(id, node, data, &record);
        }
    }

    /// A node starts: the rows on its disk are there, even if they were never acked.
    pub(crate) fn recount(&mut self, node: usize) {
        let decode = |value: &Bytes| Record::decode(value).ok();
        for (key, value) in self.hosts[node].rows(Space::Data) {
            decode(&value).into_iter().for_each(|record| self.observer.found(node, key.clone(), &record));
        }
        for (key, value) in self.hosts[node].rows(Space::Hints) {
            if let Some((record, key)) = decode(&value).zip(data_row(&key)) {
                self.observer.found(node, key, &record);
            }
        }
    }

    /// An answer leaves a node: an ack counts the owners that have it, and a read shows what some owner has.
    pub(crate) fn witness(&mut self, node: usize, handle: ReplyHandle, reply: &KvReply) {
        let layout = self.hosts[node].machine.as_ref().and_then(|machine| machine.view().layout());
        self.cluster = self.cluster.or(layout.map(|layout| layout.cluster()));
        let Some((key, cluster)) = self.asked.get(&handle).cloned().zip(self.cluster) else { return };
        let seed = cluster.hash_seed();
        let (_, row) =
            CellKey::data(QualifiedKey::new(seed, BucketName::default_bucket(), key.clone())).row();
        match reply {
            KvReply::Written(written) => {
                let receipt = &written.receipt;
                let Some(dot) = receipt.dot else { return };
                let all = self.observer.holders(&row, dot, 0..self.hosts.len());
                let owners = self.observer.holders(&row, dot, self.owners_of(&row).into_iter());
                let is_there = self.observer.is_minted(&row, dot) || self.observer.is_silent(&row, dot);
                if is_there && (all < usize::from(receipt.acked) || owners < usize::from(receipt.owners)) {
                    let (acked, said) = (receipt.acked, receipt.owners);
                    let words = format!(
                        "{dot} is said to be on {acked} nodes and {said} owners, and is on {all} and {owners}"
                    );
                    self.complain(Judge::Acks, node, &key, &words);
                }
            }
            KvReply::Read(read) => {
                let fleeting =
                    read.siblings.iter().find(|shown| !self.observer.is_committed(&row, shown.dot));
                if let Some(shown) = fleeting {
                    let words = format!("{} is shown before anybody has it on disk", shown.dot);
                    self.complain(Judge::Acks, node, &key, &words);
                }
            }
            KvReply::Failed(_) => {}
        }
    }

    fn complain(&mut self, judge: Judge, node: usize, key: &starling_types::Key, words: &str) {
        let key = String::from_utf8_lossy(key.as_bytes());
        let words = format!("{key}: n{node} at {:?}: {words}", self.now);
        self.observer.complaints.push(Complaint { judge, words });
    }

    /// The nodes that own a row.
    pub(crate) fn owners_of(&self, row: &Bytes) -> Vec<usize> {
        let layout = self.hosts.iter().find_map(|host| host.machine.as_ref()?.view().layout());
        let Some((layout, token)) = layout.zip(token(row)) else { return Vec::new() };
        let partition = layout.partition_of(token);
        (0..self.len()).filter(|&node| layout.owns(self.id(node), partition)).collect()
    }
}

fn token(row: &Bytes) -> Option<Token> {
    row.first_chunk::<8>().map(|t| Token::from_bits(u64::from_be_bytes(*t)))
}

/// The row of a key, from that of a hint for it.
fn data_row(hint: &Bytes) -> Option<Bytes> {
    let (token, name) = hint.get(8..16).zip(hint.get(16..))?;
    let mut row = BytesMut::from(token);
    row.put_u32(FIRST_GENERATION);
    row.extend_from_slice(name);
    Some(row.freeze())
}

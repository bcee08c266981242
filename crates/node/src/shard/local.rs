//! The records that this node holds itself, for checks and debugging: only its own vnodes, only what is committed, and
//! no other node is asked. Works whether the node serves, waits for others or is stopping.

use starling_causality::Record;
use starling_types::{BucketName, QualifiedKey};
use starling_vnode::{self as vnode, CellKey, Done, RecordPage, Refused, ScanRange};
use starling_wire::local::{LocalAsk, LocalPage, LocalRecord};
use starling_wire::{Failure, FailureKind};

use super::replica::MAX_OPERATIONS;
use super::turn::failure;
use super::{Context, Shard, Turn};
use crate::event::{Effect, ReplyHandle};

impl Shard {
    /// Begins to answer `ask`.
    pub(super) fn local(&mut self, turn: &mut Turn<'_>, handle: ReplyHandle, ask: LocalAsk) {
        let Some(layout) = turn.view.layout() else {
            // A node that belongs to no cluster holds nothing.
            return answer(turn, handle, Ok(LocalPage::default()));
        };
        if self.calls.len() >= MAX_OPERATIONS {
            let busy = Failure::refused(FailureKind::Overloaded, "too much waits for this node's disk");
            return answer(turn, handle, Err(busy));
        }
        match ask {
            LocalAsk::Key(bucket, key) => {
                let key = QualifiedKey::new(layout.cluster().hash_seed(), bucket, key);
                let op = self.calls.begin(Context::Local(handle, key.clone()));
                self.vnode(turn, vnode::Event::Read(op, CellKey::data(key)));
            }
            LocalAsk::Page { bucket, from, limit } => {
                let limit = limit.clamp(1, LocalAsk::MOST_ROWS);
                let op = self.calls.begin(Context::LocalPage(handle, bucket, limit));
                self.vnode(turn, vnode::Event::Scan(op, ScanRange::Data, from));
            }
        }
    }
}

/// A page is read.
pub(super) fn show_page(
    turn: &mut Turn<'_>,
    handle: ReplyHandle,
    bucket: &BucketName,
    limit: usize,
    page: Result<RecordPage, Refused>,
) {
    let page = page.map_err(|refused| refused.to_string()).and_then(|page| held(turn, bucket, limit, page));
    answer(turn, handle, page.map_err(unreadable));
}

fn held(turn: &Turn<'_>, bucket: &BucketName, limit: usize, page: RecordPage) -> Result<LocalPage, String> {
    if let Some(range) = page.damaged.first() {
        return Err(format!("rows from {:02x?} on are damaged", range.start()));
    }
    if let Some(range) = page.unread.first() {
        return Err(format!("rows from {:02x?} on cannot be read at present", range.start()));
    }
    let cut = page.records.get(limit).map(|(cell, _)| cell.row().1);
    let records = page.records.into_iter().take(limit).filter(|(cell, _)| cell.key.bucket() == bucket);
    let records = records.filter_map(|(cell, record)| shown(turn, &cell.key, record)).collect();
    Ok(LocalPage { records, next: cut.or(page.next) })
}

/// The read of one key is over.
pub(super) fn show(
    turn: &mut Turn<'_>,
    handle: ReplyHandle,
    key: QualifiedKey,
    result: Result<Done, Refused>,
) {
    let page = match result {
        Ok(Done::Read(record)) => {
            Ok(LocalPage { records: shown(turn, &key, record).into_iter().collect(), next: None })
        }
        Ok(_) => Ok(LocalPage::default()),
        Err(refused) => Err(failure(&refused)),
    };
    answer(turn, handle, page);
}

/// An empty record is none.
fn shown(turn: &Turn<'_>, key: &QualifiedKey, record: std::sync::Arc<Record>) -> Option<LocalRecord> {
    let context = turn.seal(key, record.context());
    (!record.is_empty()).then(|| LocalRecord { key: key.key().clone(), record, context })
}

fn unreadable(why: String) -> Failure {
    Failure::refused(FailureKind::Storage, format!("the stored records could not be read: {why}"))
}

fn answer(turn: &mut Turn<'_>, handle: ReplyHandle, page: Result<LocalPage, Failure>) {
    turn.out.push(Effect::RespondLocal(handle, page));
}

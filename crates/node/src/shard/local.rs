//! What this node holds itself, for who checks or debugs: only its own vnodes, only what is committed, and nobody
//! else is asked. Works whether the node serves, waits for others or is stopping.

use bytes::Bytes;
use starling_causality::Record;
use starling_types::row::{Page, Space};
use starling_types::{BucketName, QualifiedKey};
use starling_vnode::rows::{FIRST_GENERATION, parse_data};
use starling_vnode::{self as vnode, CellKey, Done, Refused};
use starling_wire::local::{LocalAsk, LocalPage, LocalRecord};
use starling_wire::{Failure, FailureKind};

use super::replica::MAX_OPERATIONS;
use super::turn::failure;
use super::{Context, Shard, Turn};
use crate::event::{Effect, ReplyHandle, ScanId};

/// A page being read.
pub(super) struct Look {
    bucket: BucketName,
    limit: usize,
}

impl Shard {
    /// Begins to answer `ask`.
    pub(crate) fn local(&mut self, turn: &mut Turn<'_>, handle: ReplyHandle, ask: LocalAsk) {
        let Some(layout) = turn.view.layout() else {
            // A node that belongs to no cluster holds nothing.
            return answer(turn, handle, Ok(LocalPage::default()));
        };
        if self.contexts.len() + self.looks.len() >= MAX_OPERATIONS {
            let busy = Failure::refused(FailureKind::Overloaded, "too much waits for this node's disk");
            return answer(turn, handle, Err(busy));
        }
        match ask {
            LocalAsk::Key(bucket, key) => {
                let key = QualifiedKey::new(layout.cluster().hash_seed(), bucket, key);
                let op = self.op(Context::Local(handle, key.clone()));
                self.vnode(turn, vnode::Event::Read(op, CellKey::data(key)));
                self.pump(turn);
            }
            LocalAsk::Page { bucket, from, limit } => {
                self.looks.insert(handle, Look { bucket, limit: limit.clamp(1, LocalAsk::MOST_ROWS) });
                let (id, space) = (ScanId::Local(handle), Space::Data);
                turn.out.push(Effect::Scan { id, space, prefix: Bytes::new(), from });
            }
        }
    }

    /// The rows of a page have come.
    pub(crate) fn local_scanned(
        &mut self,
        turn: &mut Turn<'_>,
        handle: ReplyHandle,
        page: Result<Page, String>,
    ) {
        if let Some(look) = self.looks.remove(&handle) {
            let page = page.and_then(|page| self.held(turn, &look, page));
            answer(turn, handle, page.map_err(unreadable));
        }
    }

    fn held(&mut self, turn: &Turn<'_>, look: &Look, page: Page) -> Result<LocalPage, String> {
        if let Some(range) = page.damaged.first() {
            return Err(format!("rows from {:02x?} on are damaged", range.start()));
        }
        if let Some(range) = page.unread.first() {
            return Err(format!("rows from {:02x?} on cannot be read at present", range.start()));
        }
        let cut = page.rows.get(look.limit).map(|(key, _)| key.clone());
        let mut held = LocalPage { records: Vec::new(), next: cut.or(page.next) };
        for (row, value) in page.rows.into_iter().take(look.limit) {
            if let Some(key) = key_of(turn, look, &row) {
                let record = match self.vnodes.in_memory(&CellKey::data(key.clone())) {
                    Some(record) => record,
                    None => Record::decode(&value).map_err(|e| format!("{:?}: {e}", key.key()))?.into(),
                };
                held.records.extend(shown(turn, &key, record));
            }
        }
        Ok(held)
    }
}

/// The key of a row, if it is of the bucket that is looked at.
fn key_of(turn: &Turn<'_>, look: &Look, row: &[u8]) -> Option<QualifiedKey> {
    let (token, generation, bucket, key) = parse_data(row)?;
    let seed = turn.view.layout()?.cluster().hash_seed();
    let key = (bucket == look.bucket).then(|| QualifiedKey::new(seed, bucket, key))?;
    (generation == FIRST_GENERATION && key.token() == token).then_some(key)
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

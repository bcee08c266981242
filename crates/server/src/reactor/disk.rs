//! Reads for the machine: from memory at once, from the disk by the readers; and the disk's answers.

use std::time::Duration;

use starling_node::{CommitId, Event, ReplyHandle, ScanId};
use starling_storage::StorageError;
use starling_types::row::{CommitFailure, LoadFailure};
use starling_vnode::CellKey;

use super::{Reactor, Whom};
use crate::readers::{Scan, read_page};
use crate::storage_executor::Answer;

impl Reactor {
    pub(super) fn load(&self, cell: CellKey) {
        let (space, key) = cell.row();
        if let Some(row) = self.engine.peek(space, &key) {
            return self.push(Event::Loaded(cell, row.map_err(|e| LoadFailure::from(&e))));
        }
        if let Err(cell) = self.readers.borrow_mut().load(cell) {
            self.push(Event::Loaded(cell, Err(LoadFailure::Busy)));
        }
    }

    pub(super) fn scan(&self, scan: Scan) {
        if let ScanId::AllHints(_) = scan.id {
            let page = read_page(&*self.engine, &scan);
            return self.push(Event::Scanned(scan.id, page));
        }
        if let Err(scan) = self.readers.borrow_mut().scan(scan) {
            self.push(Event::Scanned(scan.id, Err(LoadFailure::Busy.to_string())));
        }
    }

    /// The disk has answered.
    pub(crate) fn answered(&self, answers: impl Iterator<Item = Answer>) {
        for answer in answers {
            match answer {
                Answer::Committed(ids, result) => self.committed(ids, result),
                Answer::Loaded(cell, row) => {
                    self.readers.borrow_mut().loaded();
                    self.push(Event::Loaded(cell, row));
                }
                Answer::Scanned(id, page) => {
                    self.readers.borrow_mut().scanned();
                    self.push(Event::Scanned(id, page));
                }
            }
        }
        self.turn();
    }

    fn committed(&self, ids: Vec<CommitId>, result: Result<(), StorageError>) {
        let result = result.map_err(|error| match error {
            // An engine that lacks room or descriptors refuses, and is otherwise whole.
            error if error.is_for_later() => {
                if matches!(error, StorageError::NoSpace { .. }) {
                    self.watch.note_refusal();
                }
                CommitFailure::NoSpace(error.to_string())
            }
            error => {
                self.store_failed(&error);
                CommitFailure::Failed(error.to_string())
            }
        });
        for id in ids {
            self.push(Event::Committed(id, result.clone()));
        }
    }

    /// Hands over what readers can take. Loads that are not needed any more are answered at once.
    pub(super) fn feed_readers(&self) {
        let node = self.node.borrow();
        let needs =
            |cell: &CellKey, waited: Duration| node.needs(cell, waited, |handle| self.is_heard(handle));
        let unwanted = self.readers.borrow_mut().hand_over(needs);
        for cell in unwanted {
            self.push(Event::Loaded(cell, Err(LoadFailure::Unwanted)));
        }
    }

    /// Whether a client may still take its answer.
    fn is_heard(&self, handle: ReplyHandle) -> bool {
        self.waiting.borrow().get(&handle.0).is_some_and(|waiting| match &waiting.whom {
            Whom::Door(reply) => reply.is_heard(),
            Whom::Quic(client, _) => self.transport.get().is_some_and(|t| t.has_client(*client)),
            Whom::Local(answer) => !answer.is_closed(),
        })
    }

    /// Ends the readers. Whether all of them have ended: the store must not be closed under one that has not.
    pub(crate) fn finish_reads(&self, patience: Duration) -> bool {
        self.readers.borrow_mut().finish(patience)
    }
}

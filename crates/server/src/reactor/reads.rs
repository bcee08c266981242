//! What the machine wants to read: from memory at once, from the disk by the readers.

use std::time::Duration;

use starling_node::{Event, ReplyHandle, ScanId};
use starling_types::row::LoadFailure;
use starling_vnode::CellKey;

use super::{Reactor, Whom};
use crate::readers::{Scan, read_page};

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
        if scan.id == ScanId::HintCount {
            // At once, as a node that starts serves nobody yet: a hint that is dropped between the read of a page and its
            // count would be counted for ever.
            let page = read_page(&*self.engine, &scan);
            return self.push(Event::Scanned(scan.id, page));
        }
        if let Err(scan) = self.readers.borrow_mut().scan(scan) {
            self.push(Event::Scanned(scan.id, Err(LoadFailure::Busy.to_string())));
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

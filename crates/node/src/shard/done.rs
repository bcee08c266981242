//! The purposes of operations of the vnodes, and where their results go.

use std::sync::Arc;
use std::time::Duration;

use starling_antientropy::{self as antientropy, Errand, ScanTicket};
use starling_coordinator::{Answer, Event};
use starling_custody::{self as custody, Ticket};
use starling_handoff as handoff;
use starling_types::row::RowRange;
use starling_types::{BucketName, ExchangeId, NodeId, PartitionId, QualifiedKey, RequestId, limits};
use starling_vnode::{CellKey, Done, RecordPage, Refused};

use super::turn::failure;
use super::{Ask, Shard, Turn, local};
use crate::event::ReplyHandle;

/// The purpose of an operation of the vnodes.
pub(super) enum Context {
    /// A coordinated write, or a merge, of the request with this number.
    Write(ExchangeId),
    MergeHere(ExchangeId),
    Read(ExchangeId),
    /// Another node's.
    Remote(Ask, Remote),
    /// A hint that this node keeps.
    Hint(NodeId),
    /// A delivered hint's row.
    HintDrop(NodeId),
    /// A page of the hints for one target.
    HintPage(NodeId),
    /// A page of all hints, to count them.
    HintCount,
    /// A hint that cannot be read.
    Discard,
    /// A damaged row whose record is in memory.
    Mend,
    /// A row of a suspect partition that cannot be read.
    GiveUp(PartitionId, Ticket),
    /// One key of a sweep.
    SweepRead(Errand),
    SweepMerge(Errand),
    /// A page of this node's own records, to be compared with another owner's.
    SweepPage(ScanTicket),
    /// A page of a partition that may have lost records.
    Survey(PartitionId, Ticket),
    /// A look whether damage in a range is mended.
    LookAgain(PartitionId, Ticket, RowRange),
    /// A look at this node's own record.
    Local(ReplyHandle, QualifiedKey),
    /// A look at a page of them: those of a bucket, at most so many.
    LocalPage(ReplyHandle, BucketName, usize),
}

pub(super) enum Remote {
    Merge {
        durable: bool,
        /// The absent owner whose copy it is.
        stands_for: Option<NodeId>,
    },
    Read {
        key: QualifiedKey,
        digest: Option<starling_causality::Digest>,
    },
    /// For another node's sweep.
    Fetch {
        bucket: BucketName,
        digest: Option<starling_causality::Digest>,
    },
    /// For a write: what is held, and whether its request shows in it.
    Recall {
        key: QualifiedKey,
        request: RequestId,
        /// Records on their way to disk have been waited for.
        settled: bool,
    },
    /// The remembered write must be committed before its record is shown.
    RecallSettle {
        key: QualifiedKey,
        request: RequestId,
    },
}

impl Shard {
    /// Whether anything under way needs the row of a load that has waited for so long. `is_heard` tells whether a client
    /// may still take its answer.
    pub(crate) fn needs(
        &self,
        cell: &CellKey,
        waited: Duration,
        is_heard: impl Fn(ReplyHandle) -> bool,
    ) -> bool {
        self.vnodes.waiting(cell).any(|op| match self.calls.get(op) {
            Some(Context::Read(exchange)) => {
                self.requests.get(*exchange).is_some_and(|request| request.is_heard(&is_heard))
            }
            // It has its turn whether its client hears of it or not.
            Some(Context::Write(exchange)) => self.requests.get(*exchange).is_some(),
            Some(Context::Local(handle, _)) => is_heard(*handle),
            // Its asker has turned to others.
            Some(Context::Remote(_, Remote::Read { .. } | Remote::Fetch { .. } | Remote::Recall { .. })) => {
                waited < limits::WRITE_TIMEOUT
            }
            context => context.is_some(),
        })
    }

    pub(super) fn done(&mut self, turn: &mut Turn<'_>, context: Context, result: Result<Done, Refused>) {
        match (context, result) {
            (Context::Write(exchange), Ok(Done::Absent)) => {
                self.tell(turn, exchange, Event::AbsentHere);
            }
            (Context::Write(exchange), Err(Refused::Late)) => {
                self.counters.writes_late += 1;
                self.tell(turn, exchange, Event::LateHere);
            }
            (Context::Write(exchange), Ok(_)) => {
                self.tell(turn, exchange, Event::CommittedHere);
            }
            (Context::Write(exchange), Err(refused @ Refused::FutureContext(_))) => {
                self.tell(turn, exchange, Event::AheadHere(failure(&refused)));
            }
            (Context::Write(exchange), Err(refused)) => {
                self.tell(turn, exchange, Event::RefusedHere(failure(&refused)));
            }
            (Context::MergeHere(exchange), result) => self.merged_here(turn, exchange, result),
            (Context::Read(exchange), Ok(Done::Read(record))) => {
                let record = Arc::unwrap_or_clone(record);
                let event = match self.requests.get(exchange) {
                    Some(request) if !self.word(&request.key).counts(!record.is_empty()) => {
                        self.counters.reads_partial += 1;
                        Event::ReadHerePartly(record)
                    }
                    _ => Event::ReadHere(record),
                };
                self.tell(turn, exchange, event);
            }
            (Context::Read(exchange), Err(unwanted @ Refused::Unwanted)) => {
                self.respond(turn, exchange, Answer::Failed(failure(&unwanted)));
                self.requests.give_up(exchange);
            }
            (Context::Read(exchange), other) => {
                let why = other.err().map(|e| e.to_string()).unwrap_or_default();
                self.tell(turn, exchange, Event::UnreadHere(why));
            }
            (Context::Remote(ask, remote), result) => self.remote_done(turn, ask, remote, result),
            (Context::SweepRead(errand), result) => self.sweep_read(turn, errand, result),
            (Context::SweepMerge(errand), result) => {
                self.sweep_event(turn, antientropy::Event::MergedHere(errand, result.is_ok()));
            }
            (Context::HintPage(target), result) => self.hints_scanned(turn, target, result.map(page)),
            (Context::HintCount, result) => self.hints_counted(turn, result.map(page)),
            (Context::SweepPage(ticket), result) => self.sweep_scanned(turn, ticket, result.map(page)),
            (Context::Survey(partition, ticket), result) => {
                self.surveyed(turn, partition, ticket, result.map(page));
            }
            (Context::LookAgain(partition, ticket, range), result) => {
                self.looked_again(turn, (partition, ticket, range), result.map(page));
            }
            (Context::Local(handle, key), result) => local::show(turn, handle, key, result),
            (Context::LocalPage(handle, bucket, limit), result) => {
                local::show_page(turn, handle, &bucket, limit, result.map(page));
            }
            (Context::Hint(target), Ok(_)) => self.hint_kept(turn, target),
            (Context::GiveUp(partition, ticket), result) => {
                self.custody_event(turn, custody::Event::GaveUp(partition, ticket, result.is_ok()));
            }
            // The row is still there, for want of space, or because it was about to grow. Growing may fail too, and leave
            // there what was given back already. In each case its target is visited again.
            (Context::HintDrop(target), Err(_) | Ok(Done::HintDropped(false)))
            | (Context::Hint(target), Err(_)) => self.hint_event(turn, handoff::Event::Kept(target)),
            (Context::HintDrop(_) | Context::Discard | Context::Mend, _) => {}
        }
    }

    fn merged_here(&mut self, turn: &mut Turn<'_>, exchange: ExchangeId, result: Result<Done, Refused>) {
        let event = match result {
            Ok(_) => Event::MergedHere,
            Err(refused) => Event::RefusedHere(failure(&refused)),
        };
        self.tell(turn, exchange, event);
    }
}

/// The page that a scan came to.
fn page(done: Done) -> RecordPage {
    if let Done::Page(page) = done { page } else { RecordPage::default() }
}

#[cfg(test)]
mod tests;

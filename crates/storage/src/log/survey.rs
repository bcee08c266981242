//! The content of the segments, before anything is believed or changed.

use std::sync::Arc;

use super::error::LogError;
use super::frame::{ALIGNMENT, FRAME_HEADER, FrameHeader};
use super::opening::Reading;
use super::segment;
use super::segment::{HEADER_BYTES, SEGMENT_HEADER, SegmentHeader};
use super::sequence::Sequence;
use crate::files::{Files, LogFile, read_start};

/// The segments in order.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) segments: Vec<Surveyed>,
    /// The highest sequence that a frame or segment calls synced.
    pub(super) synced: Sequence,
}

/// One segment.
#[derive(Debug)]
pub(super) struct Surveyed {
    pub(super) number: u64,
    pub(super) file: Arc<dyn LogFile>,
    pub(super) length: u64,
    /// None if it is damaged.
    pub(super) header: Option<SegmentHeader>,
    /// It does not begin with anything that this program writes.
    pub(super) is_strange: bool,
    /// The readable frames, in order.
    pub(super) runs: Vec<Run>,
    /// Bytes behind the last of them that may be what is left of more.
    pub(super) debris: u64,
}

/// Whole frames without a gap, neither between their sequences nor between their places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: Sequence,
    pub(super) last: Sequence,
    pub(super) start: usize,
    pub(super) end: usize,
    /// The checksum of the last.
    pub(super) sum: u64,
}

impl Survey {
    /// Reads all segments of a store.
    ///
    /// # Errors
    /// [`LogError::Unread`] if any of them cannot be read: then it cannot be told what is lost.
    pub(super) fn of(files: &dyn Files, store: u64, reading: &Reading) -> Result<Self, LogError> {
        let mut segments = open_all(files, store, reading)?;
        let limits = limits(&segments);
        let mut scan = Scan { store, expected: Sequence(0), chain: None, synced: Sequence(0) };
        for (surveyed, limit) in segments.iter_mut().zip(limits) {
            let bytes = reading.all(&segment::name(surveyed.number), &*surveyed.file)?;
            if let Some(header) = &surveyed.header {
                scan.enter(header);
            }
            surveyed.runs = scan.runs(&bytes, limit);
            surveyed.debris = debris(&bytes, surveyed.end());
        }
        Ok(Self { segments, synced: scan.synced })
    }

    /// All runs in order.
    pub(super) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.segments.iter().flat_map(|segment| &segment.runs)
    }
}

impl Surveyed {
    /// Where its last whole frame ends.
    pub(super) fn end(&self) -> usize {
        self.runs.last().map_or(SEGMENT_HEADER, |run| run.end)
    }

    /// No frame in it has a lower sequence; none if nothing is known of it.
    pub(super) fn begins(&self) -> Option<Sequence> {
        let first = self.runs.first().map(|run| run.first);
        self.header.map(|header| header.first).or(first)
    }
}

fn open_all(files: &dyn Files, store: u64, reading: &Reading) -> Result<Vec<Surveyed>, LogError> {
    let names = reading.patience.try_read(|| files.list()).map_err(LogError::reading("."))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment::number(name)).collect();
    numbers.sort_unstable();
    let open = |number| {
        let name = segment::name(number);
        let mut start = [0; HEADER_BYTES];
        let opened = reading.patience.try_read(|| {
            let file = files.open(&name)?;
            let length = file.length()?;
            read_start(&*file, &mut start).map(|()| (file, length))
        });
        let (file, length) = opened.map_err(LogError::reading(&name))?;
        let header = SegmentHeader::decode(store, number, &start)?;
        let is_strange = !SegmentHeader::may_be_ours(&start);
        Ok(Surveyed { number, file, length, header, is_strange, runs: Vec::new(), debris: 0 })
    };
    numbers.into_iter().map(open).collect()
}

/// For each segment the sequence that a later one begins with: a frame from there on does not belong to the log any
/// more.
fn limits(segments: &[Surveyed]) -> Vec<Sequence> {
    let mut limit = Sequence(u64::MAX);
    let mut limits: Vec<Sequence> = segments
        .iter()
        .rev()
        .map(|surveyed| {
            let own = limit;
            limit = surveyed.header.map_or(limit, |header| header.first.min(limit));
            own
        })
        .collect();
    limits.reverse();
    limits
}

/// How many bytes behind `end` are not the zeros that follow a group.
fn debris(bytes: &[u8], end: usize) -> u64 {
    let rest = bytes.get(end..).unwrap_or_default();
    let is_clean = rest.iter().take(FRAME_HEADER).all(|byte| *byte == 0);
    let last = rest.iter().rposition(|byte| *byte != 0);
    last.filter(|_| !is_clean).map_or(0, |last| last as u64 + 1)
}

/// A walk over the frames of all segments.
struct Scan {
    store: u64,
    /// Frames below it are taken already, or left from an earlier use of the file.
    expected: Sequence,
    /// The checksum of the frame before the expected one, if that is known.
    chain: Option<u64>,
    synced: Sequence,
}

impl Scan {
    fn enter(&mut self, header: &SegmentHeader) {
        self.synced = self.synced.max(header.synced);
        if header.first > self.expected {
            (self.expected, self.chain) = (header.first, Some(header.chain));
        }
    }

    fn runs(&mut self, bytes: &[u8], limit: Sequence) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        let mut at = SEGMENT_HEADER;
        while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= FRAME_HEADER) {
            let header = FrameHeader::decode(self.store, rest);
            let Some(header) = header.filter(|header| self.is_next(header, limit)) else {
                at += ALIGNMENT;
                continue;
            };
            self.synced = self.synced.max(header.synced);
            let end = at + header.frame_bytes();
            if header.payload(self.store, rest).is_some() {
                self.take(&header, at..end, &mut runs);
            }
            // The header is whole, and with it the length: there is nothing to find in between.
            at = end;
        }
        runs
    }

    /// Whether a frame can stand where the walk is. One that directly follows must follow by its checksum too: else it
    /// is left from a past that was cut off.
    fn is_next(&self, header: &FrameHeader, limit: Sequence) -> bool {
        let follows =
            header.sequence > self.expected || self.chain.is_none_or(|chain| chain == header.previous);
        (self.expected.max(Sequence(1))..limit).contains(&header.sequence) && follows
    }

    fn take(&mut self, header: &FrameHeader, place: std::ops::Range<usize>, runs: &mut Vec<Run>) {
        let sequence = header.sequence;
        match runs.last_mut() {
            Some(run) if run.end == place.start && run.last.next() == sequence => {
                (run.last, run.end, run.sum) = (sequence, place.end, header.sum);
            }
            _ => runs.push(Run {
                first: sequence,
                last: sequence,
                start: place.start,
                end: place.end,
                sum: header.sum,
            }),
        }
        (self.expected, self.chain) = (sequence.next(), Some(header.sum));
    }
}

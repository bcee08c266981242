//! Opening a log: survey, judge, repair, replay.
//!
//! Each step can be repeated: a crash within it leaves a log that is judged the same. Evidence of a loss is made durable
//! (by a segment that begins behind it) before anything is taken away.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::error::LogError;
use super::findings::Findings;
use super::frame::FrameHeader;
use super::opening::{Known, Reading, Settings};
use super::plan::Plan;
use super::segment::{HEADER_BYTES, SEGMENT_HEADER, SegmentHeader};
use super::sequence::Sequence;
use super::spares::Spares;
use super::survey::{Run, Survey, Surveyed};
use super::verdict::Verdict;
use super::writer::Log;
use super::writer::{Active, Closed};
use super::{losses, ruin, segment};
use crate::files::{Files, read_start};

impl Log {
    /// Opens the log of a store among `files`; an empty one if there is none. Calls `replay` for every batch that tables
    /// do not hold, in order; what it is given is durable, and slices of a segment.
    ///
    /// Losses are in the findings of every open until [`Log::acknowledge_findings`] is called.
    ///
    /// # Errors
    /// [`LogError::OtherFormat`] and [`LogError::Unread`] with nothing changed; [`LogError::NoSpace`] and
    /// [`LogError::Io`] if the system refuses; what `replay` answers.
    pub(crate) fn open<E: From<LogError>>(
        files: Arc<dyn Files>,
        store: u64,
        settings: Settings,
        known: Known,
        reading: &Reading,
        replay: &mut dyn FnMut(Sequence, Bytes) -> Result<(), E>,
    ) -> Result<(Self, Findings), E> {
        if !reading.given_up.is_empty() {
            ruin::replace_given_up(&*files, reading)?;
        }
        let survey = Survey::of(&*files, store, reading)?;
        let plan = plan(&*files, store, &survey, &known, reading)?;
        let findings = plan.findings(&survey, &known);
        let mut log = Self::empty(files, store, settings, &survey, &plan)?;
        log.keep(&survey, &plan);
        log.repair(&survey, &plan, reading)?;
        for surveyed in &survey.segments {
            let (verdict, flushed) = (&plan.verdict, known.flushed);
            Replay { store, surveyed, verdict, flushed, reading }.run(replay)?;
        }
        log.synced = log.last;
        Ok((log, findings))
    }

    /// Refuses a log of a format that this version does not read, before anything is changed. What cannot be read is
    /// passed over: [`Log::open`] finds out.
    ///
    /// # Errors
    /// [`LogError::OtherFormat`].
    pub(crate) fn check_format(files: &dyn Files, store: u64) -> Result<(), LogError> {
        for name in files.list().unwrap_or_default() {
            let Some(number) = segment::number(&name) else { continue };
            let mut start = [0; HEADER_BYTES];
            if files.open(&name).is_ok_and(|file| read_start(&*file, &mut start).is_ok()) {
                SegmentHeader::decode(store, number, &start)?;
            }
        }
        Ok(())
    }

    /// The findings that [`Log::open`] would give. Changes nothing.
    ///
    /// # Errors
    /// If the log cannot be read, or is for a newer version.
    pub(crate) fn inspect(files: &dyn Files, store: u64, known: Known) -> Result<Findings, LogError> {
        let reading = Reading::default();
        let survey = Survey::of(files, store, &reading)?;
        Ok(plan(files, store, &survey, &known, &reading)?.findings(&survey, &known))
    }

    /// A log without segments that goes on where the survey ends.
    fn empty(
        files: Arc<dyn Files>,
        store: u64,
        settings: Settings,
        survey: &Survey,
        plan: &Plan,
    ) -> Result<Self, LogError> {
        let segment_bytes = settings.segment_bytes.max(MIN_SEGMENT).next_multiple_of(SEGMENT_HEADER as u64);
        let spares =
            Spares::begin(&files, segment_bytes).map_err(LogError::during("clearing up the commit log"))?;
        Ok(Self {
            files,
            store,
            settings: Settings { segment_bytes },
            spares,
            closed: VecDeque::new(),
            active: None,
            is_active_ruin: false,
            number: survey.segments.last().map_or(0, |segment| segment.number),
            last: plan.verdict.last,
            synced: plan.settled(),
            chain: plan.chain(survey),
            unsynced: Vec::new(),
            directory_changed: false,
            known_losses: plan.known_losses.clone(),
            new_losses: plan.new_losses.clone(),
            failure: None,
        })
    }

    /// Takes over the segments that stay.
    fn keep(&mut self, survey: &Survey, plan: &Plan) {
        let kept: Vec<&Surveyed> = plan.kept(survey).map(|(surveyed, _)| surveyed).collect();
        for (index, surveyed) in kept.iter().enumerate() {
            let Surveyed { number, length: bytes, .. } = **surveyed;
            let is_ruin = plan.is_ruin(survey, surveyed);
            if index + 1 == kept.len() && plan.goes_on_in(surveyed) {
                let end = plan.verdict.end(surveyed);
                self.active = Some(Active { file: surveyed.file.clone(), number, bytes, end });
                self.is_active_ruin = is_ruin;
            } else {
                // An unreadable segment might hold anything up to the next readable one.
                let next = kept[index + 1..].iter().find_map(|next| next.begins());
                let last = next.map_or(self.last, |next| next.previous().min(self.last));
                self.closed.push_back(Closed { number, bytes, last, is_ruin });
            }
        }
    }

    fn repair(&mut self, survey: &Survey, plan: &Plan, reading: &Reading) -> Result<(), LogError> {
        let failed = LogError::during("repairing the commit log");
        if !plan.new_losses.is_empty() && self.active.is_none() {
            self.make_segment(self.settings.segment_bytes).map_err(&failed)?;
            self.sync()?;
        }
        for (surveyed, erase) in plan.kept(survey) {
            let Some(from) = erase else { continue };
            if plan.is_ruin(survey, surveyed) {
                let name = segment::name(surveyed.number);
                let bytes = reading.all(&name, &*surveyed.file)?;
                ruin::keep_copy(&*self.files, &name, &bytes).map_err(&failed)?;
            }
            erase_from(surveyed, from).map_err(&failed)?;
        }
        for surveyed in plan.removed(survey) {
            let name = segment::name(surveyed.number);
            match surveyed.is_strange {
                true => ruin::set_aside(&*self.files, &name),
                false => self.files.remove(&name),
            }
            .map_err(&failed)?;
        }
        self.files.sync_directory().map_err(&failed)
    }
}

/// Judges what was found.
fn plan(
    files: &dyn Files,
    store: u64,
    survey: &Survey,
    known: &Known,
    reading: &Reading,
) -> Result<Plan, LogError> {
    let noted = losses::read(files, store, reading)?;
    Ok(Plan::of(survey, Verdict::of(survey, known), noted))
}

/// Puts zeros in the place of what follows the last frame that stays.
fn erase_from(surveyed: &Surveyed, from: usize) -> std::io::Result<()> {
    let zeros = vec![0; ERASED_AT_ONCE];
    let length = surveyed.length as usize;
    for at in (from..length).step_by(ERASED_AT_ONCE) {
        let bytes = ERASED_AT_ONCE.min(length - at);
        surveyed.file.write_at(at as u64, &zeros[..bytes])?;
    }
    surveyed.file.sync_data()
}

/// The replay of one segment.
struct Replay<'a> {
    store: u64,
    surveyed: &'a Surveyed,
    verdict: &'a Verdict,
    flushed: Sequence,
    reading: &'a Reading,
}

impl Replay<'_> {
    fn run<E: From<LogError>>(
        &self,
        replay: &mut dyn FnMut(Sequence, Bytes) -> Result<(), E>,
    ) -> Result<(), E> {
        let runs = self.verdict.kept_runs(self.surveyed);
        let runs: Vec<&Run> = runs.filter(|run| run.last > self.flushed).collect();
        if runs.is_empty() {
            return Ok(());
        }
        let name = segment::name(self.surveyed.number);
        let bytes = Bytes::from(self.reading.all(&name, &*self.surveyed.file)?);
        for run in &runs {
            self.confirm(run, &bytes)?;
        }
        for run in runs {
            for frame in self.frames(run, &bytes) {
                let (header, at) = frame?;
                if header.sequence > self.flushed {
                    let payload = at + super::frame::FRAME_HEADER;
                    replay(header.sequence, bytes.slice(payload..payload + header.length as usize))?;
                }
            }
        }
        Ok(())
    }

    /// Writes again what nothing says was synced, and syncs it. It may be in memory only, and taken for written, if a sync
    /// failed before this process: once it is replayed it must not vanish any more.
    fn confirm(&self, run: &Run, bytes: &[u8]) -> Result<(), LogError> {
        if run.last <= self.verdict.confirmed {
            return Ok(());
        }
        let failed = LogError::during("syncing the commit log");
        let file = &self.surveyed.file;
        let unsure = self
            .frames(run, bytes)
            .find(|frame| frame.as_ref().is_ok_and(|(header, _)| header.sequence > self.verdict.confirmed));
        let Some((_, from)) = unsure.transpose()? else { return Ok(()) };
        file.write_at(0, &bytes[..SEGMENT_HEADER]).map_err(&failed)?;
        // The zeros behind the last payload may be missing where the file was cut off.
        file.write_at(from as u64, &bytes[from..run.end.min(bytes.len())]).map_err(&failed)?;
        file.sync_data().map_err(&failed)
    }

    /// The frames of a run, and where they begin.
    fn frames<'b>(
        &self,
        run: &Run,
        bytes: &'b [u8],
    ) -> impl Iterator<Item = Result<(FrameHeader, usize), LogError>> + use<'b> {
        let (store, mut at, end) = (self.store, run.start, run.end);
        std::iter::from_fn(move || {
            let rest = bytes.get(at..).filter(|_| at < end)?;
            let header =
                FrameHeader::decode(store, rest).filter(|header| header.payload(store, rest).is_some());
            let Some(header) = header else {
                at = end;
                let cause = "it changed while it was read".into();
                return Some(Err(LogError::Io { action: READING, cause }));
            };
            let start = at;
            at += header.frame_bytes();
            Some(Ok((header, start)))
        })
    }
}

const READING: &str = "reading the commit log";
/// A segment has room for at least one small frame.
const MIN_SEGMENT: u64 = 2 * SEGMENT_HEADER as u64;
const ERASED_AT_ONCE: usize = 1 << 20;

//! The repair after a verdict: which segments stay, what is erased, what is reported.

use std::ops::RangeInclusive;

use super::findings::Findings;
use super::opening::Known;
use super::segment::SEGMENT_HEADER;
use super::sequence::Sequence;
use super::survey::{Run, Survey, Surveyed};
use super::verdict::{Verdict, without};

/// The repair of a log. Made without changing anything.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) verdict: Verdict,
    pub(super) known_losses: Vec<RangeInclusive<Sequence>>,
    /// Losses that were not acknowledged yet.
    pub(super) new_losses: Vec<RangeInclusive<Sequence>>,
    /// The fate of each segment.
    fates: Vec<Fate>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Nothing in it is part of the log.
    Removed,
    /// It stays, what is in it from some place on does not.
    Kept { erase_from: Option<usize> },
}

impl Plan {
    pub(super) fn of(survey: &Survey, verdict: Verdict, known_losses: Vec<RangeInclusive<Sequence>>) -> Self {
        let new_losses = without(verdict.lost.clone(), &known_losses);
        let stays = staying(survey, &verdict);
        let last = stays.iter().rposition(|stays| *stays);
        let fate = |(index, surveyed): (usize, &Surveyed)| {
            if !stays[index] {
                return Fate::Removed;
            }
            // Where the end is lost, what is left of it stays as evidence.
            let is_torn = Some(index) == last && surveyed.debris > 0 && verdict.lost.is_empty();
            let erase = is_torn || verdict.dropped_in(surveyed) > 0;
            Fate::Kept { erase_from: erase.then(|| verdict.end(surveyed)) }
        };
        let fates = survey.segments.iter().enumerate().map(fate).collect();
        Self { verdict, known_losses, new_losses, fates }
    }

    /// The segments that stay, with the place from which on each is erased.
    pub(super) fn kept<'a>(
        &'a self,
        survey: &'a Survey,
    ) -> impl DoubleEndedIterator<Item = (&'a Surveyed, Option<usize>)> {
        survey.segments.iter().zip(&self.fates).filter_map(|(surveyed, fate)| match fate {
            Fate::Kept { erase_from } => Some((surveyed, *erase_from)),
            Fate::Removed => None,
        })
    }

    /// The segments that go.
    pub(super) fn removed<'a>(&'a self, survey: &'a Survey) -> impl Iterator<Item = &'a Surveyed> {
        survey.segments.iter().zip(&self.fates).filter(|(_, fate)| **fate == Fate::Removed).map(|(s, _)| s)
    }

    /// Whether something in a segment that stays was lost: what is left of it is evidence.
    pub(super) fn is_ruin(&self, survey: &Survey, surveyed: &Surveyed) -> bool {
        let later = survey.segments.iter().filter(|later| later.number > surveyed.number);
        let end = later.filter_map(Surveyed::begins).next().map_or(self.verdict.last, Sequence::previous);
        let begin = surveyed.begins().unwrap_or_default();
        self.verdict.lost.iter().any(|lost| *lost.start() <= end && begin <= *lost.end())
    }

    /// The mark of what was synced, for the next segment: nothing that is known to be lost is forgotten.
    pub(super) fn settled(&self) -> Sequence {
        let lost = self.new_losses.last().map_or(Sequence(0), |range| *range.end());
        self.verdict.synced.max(lost).min(self.verdict.last)
    }

    /// The checksum of the frame that the next one follows.
    pub(super) fn chain(&self, survey: &Survey) -> u64 {
        let tail = self.kept(survey).next_back().map(|(surveyed, _)| surveyed);
        let begun =
            tail.filter(|tail| self.verdict.kept_runs(tail).next().is_none()).and_then(|tail| tail.header);
        let last = survey.segments.iter().rev().find_map(|segment| self.verdict.kept_runs(segment).last());
        begun.map(|header| header.chain).or(last.map(|run| run.sum)).unwrap_or_default()
    }

    /// Whether the next frame can go into this segment, the last that stays.
    pub(super) fn goes_on_in(&self, surveyed: &Surveyed) -> bool {
        let Some(header) = surveyed.header else { return false };
        let last = self.verdict.kept_runs(surveyed).last().map_or(header.first.previous(), |run| run.last);
        let remembers = self.new_losses.last().is_none_or(|lost| header.synced >= *lost.end());
        last == self.verdict.last && remembers && surveyed.length as usize >= self.verdict.end(surveyed)
    }

    pub(super) fn findings(&self, survey: &Survey, known: &Known) -> Findings {
        let count = |count: &dyn Fn(&Run) -> u64| survey.runs().map(count).sum();
        let torn_bytes = self.torn_bytes(survey);
        Findings {
            segments: survey.segments.len(),
            replayed: count(&|run| self.verdict.replayed(run, known.flushed)),
            last: self.last_known(survey),
            torn_bytes: (torn_bytes > 0).then_some(torn_bytes),
            dropped: count(&|run| self.verdict.dropped(run)),
            lost: self.new_losses.clone(),
            watermark: known.acknowledged,
        }
    }

    /// The last batch that the segments know of.
    fn last_known(&self, survey: &Survey) -> Sequence {
        let begun = survey.segments.iter().filter_map(|surveyed| Some(surveyed.header?.first.previous()));
        let last = survey.runs().map(|run| run.last).chain(begun).filter(|last| *last <= self.verdict.last);
        last.max().unwrap_or_default()
    }

    fn torn_bytes(&self, survey: &Survey) -> u64 {
        let torn = |(surveyed, fate): (&Surveyed, &Fate)| match fate {
            Fate::Kept { erase_from } => erase_from.map_or(0, |from| extent(surveyed, from)),
            // Without a header or a frame it holds only what an earlier use of the file left.
            Fate::Removed if surveyed.begins().is_none() => 0,
            Fate::Removed => extent(surveyed, SEGMENT_HEADER),
        };
        survey.segments.iter().zip(&self.fates).map(torn).sum()
    }
}

/// How many bytes from `start` on look like something was written.
fn extent(surveyed: &Surveyed, start: usize) -> u64 {
    (surveyed.end().saturating_sub(start)) as u64 + surveyed.debris
}

/// Which segments stay: all up to the last one with frames that stay; behind it the one that goes on where they end, and
/// those in which the end was lost.
fn staying(survey: &Survey, verdict: &Verdict) -> Vec<bool> {
    let segments = &survey.segments;
    let last_kept = segments.iter().rposition(|surveyed| verdict.kept_runs(surveyed).next().is_some());
    let stays = |(index, surveyed): (usize, &Surveyed)| {
        let begins = surveyed.begins().unwrap_or_default();
        let goes_on = surveyed.header.is_some() && begins == verdict.last.next();
        let is_ruin = !verdict.lost.is_empty() && begins <= verdict.last;
        last_kept.is_some_and(|last| index <= last) || goes_on || is_ruin
    };
    segments.iter().enumerate().map(stays).collect()
}

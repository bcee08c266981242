//! The meaning of a survey: what is lost, and what is cut off because it was never promised.

use std::ops::RangeInclusive;

use super::opening::Known;
use super::segment::SEGMENT_HEADER;
use super::sequence::Sequence;
use super::survey::{Run, Survey, Surveyed};

/// The judgement of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Synced once and gone, in order.
    pub(super) lost: Vec<RangeInclusive<Sequence>>,
    /// Every sequence up to here is there, lost, or in tables; what is above is cut off.
    pub(super) last: Sequence,
    /// The log is known to have been synced up to here.
    pub(super) synced: Sequence,
    /// The same, by sources that say so only after it was.
    pub(super) confirmed: Sequence,
}

impl Verdict {
    pub(super) fn of(survey: &Survey, known: &Known) -> Self {
        let confirmed = survey.synced.max(known.persisted).max(known.flushed);
        let synced = confirmed.max(known.acknowledged.unwrap_or_default());
        // Without a watermark anything that is there may have been promised.
        let highest = survey.runs().map(|run| run.last).max().unwrap_or_default();
        let promised = if known.acknowledged.is_some() { synced } else { synced.max(highest) };
        let mut verdict = Self { lost: Vec::new(), last: known.flushed, synced, confirmed };
        for run in survey.runs() {
            if !verdict.follow(run, promised) {
                return verdict;
            }
        }
        verdict.lose_up_to(promised);
        verdict
    }

    /// Goes on with a run, unless it stands behind something that is missing and was never promised.
    fn follow(&mut self, run: &Run, promised: Sequence) -> bool {
        if run.last <= self.last {
            return true;
        }
        let missing = run.first.previous();
        self.lose_up_to(missing.min(promised));
        if missing > self.last {
            return false;
        }
        self.last = run.last;
        true
    }

    fn lose_up_to(&mut self, last: Sequence) {
        if last > self.last {
            self.lost.push(self.last.next()..=last);
            self.last = last;
        }
    }

    /// The runs of a segment that stay. A cut is where something is missing: a run stays whole or goes.
    pub(super) fn kept_runs<'a>(&self, surveyed: &'a Surveyed) -> impl Iterator<Item = &'a Run> + use<'a> {
        let last = self.last;
        surveyed.runs.iter().take_while(move |run| run.last <= last)
    }

    /// Where the frames end that stay in a segment.
    pub(super) fn end(&self, surveyed: &Surveyed) -> usize {
        self.kept_runs(surveyed).last().map_or(SEGMENT_HEADER, |run| run.end)
    }

    /// How many frames of a segment are cut off.
    pub(super) fn dropped_in(&self, surveyed: &Surveyed) -> u64 {
        surveyed.runs.iter().map(|run| self.dropped(run)).sum()
    }

    /// How many frames of a run are behind `flushed` and stay.
    pub(super) fn replayed(&self, run: &Run, flushed: Sequence) -> u64 {
        run.last.min(self.last).0.saturating_sub(run.first.previous().max(flushed).0)
    }

    /// How many frames of a run are cut off.
    pub(super) fn dropped(&self, run: &Run) -> u64 {
        run.last.0.saturating_sub(run.first.previous().max(self.last).0)
    }
}

/// `ranges` less `known`; all in order.
pub(super) fn without(
    ranges: Vec<RangeInclusive<Sequence>>,
    known: &[RangeInclusive<Sequence>],
) -> Vec<RangeInclusive<Sequence>> {
    let mut left = Vec::new();
    for range in ranges {
        let (mut first, last) = range.into_inner();
        for known in known.iter().filter(|known| *known.start() <= last) {
            if *known.start() > first {
                left.push(first..=known.start().previous());
            }
            first = first.max(known.end().next());
        }
        if first <= last {
            left.push(first..=last);
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_taken_out() {
        let range = |(first, last): (u64, u64)| Sequence(first)..=Sequence(last);
        let left = |ranges: &[(u64, u64)], known: &[(u64, u64)]| {
            let known: Vec<_> = known.iter().copied().map(range).collect();
            let left = without(ranges.iter().copied().map(range).collect(), &known);
            left.iter().map(|range| (range.start().0, range.end().0)).collect::<Vec<_>>()
        };
        assert_eq!(left(&[(1, 9)], &[]), [(1, 9)]);
        assert_eq!(left(&[(1, 9)], &[(1, 9)]), []);
        assert_eq!(left(&[(1, 9)], &[(0, 3), (5, 6), (9, 12)]), [(4, 4), (7, 8)]);
        assert_eq!(left(&[(1, 2), (5, 9)], &[(2, 6)]), [(1, 1), (7, 9)]);
    }
}

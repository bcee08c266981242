//! The recent lines of the log: the same again is counted, and so are lines that one place in the program writes too often.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::time::{Duration, Instant};

/// Lines of the last interval. Texts, and places in the program, are known by their hashes.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    hasher: RandomState,
    texts: BTreeMap<u64, Said>,
    sites: BTreeMap<u64, Site>,
}

#[derive(Debug)]
struct Said {
    since: Instant,
    again: u64,
    text: String,
}

#[derive(Debug)]
struct Site {
    since: Instant,
    lines: usize,
    /// Lines beyond the limit, and the last of them.
    more: u64,
    last: String,
}

impl Repeats {
    /// Whether a line is to be written.
    pub(super) fn admit(&mut self, now: Instant, site: impl Hash, text: &str) -> bool {
        let key = self.hasher.hash_one(text);
        if let Some(said) = self.texts.get_mut(&key) {
            said.again += 1;
            return false;
        }
        let site = self.hasher.hash_one(site);
        let fresh = || Site { since: now, lines: 0, more: 0, last: String::new() };
        let site = self.sites.entry(site).or_insert_with(fresh);
        site.lines += 1;
        if site.lines > PER_SITE {
            site.more += 1;
            shorten(text).clone_into(&mut site.last);
            return false;
        }
        if self.texts.len() < MOST_TEXTS {
            self.texts.insert(key, Said { since: now, again: 0, text: shorten(text).into() });
        }
        true
    }

    /// The lines that were only counted in the intervals that are over: how often, and which.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(u64, String)> {
        let mut due = Vec::new();
        let is_over = |since: Instant| now.saturating_duration_since(since) >= INTERVAL;
        self.texts.retain(|_, said| {
            let again = if is_over(said.since) { std::mem::take(&mut said.again) } else { return true };
            if again > 0 {
                due.push((again, said.text.clone()));
                said.since = now;
            }
            again > 0
        });
        self.sites.retain(|_, site| {
            let over = is_over(site.since);
            if over && site.more > 0 {
                due.push((site.more, std::mem::take(&mut site.last)));
            }
            !over
        });
        due
    }
}

fn shorten(text: &str) -> &str {
    let end = (0..=MOST_TEXT.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

/// The same is not said again within this time.
pub(super) const INTERVAL: Duration = Duration::from_secs(60);
/// Lines that one place in the program may say in an interval.
const PER_SITE: usize = 32;
/// Texts that are remembered; beyond that only the limit of their place in the program counts.
const MOST_TEXTS: usize = 1_024;
const MOST_TEXT: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: u8 = 1;

    #[test]
    fn the_same_is_said_once_and_counted_once_an_interval() {
        let (mut repeats, now) = (Repeats::default(), crate::log::now());
        assert!(repeats.admit(now, SITE, "a") && repeats.admit(now, SITE, "b"));
        assert!((0..7).all(|_| !repeats.admit(now, SITE, "a")));
        assert!(repeats.due(now).is_empty());
        assert_eq!(repeats.due(now + INTERVAL), [(7, "a".into())]);
        assert!(!repeats.admit(now + INTERVAL, SITE, "a"), "it goes on");
        assert_eq!(repeats.due(now + 2 * INTERVAL), [(1, "a".into())]);
        assert_eq!(repeats.due(now + 3 * INTERVAL), []);
        assert!(repeats.admit(now + 3 * INTERVAL, SITE, "a"), "it had ended");
    }

    #[test]
    fn one_place_cannot_fill_the_log_with_lines_that_differ() {
        let (mut repeats, now) = (Repeats::default(), crate::log::now());
        let written = (0..100_000).filter(|n| repeats.admit(now, SITE, &format!("line {n}"))).count();
        assert_eq!(written, PER_SITE);
        assert_eq!(repeats.due(now + INTERVAL), [(100_000 - PER_SITE as u64, "line 99999".into())]);
        assert!(repeats.admit(now + INTERVAL, SITE, "line"));
        assert!(repeats.texts.len() <= MOST_TEXTS && repeats.sites.len() == 1);
    }
}

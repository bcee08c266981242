//! A moment as people write it: `2026-08-01T12:34:56.789Z`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use starling_types::WallTime;

/// A moment in UTC, to the millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Utc(pub WallTime);

const DAY: u64 = 86_400_000;

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, ms) = (self.0.millis() / DAY, self.0.millis() % DAY);
        let (year, month, day) = date_of(days);
        let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000)
    }
}

/// Text that is no moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no moment of the form 2026-08-01T12:34:56.789Z")]
pub struct NoMoment(String);

impl FromStr for Utc {
    type Err = NoMoment;

    fn from_str(text: &str) -> Result<Self, NoMoment> {
        let parse = || {
            let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
            let days = days_before(number(0, 4)?, number(5, 7)?, number(8, 10)?)?;
            let ms = number(11, 13)? * 3_600_000 + number(14, 16)? * 60_000 + number(17, 19)? * 1_000;
            let moment = Self(WallTime::from_millis(days * DAY + ms + number(20, 23)?));
            // One form only: what is read back as it was.
            (moment.to_string() == text).then_some(moment)
        };
        parse().ok_or_else(|| NoMoment(text.chars().take(40).collect()))
    }
}

impl Serialize for Utc {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Utc {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Days since 1970-01-01 as year, month, day of the Gregorian calendar: years begin in March, so that the leap day is
/// the last of a year, and 400 years always have 146,097 days (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn date_of(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let of_month = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + later, month, of_month)
}

/// The reverse of [`date_of`].
fn days_before(year: u64, month: u64, day: u64) -> Option<u64> {
    let is_date = (1..=12).contains(&month) && (1..=31).contains(&day);
    let year = is_date.then_some(year)?.checked_sub(u64::from(month <= 2))?;
    let from_march = (month + 9) % 12;
    let (era, year) = (year / 400, year % 400);
    let day = (153 * from_march + 2) / 5 + day - 1;
    (era * 146_097 + year * 365 + year / 4 - year / 100 + day).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn moments_are_written_as_everybody_does() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_785_587_696_789, "2026-08-01T12:34:56.789Z"),
        ] {
            assert_eq!(Utc(WallTime::from_millis(ms)).to_string(), text);
        }
        for text in ["", "2026-02-30T00:00:00.000Z", "2026-08-01 12:34:56.789Z", "1969-12-31T00:00:00.000Z"] {
            assert!(text.parse::<Utc>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_moment_is_read_as_it_was_written(ms in 0..200_000_000_000_000u64) {
            let moment = Utc(WallTime::from_millis(ms));
            prop_assert_eq!(moment.to_string().parse(), Ok(moment));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,30}") {
            let _ = text.parse::<Utc>();
        }
    }
}

//! A moment as people write it: `2026-08-01T12:34:56.789Z`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use starling_types::WallTime;
use time::{Date, Duration, Month, Time, UtcDateTime};

/// A moment in UTC, to the millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Utc(pub WallTime);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = i64::try_from(self.0.millis()).unwrap_or(i64::MAX);
        // No backup is of later than the year 9999.
        let moment = UtcDateTime::UNIX_EPOCH.saturating_add(Duration::milliseconds(ms));
        let (date, time) = (moment.date(), moment.time());
        write!(f, "{:04}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day())?;
        write!(f, "T{:02}:{:02}:{:02}.{:03}Z", time.hour(), time.minute(), time.second(), time.millisecond())
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
            let number = |from: usize, to: usize| text.get(from..to)?.parse::<u16>().ok();
            let small = |from, to| u8::try_from(number(from, to)?).ok();
            let month = Month::try_from(small(5, 7)?).ok()?;
            let date = Date::from_calendar_date(number(0, 4)?.into(), month, small(8, 10)?).ok()?;
            let time =
                Time::from_hms_milli(small(11, 13)?, small(14, 16)?, small(17, 19)?, number(20, 23)?).ok()?;
            let since = UtcDateTime::new(date, time) - UtcDateTime::UNIX_EPOCH;
            let moment = Self(WallTime::from_millis(u64::try_from(since.whole_milliseconds()).ok()?));
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

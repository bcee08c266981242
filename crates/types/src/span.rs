//! Spans that a client states with a request: the one rule for all doors, for the native client and for the command
//! line. A span outside it is refused, never cut to fit.

use crate::limits;

/// A span that no request may state. Nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSpan {
    /// A time limit of nothing, or a longer one than there is.
    #[error(
        "a time limit of {0} ms cannot be: it is 1 to {most} ms, or left out for the default",
        most = limits::MAX_TIMEOUT.as_millis()
    )]
    TimeLimit(u64),
    /// A time to live of nothing, or a longer one than there is.
    #[error(
        "a life of {0} ms cannot be: it is 1 to {most} ms, or left out for the bucket's own; a value that shall not be \
         there is deleted",
        most = limits::MAX_LIFE.as_millis()
    )]
    Life(u64),
}

/// The time limit that a request states, in milliseconds.
///
/// # Errors
/// [`BadSpan::TimeLimit`] for 0, and beyond [`limits::MAX_TIMEOUT`].
pub fn time_limit(ms: u64) -> Result<u32, BadSpan> {
    let fits = (1..=limits::MAX_TIMEOUT.as_millis()).contains(&u128::from(ms));
    u32::try_from(ms).ok().filter(|_| fits).ok_or(BadSpan::TimeLimit(ms))
}

/// The time to live that a write states, in milliseconds. (In a bucket's rules 0 is for ever; a write to a bucket that
/// has a time to live cannot ask for that.)
///
/// # Errors
/// [`BadSpan::Life`] for 0, and beyond [`limits::MAX_LIFE`].
pub fn life(ms: u64) -> Result<u64, BadSpan> {
    let fits = (1..=limits::MAX_LIFE.as_millis()).contains(&u128::from(ms));
    if fits { Ok(ms) } else { Err(BadSpan::Life(ms)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_something_and_no_more_than_there_is() {
        assert_eq!((time_limit(1), time_limit(30_000)), (Ok(1), Ok(30_000)));
        for bad in [0, 30_001, 1 << 32, (1 << 32) + 1, u64::MAX] {
            assert_eq!(time_limit(bad), Err(BadSpan::TimeLimit(bad)));
        }
        let longest = u64::try_from(limits::MAX_LIFE.as_millis()).unwrap();
        assert_eq!((life(1), life(longest)), (Ok(1), Ok(longest)));
        for bad in [0, longest + 1, u64::MAX] {
            assert_eq!(life(bad), Err(BadSpan::Life(bad)));
        }
    }
}

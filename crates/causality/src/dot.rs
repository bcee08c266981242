//! One write event.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use starling_types::ActorId;

use crate::hlc::Hlc;

/// The name of one write: who minted it, and when by its own clock. No two writes share a dot. Ordered by time,
/// then actor: an order that agrees with causality, since a mint is above all that its writer had seen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Dot {
    /// When: first, because the derived order is by time.
    pub hlc: Hlc,
    /// The actor that minted it.
    pub actor: ActorId,
}

/// As people meet it in receipts and JSON: `<actor>@<time>`, each 16 hexadecimal digits.
impl fmt::Display for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{:016x}", self.actor, self.hlc.bits())
    }
}

impl fmt::Debug for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dot({self})")
    }
}

/// A text is no dot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a dot: expected 16 hexadecimal digits, @, 16 hexadecimal digits")]
pub struct DotParseError(String);

impl FromStr for Dot {
    type Err = DotParseError;

    fn from_str(text: &str) -> Result<Self, DotParseError> {
        parse(text).ok_or_else(|| DotParseError(text.chars().take(64).collect()))
    }
}

fn parse(text: &str) -> Option<Dot> {
    let (actor, time) = text.split_once('@')?;
    if time.len() != 16 || !time.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let hlc = Hlc::from_bits(u64::from_str_radix(time, 16).ok()?);
    Some(Dot { actor: actor.parse().ok()?, hlc })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_anything_else_is_refused() {
        let dot = Dot { actor: ActorId::from_bits(0xa1), hlc: Hlc::from_parts(1, 2) };
        let text = "00000000000000a1@0000000000010002";
        assert_eq!(dot.to_string(), text);
        assert_eq!(text.parse(), Ok(dot));
        for bad in ["", "@", "a1@10002", "00000000000000a1@+000000000010002", &format!("{text}0"), &text[1..]]
        {
            assert!(bad.parse::<Dot>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn dots_are_ordered_by_time_then_actor() {
        let dot = |actor, time| Dot { actor: ActorId::from_bits(actor), hlc: Hlc::from_bits(time) };
        assert!(dot(9, 1) < dot(1, 2));
        assert!(dot(1, 2) < dot(2, 2));
    }
}

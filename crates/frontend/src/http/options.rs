//! A request's query: how to go about it.

use starling_types::limits;
use starling_wire::{KvOp, KvRequest, QuorumChoice};

use crate::text::{LONGEST_LIFE_MS, decimal};

/// What the query of a request on a key says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `r`, `w`, `strict`
    pub quorum: QuorumChoice,
    /// `timeout_ms`; the default otherwise.
    pub timeout_ms: Option<u32>,
    /// `ttl_ms`; the bucket's otherwise.
    pub ttl_ms: Option<u64>,
    /// `receipt=1`: answer a write with what was done.
    pub receipt: bool,
    /// `context=local`: overwrite what the coordinating replica holds.
    pub local: bool,
}

/// A query that is not understood. Ignoring it could do something else than was meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// A name that is none of ours.
    #[error("there is no query parameter {got:?}: known are {known}")]
    Unknown {
        /// What it was given.
        got: String,
        /// What this path takes.
        known: String,
    },
    /// The same name twice.
    #[error("the query parameter {0} is there twice")]
    Twice(&'static str),
    /// A value outside what the name takes.
    #[error("the query parameter {name} is {expected}, not {got:?}")]
    Value {
        /// The parameter.
        name: &'static str,
        /// What it takes.
        expected: String,
        /// What it was given.
        got: String,
    },
}

impl Options {
    /// Reads a query string.
    pub fn parse(query: &str) -> Result<Self, OptionError> {
        let mut options = Self::default();
        for (name, value) in pairs(query, &NAMES)? {
            options.set(name, value)?;
        }
        Ok(options)
    }

    /// Makes a drafted request ask for what the query said.
    pub fn apply(&self, request: &mut KvRequest) {
        request.quorum = self.quorum;
        request.timeout_ms = self.timeout_ms.unwrap_or_default();
        if let KvOp::Put { ttl_ms, .. } = &mut request.op {
            *ttl_ms = self.ttl_ms;
        }
    }

    fn set(&mut self, name: &'static str, value: &str) -> Result<(), OptionError> {
        let copies = u64::from(limits::MAX_COPIES);
        match name {
            "r" => self.quorum.r = Some(number(name, value, copies)? as u8),
            "w" => self.quorum.w = Some(number(name, value, copies)? as u8),
            "strict" => self.quorum.strict = Some(switch(name, value)?),
            "timeout_ms" => {
                self.timeout_ms = Some(number(name, value, limits::MAX_TIMEOUT.as_millis() as u64)? as u32)
            }
            "ttl_ms" => self.ttl_ms = Some(number(name, value, LONGEST_LIFE_MS)?),
            "receipt" => self.receipt = switch(name, value)?,
            _ if value == "local" => self.local = true,
            _ => {
                return Err(refuse(name, "local; another context travels in X-Starling-Context", value));
            }
        }
        Ok(())
    }
}

/// The parameters of a query, each one of `known` and there once.
pub(super) fn pairs<'q>(
    query: &'q str,
    known: &[&'static str],
) -> Result<Vec<(&'static str, &'q str)>, OptionError> {
    let mut pairs: Vec<(&'static str, &str)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let unknown = || OptionError::Unknown { got: cut(name), known: known.join(", ") };
        let name = *known.iter().find(|known| **known == name).ok_or_else(unknown)?;
        if pairs.iter().any(|(other, _)| *other == name) {
            return Err(OptionError::Twice(name));
        }
        pairs.push((name, value));
    }
    Ok(pairs)
}

fn number(name: &'static str, value: &str, most: u64) -> Result<u64, OptionError> {
    let number = decimal(value.as_bytes()).filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| refuse(name, format!("a number from 1 to {most}"), value))
}

fn switch(name: &'static str, value: &str) -> Result<bool, OptionError> {
    match value {
        "1" | "true" | "yes" => Ok(true),
        "0" | "false" | "no" => Ok(false),
        _ => Err(refuse(name, "true or false", value)),
    }
}

pub(super) fn refuse(name: &'static str, expected: impl Into<String>, got: &str) -> OptionError {
    OptionError::Value { name, expected: expected.into(), got: cut(got) }
}

fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}

const NAMES: [&str; 7] = ["r", "w", "strict", "timeout_ms", "ttl_ms", "receipt", "context"];
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_is_read() {
        let options =
            Options::parse("r=1&w=2&&strict=true&timeout_ms=30000&ttl_ms=5&receipt=1&context=local").unwrap();
        let quorum = QuorumChoice { r: Some(1), w: Some(2), strict: Some(true) };
        let expected =
            Options { quorum, timeout_ms: Some(30_000), ttl_ms: Some(5), receipt: true, local: true };
        assert_eq!(options, expected);
        assert_eq!(Options::parse(""), Ok(Options::default()));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let bad = [
            "ttl=5",
            "R=1",
            "r=1&r=1",
            "r=0",
            "r=8",
            "r=+1",
            "r=",
            "r",
            "w=256",
            "strict=maybe",
            "timeout_ms=30001",
            "timeout_ms=-1",
            "ttl_ms=99999999999999999999",
            "context=abc",
            "receipt=",
            "%72=1",
        ];
        for query in bad {
            assert!(Options::parse(query).is_err(), "{query}");
        }
    }
}

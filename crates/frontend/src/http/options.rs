//! A request's query: how to go about it.

use hyper::Method;
use starling_types::{BadSpan, limits, span};
use starling_wire::{KvOp, KvRequest, QuorumChoice, Seen};

use crate::context;
use crate::text::decimal;

/// The query parameters of a request on a key.
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
    /// `context`: what a write without a token has seen.
    pub seen: Option<Seen>,
}

/// A query that is not understood. Ignoring it could do something else than was meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// A name that is none of ours.
    #[error("there is no query parameter {got:?}: known are {known}")]
    Unknown {
        /// The name that was given.
        got: String,
        /// The names that this path takes.
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
        /// The values that it takes.
        expected: String,
        /// The value that was given.
        got: String,
    },
    /// A time limit or a time to live that is out of range.
    #[error("the query parameter {0}: {1}")]
    Span(&'static str, BadSpan),
}

impl Options {
    /// Reads the query string of a request with this method: what means nothing with it is refused.
    pub fn parse(query: &str, method: &Method) -> Result<Self, OptionError> {
        let known = match *method {
            Method::PUT => PUT,
            Method::DELETE => DELETE,
            _ => READ,
        };
        let mut options = Self::default();
        for (name, value) in pairs(query, known)? {
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
            "timeout_ms" => self.timeout_ms = Some(milliseconds(name, value, span::time_limit)?),
            "ttl_ms" => self.ttl_ms = Some(milliseconds(name, value, span::life)?),
            "receipt" => self.receipt = switch(name, value)?,
            _ => self.seen = Some(seen(name, value)?),
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

fn milliseconds<T>(
    name: &'static str,
    value: &str,
    rule: impl Fn(u64) -> Result<T, BadSpan>,
) -> Result<T, OptionError> {
    let ms = decimal(value.as_bytes()).ok_or_else(|| refuse(name, "a number of milliseconds", value))?;
    rule(ms).map_err(|bad| OptionError::Span(name, bad))
}

fn seen(name: &'static str, value: &str) -> Result<Seen, OptionError> {
    let expected = "quorum, local or none; a token travels in X-Starling-Context";
    context::word(value.as_bytes()).ok_or_else(|| refuse(name, expected, value))
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

/// A blind write reads as well, hence r.
const PUT: &[&str] = &["r", "w", "strict", "timeout_ms", "receipt", "context", "ttl_ms"];
const DELETE: &[&str] = &["r", "w", "strict", "timeout_ms", "receipt", "context"];
const READ: &[&str] = &["r", "strict", "timeout_ms"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_is_read() {
        let options = Options::parse(
            "r=1&w=2&&strict=true&timeout_ms=30000&ttl_ms=5&receipt=1&context=local",
            &Method::PUT,
        )
        .unwrap();
        let quorum = QuorumChoice { r: Some(1), w: Some(2), strict: Some(true) };
        let expected = Options {
            quorum,
            timeout_ms: Some(30_000),
            ttl_ms: Some(5),
            receipt: true,
            seen: Some(Seen::Local),
        };
        assert_eq!(options, expected);
        assert_eq!(Options::parse("", &Method::GET), Ok(Options::default()));
        for (query, seen) in [("context=quorum", Seen::Quorum), ("context=NONE", Seen::Nothing)] {
            assert_eq!(Options::parse(query, &Method::DELETE).unwrap().seen, Some(seen));
        }
    }

    #[test]
    fn what_means_nothing_with_a_method_is_refused() {
        for query in ["w=1", "ttl_ms=5", "receipt=1", "context=local"] {
            assert!(Options::parse(query, &Method::GET).is_err(), "{query}");
            assert!(Options::parse(query, &Method::HEAD).is_err(), "{query}");
            assert!(Options::parse(query, &Method::PUT).is_ok(), "{query}");
            assert_eq!(Options::parse(query, &Method::DELETE).is_ok(), query != "ttl_ms=5");
        }
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
            "timeout_ms=0",
            "timeout_ms=4294967297",
            "ttl_ms=0",
            "ttl_ms=99999999999999999999",
            "context=abc",
            "receipt=",
            "%72=1",
        ];
        for query in bad {
            assert!(Options::parse(query, &Method::PUT).is_err(), "{query}");
        }
    }
}

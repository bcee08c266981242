//! Replies to bytes, in RESP2 and RESP3.

use std::borrow::Cow;

use bytes::Bytes;

use super::output::Output;

/// Which encoding the client asked for with `HELLO`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// RESP2: what every client speaks at first.
    #[default]
    V2,
    /// RESP3: maps, typed nulls, verbatim text.
    V3,
}

impl Protocol {
    /// Its number in `HELLO`.
    pub const fn number(self) -> i64 {
        match self {
            Self::V2 => 2,
            Self::V3 => 3,
        }
    }
}

/// One reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// `+`: a word.
    Simple(&'static str),
    /// `-`: a prefix in capitals, then what happened and what to do.
    Error(Cow<'static, str>),
    /// `:`
    Integer(i64),
    /// `$`: bytes.
    Bulk(Bytes),
    /// `$` in RESP2, `=` in RESP3: text for people.
    Text(String),
    /// No value.
    Null,
    /// `*`
    Array(Vec<Self>),
    /// `%` in RESP3, a flat array in RESP2.
    Map(Vec<(&'static str, Self)>),
}

impl Reply {
    /// `+OK`
    pub const OK: Self = Self::Simple("OK");

    /// An error of the general class, `-ERR`.
    pub fn error(detail: impl std::fmt::Display) -> Self {
        Self::Error(format!("ERR {detail}").into())
    }

    /// A number of things.
    pub fn count(number: usize) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }

    /// A bulk string of a text.
    pub fn bulk(text: impl Into<String>) -> Self {
        Self::Bulk(Bytes::from(text.into()))
    }

    /// Bytes that it keeps in memory while it waits for its turn, about.
    pub fn weight(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Simple(_) | Self::Integer(_) | Self::Null => 0,
                Self::Error(text) => text.len(),
                Self::Text(text) => text.len(),
                Self::Bulk(bytes) => bytes.len(),
                Self::Array(items) => items.iter().map(Self::weight).sum(),
                Self::Map(fields) => fields.iter().map(|(_, value)| value.weight()).sum(),
            }
    }

    /// Appends it to a connection's output.
    pub fn encode(self, protocol: Protocol, out: &mut Output) {
        match self {
            Self::Simple(word) => out.parts(&[b"+", word.as_bytes(), b"\r\n"]),
            Self::Error(text) => out.parts(&[b"-", one_line(&text).as_bytes(), b"\r\n"]),
            Self::Integer(number) => out.header(b':', number),
            Self::Bulk(bytes) => {
                out.header(b'$', len(bytes.len()));
                out.value(bytes);
                out.parts(&[b"\r\n"]);
            }
            Self::Text(text) => encode_text(&text, protocol, out),
            Self::Null => out.parts(&[if protocol == Protocol::V2 { b"$-1\r\n" } else { b"_\r\n" }]),
            Self::Array(items) => {
                out.header(b'*', len(items.len()));
                items.into_iter().for_each(|item| item.encode(protocol, out));
            }
            Self::Map(fields) => encode_map(fields, protocol, out),
        }
    }
}

fn encode_text(text: &str, protocol: Protocol, out: &mut Output) {
    let (marker, kind): (u8, &[u8]) = if protocol == Protocol::V2 { (b'$', b"") } else { (b'=', b"txt:") };
    out.header(marker, len(kind.len() + text.len()));
    out.parts(&[kind, text.as_bytes(), b"\r\n"]);
}

fn encode_map(fields: Vec<(&'static str, Reply)>, protocol: Protocol, out: &mut Output) {
    match protocol {
        Protocol::V2 => out.header(b'*', len(fields.len() * 2)),
        Protocol::V3 => out.header(b'%', len(fields.len())),
    }
    for (name, value) in fields {
        Reply::Bulk(Bytes::from_static(name.as_bytes())).encode(protocol, out);
        value.encode(protocol, out);
    }
}

/// A length as the header wants it; what is in memory is shorter than 2^63.
fn len(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

/// An error is one line: what a client sent and we quote must not end it early.
fn one_line(text: &str) -> Cow<'_, str> {
    if text.contains(|c: char| c.is_control()) {
        return text.replace(|c: char| c.is_control(), " ").into();
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use bytes::Buf;

    use super::*;

    fn encoded(reply: Reply, protocol: Protocol) -> String {
        let mut out = Output::default();
        reply.encode(protocol, &mut out);
        String::from_utf8(out.copy_to_bytes(out.remaining()).to_vec()).unwrap()
    }

    #[test]
    fn every_kind_in_both_protocols() {
        let map = || Reply::Map(vec![("a", Reply::Null)]);
        let table = [
            (Reply::OK, "+OK\r\n", "+OK\r\n"),
            (Reply::error("no\r\n+OK"), "-ERR no  +OK\r\n", "-ERR no  +OK\r\n"),
            (Reply::Integer(-7), ":-7\r\n", ":-7\r\n"),
            (Reply::bulk(""), "$0\r\n\r\n", "$0\r\n\r\n"),
            (Reply::Text("hi".into()), "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n"),
            (Reply::Null, "$-1\r\n", "_\r\n"),
            (Reply::Array(vec![Reply::Null, Reply::OK]), "*2\r\n$-1\r\n+OK\r\n", "*2\r\n_\r\n+OK\r\n"),
            (map(), "*2\r\n$1\r\na\r\n$-1\r\n", "%1\r\n$1\r\na\r\n_\r\n"),
        ];
        for (reply, v2, v3) in table {
            assert_eq!(encoded(reply.clone(), Protocol::V2), v2);
            assert_eq!(encoded(reply, Protocol::V3), v3);
        }
    }
}

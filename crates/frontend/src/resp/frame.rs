//! Bytes to arguments: arrays of bulk strings, and inline commands typed by people. Incremental: it never looks at
//! a byte of an array twice, and gives the same requests however the bytes are cut.

use bytes::{Bytes, BytesMut};

use super::inline::{self, Unbalanced};

/// Most arguments of one request.
pub const MAX_ARGS: usize = 1_048_576;
/// Longest inline command, in bytes.
pub const MAX_INLINE: usize = 64 << 10;
/// Bytes that a request may have besides one value of the largest size.
pub const MAX_OVERHEAD: usize = 1 << 20;

/// Bytes that are no request. The connection cannot be trusted after that: where the next request begins is
/// unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// `*` with something that is no count, or too large a one.
    #[error("invalid multibulk length: expected 0 to {MAX_ARGS} in plain decimal")]
    Count,
    /// `$` with something that is no length.
    #[error("invalid bulk length: expected plain decimal")]
    Length,
    /// A bulk over the largest value.
    #[error("bulk of {len} bytes: this node takes values of at most {limit} (limits.max_value)")]
    BulkTooLarge {
        /// As announced.
        len: u64,
        /// The largest.
        limit: usize,
    },
    /// All arguments together are too large.
    #[error("request of more than {0} bytes: send it in several")]
    RequestTooLarge(usize),
    /// An element of an array that is no bulk string: nested arrays among others.
    #[error("expected '$', got '{}'", .0.escape_ascii())]
    NotBulk(u8),
    /// A bulk longer than announced.
    #[error("expected CRLF after a bulk of {0} bytes")]
    BulkEnd(usize),
    /// An inline command without an end.
    #[error("too big inline request: a line has at most {MAX_INLINE} bytes")]
    InlineTooLong,
    /// An inline command with an open quote.
    #[error("unbalanced quotes in request")]
    Quotes,
    /// A browser, or an attacker who makes one send requests here.
    #[error("this is the RESP port, and that is HTTP: see this node's HTTP port")]
    Http,
    /// A TLS client.
    #[error("this is the RESP port without TLS, and that is a TLS hello: connect in plain text")]
    Tls,
}

/// The place of one argument in a request's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) len: u32,
}

/// One request: at least one argument.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    bytes: Bytes,
    spans: &'a [Span],
}

impl Request<'_> {
    /// Arguments, the command's name included.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Never: a request has its command's name.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Argument `index`; empty if there is none.
    pub fn arg(&self, index: usize) -> &[u8] {
        self.range(index).map_or(&[], |range| &self.bytes[range])
    }

    /// Argument `index` to keep. A large one shares the read buffer; a small one is copied, or a cache that keeps
    /// it would keep the whole buffer with it.
    pub fn keep(&self, index: usize) -> Bytes {
        match self.range(index) {
            None => Bytes::new(),
            Some(range) if range.len() < SHARED => Bytes::copy_from_slice(&self.bytes[range]),
            Some(range) => self.bytes.slice(range),
        }
    }

    fn range(&self, index: usize) -> Option<std::ops::Range<usize>> {
        let span = self.spans.get(index)?;
        Some(span.start as usize..(span.start + span.len) as usize)
    }
}

/// Where in a request the parser stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before its first byte.
    Start,
    /// Before the header of a bulk, this many to go.
    Header(usize),
    /// In a bulk of this length, this many to go with this one.
    Body { left: usize, len: usize },
}

/// Turns a connection's bytes into requests.
#[derive(Debug)]
pub struct Parser {
    max_bulk: usize,
    state: State,
    /// Bytes of the request under way that are understood.
    at: usize,
    /// Bytes of an inline command already searched for its end.
    searched: usize,
    spans: Vec<Span>,
}

impl Parser {
    /// For bulks up to `max_bulk` bytes.
    pub fn new(max_bulk: usize) -> Self {
        let max_bulk = max_bulk.min(starling_types::limits::MAX_VALUE);
        Self { max_bulk, state: State::Start, at: 0, searched: 0, spans: Vec::new() }
    }

    /// The next request, cut off the front of `inbox`; `None` when more bytes are needed. After an error the
    /// connection must end.
    pub fn next(&mut self, inbox: &mut BytesMut) -> Result<Option<Request<'_>>, FrameError> {
        if self.state == State::Start {
            self.spans.clear();
            self.spans.shrink_to(SPANS_KEPT);
        }
        match self.request(inbox)? {
            None => Ok(None),
            Some(bytes) => Ok(Some(Request { bytes, spans: &self.spans })),
        }
    }

    /// Bytes still missing of the bulk under way, when `inbox` holds `have`.
    pub fn missing(&self, have: usize) -> usize {
        match self.state {
            State::Body { len, .. } => (self.at + len + CRLF).saturating_sub(have),
            _ => 0,
        }
    }

    fn request(&mut self, inbox: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        loop {
            match self.state {
                State::Start => match inbox.first() {
                    None => return Ok(None),
                    Some(&TLS_HANDSHAKE) => return Err(FrameError::Tls),
                    Some(b'*') => match number(inbox, 0).map_err(|_| FrameError::Count)? {
                        None => return Ok(None),
                        Some((count, next)) => self.begin(count, next, inbox)?,
                    },
                    Some(_) => match self.inline(inbox)? {
                        Line::Partial => return Ok(None),
                        Line::Empty => {}
                        Line::Command(bytes) => return Ok(Some(bytes)),
                    },
                },
                State::Header(0) => return Ok(Some(self.finish(inbox))),
                State::Header(left) => {
                    let Some(next) = self.header(left, inbox)? else {
                        return Ok(None);
                    };
                    self.at = next;
                }
                State::Body { left, len } => {
                    if inbox.len() < self.at + len + CRLF {
                        return Ok(None);
                    }
                    self.body(left, len, inbox)?;
                }
            }
        }
    }

    fn begin(&mut self, count: u64, next: usize, inbox: &mut BytesMut) -> Result<(), FrameError> {
        match usize::try_from(count) {
            // An empty array asks nothing and gets nothing.
            Ok(0) => drop(inbox.split_to(next)),
            Ok(count) if count <= MAX_ARGS => {
                self.state = State::Header(count);
                self.at = next;
            }
            _ => return Err(FrameError::Count),
        }
        Ok(())
    }

    /// Reads `$len`, judges the length, and returns where the bulk begins.
    fn header(&mut self, left: usize, inbox: &BytesMut) -> Result<Option<usize>, FrameError> {
        match inbox.get(self.at) {
            None => return Ok(None),
            Some(b'$') => {}
            Some(&other) => return Err(FrameError::NotBulk(other)),
        }
        let Some((len, next)) = number(inbox, self.at).map_err(|_| FrameError::Length)? else {
            return Ok(None);
        };
        let too_large = FrameError::BulkTooLarge { len, limit: self.max_bulk };
        let len = usize::try_from(len).ok().filter(|len| *len <= self.max_bulk).ok_or(too_large)?;
        let limit = self.max_bulk + MAX_OVERHEAD;
        if next + len + CRLF > limit {
            return Err(FrameError::RequestTooLarge(limit));
        }
        self.state = State::Body { left, len };
        Ok(Some(next))
    }

    fn body(&mut self, left: usize, len: usize, inbox: &BytesMut) -> Result<(), FrameError> {
        let end = self.at + len;
        if &inbox[end..end + CRLF] != b"\r\n" {
            return Err(FrameError::BulkEnd(len));
        }
        self.spans.push(span(self.at, len));
        self.at = end + CRLF;
        self.state = State::Header(left - 1);
        Ok(())
    }

    fn finish(&mut self, inbox: &mut BytesMut) -> Bytes {
        self.state = State::Start;
        inbox.split_to(std::mem::take(&mut self.at)).freeze()
    }

    fn inline(&mut self, inbox: &mut BytesMut) -> Result<Line, FrameError> {
        let Some(offset) = inbox[self.searched..].iter().position(|&b| b == b'\n') else {
            self.searched = inbox.len();
            let bounded = inbox.len() <= MAX_INLINE;
            return if bounded { Ok(Line::Partial) } else { Err(FrameError::InlineTooLong) };
        };
        let end = std::mem::take(&mut self.searched) + offset;
        if end > MAX_INLINE {
            return Err(FrameError::InlineTooLong);
        }
        let line = inbox.split_to(end + 1);
        let bytes = inline::split(&line, &mut self.spans).map_err(|Unbalanced| FrameError::Quotes)?;
        let request = Request { bytes, spans: &self.spans };
        if inline::is_http(&request) {
            return Err(FrameError::Http);
        }
        Ok(if request.is_empty() { Line::Empty } else { Line::Command(request.bytes) })
    }
}

/// A line typed by a person: not all there yet, blank, or a command.
enum Line {
    Partial,
    Empty,
    Command(Bytes),
}

pub(super) fn span(start: usize, len: usize) -> Span {
    // Both are below MAX_VALUE + MAX_OVERHEAD, which the assertion below holds under 2^32.
    Span { start: start as u32, len: len as u32 }
}

/// A header that is no number.
struct NotNumber;

/// The number between the marker at `at` and its CRLF, and where the line ends: plain decimal, one way to write
/// each number. `None` if the line is not there in full.
fn number(inbox: &[u8], at: usize) -> Result<Option<(u64, usize)>, NotNumber> {
    let digits = &inbox[at + 1..];
    let len = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    let canonical = len <= MAX_DIGITS && (len <= 1 || digits[0] != b'0');
    match (canonical, &digits[len..]) {
        (true, [] | [b'\r']) if len > 0 || digits.is_empty() => Ok(None),
        (true, [b'\r', b'\n', ..]) if len > 0 => {
            let value = digits[..len].iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0'));
            Ok(Some((value, at + 1 + len + CRLF)))
        }
        _ => Err(NotNumber),
    }
}

/// Arguments from this size on share the read buffer instead of being copied: a kept one then pins at most a few
/// times its own size.
const SHARED: usize = 4 << 10;
const SPANS_KEPT: usize = 1_024;
const CRLF: usize = 2;
/// All of them fit u64.
const MAX_DIGITS: usize = 19;
/// The first byte of every TLS connection.
const TLS_HANDSHAKE: u8 = 0x16;

const _: () = assert!(starling_types::limits::MAX_VALUE + MAX_OVERHEAD < u32::MAX as usize);
const _: () = assert!(MAX_INLINE < MAX_OVERHEAD);

#[cfg(test)]
mod tests;

//! Commands on keys: arguments to requests.

use bytes::Bytes;
use starling_types::{Key, WallTime, limits};
use starling_wire::{KvOp, KvRequest, QuorumChoice, Seen};

use super::command::{Entry, Verb};
use super::frame::Request;
use super::pipeline::MAX_PARTS;
use super::reply::Reply;
use super::session::{Action, Session};
use super::shape::{Harvest, Shape};
use super::words::{Words, capitals, no_such_option};
use crate::context;
use crate::service::{KvService, value_too_large};
use crate::text::{LONGEST_LIFE_MS, decimal};

/// What the service has to be asked for a command that has keys.
pub(super) fn action<S: KvService>(
    entry: &Entry,
    request: &Request<'_>,
    session: &Session,
    service: &S,
) -> Result<Action, Reply> {
    let ask = Asking { entry, request, session, service };
    match entry.verb {
        Verb::Get => ask.one(Shape::Value, KvOp::Get),
        Verb::Strlen => ask.one(Shape::Length, KvOp::Get),
        Verb::StarlingGet => ask.one(Shape::Siblings, KvOp::Get),
        Verb::Set => ask.set(),
        Verb::StarlingPut => ask.put(),
        Verb::StarlingDel => ask.delete(),
        Verb::Mget => ask.many(Harvest::Values, || KvOp::Get),
        Verb::Exists => ask.many(Harvest::Found, || KvOp::Get),
        Verb::Del => ask.many(Harvest::Found, || KvOp::Delete { seen: Seen::Local }),
        _ => Err(Reply::error("internal error: a command without keys; please report it")),
    }
}

struct Asking<'a, S> {
    entry: &'a Entry,
    request: &'a Request<'a>,
    session: &'a Session,
    service: &'a S,
}

impl<S: KvService> Asking<'_, S> {
    fn one(&self, shape: Shape, op: KvOp) -> Result<Action, Reply> {
        Ok(Action::Ask(shape, self.draft(1, op)?))
    }

    fn many(&self, harvest: Harvest, op: impl Fn() -> KvOp) -> Result<Action, Reply> {
        let keys = self.request.len() - 1;
        if keys > MAX_PARTS {
            let name = self.entry.name.to_ascii_uppercase();
            return Err(Reply::error(format_args!(
                "{name} takes at most {MAX_PARTS} keys at a time, not {keys}"
            )));
        }
        let requests: Result<Vec<_>, _> = (1..=keys).map(|index| self.draft(index, op())).collect();
        Ok(Action::Gather(harvest, requests?))
    }

    /// A blind overwrite of what the coordinating replica holds: what a Redis client means.
    fn set(&self) -> Result<Action, Reply> {
        let value = self.value(2)?;
        let life = self.life()?;
        let mut request = self.draft(1, KvOp::Put { value, seen: Seen::Local, ttl_ms: None })?;
        let issued = request.issued;
        if let KvOp::Put { ttl_ms, .. } = &mut request.op {
            *ttl_ms = life.map(|life| life.from(issued)).transpose()?;
        }
        Ok(Action::Ask(Shape::Stored, request))
    }

    /// Without a context the value stands beside whatever is there.
    fn put(&self) -> Result<Action, Reply> {
        let value = self.value(2)?;
        let options = self.options(3)?;
        let seen = options.context.map_or(Seen::Nothing, Seen::Context);
        let mut request = self.draft(1, KvOp::Put { value, seen, ttl_ms: None })?;
        request.quorum.w = options.w.or(request.quorum.w);
        Ok(Action::Ask(Shape::Written, request))
    }

    /// Without a context it deletes what the coordinating replica holds: to delete nothing would be of no use.
    fn delete(&self) -> Result<Action, Reply> {
        let options = self.options(2)?;
        let seen = options.context.map_or(Seen::Local, Seen::Context);
        self.one(Shape::Written, KvOp::Delete { seen })
    }

    fn draft(&self, index: usize, op: KvOp) -> Result<KvRequest, Reply> {
        let key = Key::new(self.request.keep(index)).map_err(Reply::error)?;
        let mut request = self.service.draft(self.session.bucket.clone(), key, op);
        request.quorum = self.session.quorum;
        Ok(request)
    }

    fn value(&self, index: usize) -> Result<Bytes, Reply> {
        let len = self.request.arg(index).len();
        if len > self.session.max_value {
            return Err(Reply::error(value_too_large(len, self.session.max_value)));
        }
        Ok(self.request.keep(index))
    }

    fn options(&self, first: usize) -> Result<WriteOptions, Reply> {
        let mut options = WriteOptions::default();
        let mut words = Words::from(self.request, first);
        while let Some(option) = words.option() {
            match option.as_str() {
                "CONTEXT" if options.context.is_none() => {
                    let text = words.value(&option)?;
                    options.context = Some(context::from_text(text).map_err(Reply::error)?);
                }
                "W" if options.w.is_none() && self.entry.verb == Verb::StarlingPut => {
                    options.w = Some(quorum(words.value(&option)?)?);
                }
                _ => return Err(no_such_option(&option, self.entry.usage)),
            }
        }
        Ok(options)
    }

    fn life(&self) -> Result<Option<Life>, Reply> {
        let mut life = None;
        let mut words = Words::from(self.request, 3);
        while let Some(option) = words.option() {
            let (unit, make): (u64, fn(u64) -> Life) = match option.as_str() {
                "EX" => (1_000, Life::For),
                "PX" => (1, Life::For),
                "EXAT" => (1_000, Life::Until),
                "PXAT" => (1, Life::Until),
                "NX" | "XX" | "GET" | "KEEPTTL" | "IFEQ" | "IFNE" => return Err(conditional(&option)),
                _ => return Err(no_such_option(&option, self.entry.usage)),
            };
            let number = decimal(words.value(&option)?).filter(|number| *number > 0);
            let ms = number.and_then(|number| number.checked_mul(unit)).filter(|ms| *ms <= LONGEST_LIFE_MS);
            let ms = ms.ok_or_else(|| {
                Reply::error("invalid expire time in 'set' command: expected a positive whole number")
            })?;
            if life.replace(make(ms)).is_some() {
                return Err(Reply::error("syntax error: SET takes one of EX, PX, EXAT and PXAT"));
            }
        }
        Ok(life)
    }
}

/// What `STARLING.CONSISTENCY` sets; the rest of `before` stays.
pub(super) fn consistency(
    entry: &Entry,
    request: &Request<'_>,
    before: QuorumChoice,
) -> Result<QuorumChoice, Reply> {
    let mut choice = before;
    let mut words = Words::from(request, 1);
    while let Some(option) = words.option() {
        match option.as_str() {
            "R" => choice.r = unless_default(words.value(&option)?, quorum)?,
            "W" => choice.w = unless_default(words.value(&option)?, quorum)?,
            "STRICT" => choice.strict = unless_default(words.value(&option)?, yes_or_no)?,
            _ => return Err(no_such_option(&option, entry.usage)),
        }
    }
    Ok(choice)
}

#[derive(Debug, Default)]
struct WriteOptions {
    context: Option<Bytes>,
    w: Option<u8>,
}

/// How long a value lives, in milliseconds.
enum Life {
    For(u64),
    Until(u64),
}

impl Life {
    fn from(self, issued: WallTime) -> Result<u64, Reply> {
        match self {
            Self::For(ms) => Ok(ms),
            Self::Until(ms) => ms.checked_sub(issued.millis()).filter(|ms| *ms > 0).ok_or_else(|| {
                Reply::error("invalid expire time in 'set' command: it has passed; use DEL to delete")
            }),
        }
    }
}

fn unless_default<T>(text: &[u8], parse: impl Fn(&[u8]) -> Result<T, Reply>) -> Result<Option<T>, Reply> {
    if text.eq_ignore_ascii_case(b"default") { Ok(None) } else { parse(text).map(Some) }
}

fn quorum(text: &[u8]) -> Result<u8, Reply> {
    decimal(text)
        .and_then(|number| u8::try_from(number).ok())
        .filter(|number| (1..=limits::MAX_COPIES).contains(number))
        .ok_or_else(|| Reply::error(format_args!("a quorum is a number from 1 to {}", limits::MAX_COPIES)))
}

fn yes_or_no(text: &[u8]) -> Result<bool, Reply> {
    match capitals(text).as_str() {
        "YES" => Ok(true),
        "NO" => Ok(false),
        _ => Err(Reply::error("STRICT is YES, NO or DEFAULT")),
    }
}

fn conditional(option: &str) -> Reply {
    Reply::error(format_args!(
        "SET {option} needs one owner per key, a leaderless store has none: \
         read with STARLING.GET, then write with STARLING.PUT and the CONTEXT it returned"
    ))
}

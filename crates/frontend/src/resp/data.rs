//! Commands on keys: arguments to what is asked of each key.

use std::collections::BTreeSet;

use bytes::Bytes;
use starling_types::{Key, WallTime, limits, span};
use starling_wire::{KvOp, QuorumChoice, Seen};

use super::ask::{Ask, Life};
use super::command::{Entry, Verb};
use super::frame::Request;
use super::pipeline::MAX_PARTS;
use super::reply::Reply;
use super::session::{Action, Session};
use super::shape::{Harvest, Shape};
use super::words::{Words, capitals, no_such_option};
use crate::context;
use crate::service::value_too_large;
use crate::text::decimal;

/// The requests to make for a command that has keys.
pub(super) fn action(entry: &Entry, request: &Request<'_>, session: &Session) -> Result<Action, Reply> {
    let ask = Asking { entry, request, session };
    match entry.verb {
        Verb::Get => ask.one(Shape::Value, KvOp::Get),
        Verb::Strlen => ask.one(Shape::Length, KvOp::Get),
        Verb::StarlingGet => ask.one(Shape::Siblings, KvOp::Get),
        Verb::Set => ask.set(),
        Verb::StarlingPut => ask.put(),
        Verb::StarlingDel => ask.delete(),
        Verb::Mget => ask.many(Harvest::Values, || KvOp::Get),
        Verb::Exists => ask.many(Harvest::Found, || KvOp::Get),
        Verb::Del => ask.many(Harvest::Found, || KvOp::Delete { seen: Seen::Quorum }),
        _ => Err(Reply::error("internal error: a command without keys; please report it")),
    }
}

struct Asking<'a> {
    entry: &'a Entry,
    request: &'a Request<'a>,
    session: &'a Session,
}

impl Asking<'_> {
    fn one(&self, shape: Shape, op: KvOp) -> Result<Action, Reply> {
        Ok(Action::Ask(shape, self.ask(1, op)?))
    }

    fn many(&self, harvest: Harvest, op: impl Fn() -> KvOp) -> Result<Action, Reply> {
        let keys = self.request.len() - 1;
        if keys > MAX_PARTS {
            let name = self.entry.name.to_ascii_uppercase();
            return Err(Reply::error(format_args!(
                "{name} takes at most {MAX_PARTS} keys at a time, not {keys}"
            )));
        }
        let mut asks = Vec::with_capacity(keys);
        // A key that is named twice can be read twice, but deleted once.
        let mut named = BTreeSet::new();
        for index in 1..=keys {
            if !self.entry.writes || named.insert(self.request.arg(index)) {
                asks.push(self.ask(index, op())?);
            }
        }
        Ok(Action::Gather(harvest, asks))
    }

    /// A blind write, which replaces all that was acked before it: what a Redis client means.
    fn set(&self) -> Result<Action, Reply> {
        let value = self.value(2)?;
        let life = self.life()?;
        let ask = self.ask(1, KvOp::Put { value, seen: Seen::Quorum, ttl_ms: None })?;
        Ok(Action::Ask(Shape::Stored, Ask { life, ..ask }))
    }

    /// Without a context the value stands beside the present siblings.
    fn put(&self) -> Result<Action, Reply> {
        let value = self.value(2)?;
        let options = self.options(3)?;
        let seen = options.seen.clone().unwrap_or(Seen::Nothing);
        let shape = options.shape(&seen);
        let mut ask = self.ask(1, KvOp::Put { value, seen, ttl_ms: None })?;
        ask.quorum.w = options.w.or(ask.quorum.w);
        Ok(Action::Ask(shape, ask))
    }

    /// Without a context it is as blind as DEL: to delete nothing would be of no use.
    fn delete(&self) -> Result<Action, Reply> {
        let options = self.options(2)?;
        let seen = options.seen.clone().unwrap_or(Seen::Quorum);
        if seen == Seen::Nothing {
            return Err(Reply::error(
                "a delete that has seen nothing deletes nothing: CONTEXT with a context, QUORUM or LOCAL",
            ));
        }
        self.one(options.shape(&seen), KvOp::Delete { seen })
    }

    fn ask(&self, index: usize, op: KvOp) -> Result<Ask, Reply> {
        let key = Key::new(self.request.keep(index)).map_err(Reply::error)?;
        let bucket = self.session.bucket.clone();
        Ok(Ask { bucket, key, op, quorum: self.session.quorum, life: None })
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
                "CONTEXT" if options.seen.is_none() => {
                    options.seen = Some(seen(words.value(&option)?)?);
                }
                "RECEIPT" if !options.receipt => options.receipt = true,
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
                "EXAT" => (1_000, |ms| Life::Until(WallTime::from_millis(ms))),
                "PXAT" => (1, |ms| Life::Until(WallTime::from_millis(ms))),
                "NX" | "XX" | "GET" | "KEEPTTL" | "IFEQ" | "IFNE" => return Err(conditional(&option)),
                _ => return Err(no_such_option(&option, self.entry.usage)),
            };
            let number = decimal(words.value(&option)?).and_then(|number| number.checked_mul(unit));
            let ms = number.ok_or("expected a positive whole number".to_owned());
            let ms = ms.and_then(|ms| span::life(ms).map_err(|bad| bad.to_string()));
            let ms =
                ms.map_err(|why| Reply::error(format_args!("invalid expire time in 'set' command: {why}")))?;
            if life.replace(make(ms)).is_some() {
                return Err(Reply::error("syntax error: SET takes one of EX, PX, EXAT and PXAT"));
            }
        }
        Ok(life)
    }
}

/// The session's quorum after `STARLING.CONSISTENCY`; the rest of `before` stays.
pub(super) fn consistency(
    entry: &Entry,
    request: &Request<'_>,
    before: QuorumChoice,
) -> Result<QuorumChoice, Reply> {
    let mut choice = before;
    let mut words = Words::from(request, 1);
    let mut said = BTreeSet::new();
    while let Some(option) = words.option() {
        if !said.insert(option.clone()) {
            return Err(Reply::error(format_args!("syntax error: {option} is there twice")));
        }
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
    seen: Option<Seen>,
    w: Option<u8>,
    receipt: bool,
}

impl WriteOptions {
    /// How a write that has seen `seen` is answered.
    fn shape(&self, seen: &Seen) -> Shape {
        if self.receipt { Shape::Receipt(seen.grounds()) } else { Shape::Written }
    }
}

fn seen(text: &[u8]) -> Result<Seen, Reply> {
    let token = || context::from_text(text).map(Seen::Context).map_err(Reply::error);
    context::word(text).map_or_else(token, Ok)
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

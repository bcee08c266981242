//! Events and effects of a whole node in words, one line each. Gossip and connections are left out.

use starling_node::losses::META_SUSPECT;
use starling_node::{CommitId, Effect, Event, Log, ScanId};
use starling_types::NodeId;
use starling_types::row::{LoadFailure, Page, RowWrite, Space};
use starling_vnode::{CellKey, CellKind, rows};
use starling_wire::client::{AdminReply, AdminRequest, ReadReply, Seen, WriteReply};
use starling_wire::replica::{Held, Merged, ReadAnswer, Recalled};
use starling_wire::sync::Compared;
use starling_wire::{Class, KvOp, KvReply, KvRequest, Message};

use crate::names::Names;

/// None for what is left out.
pub fn event(names: &mut Names, event: &Event) -> Option<String> {
    Some(match event {
        Event::Request(_, request) => format!("client: {}", self::request(names, request)),
        Event::Admin(_, request) => format!("operator: {}", admin(request)),
        Event::PeerMessage(from, envelope) => {
            let words = message(names, &envelope.message)?;
            format!("{}: {words}", names.node(*from))
        }
        Event::Loaded(cell, Ok(row)) => {
            let record = row.as_ref().map_or("nothing".into(), |row| names.record(row));
            format!("disk: {} is {record}", self::cell(names, cell))
        }
        Event::Loaded(cell, Err(LoadFailure::Damaged(_))) => {
            format!("disk: {} is damaged", self::cell(names, cell))
        }
        Event::Loaded(cell, Err(why)) => format!("disk: {} is {why}", self::cell(names, cell)),
        Event::Scanned(id, Ok(page)) => format!("disk: {}: {}", scan(*id), self::page(names, page)),
        Event::Scanned(id, Err(why)) => format!("disk: {}: {why}", scan(*id)),
        Event::Committed(id, Ok(())) => format!("disk: {} is done", commit(*id)),
        Event::Committed(id, Err(why)) => format!("disk: {} failed: {why}", commit(*id)),
        Event::Damaged(ranges, _) => format!("disk: {} range of rows is unreadable", ranges.len()),
        Event::GenerationRaised(generation) => format!("this is life {}", generation.0),
        Event::Disk(disk) => format!("disk: {}", if disk.is_full() { "nearly full" } else { "room again" }),
        Event::Drain => "stop".into(),
        Event::PeerUp(..)
        | Event::PeerDown(_)
        | Event::Local(..)
        | Event::Rival(_)
        | Event::Seeds(_)
        | Event::Tick => return None,
    })
}

/// None for what is left out.
pub fn effect(names: &mut Names, effect: &Effect) -> Option<String> {
    Some(match effect {
        Effect::Send(to, class, envelope) => {
            let words = message(names, &envelope.message)?;
            let class = if *class == Class::Background { " (background)" } else { "" };
            format!("{}{class}: {words}", names.node(*to))
        }
        Effect::Respond(_, reply) => format!("client: {}", self::reply(names, reply)),
        Effect::RespondAdmin(_, reply) => format!("operator: {}", admin_reply(reply)),
        Effect::Load(cell) => format!("disk: read {}", self::cell(names, cell)),
        Effect::Scan { id, space, prefix, .. } => {
            format!("disk: {} of {}", scan(*id), scanned(names, *space, prefix))
        }
        Effect::Commit { id, rows, durable } => {
            let rows: Vec<String> = rows.iter().map(|write| row(names, write)).collect();
            let sync = if *durable { ", fsync" } else { "" };
            format!("disk: {}{sync}: {}", commit(*id), rows.join("; "))
        }
        Effect::DamageNoted(_) => return None,
        Effect::RaiseGeneration(generation) => format!("disk: make this life {}", generation.0),
        Effect::Drained => "stopped".into(),
        Effect::Log(log) => format!("log: {}", self::log(names, log)),
        Effect::Connect(..) | Effect::Disconnect(_) | Effect::RespondLocal(..) => return None,
    })
}

fn message(names: &mut Names, message: &Message) -> Option<String> {
    Some(match message {
        Message::Merge(merge) => {
            let record = names.record(&merge.record);
            let stands_for =
                merge.stands_for.map_or_else(String::new, |owner| format!(", for {}", names.node(owner)));
            let sync = if merge.durable { ", fsync" } else { "" };
            format!("merge {record}{stands_for}{sync}")
        }
        Message::Merged(Merged::Done { durable }) => {
            if *durable { "merged, fsynced" } else { "merged" }.into()
        }
        Message::Merged(Merged::Refused(why)) => format!("not merged: {why}"),
        Message::Read(read) if read.digest.is_some() => "read k, if it differs from mine".into(),
        Message::Read(_) => "read k".into(),
        Message::Fetch(_) => "read k for a repair".into(),
        Message::ReadAnswer(answer) | Message::Fetched(answer) => self::answer(names, answer),
        Message::Recall(recall) => format!("what do you know of {} and k?", names.request(recall.request)),
        Message::Recalled(recalled) => self::recalled(names, recalled),
        Message::Request(request) => format!("passed on: {}", self::request(names, request)),
        Message::Reply(reply) => self::reply(names, reply),
        Message::Propose(_) => "will you accept this first layout?".into(),
        Message::Verdict(verdict) => verdict_words(verdict).into(),
        Message::Decide(_) => "this first layout is decided".into(),
        Message::Shared(shared) => match &shared.layout {
            Some(layout) => format!("I hold layout {}", layout.version().0),
            None => "I hold no layout".into(),
        },
        Message::Compare(_) => "compare this page with yours".into(),
        Message::Compared(compared) => self::compared(compared),
        Message::Swept(swept) => {
            if swept.equal { "pass over: all equal" } else { "pass over: not all equal" }.into()
        }
        Message::Gossip(_) => return None,
        other => other.name().into(),
    })
}

fn request(names: &mut Names, request: &KvRequest) -> String {
    let id = names.request(request.id);
    let again = if request.attempt > 0 { format!(", try {}", request.attempt + 1) } else { String::new() };
    let quorum =
        |letter, count: Option<u8>| count.map_or_else(String::new, |count| format!(", {letter}={count}"));
    let words = match &request.op {
        KvOp::Get => format!("get k{}", quorum("R", request.quorum.r)),
        KvOp::Put { value, seen, .. } => {
            let seen = self::seen(names, seen);
            format!("put k = \"{}\", {seen}{}", value.escape_ascii(), quorum("W", request.quorum.w))
        }
        KvOp::Delete { seen } => {
            format!("delete k, {}{}", self::seen(names, seen), quorum("W", request.quorum.w))
        }
    };
    format!("{id}{again}: {words}")
}

fn seen(names: &mut Names, seen: &Seen) -> String {
    match seen {
        Seen::Nothing => "seen nothing".into(),
        Seen::Local => "seen what its node holds".into(),
        Seen::Quorum => "seen what a quorum holds".into(),
        Seen::Context(token) => format!("seen {}", names.context(token)),
    }
}

fn reply(names: &mut Names, reply: &KvReply) -> String {
    match reply {
        KvReply::Read(read) => self::read(names, read),
        KvReply::Written(written) => self::written(names, written),
        KvReply::Failed(failure) => format!("failed: {failure}"),
    }
}

fn read(names: &mut Names, read: &ReadReply) -> String {
    let values: Vec<String> =
        read.siblings.iter().map(|s| format!("\"{}\"", s.value.escape_ascii())).collect();
    let context =
        read.context.as_ref().map_or_else(String::new, |token| format!(", context {}", names.context(token)));
    format!("{}{context}", if values.is_empty() { "nothing".into() } else { values.join(", ") })
}

fn written(names: &mut Names, written: &WriteReply) -> String {
    let receipt = &written.receipt;
    let dot = receipt.dot.map_or("nothing to do".into(), |dot| format!("written as {}", names.dot(dot)));
    let mut words = format!("{dot}, {} acks", receipt.acked);
    if receipt.hinted > 0 {
        words.push_str(&format!(", {} hinted", receipt.hinted));
    }
    if written.siblings > 1 {
        words.push_str(&format!(", {} siblings", written.siblings));
    }
    words
}

fn answer(names: &mut Names, answer: &ReadAnswer) -> String {
    match answer {
        ReadAnswer::Same => "the same as yours".into(),
        ReadAnswer::Record(shown) => format!("k is {}", names.record(&shown.record)),
        ReadAnswer::Unknown => "k may be lost here".into(),
        ReadAnswer::Partial(shown) => format!("k is {}, and may have been more", names.record(&shown.record)),
        ReadAnswer::Refused(why) => format!("not read: {why}"),
    }
}

fn recalled(names: &mut Names, recalled: &Recalled) -> String {
    match recalled {
        Recalled::Known { dot, shown } => {
            let dot = dot.map_or("a write that was replaced since".into(), |dot| names.dot(dot));
            format!("it made {dot}; k is {}", names.record(&shown.record))
        }
        Recalled::Claimed => "a later try has asked before".into(),
        Recalled::Nothing(Held { context, .. }) if context.is_empty() => "nothing, and k is nothing".into(),
        Recalled::Nothing(held) => format!("nothing, and k is up to {}", names.vector(&held.context)),
        Recalled::Refused(why) => format!("not answered: {why}"),
    }
}

fn compared(compared: &Compared) -> String {
    match compared {
        Compared::Same => "the page is equal".into(),
        Compared::Different { entries, .. } => format!("the page differs: I hold {} records", entries.len()),
        Compared::Partial { entries, .. } => {
            format!("I hold {} records, and may have lost others", entries.len())
        }
        Compared::Unreadable => "my rows there cannot be read".into(),
        Compared::Refused(why) => format!("not compared: {why}"),
    }
}

fn admin(request: &AdminRequest) -> String {
    match request {
        AdminRequest::Init { nodes, copies, bits } => {
            format!(
                "form a cluster of {} nodes, {copies} copies of every key, {} partitions",
                nodes.len(),
                1 << bits
            )
        }
        other => format!("{other:?}"),
    }
}

fn admin_reply(reply: &AdminReply) -> String {
    match reply {
        AdminReply::Initialised(layout) => format!("layout {} is in force", layout.version().0),
        other => format!("{other:?}"),
    }
}

const fn verdict_words(verdict: &starling_ring::Verdict) -> &'static str {
    match verdict {
        starling_ring::Verdict::Accepted(_) => "accepted, and no other for good",
        starling_ring::Verdict::Decided(_) => "decided here too",
        starling_ring::Verdict::Refused(_) => "refused",
    }
}

fn cell(names: &Names, cell: &CellKey) -> String {
    match cell.kind {
        CellKind::Data => "k".into(),
        CellKind::Hint(owner) => format!("hint of k for {}", names.node(owner)),
    }
}

fn row(names: &mut Names, write: &RowWrite) -> String {
    let name = match write.space {
        Space::Data => "k".into(),
        Space::Hints => match rows::hint_parts(&write.key) {
            Some((owner, ..)) => format!("hint of k for {}", names.node(owner)),
            None => "a row that is no hint".into(),
        },
        Space::Meta => return format!("its {}", meta(names, &write.key, write.value.is_some())),
    };
    match &write.value {
        Some(value) => format!("{name} = {}", names.record(value)),
        None => format!("no {name}"),
    }
}

fn meta(names: &Names, key: &[u8], is_there: bool) -> String {
    let key = String::from_utf8_lossy(key);
    let life = key.strip_prefix("life/").and_then(|node| node.parse().ok());
    let name = match (life, key.as_bytes()) {
        (Some(node), _) => format!("note of {}'s life", names.node(node)),
        (_, rows::META_HLC_CEILING) => "clock ceiling".into(),
        (_, rows::META_CLEAN_STOP) => "mark of a clean stop".into(),
        (_, META_SUSPECT) => "losses".into(),
        _ => key.into_owned(),
    };
    if is_there { name } else { format!("{name} removed") }
}

fn page(names: &mut Names, page: &Page) -> String {
    let rows: Vec<String> = page.rows.iter().map(|(_, value)| names.record(value)).collect();
    let damaged = if page.damaged.is_empty() { "" } else { ", and damage" };
    format!("{}{damaged}", if rows.is_empty() { "no rows".into() } else { rows.join(", ") })
}

fn scan(id: ScanId) -> String {
    match id {
        ScanId::Records(op) | ScanId::AllHints(op) => format!("scan {}", op.0),
        ScanId::Export(_) => "a page".into(),
    }
}

fn scanned(names: &Names, space: Space, prefix: &[u8]) -> String {
    match (space, prefix.first_chunk::<8>()) {
        (Space::Hints, Some(owner)) => {
            format!("hints for {}", names.node(NodeId::from_bits(u64::from_be_bytes(*owner))))
        }
        (Space::Hints, None) => "all hints".into(),
        _ => "data".into(),
    }
}

fn commit(id: CommitId) -> String {
    match id {
        CommitId::Shard(ticket) => format!("commit {}", ticket.0),
        CommitId::Control(number) => format!("control commit {number}"),
        CommitId::Unseal | CommitId::Seal => "mark".into(),
        CommitId::Losses(number) => format!("losses {number}"),
    }
}

fn log(names: &Names, log: &Log) -> String {
    match log {
        Log::MemberUp(node) => format!("{} is up", names.node(*node)),
        Log::MemberSuspect(node) => format!("{} is suspected", names.node(*node)),
        Log::MemberDead(node) => format!("{} is presumed dead", names.node(*node)),
        Log::MemberLeft(node) => format!("{} has left", names.node(*node)),
        Log::LayoutAdopted(_) => "the layout is adopted".into(),
        Log::ForeignFrame(node) => format!("a frame of another cluster, from {}", names.node(*node)),
        Log::Alarm(words) | Log::Recovered(words) => words.clone(),
    }
}

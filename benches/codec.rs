//! The cost of writing and reading the messages and records of a put and a get, 1 KiB values: nanoseconds, and
//! instructions if asked.

use std::hint::black_box;

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Parser;
use starling_benches::args::Common;
use starling_benches::callgrind::instructions;
use starling_benches::meter::{median, now};
use starling_benches::table::{Table, fine, rate};
use starling_causality::{Dot, Hlc, Mint, Payload, Record, VersionVector};
use starling_types::{ActorId, BucketName, ClusterId, ExchangeId, Key, LayoutVersion, RequestId, WallTime};
use starling_wire::client::{KvOp, KvRequest, QuorumChoice, Seen};
use starling_wire::replica::{Merge, Origin, ReadAnswer, Shown};
use starling_wire::{Envelope, Message};

/// Messages and records, written and read.
#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    common: Common,
    /// Count instructions too, with valgrind.
    #[arg(long)]
    instructions: bool,
    /// Do one thing a thousand times and print nothing: what `--instructions` starts under valgrind.
    #[arg(long, hide = true)]
    case: Option<String>,
}

/// Something that is measured.
struct Case {
    name: &'static str,
    bytes: usize,
    once: Box<dyn FnMut()>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut cases = cases()?;
    if let Some(name) = args.case {
        let case = cases.iter_mut().find(|case| case.name == name).context("no such case")?;
        measured_loop(case, COUNTED);
        return Ok(());
    }
    let nanos = nanos(&mut cases, &args.common);
    let mut table = Table::new(TITLE, COLUMNS);
    for (case, nanos) in cases.iter().zip(nanos) {
        let instructions = if args.instructions {
            instructions("measured_loop", &["--case", case.name])? / f64::from(COUNTED)
        } else {
            f64::NAN
        };
        table.push(vec![case.name.into(), case.bytes.into(), fine(nanos), rate(instructions)]);
    }
    table.print(args.common.json);
    Ok(())
}

/// The median of each case over its slices, which take turns.
fn nanos(cases: &mut [Case], common: &Common) -> Vec<f64> {
    let mut slices: Vec<Vec<f64>> = cases.iter().map(|_| Vec::new()).collect();
    let turns = usize::from(common.rounds()) * TURNS;
    let slice = common.span() / u32::try_from(TURNS).unwrap_or(1);
    for _ in 0..turns {
        for (case, slices) in cases.iter_mut().zip(&mut slices) {
            let (begun, mut done) = (now(), 0);
            while begun.elapsed() < slice {
                measured_loop(case, COUNTED);
                done += COUNTED;
            }
            slices.push(begun.elapsed().as_secs_f64() * 1e9 / f64::from(done));
        }
    }
    slices.into_iter().map(median).collect()
}

/// A function of its own, so that a profiler can tell it from what prepares it.
#[inline(never)]
fn measured_loop(case: &mut Case, times: u32) {
    for _ in 0..times {
        (case.once)();
    }
}

fn cases() -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    message(&mut cases, ["put request: encode", "put request: decode"], put_request()?)?;
    message(&mut cases, ["Merge: encode", "Merge: decode"], merge()?)?;
    let answer =
        Message::ReadAnswer(ReadAnswer::Record(Shown { record: record(1, VALUE).encode(), props: 1 }));
    message(&mut cases, ["ReadAnswer: encode", "ReadAnswer: decode"], answer)?;
    records(&mut cases);
    Ok(cases)
}

/// Encoding goes into a buffer that is used again, as a lane's is.
fn message(cases: &mut Vec<Case>, names: [&'static str; 2], message: Message) -> Result<()> {
    let envelope = Envelope {
        cluster: ClusterId::from_bits(9),
        epoch: LayoutVersion::FIRST,
        exchange: ExchangeId::from_bits(0x1234_5678_9abc),
        deadline_ms: 2_000,
        message,
    };
    let mut frame = Vec::new();
    envelope.encode(&mut frame)?;
    let bytes = frame.len();
    let mut buffer = Vec::with_capacity(2 * bytes);
    let encode = move || {
        buffer.clear();
        assert!(black_box(&envelope).encode(&mut buffer).is_ok());
        black_box(&buffer);
    };
    let decode = move || assert!(black_box(Envelope::decode(black_box(&frame))).is_ok());
    cases.push(Case { name: names[0], bytes, once: Box::new(encode) });
    cases.push(Case { name: names[1], bytes, once: Box::new(decode) });
    Ok(())
}

fn records(cases: &mut Vec<Case>) {
    let encoded = record(1, VALUE).encode();
    let bytes = encoded.len();
    let written = record(1, VALUE);
    let encode = move || drop(black_box(black_box(&written).encode()));
    let decode = move || assert!(black_box(Record::decode(black_box(&encoded))).is_ok());
    // The work of a replica with a Merge: its own record is older than the one that arrives.
    let (old, new) = (record(1, VALUE), successor(&record(1, VALUE)));
    let supersede = move || drop(black_box(black_box(&old).merge(black_box(&new))));
    let (one, other) = (record(1, VALUE), record(2, VALUE));
    let concurrent = move || drop(black_box(black_box(&one).merge(black_box(&other))));
    cases.push(Case { name: "Record: encode", bytes, once: Box::new(encode) });
    cases.push(Case { name: "Record: decode", bytes, once: Box::new(decode) });
    cases.push(Case { name: "Record: merge, newer", bytes, once: Box::new(supersede) });
    cases.push(Case { name: "Record: merge, concurrent", bytes, once: Box::new(concurrent) });
}

fn put_request() -> Result<Message> {
    Ok(Message::Request(KvRequest {
        id: RequestId::from_bits(0x1234_5678_9abc),
        attempt: 0,
        issued: WallTime::from_millis(MILLIS),
        began: WallTime::from_millis(1_700_000_000_000),
        timeout_ms: 0,
        patience_ms: 0,
        bucket: BucketName::default_bucket(),
        key: Key::new(KEY)?,
        op: KvOp::Put { value: value(VALUE), seen: Seen::Local, ttl_ms: None },
        quorum: QuorumChoice::default(),
        forwarded: false,
    }))
}

fn merge() -> Result<Message> {
    let request = RequestId::from_bits(0x1234_5678_9abc);
    Ok(Message::Merge(Merge {
        bucket: BucketName::default_bucket(),
        key: Key::new(KEY)?,
        record: record(1, VALUE).encode(),
        props: 1,
        durable: true,
        origin: Some(Origin { request, dot: dot(1, 3) }),
        stands_for: None,
    }))
}

/// A record that three replicas have written in turn, the last time by `actor`.
fn record(actor: u64, length: usize) -> Record {
    let mut record = Record::default();
    for (counter, actor) in [(1, 11), (2, 12), (3, actor)] {
        let seen = record.context().clone();
        record = record.write(Mint::plain(&seen, dot(actor, counter), Payload::Value(value(length))));
    }
    record
}

fn successor(record: &Record) -> Record {
    let seen: VersionVector = record.context().clone();
    record.write(Mint::plain(&seen, dot(12, 9), Payload::Value(value(VALUE))))
}

fn dot(actor: u64, counter: u16) -> Dot {
    Dot { hlc: Hlc::from_parts(MILLIS, counter), actor: ActorId::from_bits(actor) }
}

fn value(length: usize) -> Bytes {
    (0..length).map(|at| at.wrapping_mul(31) as u8).collect()
}

const VALUE: usize = 1_024;
const KEY: &str = "bench:0000000001";
const MILLIS: u64 = 1_700_000_000_000;
const COUNTED: u32 = 1_000;
/// Slices of a round: short, so that a pause of the machine spoils few.
const TURNS: usize = 20;
const TITLE: &str = "Messages and records with a 1 KiB value, one core";
const COLUMNS: &[&str] = &["what", "bytes", "ns", "instructions"];

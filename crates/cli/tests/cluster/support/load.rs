//! Writers over RESP that remember exactly what was acked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::node::Node;
use super::resp::{Reply, Resp, encode};
use super::{SOON, pause, within};

/// Every so many writes a writer writes its one key that it writes again and again.
const HOT_EVERY: u64 = 4;
/// Reads of one pipeline when everything is read back.
const BATCH: usize = 200;

/// One client. Its values are unique, so that a value read back is the one that was acked and no other.
pub struct Writer {
    id: usize,
    next: u64,
    /// Keys written once, and their values, if acked.
    acked: BTreeMap<String, String>,
    /// The highest acked and the highest tried value of the hot key.
    hot: (u64, u64),
}

/// The counts of all writers so far.
pub struct Gauge {
    stop: AtomicBool,
    acked: Vec<AtomicU64>,
    refused: Mutex<Vec<String>>,
}

/// Lets the writers end, also when the test fails between their start and their end.
struct StopAtEnd<'g>(&'g Gauge);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

/// Writers that have not written yet.
pub fn writers(count: usize) -> Vec<Writer> {
    let writer = |id| Writer { id, next: 0, acked: BTreeMap::new(), hot: (0, 0) };
    (0..count).map(writer).collect()
}

/// Runs `scenario` while all writers write to `addrs`; each goes on at another address after an error.
pub fn under_load(writers: &mut [Writer], addrs: &[SocketAddr], scenario: impl FnOnce(&Gauge)) -> Gauge {
    let gauge = Gauge {
        stop: AtomicBool::new(false),
        acked: writers.iter().map(|_| AtomicU64::new(0)).collect(),
        refused: Mutex::default(),
    };
    std::thread::scope(|scope| {
        let stop = StopAtEnd(&gauge);
        for (writer, acked) in writers.iter_mut().zip(&gauge.acked) {
            let gauge = &gauge;
            scope.spawn(move || writer.run(addrs, gauge, acked));
        }
        scenario(&gauge);
        drop(stop);
    });
    gauge
}

impl Gauge {
    /// Acked writes so far.
    pub fn acked(&self) -> u64 {
        self.acked.iter().map(|n| n.load(Ordering::Relaxed)).sum()
    }

    /// Why writes failed, so far.
    pub fn refused(&self) -> Vec<String> {
        self.refused.lock().unwrap().clone()
    }

    /// The same without those that had no time: on a busy machine any may run out of it.
    pub fn refused_in_time(&self) -> Vec<String> {
        let refused = self.refused().into_iter();
        refused.filter(|why| !why.contains("TIMEOUT") && !why.contains("time ran out")).collect()
    }

    /// Waits until every writer has had `more` acks from now on.
    pub fn every_writer_acks(&self, more: u64) {
        let goal: Vec<u64> = self.acked.iter().map(|n| n.load(Ordering::Relaxed) + more).collect();
        within(SOON, &format!("{more} more acks for every writer"), || {
            let now = self.acked.iter().map(|n| n.load(Ordering::Relaxed));
            let behind = now.zip(&goal).filter(|(now, goal)| now < goal).count();
            match behind {
                0 => Ok(()),
                n => Err(format!("{n} writers are behind; failures: {:?}", self.refused())),
            }
        });
    }

    /// Waits until all writers together have had `more` acks.
    pub fn all_ack(&self, more: u64) {
        within(SOON, &format!("{more} acks"), || match self.acked() {
            acked if acked >= more => Ok(()),
            acked => Err(format!("{acked}; failures: {:?}", self.refused())),
        });
    }
}

impl Writer {
    fn run(&mut self, addrs: &[SocketAddr], gauge: &Gauge, acked: &AtomicU64) {
        let mut turn = self.id;
        let mut connection = None;
        while !gauge.stop.load(Ordering::Relaxed) {
            let outcome = match &mut connection {
                Some(resp) => self.write(resp),
                None => match Resp::connect(addrs[turn % addrs.len()]) {
                    Ok(resp) => {
                        connection = Some(resp);
                        continue;
                    }
                    Err(error) => Err(error.to_string()),
                },
            };
            match outcome {
                Ok(()) => _ = acked.fetch_add(1, Ordering::Relaxed),
                Err(why) => {
                    gauge.refused.lock().unwrap().push(why);
                    (connection, turn) = (None, turn + 1);
                    pause();
                }
            }
        }
    }

    /// A value is tried once: an error does not tell whether it was written.
    fn write(&mut self, resp: &mut Resp) -> Result<(), String> {
        self.next += 1;
        let is_hot = self.next.is_multiple_of(HOT_EVERY);
        let key = if is_hot { self.hot_key() } else { format!("once-{}-{}", self.id, self.next) };
        let value = if is_hot { self.next.to_string() } else { format!("value {} of {key}", self.next) };
        if is_hot {
            self.hot.1 = self.next;
        }
        match resp.call(&["SET", &key, &value]).map_err(|e| e.to_string())? {
            reply if reply != Reply::ok() => return Err(format!("{reply:?}")),
            _ if is_hot => self.hot.0 = self.next,
            _ => _ = self.acked.insert(key, value),
        }
        Ok(())
    }

    fn hot_key(&self) -> String {
        format!("hot-{}", self.id)
    }
}

/// Reads every acked value back through `node`, on a connection set up by `prepare`. How many there were.
pub fn is_all_there(node: &Node, writers: &[Writer], prepare: &[&str]) -> usize {
    let mut resp = node.resp();
    prepare.iter().for_each(|words| assert_eq!(resp.ask(words), Reply::ok()));
    let expected: Vec<_> = writers.iter().flat_map(|w| &w.acked).collect();
    for batch in expected.chunks(BATCH) {
        let reads: Vec<u8> = batch.iter().flat_map(|(key, _)| encode(&["GET", key])).collect();
        resp.send_raw(&reads).unwrap();
        let got: Vec<Reply> = batch.iter().map(|_| resp.receive().unwrap()).collect();
        for ((key, value), got) in batch.iter().zip(got) {
            let got = told(&mut resp, &format!("GET {key}"), got);
            assert_eq!(got, Reply::bulk(value), "acked {key}, read through {}", node.name);
        }
    }
    writers.iter().for_each(|writer| hot_key_is_there(&node.name, &mut resp, writer));
    expected.len()
}

/// A node's answer about a key: one that had no time to find out is asked again.
fn told(resp: &mut Resp, question: &str, answer: Reply) -> Reply {
    let mut answer = Some(answer);
    within(SOON, question, || match answer.take().unwrap_or_else(|| resp.ask(question)) {
        Reply::Error(why) => Err(why),
        told => Ok(told),
    })
}

/// The last acked value, or one tried later, whose failure may have been none.
fn hot_key_is_there(node: &str, resp: &mut Resp, writer: &Writer) {
    let question = format!("STARLING.GET {}", writer.hot_key());
    let answer = resp.ask(&question);
    let Reply::Array(got) = told(resp, &question, answer) else {
        panic!("no answer of STARLING.GET");
    };
    let Reply::Array(values) = &got[1] else { panic!("no values: {got:?}") };
    let newest = values.iter().map(|v| v.text().parse::<u64>().unwrap()).max();
    let (acked, tried) = writer.hot;
    assert!(
        newest.unwrap_or_default() >= acked && newest.unwrap_or_default() <= tried,
        "{}: {acked} was acked, {tried} tried, {values:?} read through {node}",
        writer.hot_key()
    );
}

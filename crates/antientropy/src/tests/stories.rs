//! Two nodes on a perfect network; what crosses it, in words.

use std::sync::Arc;

use starling_wire::Message;
use starling_wire::replica::{Merged, Read, ReadAnswer, Shown};
use starling_wire::sync::{Compare, Compared, Swept};

use super::*;
use crate::page::Slice;
use crate::{Effect, Errand, Event, Held};

/// Node 1, which walks, and node 2.
struct Two {
    sweeps: [Sweep; 2],
    replicas: [Replica; 2],
    now: u64,
    said: Vec<String>,
    /// Node 2 is deaf.
    cut: bool,
    /// The damaged token of each node.
    damaged: [Option<Token>; 2],
    /// The token of each node whose rows the disk does not give.
    unread: [Option<Token>; 2],
}

impl Two {
    fn with(ours: &[(&str, Record)], theirs: &[(&str, Record)]) -> Self {
        let replica = |rows: &[(&str, Record)]| rows.iter().map(|(k, r)| (key(k), r.clone())).collect();
        let mut two = Self {
            sweeps: [in_layout(1, &[2], at(0)), in_layout(2, &[1], at(0))],
            replicas: [replica(ours), replica(theirs)],
            now: 0,
            said: Vec::new(),
            cut: false,
            damaged: [None; 2],
            unread: [None; 2],
        };
        two.peers(true);
        two
    }

    fn peers(&mut self, up: bool) {
        for me in 0..2 {
            let peer = node(2 - me as u64);
            self.event(me, if up { Event::Up(peer) } else { Event::Down(peer) });
        }
    }

    fn event(&mut self, me: usize, event: Event) {
        let mut out = Vec::new();
        self.sweeps[me].handle(at(self.now), event, &mut out);
        out.into_iter().for_each(|effect| self.carry_out(me, effect));
    }

    fn carry_out(&mut self, me: usize, effect: Effect) {
        match effect {
            Effect::Scan(ticket, from) => {
                let damaged = self.damaged[me].is_some_and(|token| from <= token);
                let mut rows = rows(&self.replicas[me], from);
                if let Some(token) = self.unread[me] {
                    rows.entries.retain(|(key, _)| key.token() != token);
                    rows.unreadable.push(token..=token);
                }
                let rows = (!damaged).then_some(rows);
                self.event(me, Event::Scanned(ticket, rows));
            }
            Effect::ReadHere(errand, key) => {
                let record = self.replicas[me].get(&key).cloned().unwrap_or_default();
                self.event(me, Event::ReadHere(errand, Some(Arc::new(record))));
            }
            Effect::MergeHere(errand, key, record) => {
                self.said.push(format!("merge {} here", name(&key)));
                self.merge(me, key, &record);
                self.event(me, Event::MergedHere(errand, true));
            }
            Effect::Send(_, exchange, message) => self.send(me, exchange, message),
            Effect::Pulled { partition, held, .. } => {
                let word = match held {
                    Held::All => "whole",
                    Held::Synced => "what is synced",
                    Held::Part => "partly",
                };
                self.said.push(format!("{partition} pulled {word}"));
            }
        }
    }

    fn merge(&mut self, me: usize, key: QualifiedKey, record: &Record) {
        self.event(me, Event::Staged(partition(&key)));
        let held = self.replicas[me].entry(key.clone()).or_default();
        *held = held.merge(record).record;
        self.event(me, Event::Committed(partition(&key)));
    }

    fn send(&mut self, from: usize, exchange: ExchangeId, message: Message) {
        let word = match &message {
            Message::Compare(_) => "compare".into(),
            Message::Compared(Compared::Same) => "same".into(),
            Message::Compared(Compared::Different { entries, .. }) => format!("have {}", entries.len()),
            Message::Compared(Compared::Partial { entries, .. }) => format!("have perhaps {}", entries.len()),
            Message::Compared(Compared::Unreadable) => "unreadable".into(),
            Message::Fetch(read) => format!("fetch {}", name_of(read)),
            Message::Fetched(ReadAnswer::Same) => "same by now".into(),
            Message::Fetched(_) => "record".into(),
            Message::Merge(merge) => format!("merge {} there", String::from_utf8_lossy(merge.key.as_bytes())),
            Message::Merged(_) => "merged".into(),
            Message::Swept(swept) => if swept.equal { "all equal" } else { "not all equal" }.into(),
            other => panic!("{other:?}"),
        };
        self.said.push(word);
        if !self.cut {
            self.deliver(1 - from, exchange, message);
        }
    }

    fn deliver(&mut self, me: usize, exchange: ExchangeId, message: Message) {
        let peer = node(2 - me as u64);
        let errand = Errand { peer, exchange };
        match message {
            Message::Compare(compare) => self.event(me, Event::Asked(peer, exchange, compare)),
            Message::Compared(answer) => self.event(me, Event::Compared(peer, exchange, answer)),
            Message::Fetch(read) => {
                let key = QualifiedKey::new(0, read.bucket, read.key);
                let record = self.replicas[me].get(&key).cloned().unwrap_or_default();
                let same = read.digest == Some(record.digest());
                let answer = if same {
                    ReadAnswer::Same
                } else {
                    ReadAnswer::Record(Shown { record: record.encode(), props: 1 })
                };
                self.send(me, exchange, Message::Fetched(answer));
            }
            Message::Fetched(answer) => self.event(me, Event::Fetched(errand, answer)),
            Message::Merge(merge) => {
                let key = QualifiedKey::new(0, merge.bucket, merge.key);
                self.merge(me, key, &Record::decode(&merge.record).unwrap());
                self.send(me, exchange, Message::Merged(Merged::Done { durable: true }));
            }
            Message::Merged(_) => {
                assert!(self.sweeps[me].awaits(errand));
                self.event(me, Event::Merged(errand, true));
            }
            Message::Swept(swept) => self.event(me, Event::Swept(peer, swept)),
            other => panic!("{other:?}"),
        }
    }

    /// Lets time pass up to `ms`; what was said is returned.
    fn until(&mut self, ms: u64) -> Vec<String> {
        for _ in 0..10_000 {
            let due = self.sweeps.iter().filter_map(Sweep::next_deadline).min();
            let due = due.map(|due| due.since(Instant::ORIGIN)).filter(|d| d.as_millis() <= ms.into());
            let Some(due) = due else {
                self.now = ms;
                return std::mem::take(&mut self.said);
            };
            // Up to the next millisecond: the clock here is a coarse one.
            self.now = self.now.max(due.as_nanos().div_ceil(1_000_000) as u64);
            (0..2).for_each(|me| self.event(me, Event::Tick));
        }
        panic!("it spins");
    }

    fn behind(&self) -> [usize; 2] {
        [self.sweeps[0].behind(), self.sweeps[1].behind()]
    }
}

fn name(key: &QualifiedKey) -> String {
    String::from_utf8_lossy(key.key().as_bytes()).into_owned()
}

fn name_of(read: &Read) -> String {
    String::from_utf8_lossy(read.key.as_bytes()).into_owned()
}

/// Ten keys.
fn ten() -> Vec<(&'static str, Record)> {
    ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"].into_iter().map(|k| (k, record(9))).collect()
}

#[test]
fn equal_pages_cost_one_message_each_way() {
    let mut two = Two::with(&ten(), &ten());
    assert_eq!(two.behind(), [4, 4], "nothing was compared yet");
    assert_eq!(two.sweeps[0].proved_through(), None);
    let said = two.until(2_000);
    assert_eq!(said, ["compare", "same", "compare", "same", "compare", "same", "all equal"]);
    assert_eq!(two.behind(), [0, 0]);
    let counters = two.sweeps[0].counters();
    assert_eq!((counters.pages, counters.passes, counters.differences), (3, 1, 0));
    let proved = two.sweeps.each_ref().map(|s| s.proved_through().unwrap().millis() - 1_000_000);
    assert!(proved.iter().all(|ms| (1_000..1_500).contains(ms)), "when the pass began: {proved:?}");
    assert_eq!(two.until(60_000), Vec::<String>::new(), "a period is not over");
    assert_eq!(two.until(100_000).len(), 7);
}

#[test]
fn what_is_missing_here_comes_and_what_is_missing_there_goes() {
    let mut two = Two::with(&[("a", record(9)), ("b", record(9))], &[("b", record(9)), ("c", record(9))]);
    let said = two.until(1_600);
    let mut repairs = vec!["compare", "have 2"];
    match key("a") < key("c") {
        true => repairs.extend(["fetch a", "record", "merge a there", "merged", "fetch c", "record"]),
        false => repairs.extend(["fetch c", "record", "fetch a", "record", "merge a there", "merged"]),
    }
    repairs.extend(["merge c here", "not all equal"]);
    let (mut want, mut got) = (repairs.clone(), said.clone());
    want.sort_unstable();
    got.sort_unstable();
    assert_eq!(got, want, "{said:?}");
    assert_eq!(two.replicas[0], two.replicas[1]);
    assert_eq!(two.replicas[0].len(), 3);
    assert_eq!(two.behind(), [4, 4], "repaired, and not yet compared again");
    assert_eq!(two.until(4_000), ["compare", "same", "all equal"]);
    assert_eq!(two.behind(), [0, 0]);
    let counters = two.sweeps[0].counters();
    assert_eq!((counters.differences, counters.repaired), (2, 2));
}

#[test]
fn what_differs_is_merged_into_both_and_an_older_record_only_where_it_is() {
    let (old, new) = (record(9), write(&record(9), 8, 2_000));
    let mut two = Two::with(&[("a", record(1))], &[("a", record(2))]);
    two.until(1_600);
    assert_eq!(two.replicas[0], two.replicas[1]);
    assert_eq!(two.replicas[0][&key("a")].siblings().len(), 2);
    assert_eq!(two.sweeps[0].counters().repaired, 2);

    let mut two = Two::with(&[("a", old.clone())], &[("a", new.clone())]);
    let said = two.until(1_600);
    assert_eq!(said, ["compare", "have 1", "fetch a", "record", "merge a here", "not all equal"]);

    let mut two = Two::with(&[("a", new)], &[("a", old)]);
    let said = two.until(1_600);
    assert_eq!(said, ["compare", "have 1", "fetch a", "record", "merge a there", "merged", "not all equal"]);
}

/// The pages were read while a write was on its way from one disk to the other.
#[test]
fn a_difference_that_is_gone_when_it_is_looked_at_again_is_none() {
    let (ours, theirs) = ([("a", record(9))], [("a", record(1))]);
    let mut two = Two::with(&ours, &theirs);
    two.until(900);
    two.cut = true;
    two.until(1_600);
    two.cut = false;
    // Node 2 answers with its old page, and holds the new record by then.
    let through = Token::from_bits(u64::MAX);
    let page = Slice::cut(&all(), Token::from_bits(0), through, rows(&two.replicas[1], Token::from_bits(0)));
    let answer = Compared::Different { through, entries: page.list() };
    two.replicas[1] = two.replicas[0].clone();
    // The first question is the first number: it is still open.
    two.event(0, Event::Compared(node(2), ExchangeId::from_bits((1 << 64) + 1), answer));
    assert_eq!(two.until(1_700), ["fetch a", "same by now", "all equal"]);
    assert_eq!(two.sweeps[0].counters().differences, 0);
    assert_eq!(two.behind()[0], 0);
}

#[test]
fn a_change_is_behind_until_a_pass_that_began_after_it() {
    let mut two = Two::with(&ten(), &ten());
    two.until(2_000);
    let p = partition(&key("a"));
    two.event(1, Event::Staged(p));
    assert_eq!(two.behind(), [0, 1], "on its way to disk");
    two.event(1, Event::Committed(p));
    assert_eq!(two.behind(), [0, 1]);
    two.until(100_000);
    assert_eq!(two.behind(), [0, 0]);
}

/// A frame of the pass's first page that comes again must not make later changes look compared.
#[test]
fn a_repeated_first_page_does_not_move_the_beginning_of_a_pass() {
    let mut two = Two::with(&[], &[]);
    let (from, through) = (Token::from_bits(0), Token::from_bits(u64::MAX));
    let nothing = Slice::cut(&all(), from, through, Rows::default());
    let compare = |first| Compare { pass: 5, first, from, through, fingerprint: nothing.fingerprint() };
    let exchange = ExchangeId::from_bits(1);
    two.event(1, Event::Asked(node(1), exchange, compare(true)));
    two.event(1, Event::Committed(partition(&key("a"))));
    two.event(1, Event::Asked(node(1), exchange, compare(true)));
    two.event(1, Event::Swept(node(1), Swept { pass: 5, equal: true }));
    assert_eq!(two.behind()[1], 1);
    two.event(1, Event::Swept(node(1), Swept { pass: 6, equal: true }));
    assert_eq!(two.behind()[1], 1, "a pass whose beginning was not seen proves nothing");
}

#[test]
fn a_peer_that_goes_is_left_alone_and_the_walk_goes_on_when_it_is_back() {
    let mut two = Two::with(&ten(), &[]);
    two.until(900);
    two.cut = true;
    assert_eq!(two.until(1_600), ["compare"]);
    assert_eq!(two.until(3_600), ["compare"], "asked again after a silence");
    two.peers(false);
    assert_eq!(two.until(60_000), Vec::<String>::new());
    assert_eq!(two.sweeps[0].next_deadline(), None);
    two.cut = false;
    two.peers(true);
    two.until(61_000);
    assert_eq!(two.replicas[1], two.replicas[0]);
    two.until(70_000);
    assert_eq!(two.behind(), [0, 0]);
}

#[test]
fn few_records_are_under_way_at_a_time_and_a_silent_one_is_left_to_the_next_pass() {
    let mut walker = in_layout(1, &[2], at(0));
    let mut step = |ms, event| {
        let mut out = Vec::new();
        walker.handle(at(ms), event, &mut out);
        (out, walker.next_deadline())
    };
    step(0, Event::Up(node(2)));
    let (out, _) = step(2_000, Event::Tick);
    let [Effect::Scan(ticket, _)] = out[..] else { panic!("{out:?}") };
    let entries = (0..40).map(|n| (key(&format!("key-{n}")), record(9).digest())).collect();
    let (out, _) = step(2_000, Event::Scanned(ticket, Some(Rows { entries, ..Rows::default() })));
    let [Effect::Send(_, exchange, _)] = out[..] else { panic!("{out:?}") };
    let nothing = Compared::Different { through: Token::from_bits(u64::MAX), entries: Vec::new() };
    let (out, due) = step(2_000, Event::Compared(node(2), exchange, nothing));
    assert_eq!(out.len(), starling_types::limits::SWEEP_WINDOW);
    assert_eq!(due, Some(at(4_000).instant));
    let (out, _) = step(4_000, Event::Tick);
    assert_eq!(out.len(), starling_types::limits::SWEEP_WINDOW, "the next ones");
    let rest: Vec<Effect> = (3..=6).flat_map(|n| step(n * 2_000, Event::Tick).0).collect();
    let Some(Effect::Send(_, _, Message::Swept(swept))) = rest.last() else { panic!("{rest:?}") };
    assert!(!swept.equal, "nobody knows");
}

#[test]
fn damage_is_passed_over_and_counted_and_never_called_equal() {
    for damaged in 0..2 {
        let mut two = Two::with(&ten(), &[]);
        // Somewhere in the first partition.
        two.damaged[damaged] = Some(Token::from_bits(1 << 60));
        let said = two.until(1_900);
        assert_eq!(said.contains(&"unreadable".to_owned()), damaged == 1, "{said:?}");
        assert!(two.sweeps[damaged].counters().skipped > 0);
        assert_eq!(two.behind(), [4, 4]);
    }
    let mut two = Two::with(&ten(), &[]);
    two.damaged[0] = Some(Token::from_bits(1 << 60));
    two.until(60_000);
    let readable = two.replicas[0].keys().filter(|k| partition(k).0 > 0).count();
    assert_eq!(two.replicas[1].len(), readable, "what lies in other partitions was repaired");
}

#[test]
fn partitions_that_are_not_shared_are_not_compared() {
    let mut two = Two::with(&ten(), &[]);
    let some = Shared::new(bits(), [PartitionId(1), PartitionId(3)]);
    for (me, sweep) in two.sweeps.iter_mut().enumerate() {
        let shared = [(node(2 - me as u64), some.clone())].into();
        sweep.handle(at(0), Event::Layout { seed: 0, shared }, &mut Vec::new());
    }
    two.until(60_000);
    let shared = two.replicas[0].keys().filter(|k| some.holds(k.token()));
    assert!(two.replicas[1].keys().eq(shared));
    assert_eq!(two.behind(), [0, 0]);
}

#[test]
fn switched_off_it_answers_and_never_asks() {
    let mut off = Sweep::new(node(1), Pace::OFF, 1, ExchangeId::from_bits(1 << 64));
    let shared = [(node(2), all())].into();
    let mut out = Vec::new();
    off.handle(at(0), Event::Layout { seed: 0, shared }, &mut out);
    off.handle(at(0), Event::Up(node(2)), &mut out);
    assert!(out.is_empty() && off.next_deadline().is_none() && !off.is_on());
}

#[test]
fn what_was_lost_is_pulled_at_once_by_whoever_lost_it() {
    let mut two = Two::with(&[("a", record(9))], &[]);
    let home = partition(&key("a"));
    two.event(1, Event::Doubt(home, Held::Part));
    two.event(1, Event::Pull(home));
    let said = std::mem::take(&mut two.said);
    let repair = ["compare", "have 1", "fetch a", "record", "merge a here"];
    assert_eq!(said, [&repair[..], &[&format!("{home} pulled whole")]].concat());
    assert_eq!(two.replicas[0], two.replicas[1]);
    assert!(!two.sweeps[1].is_quiet());
    two.event(1, Event::Trust(home));
    assert!(two.sweeps[1].is_quiet());
}

#[test]
fn who_lost_something_says_so_and_is_asked_again_until_it_has_not() {
    let mut two = Two::with(&[], &[("a", record(9))]);
    let home = partition(&key("a"));
    two.event(0, Event::Doubt(home, Held::Part));
    two.event(1, Event::Doubt(home, Held::Part));
    two.event(1, Event::Pull(home));
    assert_eq!(std::mem::take(&mut two.said)[1], "have perhaps 0");
    assert!(two.until(150).is_empty());
    assert!(two.until(450).contains(&format!("{home} pulled partly")));
    two.event(0, Event::Trust(home));
    assert!(two.until(5_000).contains(&format!("{home} pulled whole")));
    let pulls = two.sweeps[1].counters().pulls;
    two.until(30_000);
    assert_eq!(two.sweeps[1].counters().pulls, pulls, "once is enough");
}

#[test]
fn who_lost_only_what_was_never_synced_says_so() {
    let mut two = Two::with(&[], &[("a", record(9))]);
    let home = partition(&key("a"));
    two.event(0, Event::Doubt(home, Held::Synced));
    two.event(1, Event::Doubt(home, Held::Part));
    two.event(1, Event::Pull(home));
    assert!(two.until(1_000).contains(&format!("{home} pulled what is synced")));
}

#[test]
fn a_pull_with_a_gap_is_none() {
    let mut two = Two::with(&[("a", record(9))], &[]);
    let home = partition(&key("a"));
    two.damaged[0] = Some(key("a").token());
    two.event(1, Event::Doubt(home, Held::Part));
    two.event(1, Event::Pull(home));
    assert_eq!(std::mem::take(&mut two.said), ["compare", "unreadable"]);
    two.damaged[0] = None;
    assert!(two.until(5_000).contains(&format!("{home} pulled whole")));
}

#[test]
fn who_cannot_read_a_range_is_no_source_for_it() {
    let mut two = Two::with(&[("a", record(9))], &[]);
    let home = partition(&key("a"));
    two.unread[0] = Some(key("a").token());
    two.event(1, Event::Doubt(home, Held::Part));
    two.event(1, Event::Pull(home));
    assert_eq!(
        std::mem::take(&mut two.said),
        ["compare", "have perhaps 0", &format!("{home} pulled partly")]
    );
    two.unread[0] = None;
    assert!(two.until(5_000).contains(&format!("{home} pulled whole")));
    assert_eq!(two.replicas[0], two.replicas[1]);
}

#[test]
fn what_cannot_be_read_elsewhere_leaves_a_range_whole() {
    let mut two = Two::with(&[("a", record(9))], &[]);
    let home = partition(&key("a"));
    two.unread[0] = bits().partitions().find(|p| *p != home).map(|p| *bits().range(p).start());
    two.event(1, Event::Doubt(home, Held::Part));
    two.event(1, Event::Pull(home));
    assert!(two.said.contains(&format!("{home} pulled whole")));
}

//! The membership machine of n0, with n1 and n2 played by hand: a message takes 1 ms.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use expect_test::ExpectFile;
use starling_gossip::{Config, Effect, Event, Gossip, Notice};
use starling_types::{Generation, Instant, NodeId, Now, WallTime};
use starling_wire::gossip::{Body, Claim, MemberInfo, Message, Record, Rumour, Status};

use crate::script::{below, say, timed};

const MS: Duration = Duration::from_millis(1);
const HELPER: NodeId = NodeId::from_bits(1);
const SILENT: NodeId = NodeId::from_bits(2);

pub struct Watch {
    machine: Gossip,
    text: String,
    now: Instant,
    began: Instant,
    /// The frames on their way to n0.
    coming: BTreeMap<(Instant, usize), (NodeId, Message)>,
    sent: usize,
    is_silent: bool,
    /// n2's word.
    incarnation: u64,
}

impl Watch {
    /// Three members that know each other.
    pub fn new() -> Self {
        let now = Instant::ORIGIN;
        let known = vec![(info(1), Status::Alive), (info(2), Status::Alive)];
        let mut watch = Self {
            machine: Gossip::new(Config::default(), info(0), known, 1, at(now)),
            text: String::new(),
            now,
            began: now,
            coming: BTreeMap::new(),
            sent: 0,
            is_silent: false,
            incarnation: 1,
        };
        for peer in [HELPER, SILENT] {
            watch.speak(peer, Body::Rumours, vec![Rumour::Record(record(peer, 1))]);
        }
        watch.run(5_000);
        watch.text.clear();
        watch.began = watch.now;
        watch
    }

    pub fn tell(&mut self, words: &str) {
        say(&mut self.text, words);
    }

    /// n2 answers nothing any more.
    pub const fn silence(&mut self) {
        self.is_silent = true;
    }

    /// n2 is alive after all, and says so.
    pub fn refute(&mut self) {
        self.is_silent = false;
        self.incarnation += 1;
        self.speak(SILENT, Body::Rumours, vec![Rumour::Record(record(SILENT, self.incarnation))]);
    }

    /// n1 suspects n2 as well.
    pub fn confirm(&mut self) {
        let claim = Claim {
            node: SILENT,
            generation: Generation(1),
            incarnation: self.incarnation,
            status: Status::Suspect,
            by: HELPER,
        };
        self.speak(HELPER, Body::Rumours, vec![Rumour::Claim(claim)]);
    }

    pub fn run(&mut self, ms: u64) {
        let until = self.now + Duration::from_millis(ms);
        while self.step(until) {}
        self.now = until;
    }

    /// Until n2 is what is waited for.
    pub fn run_until(&mut self, is_there: impl Fn(Status) -> bool) {
        let until = self.now + Duration::from_secs(60);
        while !is_there(self.machine.status(SILENT).unwrap()) {
            assert!(self.step(until), "it never is");
        }
    }

    pub fn end(self, expected: ExpectFile) {
        expected.assert_eq(&self.text);
    }

    fn step(&mut self, until: Instant) -> bool {
        let arrives = self.coming.first_key_value().map(|(&(at, _), _)| at);
        let due = self.machine.next_deadline();
        let Some(next) = arrives.into_iter().chain(due).min().filter(|next| *next <= until) else {
            return false;
        };
        self.now = self.now.max(next);
        let event = match arrives {
            Some(at) if at <= self.now => {
                let (_, (from, message)) = self.coming.pop_first().unwrap();
                Event::Message { from, message }
            }
            _ => Event::Tick,
        };
        self.handle(event);
        true
    }

    fn handle(&mut self, event: Event) {
        let words = match &event {
            Event::Message { from, message } => format!("<- {}: {}", name(*from), body(message)),
            _ => "a deadline has come".into(),
        };
        let line = timed(self.now.since(self.began), &format!("n0  {words}"));
        writeln!(self.text, "{line}").unwrap();
        let mut effects = Vec::new();
        self.machine.handle(at(self.now), event, &mut effects);
        for effect in effects {
            self.effect(effect);
        }
    }

    fn effect(&mut self, effect: Effect) {
        let words = match &effect {
            Effect::Send { to, message, .. } => format!("{}: {}", name(*to), body(message)),
            Effect::Notify(notice) => format!("the node: {}", heard(notice)),
        };
        writeln!(self.text, "{}", below(&words)).unwrap();
        if let Effect::Send { to, message, .. } = effect {
            self.answer(to, &message.body);
        }
    }

    /// The answers of n1 and n2 to the frames they are sent.
    fn answer(&mut self, peer: NodeId, said: &Body) {
        let answer = match said {
            _ if peer == SILENT && self.is_silent => return,
            Body::Ping { seq, .. } => Body::Ack { seq: *seq, wall: at(self.now).wall },
            Body::PingFor { seq, .. } if self.is_silent => Body::Unreached { seq: *seq },
            Body::PingFor { seq, .. } => Body::Reached { seq: *seq },
            _ => return,
        };
        self.speak(peer, answer, Vec::new());
    }

    fn speak(&mut self, from: NodeId, body: Body, rumours: Vec<Rumour>) {
        let incarnation = if from == SILENT { self.incarnation } else { 1 };
        let members = self.machine.digest();
        let message = Message { generation: Generation(1), incarnation, members, shared: 0, body, rumours };
        self.sent += 1;
        self.coming.insert((self.now + 2 * MS, self.sent), (from, message));
    }
}

fn body(message: &Message) -> String {
    let body = match &message.body {
        Body::Ping { .. } => "are you there?".into(),
        Body::Ack { .. } => "I am".into(),
        Body::PingFor { target, .. } => format!("ping {} for me", name(*target)),
        Body::Reached { .. } => "it answers".into(),
        Body::Unreached { .. } => "it does not answer".into(),
        Body::Rumours => "news".into(),
        Body::Compare { .. } => "here is what I know of everybody".into(),
        Body::Delta { .. } => "here is what you miss".into(),
    };
    let rumours = message.rumours.iter().map(|rumour| format!("; {}", self::rumour(rumour)));
    std::iter::once(body).chain(rumours).collect()
}

fn rumour(rumour: &Rumour) -> String {
    let (node, incarnation, status, by) = match rumour {
        Rumour::Record(record) => (record.info.node, record.incarnation, record.status, None),
        Rumour::Claim(claim) => (claim.node, claim.incarnation, claim.status, Some(claim.by)),
    };
    let by = by.map_or_else(String::new, |by| format!(", says {}", name(by)));
    format!("{}, incarnation {incarnation}, is {status:?}{by}", name(node)).to_lowercase()
}

fn heard(notice: &Notice) -> String {
    match notice {
        Notice::Alive(node) => format!("{} is alive", name(*node)),
        Notice::Suspect(node) => format!("{} is suspected", name(*node)),
        Notice::Dead(node) => format!("{} is dead", name(*node)),
        other => format!("{other:?}"),
    }
}

fn name(node: NodeId) -> String {
    format!("n{}", node.bits())
}

fn info(number: u8) -> MemberInfo {
    MemberInfo {
        node: NodeId::from_bits(number.into()),
        generation: Generation(1),
        name: format!("n{number}"),
        quic: ([10, 0, 0, number], 7400).into(),
        resp: None,
        http: None,
        zone: "z".into(),
        version: "1".into(),
    }
}

fn record(node: NodeId, incarnation: u64) -> Record {
    Record { info: info(node.bits() as u8), incarnation, status: Status::Alive }
}

fn at(instant: Instant) -> Now {
    let wall = WallTime::from_millis(1_750_000_000_000 + instant.nanos() / 1_000_000);
    Now { instant, wall, fraction: Now::fraction_of(instant.nanos()) }
}

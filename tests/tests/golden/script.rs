//! A story as text: a line for each event, and below it a line for each effect.

use std::fmt::Write;
use std::time::Duration;

use starling_node::{Effect, Event};
use starling_sim::Passed;
use starling_types::Instant;

use crate::names::Names;
use crate::words;

#[derive(Default)]
pub struct Script {
    pub text: String,
    pub names: Names,
    /// Off while a story is set up.
    pub on: bool,
    /// The first event of the story.
    began: Option<Instant>,
    /// When and where the last event came, and its line until it is written.
    now: (Instant, usize),
    heading: Option<String>,
}

impl Script {
    /// A sentence between the events.
    pub fn say(&mut self, words: &str) {
        say(&mut self.text, words);
    }

    pub fn hear(&mut self, at: Instant, node: usize, passed: Passed<'_>) {
        self.names.acting = node;
        match passed {
            Passed::In(event) => self.event(at, node, event),
            Passed::Out(effect) => self.effect(at, node, effect),
        }
    }

    fn event(&mut self, at: Instant, node: usize, event: &Event) {
        self.now = (at, node);
        let words = words::event(&mut self.names, event);
        let is_told = words.is_some();
        let line = words.map_or_else(|| because(&self.names, event), |words| format!("<- {words}"));
        let line = format!("n{node}  {line}");
        self.heading = Some(line);
        if is_told {
            self.head();
        }
    }

    fn effect(&mut self, at: Instant, node: usize, effect: &Effect) {
        if self.now != (at, node) {
            self.now = (at, node);
            self.heading = Some(format!("n{node}  starts"));
        }
        if let Some(words) = words::effect(&mut self.names, effect) {
            self.head();
            self.line(&below(&words));
        }
    }

    /// Writes the event that the effects below it follow from.
    fn head(&mut self) {
        if let Some(line) = self.heading.take() {
            let began = if self.on { *self.began.get_or_insert(self.now.0) } else { self.now.0 };
            self.line(&timed(self.now.0.since(began), &line));
        }
    }

    fn line(&mut self, line: &str) {
        if self.on {
            writeln!(self.text, "{line}").unwrap();
        }
    }
}

/// A line that is told only if effects follow from the event.
fn because(names: &Names, event: &Event) -> String {
    match event {
        Event::PeerUp(hello, _) => format!("connected to {}", names.node(hello.node)),
        Event::PeerDown(node) => format!("lost the connection to {}", names.node(*node)),
        Event::PeerMessage(from, _) => format!("gossip of {}", names.node(*from)),
        _ => "a deadline has come".into(),
    }
}

/// Adds a sentence in lines of their own.
pub fn say(text: &mut String, words: &str) {
    text.push_str(if text.is_empty() { "#" } else { "\n#" });
    let mut width = 1;
    for word in words.split(' ') {
        width += 1 + word.len();
        if width > 110 {
            text.push_str("\n#");
            width = 2 + word.len();
        }
        write!(text, " {word}").unwrap();
    }
    text.push_str("\n\n");
}

/// The line of an event.
pub fn timed(since: Duration, words: &str) -> String {
    format!("{:>7.1} ms  {words}", since.as_secs_f64() * 1e3)
}

/// The line of an effect.
pub fn below(words: &str) -> String {
    format!("{:16}-> {words}", "")
}

//! The bytes of every sample, in fixtures: nodes and clients of other versions sent and send them.

use std::collections::BTreeMap;

use super::*;

#[path = "../../../../tests/fixtures/sets.rs"]
mod sets;

#[test]
fn frames_are_written_as_they_always_were_and_all_that_ever_were_are_understood() {
    let mut counts = BTreeMap::new();
    let named = |message: Message| {
        let count = counts.entry(message.op()).or_insert(0);
        *count += 1;
        (format!("{}.{count:02}", message.name()), frame(message))
    };
    let today = samples().into_iter().map(named).collect();
    assert!(counts.keys().eq(Message::OPS), "a sample of each message");
    sets::hold("messages.txt", today, |name, frame| {
        let read = Envelope::decode(frame).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(name.starts_with(read.message.name()), "{name}: {read:?}");
    });
}

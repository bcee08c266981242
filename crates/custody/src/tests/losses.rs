//! Records that were lost come back.

use super::*;

#[test]
fn what_was_lost_is_surveyed_pulled_and_trusted_when_that_is_written_down() {
    let mut story = Story::of(3, 1);
    assert_eq!((story.word("default"), story.custody.state(P)), (Word::Full, State::Whole));
    story.event(Event::Lost(Losses::everything()));
    let found = "alarm: 1 partitions may have lost records when the store was last opened";
    assert_eq!(story.told(), ["doubt p0: Part", found, "scan p0", "store 1 and 0 ranges"]);
    assert_eq!(story.word("default"), Word::None);
    story.store(true);
    story.survey(&[]);
    assert_eq!((story.told(), story.from()), (vec!["pull p0".to_owned()], set([2, 3])));
    story.pulled(3, Held::All);
    assert_eq!((story.told(), story.from()), (vec![], set([2])));
    assert_eq!(story.word("default"), Word::None, "one of two");
    story.pulled(2, Held::All);
    assert_eq!(story.told(), ["store 0 and 0 ranges"]);
    assert_eq!((story.word("default"), story.custody.count()), (Word::Full, 1), "it is not written down");
    story.store(true);
    assert_eq!(story.told(), ["trust p0", "recovered"]);
    assert_eq!((story.word("default"), story.custody.state(P)), (Word::Full, State::Whole));
    assert_eq!((story.custody.counters().doubted, story.custody.counters().refilled), (1, 1));
    assert_eq!(story.custody.next_deadline(), None);
}

#[test]
fn a_partition_that_the_disk_does_not_write_down_as_whole_stays_unsure() {
    let mut story = Story::pulling(3);
    story.pulled(2, Held::All);
    story.pulled(3, Held::All);
    story.store(false);
    assert_eq!((story.told(), story.custody.count()), (vec!["store 0 and 0 ranges".to_owned()], 1));
    assert_eq!(story.tick(), Duration::from_secs(1));
    assert_eq!(story.told(), ["store 0 and 0 ranges"]);
    story.store(true);
    assert_eq!(story.told(), ["trust p0", "recovered"]);
}

#[test]
fn a_source_that_lost_something_itself_counts_when_it_has_been_pulled_whole() {
    let mut story = Story::pulling(3);
    story.pulled(2, Held::All);
    story.pulled(3, Held::Part);
    assert_eq!(story.told(), ["alarm: partition p0: only 1 of 2"]);
    assert!(matches!(story.custody.state(P), State::Unsure { is_short: true, .. }));
    story.pulled(3, Held::All);
    assert_eq!(story.told(), ["store 0 and 0 ranges"]);
    story.store(true);
    assert_eq!(story.told(), ["trust p0", "recovered"]);
}

#[test]
fn losses_from_before_there_was_a_layout_are_placed_by_the_first() {
    let mut story = Story::of(3, 0);
    story.custody = Custody::new(node(1));
    story.event(Event::Lost(Losses::everything()));
    story.event(Event::LaterLife(Generation(4)));
    assert_eq!(story.told(), ["raise 4"], "nothing is lost that belongs anywhere");
    story.event(Event::Layout(holdings([0, 2], &[set(1..=3)])));
    let found = "alarm: 2 partitions may have lost records when the store was last opened";
    let begun = ["doubt p0: Part", "doubt p2: Part", found, "scan p0", "scan p2", "store 2 and 0 ranges"];
    assert_eq!(story.told(), begun);
}

#[test]
fn losses_of_what_is_not_held_here_any_more_are_forgotten() {
    let mut story = Story::of(3, 0);
    story.event(Event::Lost(Losses::everything()));
    story.told();
    assert_eq!(story.stores.remove(0).1, Losses::NONE);
}

#[test]
fn a_later_life_is_counted_beyond_when_all_that_is_lost_is_written_down() {
    let mut story = Story::of(3, 1);
    story.event(Event::LaterLife(Generation(4)));
    assert_eq!(story.told(), ["doubt p0: Part", "scan p0", "store 1 and 0 ranges"]);
    story.store(false);
    assert!(story.told().is_empty());
    story.tick();
    assert_eq!(story.told(), ["store 1 and 0 ranges"]);
    story.store(true);
    assert_eq!(story.told(), ["raise 4"]);
}

#[test]
fn rows_that_cannot_be_read_are_given_up_when_every_source_that_counts_was_pulled() {
    let mut story = Story::of(3, 2);
    story.event(Event::Damaged(vec![row(0, 1)]));
    let alarm =
        "alarm: stored records are damaged: their partitions are pulled from other owners; check the disk";
    assert_eq!(story.told(), ["doubt p0: Part", alarm, "scan p0", "store 1 and 0 ranges"]);
    story.event(Event::Note(7));
    assert!(story.told().is_empty(), "it is not written down yet");
    story.store(false);
    assert!(story.told().is_empty());
    story.tick();
    assert_eq!(story.told(), ["store 1 and 0 ranges"]);
    story.store(true);
    assert_eq!(story.told(), ["noted 7"]);
    story.event(Event::Damaged(vec![row(0, 1), row(0, 2)]));
    assert!(story.told().is_empty(), "found before anything is pulled");
    story.event(Event::Note(8));
    assert_eq!(story.told(), ["noted 8"], "that something is lost there is written down");
    story.survey(&[row(0, 2), row(0, 3), row(1, 9)]);
    story.told();
    story.pulled(2, Held::All);
    assert!(story.told().is_empty());
    story.pulled(3, Held::All);
    assert_eq!(story.told(), ["discard p0"; 3], "and nothing of the next partition");
    story.discard(true);
    story.discard(false);
    story.discard(true);
    assert!(story.told().is_empty(), "the disk refused one");
    assert_eq!(story.tick(), Duration::from_secs(1));
    assert_eq!(story.told(), ["discard p0"; 3]);
    (0..3).for_each(|_| story.discard(true));
    assert_eq!(story.told(), ["store 0 and 0 ranges"]);
}

#[test]
fn answers_to_an_earlier_attempt_give_up_nothing() {
    let mut story = Story::lost(3, 1);
    story.survey(&[row(0, 1), row(0, 2)]);
    story.pulled(2, Held::All);
    story.pulled(3, Held::All);
    let late = std::mem::take(&mut story.discards);
    story.event(Event::Damaged(vec![row(0, 3)]));
    story.survey(&[]);
    story.pulled(2, Held::All);
    story.pulled(3, Held::All);
    story.store(true);
    story.store(true);
    for (partition, ticket, _) in late {
        story.event(Event::GaveUp(partition, ticket, true));
    }
    assert_eq!(story.discards.len(), 3);
    story.discard(true);
    assert!(story.stores.is_empty(), "two are not given up");
    story.discard(true);
    story.discard(true);
    assert_eq!(story.stores.len(), 1);
}

#[test]
fn damage_that_is_found_later_makes_void_what_was_pulled() {
    let mut story = Story::pulling(3);
    story.pulled(2, Held::All);
    story.event(Event::Damaged(vec![row(0, 1)]));
    assert_eq!(story.told()[..2], ["doubt p0: Part", "scan p0"]);
    assert_eq!(story.word("default"), Word::None);
    story.survey(&[]);
    story.pulled(3, Held::All);
    assert_eq!(story.from(), set([2]), "it is to be asked again");
}

#[test]
fn what_the_disk_does_not_give_holds_up_its_own_partition_alone() {
    let mut story = Story::lost(3, 4);
    let unread = |p: PartitionId| Surveyed { unread: vec![row(p.0, 1)], ..Surveyed::default() };
    for _ in 0..2 {
        let (partition, ticket) = story.scans.remove(0);
        story.event(Event::Page(partition, ticket, Some(unread(partition))));
    }
    assert_eq!(story.told(), ["scan p2", "scan p3"]);
    let (partition, ticket) = story.scans.remove(0);
    story.event(Event::Page(partition, ticket, None));
    story.survey(&[]);
    assert_eq!(story.told(), ["pull p3"]);
    assert_eq!((story.tick(), story.told()), (Duration::from_secs(1), vec!["scan p2".to_owned()]));
    assert_eq!(story.tick(), Duration::from_secs(14));
    assert_eq!(story.told(), ["scan p0"], "two at a time");
    story.survey(&[]);
    assert_eq!(story.told(), ["pull p2", "scan p1"]);
}

#[test]
fn a_survey_ends_with_its_partition() {
    let mut story = Story::lost(3, 2);
    let (partition, ticket) = story.scans.remove(0);
    let page = |next: Token| Some(Surveyed { next: Some(first_row(next)), ..Surveyed::default() });
    let last = *bits().range(P).end();
    story.event(Event::Page(partition, ticket, page(last)));
    assert_eq!(story.told(), ["scan p0"]);
    story.event(Event::Page(partition, ticket, page(Token::from_bits(last.bits() + 1))));
    assert_eq!(story.told(), ["pull p0"]);
    story.event(Event::Page(partition, ticket, page(last)));
    assert!(story.told().is_empty(), "nobody waits for it");
}

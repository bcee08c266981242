//! Partitions that come and go with layouts.

use super::*;

const V2: LayoutVersion = LayoutVersion(2);

/// Node 1 joins [`P`], whose owners were 2, 3 and 4.
fn joiner() -> Story {
    let mut story = Story::of(4, 0);
    story.event(Event::Layout(holdings([0], &[set(2..=4)])));
    story.event(Event::Joined(P, V2));
    assert_eq!(story.told(), ["doubt p0: Part", "scan p0", "store 1 and 0 ranges"]);
    assert_eq!(story.word("default"), Word::None, "unsure from birth");
    story.store(true);
    story.survey(&[]);
    assert_eq!((story.told(), story.from()), (vec!["pull p0".to_owned()], set([2, 3, 4])));
    story
}

fn shows(story: &mut Story, source: u64, fence: LayoutVersion) {
    story.event(Event::Pulled { partition: P, source: node(source), held: Held::All, fence });
}

#[test]
fn a_joiner_is_complete_after_enough_owners_that_had_fenced_off_the_layout_before() {
    let mut story = joiner();
    shows(&mut story, 2, V2);
    shows(&mut story, 3, LayoutVersion::FIRST);
    assert!(story.told().is_empty());
    assert_eq!(
        (story.word("default"), story.from()),
        (Word::None, set([3, 4])),
        "3 may have taken a write since"
    );
    shows(&mut story, 4, V2);
    assert_eq!(story.told(), ["store 0 and 0 ranges"]);
    story.store(true);
    assert_eq!(
        (story.told(), story.word("default")),
        (vec!["trust p0".into(), "recovered".into()], Word::Full)
    );
}

#[test]
fn a_joiner_asks_as_many_as_the_least_w_asks_for_of_owners_that_it_is_none_of() {
    let mut story = joiner();
    let lowest = BucketProps { least_w: Some(1), ..BucketProps::default() };
    story.event(Event::Rules([(BucketName::default_bucket(), lowest)].into()));
    shows(&mut story, 2, V2);
    shows(&mut story, 3, V2);
    assert_eq!(story.word("default"), Word::None, "one ack may be that of the third");
    shows(&mut story, 4, V2);
    assert_eq!(story.word("default"), Word::Full);
}

#[test]
fn a_joiner_hears_enough_of_each_layout_that_is_live() {
    let mut story = joiner();
    story.event(Event::Layout(holdings([0], &[set(2..=4), set(4..=6)])));
    story.event(Event::Joined(P, LayoutVersion(3)));
    story.survey(&[]);
    story.told();
    (2..=4).for_each(|n| shows(&mut story, n, LayoutVersion(3)));
    assert!(story.told().iter().all(|words| !words.starts_with("discard")));
    assert_eq!((story.word("default"), story.from()), (Word::None, set([5, 6])), "one of the second set");
    shows(&mut story, 5, LayoutVersion(3));
    assert_eq!(story.word("default"), Word::Full);
}

#[test]
fn a_joiner_that_is_none_any_more_pulls_nothing() {
    let mut story = joiner();
    story.event(Event::Layout(holdings([], &[])));
    assert_eq!(story.told(), ["leave p0", "store 0 and 0 ranges"]);
    assert_eq!((story.custody.count(), story.custody.state(P)), (0, State::Whole));
    shows(&mut story, 2, V2);
    assert!(story.told().is_empty());
}

#[test]
fn owners_that_leave_do_not_count_and_a_pull_that_lacked_only_them_is_over() {
    let mut story = Story::pulling(5);
    story.pulled(4, Held::All);
    story.pulled(5, Held::All);
    story.event(Event::Layout(holdings([0], &[set(1..=4)])));
    assert_eq!((story.word("default"), story.from()), (Word::None, set([2, 3])));
    story.event(Event::Layout(holdings([0], &[set([1, 4, 5])])));
    assert_eq!((story.word("default"), story.told()), (Word::Full, vec!["store 0 and 0 ranges".to_owned()]));
}

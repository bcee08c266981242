//! The answers given meanwhile, and an operator's acceptance.

use super::*;

#[test]
fn a_bucket_waits_for_no_more_than_its_own_least_w_asks_for() {
    let mut story = Story::pulling(5);
    story.pulled(2, Held::All);
    assert_eq!((story.word("lax"), story.word("default")), (Word::Full, Word::None));
    assert_eq!(story.word("unheard-of"), Word::None, "as many as the strictest asks for");
    story.pulled(3, Held::All);
    story.pulled(4, Held::All);
    assert_eq!((story.word("default"), story.word("unheard-of")), (Word::Full, Word::Full));
}

#[test]
fn a_lower_least_w_asks_for_more_sources_and_never_for_more_than_there_are() {
    let mut story = Story::pulling(5);
    let lowest = BucketProps { least_w: Some(1), ..BucketProps::default() };
    story.event(Event::Rules([(BucketName::default_bucket(), lowest)].into()));
    (2..=4).for_each(|n| story.pulled(n, Held::All));
    assert_eq!((story.word("default"), story.from()), (Word::None, set([5])));
    story.pulled(5, Held::All);
    assert_eq!((story.word("default"), story.told()), (Word::Full, vec!["store 0 and 0 ranges".to_owned()]));
}

#[test]
fn with_too_few_whole_copies_what_is_held_counts_and_a_person_has_the_word() {
    let mut story = Story::pulling(3);
    story.accept(None, true);
    let not_yet = "refused: other owners are up and still being asked for what this node lost";
    assert_eq!(story.told(), [not_yet]);
    story.pulled(2, Held::Part);
    story.pulled(3, Held::All);
    assert_eq!(
        (story.told(), story.custody.short()),
        (vec!["alarm: partition p0: only 1 of 2".to_owned()], 1)
    );
    assert_eq!(story.word("default"), Word::OfWhatItHolds);
    assert!(story.word("default").counts(true) && !story.word("default").counts(false));
    story.accept(Some(PartitionId(3)), false);
    assert_eq!(story.told(), ["refused: this node may have lost nothing of partition p3"]);
    story.accept(None, false);
    assert_eq!(story.told(), ["store 0 and 0 ranges"]);
    assert_eq!(story.word("default"), Word::OfWhatItHolds, "until it is written down");
    story.store(true);
    assert_eq!(story.told()[..2], ["trust p0", "accepted 1"]);
    assert_eq!((story.word("default"), story.custody.counters().refilled_short), (Word::Full, 1));
    story.accept(None, false);
    assert_eq!(story.told(), ["accepted 0"]);
}

#[test]
fn owners_that_are_silent_are_passed_over_only_by_name() {
    let mut story = Story::pulling(3);
    story.pulled(2, Held::All);
    story.event(Event::Down(node(3)));
    story.accept(Some(P), false);
    let silent = format!("refused: owners that may have what this node lost do not answer ({})", node(3));
    assert_eq!(story.told(), [silent]);
    story.accept(Some(P), true);
    assert_eq!(
        (story.told(), story.word("default")),
        (vec!["store 0 and 0 ranges".to_owned()], Word::OfWhatItHolds)
    );
    story.store(true);
    assert_eq!(story.told()[..2], ["trust p0", "accepted 1"]);
}

#[test]
fn a_word_is_void_when_more_was_lost() {
    let mut story = Story::pulling(3);
    story.pulled(2, Held::Part);
    story.pulled(3, Held::All);
    story.accept(None, false);
    story.event(Event::Damaged(vec![row(0, 1)]));
    story.store(true);
    assert!(!story.told().contains(&"trust p0".to_owned()));
    assert_eq!(story.word("default"), Word::None);
    story.survey(&[]);
    story.pulled(2, Held::Part);
    story.pulled(3, Held::All);
    story.discard(true);
    assert_eq!(story.custody.short(), 1, "it is to be said again");
}

#[test]
fn an_only_copy_waits_for_a_person() {
    let mut story = Story::lost(1, 1);
    assert_eq!(story.word("default"), Word::None, "what can be read is not known");
    story.survey(&[]);
    assert_eq!(story.word("default"), Word::OfWhatItHolds);
    assert_eq!(story.custody.short(), 1);
}

#[test]
fn what_was_never_synced_is_served_after_an_exchange_with_all_owners() {
    let mut story = Story::of(3, 1);
    story.event(Event::Lost(Losses::of_unsynced([bucket("memory")].into())));
    assert_eq!(story.told()[0], "doubt p0: Synced");
    assert_eq!((story.word("default"), story.word("memory")), (Word::Full, Word::None));
    assert_eq!((story.stores[0].1.tokens.len(), story.stores[0].1.unsynced.len()), (0, 1));
    story.store(true);
    story.survey(&[]);
    story.pulled(2, Held::Synced);
    assert_eq!(story.word("memory"), Word::None);
    story.told();
    story.pulled(3, Held::Synced);
    assert_eq!((story.word("memory"), story.told()), (Word::Full, vec!["store 0 and 0 ranges".to_owned()]));
    story.store(true);
    let alarm = "alarm: partition p0 is served again though only 0 of 2";
    assert_eq!(story.told(), ["trust p0", alarm]);
}

#[test]
fn what_was_never_synced_is_served_though_others_lost_more() {
    let mut story = Story::of(3, 1);
    story.event(Event::Lost(Losses::of_unsynced(BTreeSet::new())));
    assert_eq!(
        (story.told()[0].as_str(), story.word("default")),
        ("doubt p0: Part", Word::None),
        "any bucket"
    );
    story.store(true);
    story.survey(&[]);
    story.pulled(2, Held::Part);
    story.pulled(3, Held::Part);
    assert_eq!((story.word("default"), story.custody.short()), (Word::Full, 0));
    story.store(true);
    assert!(story.told().contains(&"trust p0".to_owned()));
}

#[test]
fn an_owner_that_may_lack_what_was_not_synced_is_a_source_of_what_was() {
    let mut story = Story::pulling(3);
    story.pulled(2, Held::Synced);
    story.pulled(3, Held::Synced);
    assert_eq!((story.word("default"), story.word("memory")), (Word::Full, Word::Full), "all were heard");
    assert_eq!(story.told(), ["store 0 and 0 ranges"]);
}

#[test]
fn damage_among_what_was_never_synced_is_a_loss_of_what_was() {
    let mut story = Story::of(3, 1);
    story.event(Event::Lost(Losses::of_unsynced([bucket("memory")].into())));
    story.store(true);
    story.told();
    story.survey(&[row(0, 1)]);
    assert_eq!(story.told()[..2], ["doubt p0: Part", "pull p0"]);
    assert_eq!(story.word("default"), Word::None);
}

//! The limits of each try of a request, and the outcome of a request that was made twice.

use starling_types::limits;

use super::*;

const X: RequestId = RequestId::from_bits(0xab);

/// Issued at noon by a client that may go elsewhere after a second.
fn tries(attempt: u8) -> Tries {
    Tries {
        attempt,
        issued: WallTime::from_millis(NOON),
        window: WallTime::from_millis(NOON).after(limits::FIRST_TRY_WINDOW),
        elsewhere: Some(at(1_000)),
        is_new: false,
        is_known: false,
    }
}

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

/// A try of X. `seen: None` is blind.
fn try_of(text: &str, seen: Option<VersionVector>, tries: Tries) -> ClientWrite {
    ClientWrite { tries, ..client_write(X, "k", text, seen) }
}

fn asked(attempt: u8) -> Tries {
    Tries { is_new: true, ..tries(attempt) }
}

fn window_ends() -> Hlc {
    Hlc::from_parts(NOON + 1_000, 0)
}

impl Bench {
    fn made(&mut self, write: ClientWrite) -> OpId {
        let op = self.write(write);
        self.settle();
        assert!(self.is_committed(op), "{:?}", self.done.get(&op));
        op
    }

    fn pass(&mut self, ms: u64) {
        self.now.instant = at(ms);
        self.now.wall = WallTime::from_millis(NOON + ms);
    }
}

#[test]
fn a_try_that_may_not_be_the_first_is_made_only_when_others_were_asked() {
    let mut bench = Bench::warm();
    bench.pass(1_000);
    let late = bench.write(try_of("late", nothing(), tries(0)));
    bench.settle();
    assert_eq!(bench.refusal(late), &Refused::Late);
    let retry = bench.write(try_of("late", nothing(), tries(1)));
    assert_eq!(bench.refusal(retry), &Refused::Late);
    let made = bench.made(try_of("late", nothing(), asked(0)));
    assert!(bench.dot(made).hlc > window_ends(), "no first try's");
}

#[test]
fn a_later_try_s_dot_lies_beyond_the_window_and_does_not_move_the_clock_by_it() {
    let mut bench = Bench::warm();
    let retry = bench.made(try_of("v", nothing(), asked(1)));
    assert!(bench.dot(retry).hlc > window_ends());
    let first = bench
        .made(ClientWrite { tries: tries(0), ..client_write(RequestId::from_bits(7), "m", "v", nothing()) });
    assert!(bench.dot(first).hlc >= Hlc::from_parts(NOON, 0));
}

#[test]
fn a_lower_try_than_one_that_asked_here_is_not_made() {
    let mut bench = Bench::warm();
    assert!(bench.vnodes.claim(bench.now, X, qualified("k").token(), 1));
    let low = bench.write(try_of("v", nothing(), asked(0)));
    bench.settle();
    assert_eq!(bench.refusal(low), &Refused::Claimed);
    bench.made(try_of("v", nothing(), asked(1)));
}

#[test]
fn a_blind_first_try_replaces_nothing_from_beyond_its_window_but_what_no_right_clock_made() {
    let mut bench = Bench::warm();
    bench.merge(data("k"), foreign(9, 500, "in the window"), None, true);
    bench.merge(data("k"), foreign(8, 1_200, "beyond it"), None, true);
    bench.merge(data("k"), foreign(7, 86_400_000, "a day ahead"), None, true);
    bench.settle();
    let first = bench.made(try_of("mine", None, tries(0)));
    assert_eq!(values(&bench.look("k")), ["beyond it", "mine"]);
    assert!(bench.dot(first).hlc > Hlc::from_parts(NOON + 86_400_000, 0), "above all that is there");
    bench.put("k", "last", None);
    bench.settle();
    assert_eq!(values(&bench.look("k")), ["last"], "a request with one try replaces what it finds");
}

#[test]
fn a_blind_later_try_replaces_only_what_is_older_than_the_request() {
    let mut bench = Bench::warm();
    bench.merge(data("k"), foreign(9, 0, "before"), None, true);
    bench.merge(data("k"), foreign(8, 300, "since"), None, true);
    bench.settle();
    let retry = bench.made(try_of("mine", None, asked(1)));
    assert_eq!(values(&bench.look("k")), ["mine", "since"]);
    assert!(bench.staged[&retry].in_part, "and says so");
}

#[test]
fn where_the_last_write_wins_a_try_that_would_lose_at_once_is_not_made() {
    let mut bench = Bench::warm();
    bench.merge(data("k"), foreign(9, 0, "before"), None, true);
    bench.merge(data("l"), foreign(8, 300, "since"), None, true);
    bench.settle();
    let later = |key| ClientWrite { tries: asked(1), lww: true, ..client_write(X, key, "mine", None) };
    // Of what was issued before it, though minted late, it is the later one.
    let issued_before = Hlc::from_parts(NOON - 1, 0);
    let late = foreign_of_rank(7, 300, issued_before);
    bench.merge(data("m"), late, None, true);
    bench.settle();
    bench.made(ClientWrite { request: RequestId::from_bits(78), ..later("m") });
    let outranked = bench.write(later("l"));
    bench.settle();
    assert_eq!(bench.refusal(outranked), &Refused::Outranked);
    assert_eq!(values(&bench.look("l")), ["since"]);
    bench.made(later("k"));
    assert_eq!(values(&bench.look("k")), ["mine"]);
}

#[test]
fn a_blind_write_replaces_what_others_were_heard_to_hold_and_what_is_here_at_that_moment() {
    let mut bench = Bench::warm();
    let (here, there) = (foreign(9, 10, "here"), foreign(8, 20, "there"));
    bench.merge(data("k"), here, None, true);
    bench.settle();
    let mut write = client_write(X, "k", "mine", None);
    write.replaces = Replaces::All(there.context().clone());
    bench.made(write);
    bench.merge(data("k"), there, None, true);
    bench.settle();
    assert_eq!(values(&bench.look("k")), ["mine"]);
}

#[test]
fn what_another_owner_says_was_made_is_not_made_as_a_first_try() {
    let mut bench = Bench::warm();
    let known = Tries { is_known: true, ..tries(0) };
    let op = bench.write(try_of("mine", None, known));
    bench.settle();
    assert_eq!(bench.refusal(op), &Refused::Late);
}

#[test]
fn a_request_is_remembered_by_whatever_way_its_write_came() {
    let mut bench = Bench::warm();
    let mut other = Bench::warm();
    other.made(try_of("mine", None, tries(0)));
    let record = Record::clone(&other.look("k"));
    // A hint, a repair or a sweep: the merge does not say which request it was.
    bench.merge(data("k"), record, None, true);
    bench.settle();
    // So many are replaced afterwards that the record has forgotten it.
    for n in 0..=limits::DEAD_IDS {
        bench.put("k", &n.to_string(), None);
        bench.settle();
    }
    assert!(!bench.look("k").is_superseded(X));
    let retry = bench.made(try_of("mine", None, asked(1)));
    assert!(bench.staged[&retry].repeated, "it was made before");
    assert_eq!(values(&bench.look("k")), [limits::DEAD_IDS.to_string()]);
}

#[test]
fn a_retry_is_known_by_the_record_after_a_restart_and_when_its_write_was_replaced() {
    let mut bench = Bench::warm();
    let first = bench.made(try_of("mine", nothing(), tries(0)));
    let seen = bench.look("k").context().clone();
    let mut later =
        Bench::over(bench.synced.clone(), boot(BTreeMap::new(), Hlc::from_parts(NOON + 10_000, 0), 2));
    let retry = later.made(try_of("mine", nothing(), tries(1)));
    assert_eq!(later.dot(retry), bench.dot(first));
    assert_eq!(later.vnodes.counters().minted, 0);
    later.put("k", "next", Some(seen));
    later.settle();
    let mut last =
        Bench::over(later.synced.clone(), boot(BTreeMap::new(), Hlc::from_parts(NOON + 20_000, 0), 3));
    let again = last.write(try_of("mine", nothing(), asked(2)));
    last.settle();
    assert_eq!(last.refusal(again), &Refused::Superseded);
    assert_eq!(values(&last.look("k")), ["next"]);
}

/// The memory of ids knows what the record has forgotten.
#[test]
fn a_late_dot_of_a_request_that_was_replaced_is_replaced_with_it() {
    let mut bench = Bench::warm();
    let first = foreign(9, 10, "mine");
    let origin = Origin { request: X, dot: first.siblings()[0].dot };
    bench.merge(data("k"), first.clone(), Some(origin), true);
    bench.settle();
    bench.put("k", "next", Some(first.context().clone()));
    bench.settle();
    let dot = Dot { actor: ActorId::from_bits(8), hlc: Hlc::from_parts(NOON + 2_000, 0) };
    let seen = VersionVector::new();
    let twin = Record::default().write(Mint { id: Some(X), ..Mint::plain(&seen, dot, value("mine")) });
    bench.merge(data("k"), twin, Some(Origin { request: X, dot }), true);
    bench.settle();
    assert_eq!(values(&bench.look("k")), ["next"]);
}

#[test]
fn two_dots_of_a_request_are_one_value() {
    let mut bench = Bench::warm();
    bench.made(try_of("mine", nothing(), tries(0)));
    let dot = Dot { actor: ActorId::from_bits(8), hlc: Hlc::from_parts(NOON + 2_000, 0) };
    let seen = VersionVector::new();
    let twin = Record::default().write(Mint { id: Some(X), ..Mint::plain(&seen, dot, value("mine")) });
    bench.merge(data("k"), twin, Some(Origin { request: X, dot }), true);
    bench.settle();
    assert_eq!(bench.look("k").live(bench.now.wall).len(), 1);
    let next = bench.put("k", "next", nothing());
    bench.settle();
    assert_eq!(bench.staged[&next].siblings, 2);
}

#[test]
fn a_delete_stores_nothing_where_nobody_holds_anything() {
    let mut bench = Bench::warm();
    let mut delete = client_write(X, "k", "", None);
    delete.payload = Payload::Tombstone;
    delete.is_absent_elsewhere = true;
    let absent = bench.write(delete.clone());
    bench.settle();
    assert!(matches!(bench.done[&absent], Ok(Done::Absent)));
    assert!(!bench.written.contains_key(&data("k").row()));
    bench.put("k", "v", None);
    bench.settle();
    delete.request = RequestId::from_bits(0xcd);
    let stored = bench.write(delete);
    bench.settle();
    assert!(bench.is_committed(stored), "this replica holds something");
    assert!(bench.look("k").is_tombstone(bench.now.wall));
}

/// The record of a late try at another node.
fn foreign_of_rank(actor: u64, ms: u64, rank: Hlc) -> Record {
    let dot = Dot { actor: ActorId::from_bits(actor), hlc: Hlc::from_parts(NOON + ms, 0) };
    let seen = VersionVector::new();
    let mint = Mint::plain(&seen, dot, value("late"));
    Record::default().write(Mint { rank: Some(rank), ..mint })
}

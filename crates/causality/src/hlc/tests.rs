use proptest::prelude::*;
use starling_types::WallTime;

use super::*;

const NOON: u64 = 1_700_000_000_000;
const YEAR: u64 = 365 * 24 * 3_600_000;

fn at(ms: u64) -> Now {
    Now { wall: WallTime::from_millis(ms), ..Now::default() }
}

fn mint(clock: &mut HlcClock, ms: u64, above: Hlc) -> Hlc {
    clock.mint(at(ms), above).unwrap().hlc
}

#[test]
fn parts_order_display_and_saturation() {
    let time = Hlc::from_parts(NOON, 7);
    assert_eq!((time.millis(), time.counter()), (NOON, 7));
    assert_eq!(time.to_string(), "1700000000000.7");
    assert_eq!(Hlc::from_bits(time.bits()), time);
    assert_eq!(Hlc::from_parts(NOON, u16::MAX).next(), Hlc::from_parts(NOON + 1, 0));
    assert!(Hlc::from_parts(NOON, u16::MAX) < Hlc::from_parts(NOON + 1, 0));
    assert_eq!(Hlc::from_parts(u64::MAX, 0).millis(), (1 << 48) - 1);
    let end = Hlc::from_bits(u64::MAX);
    assert_eq!(end.next(), end);
}

#[test]
fn a_mint_follows_the_wall_and_then_the_counter() {
    let mut clock = HlcClock::new(Hlc::ZERO);
    assert_eq!(mint(&mut clock, NOON, Hlc::ZERO), Hlc::from_parts(NOON, 0));
    assert_eq!(mint(&mut clock, NOON - 5, Hlc::ZERO), Hlc::from_parts(NOON, 1));
    assert_eq!(mint(&mut clock, NOON + 9, Hlc::ZERO), Hlc::from_parts(NOON + 9, 0));
}

/// A node that has minted much in a millisecond against one that has minted nothing: the later write is later.
#[test]
fn within_a_millisecond_the_later_write_has_the_higher_time() {
    let within = |fraction| Now { fraction, ..at(NOON) };
    let (mut busy, mut idle) = (HlcClock::new(Hlc::ZERO), HlcClock::new(Hlc::ZERO));
    let set = (0..100).filter_map(|_| busy.mint(within(1_000), Hlc::ZERO)).last().unwrap();
    let delete = idle.mint(within(2_000), Hlc::ZERO).unwrap();
    assert!(delete.hlc > set.hlc, "{:?} after {:?}", delete.hlc, set.hlc);
}

#[test]
fn a_mint_above_an_outlying_time_leaves_the_clock_and_the_ceiling_alone() {
    let mut clock = HlcClock::new(Hlc::ZERO);
    mint(&mut clock, NOON, Hlc::ZERO);
    clock.lease(Hlc::from_parts(NOON + 450, 0));
    let far = Hlc::from_parts(NOON + YEAR, 3);
    let minted = clock.mint(at(NOON + 1), far).unwrap();
    assert_eq!(minted.hlc, far.next());
    assert_eq!(minted.outlying, Some(Duration::from_millis(YEAR - 1)));
    assert_eq!(clock.rides(at(NOON + 1), minted), None, "its record tells a restart");
    assert_eq!(clock.last(), Hlc::from_parts(NOON, 0));
    assert_eq!(
        mint(&mut clock, NOON + 2, Hlc::ZERO),
        Hlc::from_parts(NOON + 2, 0),
        "no other key is dragged along"
    );
    let second = clock.mint(at(NOON + 2), minted.hlc).unwrap();
    assert!(second.hlc > minted.hlc, "times rise by key and actor");
}

#[test]
fn a_bound_that_is_not_far_ahead_is_followed() {
    let mut clock = HlcClock::new(Hlc::ZERO);
    let near = Hlc::from_parts(NOON + 500, 0);
    assert_eq!(mint(&mut clock, NOON, near), near.next());
    assert_eq!(mint(&mut clock, NOON + 1, Hlc::ZERO), near.next().next());
}

#[test]
fn a_clock_follows_a_wall_that_was_set_back() {
    let mut clock = HlcClock::new(Hlc::from_parts(NOON + YEAR, 0));
    assert_eq!(clock.lead(at(NOON)), Duration::ZERO, "it will not be used");
    let minted = clock.mint(at(NOON), Hlc::ZERO).unwrap();
    assert_eq!(minted.hlc, Hlc::from_parts(NOON, 0));
    let ceiling = clock.rides(at(NOON), minted).expect("the old ceiling protects nothing");
    assert_eq!(ceiling, Hlc::from_parts(NOON + 450, 0));
    let mut within = HlcClock::new(Hlc::from_parts(NOON + 400, 0));
    assert_eq!(mint(&mut within, NOON, Hlc::ZERO), Hlc::from_parts(NOON + 400, 1), "a little ahead is kept");
}

#[test]
fn a_mint_that_passes_the_ceiling_names_the_next_one() {
    let mut clock = HlcClock::new(Hlc::ZERO);
    let first = clock.mint(at(NOON), Hlc::ZERO).unwrap();
    let ceiling = clock.rides(at(NOON), first).unwrap();
    assert_eq!(ceiling, Hlc::from_parts(NOON + 450, 0), "leased ahead by less than 500 ms");
    clock.lease(ceiling);
    clock.lease(Hlc::ZERO);
    assert_eq!(clock.rides(at(NOON), first), None, "an older lease takes nothing back");
    let later = clock.mint(at(NOON + 451), Hlc::ZERO).unwrap();
    assert!(clock.rides(at(NOON + 451), later).is_some());
}

#[test]
fn a_lease_is_wanted_when_half_of_it_is_used() {
    let mut clock = HlcClock::new(Hlc::ZERO);
    mint(&mut clock, NOON, Hlc::ZERO);
    clock.lease(clock.wants_lease().unwrap());
    mint(&mut clock, NOON + 225, Hlc::ZERO);
    assert_eq!(clock.wants_lease(), None);
    mint(&mut clock, NOON + 226, Hlc::ZERO);
    assert_eq!(clock.wants_lease(), Some(Hlc::from_parts(NOON + 676, 0)));
}

#[test]
fn remote_time_raises_the_clock_only_so_far() {
    let mut clock = HlcClock::new(Hlc::ZERO);
    clock.observe(Hlc::from_parts(NOON + 500, 0), at(NOON));
    assert_eq!(clock.last(), Hlc::from_parts(NOON + 500, 0));
    assert_eq!(clock.lead(at(NOON)), limits::HLC_MAX_LEAD);
    clock.observe(Hlc::from_bits(u64::MAX), at(NOON));
    clock.observe(Hlc::from_parts(NOON + 501, 0), at(NOON));
    assert_eq!(clock.lead(at(NOON)), limits::HLC_MAX_LEAD, "a runaway clock says nothing");
    assert_eq!(clock.lead(at(NOON + 10_000)), Duration::ZERO);
}

#[test]
fn at_the_end_of_time_nothing_is_minted_twice() {
    let end = Hlc::from_bits(u64::MAX);
    let mut clock = HlcClock::new(Hlc::ZERO);
    assert_eq!(mint(&mut clock, NOON, Hlc::from_bits(u64::MAX - 1)), end);
    assert_eq!(clock.mint(at(NOON), end), None);
    assert_eq!(mint(&mut clock, NOON, Hlc::ZERO), Hlc::from_parts(NOON, 0), "other keys go on");
}

#[derive(Debug, Clone)]
enum Step {
    Mint {
        key: usize,
        wall: u64,
    },
    /// A record from a clock that is wrong by this much is merged into the key's.
    Merge {
        key: usize,
        ahead: u64,
    },
    Observe {
        remote: u64,
    },
    /// The wall clock is set.
    Wall {
        ms: u64,
    },
    /// A clean stop, or one that left only what was durable.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let far = prop_oneof![0..2_000u64, Just(YEAR)];
    prop_oneof![
        8 => (0..3usize, 0..200u64).prop_map(|(key, wall)| Step::Mint { key, wall }),
        2 => (0..3usize, far.clone()).prop_map(|(key, ahead)| Step::Merge { key, ahead }),
        2 => far.clone().prop_map(|remote| Step::Observe { remote }),
        1 => far.prop_map(|ms| Step::Wall { ms }),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    /// For any course of the wall clock and any number of restarts from the durable ceiling: for one actor the times of
    /// a key rise, no mint but an outlying one is far ahead, and what was acked lies below the ceiling.
    #[test]
    fn mints_rise_by_key_and_the_clock_stays_near_its_wall(steps in prop::collection::vec(step(), 1..80)) {
        let (mut wall, mut durable) = (NOON, Hlc::ZERO);
        let mut clock = HlcClock::new(durable);
        let mut records = [Hlc::ZERO; 3];
        for step in steps {
            match step {
                Step::Restart => clock = HlcClock::new(durable),
                Step::Wall { ms } => wall = NOON + ms,
                Step::Observe { remote } => clock.observe(Hlc::from_parts(NOON + remote, 9), at(wall)),
                Step::Merge { key, ahead } => records[key] = records[key].max(Hlc::from_parts(NOON + ahead, 5)),
                Step::Mint { key, wall: passed } => {
                    wall += passed;
                    let above = records[key];
                    let minted = clock.mint(at(wall), above).unwrap();
                    prop_assert!(minted.hlc > above && minted.hlc.millis() >= wall);
                    if let Some(ceiling) = clock.rides(at(wall), minted) {
                        durable = ceiling;
                        clock.lease(ceiling);
                    }
                    let near = highest_ceiling(at(wall)).max(above).next();
                    prop_assert!(minted.hlc <= near, "{} is far ahead of {wall}", minted.hlc);
                    prop_assert!(minted.hlc <= durable || minted.outlying.is_some());
                    // One that lies at the ceiling itself is followed once more.
                    let dragged = clock.last() > highest_ceiling(at(wall)).next();
                    prop_assert!(minted.outlying.is_some() || !dragged);
                    records[key] = minted.hlc;
                }
            }
        }
    }
}

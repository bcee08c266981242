use proptest::prelude::*;

use super::*;

fn places(keys: &[u8]) -> Vec<BucketKey> {
    let place = |key: &u8| BucketKey(BucketName::default_bucket(), Key::new(vec![*key]).unwrap());
    keys.iter().map(place).collect()
}

fn begun(order: &mut Order<&'static str>) -> Vec<(u64, &'static str)> {
    std::iter::from_fn(|| order.begin()).collect()
}

#[test]
fn one_key_one_at_a_time_and_the_others_do_not_wait() {
    let mut order = Order::default();
    order.join(0, places(b"a"), 10, "set a");
    order.join(1, places(b"a"), 20, "get a");
    order.join(2, places(b"b"), 30, "set b");
    order.join(3, places(b"a"), 40, "del a");
    assert_eq!(begun(&mut order), [(0, "set a"), (2, "set b")]);
    assert_eq!((order.waiting_bytes(), order.has_waiting()), (60, true));
    order.leave(2);
    assert_eq!(begun(&mut order), []);
    order.leave(0);
    assert!(order.has_free());
    assert_eq!(begun(&mut order), [(1, "get a")]);
    order.leave(1);
    assert_eq!(begun(&mut order), [(3, "del a")]);
    assert_eq!((order.waiting_bytes(), order.has_waiting()), (0, false));
    order.leave(3);
    assert!(order.lines.is_empty() && order.commands.is_empty());
}

#[test]
fn a_command_of_several_keys_waits_for_all_and_all_wait_for_it() {
    let mut order = Order::default();
    order.join(0, places(b"a"), 1, "set a");
    order.join(1, places(b"b"), 1, "set b");
    order.join(2, places(b"bab"), 1, "mget b a b");
    order.join(3, places(b"b"), 1, "del b");
    assert_eq!(begun(&mut order), [(0, "set a"), (1, "set b")]);
    order.leave(1);
    assert_eq!(begun(&mut order), [], "a is not answered");
    order.leave(0);
    assert_eq!(begun(&mut order), [(2, "mget b a b")]);
    order.leave(2);
    assert_eq!(begun(&mut order), [(3, "del b")]);
}

#[test]
fn the_same_key_in_another_bucket_is_another_place() {
    let mut order = Order::default();
    let key = Key::new("k").unwrap();
    for (number, bucket) in [(0, 0), (1, 1), (2, 0)] {
        let place = BucketKey(BucketName::numbered(bucket).unwrap(), key.clone());
        order.join(number, vec![place], 1, "set k");
    }
    assert_eq!(begun(&mut order), [(0, "set k"), (1, "set k")]);
}

proptest! {
    /// For all keys and all orders of answers: each command begins once, after every earlier one that shares a key was
    /// answered and as soon as this is so; all come to their turn.
    #[test]
    fn whoever_shares_a_key_keeps_the_order_and_nobody_waits_for_anybody_else(
        commands in prop::collection::vec(prop::collection::vec(0u8..5, 1..4), 1..40),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 40),
        batch in 1usize..10,
    ) {
        let mut order = Order::default();
        let (mut answered, mut under_way, mut started) = (vec![], vec![], vec![]);
        let mut joined = 0;
        for pick in picks {
            for (number, keys) in commands.iter().enumerate().skip(joined).take(batch) {
                order.join(number as u64, places(keys), 1, "");
                joined = number + 1;
            }
            while let Some((number, _)) = order.begin() {
                under_way.push(number as usize);
                started.push(number as usize);
            }
            let shares = |a: usize, b: usize| commands[a].iter().any(|key| commands[b].contains(key));
            for number in 0..joined {
                let is_free = (0..number).all(|other| !shares(number, other) || answered.contains(&other));
                prop_assert_eq!(is_free, started.contains(&number), "{}", number);
            }
            if !under_way.is_empty() {
                let done = under_way.swap_remove(pick.index(under_way.len()));
                answered.push(done);
                order.leave(done as u64);
            }
        }
        prop_assert_eq!(answered.len(), commands.len());
        prop_assert!(order.lines.is_empty() && order.commands.is_empty() && !order.has_waiting());
        prop_assert_eq!(order.waiting_bytes(), 0);
    }
}

use proptest::prelude::*;

use super::*;

const N: u8 = 3;

fn node(n: u64) -> NodeId {
    NodeId::from_bits(n)
}

fn name(text: &str) -> BucketName {
    BucketName::new(text).unwrap()
}

/// One of few names, versions and nodes, so that they meet; what a node set under one version is one thing.
fn register() -> impl Strategy<Value = BucketRegister> {
    let names = prop::sample::select(vec!["default", "db1", "a", "b"]);
    (names, 1u64..4, 1u64..4).prop_map(|(text, version, by)| {
        let r = Some(u8::try_from(by).unwrap());
        let props = BucketProps { version, r, ..BucketProps::default() };
        BucketRegister { name: name(text), props, by: node(by) }
    })
}

fn table() -> impl Strategy<Value = BucketTable> {
    prop::collection::vec(register(), 0..8).prop_map(|registers| {
        let mut table = BucketTable::default();
        table.join(registers);
        table
    })
}

fn joined(a: &BucketTable, b: &BucketTable) -> BucketTable {
    let mut out = a.clone();
    out.join(b.changed());
    out
}

proptest! {
    #[test]
    fn joining_commutes_associates_and_does_nothing_twice(a in table(), b in table(), c in table()) {
        prop_assert_eq!(joined(&a, &b), joined(&b, &a));
        prop_assert_eq!(joined(&joined(&a, &b), &c), joined(&a, &joined(&b, &c)));
        prop_assert_eq!(&joined(&a, &a), &a);
        prop_assert!(!joined(&a, &b).clone().join(b.changed()));
        for register in a.registers().chain(b.registers()) {
            prop_assert!(joined(&a, &b).covers(&register.name, register.stamp()));
        }
    }

    #[test]
    fn equal_tables_and_only_they_have_equal_digests(a in table(), b in table()) {
        prop_assert_eq!(a == b, a.digest() == b.digest());
    }
}

#[test]
fn some_buckets_exist_from_the_start_and_need_not_be_told() {
    let table = BucketTable::default();
    assert_eq!(table.registers().count(), 16);
    for known in ["default", "db1", "db15"] {
        assert_eq!(table.props(&name(known)), Some(&BucketProps::default()));
    }
    assert!(table.props(&name("db16")).is_none() && table.props(&name("db0")).is_none());
    assert!(table.changed().is_empty());
    assert_eq!(table.digest(), 0);
}

#[test]
fn a_bucket_is_created_once_and_changed_under_rising_versions() {
    let mut table = BucketTable::default();
    let lww = BucketChanges { conflict: Some(Conflict::Lww), ..Default::default() };
    assert!(matches!(table.change(&name("a"), &lww, false, node(1), N), Err(BadChange::Missing(_))));
    let created = table.change(&name("a"), &BucketChanges::default(), true, node(1), N).unwrap();
    assert_eq!((&created.props, created.by), (&BucketProps::default(), node(1)));
    table.join([created.clone()]);
    assert!(matches!(table.change(&name("a"), &lww, true, node(1), N), Err(BadChange::Exists(_))));
    let changed = table.change(&name("a"), &lww, false, node(2), N).unwrap();
    assert_eq!((changed.props.version, changed.by), (2, node(2)));
    assert!(changed.stamp() > created.stamp());
    table.join([changed.clone()]);
    assert!(table.is_lww(&name("a")));
    assert_eq!(
        table.change(&name("a"), &lww, false, node(3), N),
        Ok(changed),
        "nothing changed, nothing written"
    );
}

#[test]
fn rules_that_cannot_be_kept_are_refused() {
    let table = BucketTable::default();
    let many = BucketChanges { w: Some(4), ..Default::default() };
    let loose = BucketChanges { strict: Some(true), durable: Some(false), ..Default::default() };
    for (changes, words) in [(many, "w is 1 to 3"), (loose, "durable=false")] {
        for (bucket, create) in [("a", true), ("default", false)] {
            let error = table.change(&name(bucket), &changes, create, node(1), N).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}

#[test]
fn creation_ends_at_the_limit_and_joining_does_not() {
    let mut table = BucketTable::default();
    for k in 16..limits::MAX_BUCKETS {
        let created = table.change(&name(&format!("b{k}")), &BucketChanges::default(), true, node(1), N);
        assert!(table.join([created.unwrap()]));
    }
    let error = table.change(&name("more"), &BucketChanges::default(), true, node(1), N).unwrap_err();
    assert!(error.to_string().contains("1024"), "{error}");
    let theirs = BucketRegister { name: name("theirs"), props: BucketProps::default(), by: node(2) };
    assert!(table.join([theirs]), "another node was allowed to");
}

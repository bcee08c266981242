use std::collections::BTreeSet;

use starling_wire::QuorumChoice;

use super::*;
use crate::plan::{BadQuorum, quorum};

fn choice(size: Option<u8>, strict: Option<bool>) -> QuorumChoice {
    QuorumChoice { r: size, w: size, strict }
}

fn both(props: &BucketProps, choice: &QuorumChoice, n: u8) -> [Result<(u8, bool), BadQuorum>; 2] {
    [quorum(props, choice, n, true), quorum(props, choice, n, false)]
}

#[test]
fn a_request_gets_its_buckets_majority_unless_it_says_otherwise() {
    let props = BucketProps::default();
    for (n, majority) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)] {
        assert_eq!(both(&props, &choice(None, None), n), [Ok((majority, false)), Ok((majority, false))]);
    }
    assert_eq!(both(&props, &choice(Some(1), Some(true)), 3), [Ok((1, true)), Ok((1, true))]);
}

#[test]
fn reads_and_writes_have_quorums_of_their_own() {
    let props = BucketProps { r: Some(1), w: Some(3), ..BucketProps::default() };
    assert_eq!(both(&props, &choice(None, None), 3), [Ok((3, false)), Ok((1, false))]);
    let asked = QuorumChoice { r: Some(2), ..QuorumChoice::default() };
    assert_eq!(both(&props, &asked, 3), [Ok((3, false)), Ok((2, false))]);
}

#[test]
fn nobody_gets_more_copies_than_there_are_or_none() {
    for asked in [0, 4] {
        let error = quorum(&BucketProps::default(), &choice(Some(asked), None), 3, true).unwrap_err();
        assert_eq!(error, BadQuorum::Range { name: "w", asked, n: 3 });
    }
}

#[test]
fn a_strict_bucket_may_only_be_tightened() {
    let props = BucketProps { strict: true, ..BucketProps::default() };
    assert_eq!(
        quorum(&props, &choice(Some(1), None), 3, false),
        Err(BadQuorum::Lowered { name: "r", asked: 1, bucket: 2 })
    );
    assert_eq!(quorum(&props, &choice(Some(3), None), 3, true), Ok((3, true)));
    assert_eq!(quorum(&props, &choice(None, Some(false)), 3, true), Err(BadQuorum::Sloppy));
}

#[test]
fn fallbacks_are_within_reach_of_sloppy_requests_only_and_never_beyond_n() {
    let others = [(2, UP), (3, DOWN)];
    assert_eq!(plan(&others, &[]).needing(3).out_of_reach(), Some((2, 3)));
    assert_eq!(plan(&others, &[]).needing(2).out_of_reach(), None);
    assert_eq!(plan(&others, &[4, 5, 6]).needing(3).out_of_reach(), None);
    assert_eq!(plan(&others, &[4, 5, 6]).needing(4).out_of_reach(), Some((3, 4)));
    assert_eq!(strict(plan(&others, &[4, 5, 6])).needing(3).out_of_reach(), Some((2, 3)));
}

fn timed(request: u128, timeout: Duration) -> Plan {
    let props = BucketProps::default();
    let request = RequestId::from_bits(request);
    let terms = Terms { request, now: at(100), timeout, ..terms(&props) };
    Plan::new(node(ME), [([node(ME)].into_iter(), 1)], |_| UP, Vec::new(), &terms)
}

#[test]
fn times_fit_into_the_request_s_limit() {
    let ms = Duration::from_millis;
    let short = timed(1, ms(40));
    assert_eq!((short.deadline, short.patience, short.hedge_pause), (at(140), ms(40), ms(10)));
    let long = timed(1, ms(9_000));
    assert_eq!((long.deadline, long.hedge_pause), (at(9_100), ms(50)));
}

#[test]
fn requests_lose_patience_at_different_moments_within_a_fifth_of_half_a_second() {
    let patience = |request| timed(request, Duration::from_secs(9)).patience;
    assert_eq!(patience(1), patience(1), "a request decides alike everywhere");
    // Ids that are counted up, and ids that differ in their upper half alone.
    for shift in [0, 64] {
        let patiences: BTreeSet<_> = (0..1_000).map(|n| patience(n << shift)).collect();
        let (first, last) = (patiences.first().unwrap(), patiences.last().unwrap());
        assert!(*first >= Duration::from_millis(400) && *first < Duration::from_millis(401), "{first:?}");
        assert!(*last < Duration::from_millis(600) && *last >= Duration::from_millis(599), "{last:?}");
        assert!(patiences.len() > 990, "{}", patiences.len());
    }
}

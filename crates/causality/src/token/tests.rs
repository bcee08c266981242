use proptest::prelude::*;
use starling_types::{ActorId, BucketName, Key};

use super::*;
use crate::Dot;
use crate::history::{History, steps};

const CLUSTER: ClusterId = ClusterId::from_bits(0xc1);

fn key(bucket: &str, key: &'static str) -> QualifiedKey {
    QualifiedKey::new(CLUSTER.hash_seed(), BucketName::new(bucket).unwrap(), Key::new(key).unwrap())
}

fn actors(count: usize) -> VersionVector {
    let dot = |i: u64| Dot { actor: ActorId::from_bits(i), hlc: Hlc::from_parts(1_700_000_000_000 + i, 0) };
    (1..=count as u64).map(dot).collect()
}

fn sample() -> ContextToken {
    ContextToken::seal(CLUSTER, 3, &key("default", "k"), &actors(3))
}

fn open(token: &ContextToken) -> Result<VersionVector, TokenError> {
    ContextToken::open(token.as_bytes(), CLUSTER, 3, &key("default", "k"))
}

fn resealed(mut body: Vec<u8>) -> ContextToken {
    body.extend_from_slice(&xxh3_64(&body).to_le_bytes());
    ContextToken::from_bytes(body.into())
}

fn unsealed(token: &ContextToken) -> Vec<u8> {
    let bytes = token.as_bytes();
    bytes[..bytes.len() - 8].to_vec()
}

proptest! {
    #[test]
    fn what_a_client_has_seen_comes_back_through_bytes_and_text(steps in steps(1..40)) {
        for replica in History::replay(&steps).replicas {
            let seen = replica.record.context();
            let token = ContextToken::seal(CLUSTER, 3, &key("default", "k"), seen);
            let again = ContextToken::from_text(&token.to_text()).unwrap();
            prop_assert_eq!(open(&again), Ok(seen.clone()));
            prop_assert_eq!(again, token);
        }
    }

    #[test]
    fn no_bytes_or_text_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), text: String) {
        prop_assert!(open(&ContextToken::from_bytes(bytes.clone().into())).is_err());
        let _ = open(&resealed(bytes));
        let _ = ContextToken::from_text(&text);
    }
}

#[test]
fn every_flipped_byte_and_every_cut_is_damage() {
    let token = sample();
    for at in 0..token.as_bytes().len() {
        for flip in 1..=u8::MAX {
            let mut bytes = token.as_bytes().to_vec();
            bytes[at] ^= flip;
            assert_eq!(open(&ContextToken::from_bytes(bytes.into())), Err(TokenError::Damaged), "byte {at}");
        }
        let cut = token.as_bytes().slice(..at);
        assert_eq!(open(&ContextToken::from_bytes(cut)), Err(TokenError::Damaged), "cut at {at}");
    }
}

#[test]
fn a_token_opens_for_its_own_key_only() {
    let token = sample();
    let try_open = |cluster, incarnation, key: &QualifiedKey| {
        ContextToken::open(token.as_bytes(), cluster, incarnation, key)
    };
    let own = key("default", "k");
    assert_eq!(try_open(CLUSTER, 3, &own), Ok(actors(3)));
    assert_eq!(try_open(ClusterId::from_bits(0xc2), 3, &own), Err(TokenError::Foreign));
    assert_eq!(try_open(CLUSTER, 4, &own), Err(TokenError::Foreign), "the bucket was dropped and made anew");
    assert_eq!(try_open(CLUSTER, 3, &key("default", "l")), Err(TokenError::Foreign));
    assert_eq!(try_open(CLUSTER, 3, &key("defaul", "tk")), Err(TokenError::Foreign));
}

#[test]
fn intact_tokens_that_no_release_seals_are_refused() {
    let with_tail = |tail: &[u8]| resealed([&unsealed(&sample())[..], tail].concat());
    assert_eq!(open(&with_tail(&[0])), Err(TokenError::Damaged));
    assert_eq!(open(&with_tail(&[0; ENTRY_BYTES])), Err(TokenError::Damaged), "actors out of order");
    let versioned = |version| {
        let mut body = unsealed(&sample());
        body[0] = version;
        resealed(body)
    };
    assert_eq!(open(&versioned(0)), Err(TokenError::Damaged));
    assert_eq!(open(&versioned(9)), Err(TokenError::Newer { version: 9 }));
}

#[test]
fn tokens_are_bounded_before_they_are_read() {
    let largest = ContextToken::seal(CLUSTER, 3, &key("default", "k"), &actors(MAX_ACTORS));
    assert_eq!(largest.as_bytes().len(), MAX_BYTES);
    assert!(largest.to_text().len() <= MAX_TEXT);
    assert_eq!(open(&ContextToken::from_text(&largest.to_text()).unwrap()), Ok(actors(MAX_ACTORS)));
    let giant = ContextToken::from_bytes(vec![0; MAX_BYTES + 1].into());
    assert_eq!(open(&giant), Err(TokenError::TooLong { length: MAX_BYTES + 1, limit: MAX_BYTES }));
    let text = "A".repeat(MAX_TEXT + 1);
    assert!(matches!(ContextToken::from_text(&text), Err(TokenError::TooLong { .. })));
}

#[test]
fn a_context_with_too_many_actors_claims_only_the_latest() {
    let seen = actors(MAX_ACTORS + 5);
    let opened = open(&ContextToken::seal(CLUSTER, 3, &key("default", "k"), &seen)).unwrap();
    assert_eq!(opened, seen.iter().skip(5).collect());
}

#[test]
fn text_is_url_safe_and_unpadded() {
    assert!(sample().to_text().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
    for bad in ["A===", "a+b/", "a b", "ä"] {
        assert_eq!(ContextToken::from_text(bad), Err(TokenError::Damaged), "{bad}");
    }
}

/// The form of version 1: clients keep tokens across an upgrade. If this fails, raise the version and keep opening
/// this one.
#[test]
fn golden_token() {
    assert_eq!(sample().to_text(), GOLDEN);
}

const GOLDEN: &str =
    "AYHNukmfjVQgAQAAAAAAAAAAAAFo5c-LAQIAAAAAAAAAAAACaOXPiwEDAAAAAAAAAAAAA2jlz4sByycbondqe-4";

//! The bucket and key in a request's path, percent-decoded. Keys are arbitrary bytes, so the path is decoded exactly
//! once and nothing in it is normalised: `..` is two dots, `%252e` is `%2e`.

use std::borrow::Cow;

use starling_types::{BucketName, Key};

use crate::text::hex_byte;

/// A path that cannot be read as a bucket and a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// A `%` without two hexadecimal digits.
    #[error(
        "bad percent-encoding at byte {0} of a path segment: % is followed by two hexadecimal digits, and a % itself is written %25"
    )]
    Escape(usize),
    /// A bucket or key outside its limits.
    #[error(transparent)]
    Name(#[from] starling_types::key::NameError),
}

/// Bucket and key of what follows `/v1/kv/`: the bucket up to the first slash, the key all that follows, slashes
/// included. `None` if there is no slash.
pub fn bucket_and_key(rest: &str) -> Option<Result<(BucketName, Key), TargetError>> {
    let (bucket, key) = rest.split_once('/')?;
    Some(decode(bucket).and_then(|bucket| {
        let bucket = BucketName::new(&String::from_utf8_lossy(&bucket))?;
        let key = Key::new(decode(key)?.into_owned())?;
        Ok((bucket, key))
    }))
}

/// Undoes percent-encoding.
pub fn decode(text: &str) -> Result<Cow<'_, [u8]>, TargetError> {
    let bytes = text.as_bytes();
    if !bytes.contains(&b'%') {
        return Ok(bytes.into());
    }
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    loop {
        rest = match rest {
            [] => return Ok(decoded.into()),
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                decoded.push(hex_byte(*high, *low));
                rest
            }
            [b'%', ..] => return Err(TargetError::Escape(bytes.len() - rest.len())),
            [byte, rest @ ..] => {
                decoded.push(*byte);
                rest
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_decoded_once_and_never_normalised() {
        let table: &[(&str, &[u8])] = &[
            ("b/k", b"k"),
            ("b/a/b//c", b"a/b//c"),
            ("b/a%2Fb", b"a/b"),
            ("b/%00", b"\0"),
            ("b/%ff%FE", b"\xff\xfe"),
            ("b/../x", b"../x"),
            ("b/%2e%2e", b".."),
            ("b/%252e", b"%2e"),
            ("b/a+b", b"a+b"),
            ("b/\u{e4}", "\u{e4}".as_bytes()),
        ];
        for (path, key) in table {
            let (bucket, got) = bucket_and_key(path).unwrap().unwrap();
            assert_eq!((bucket.as_str(), got.as_bytes()), ("b", *key), "{path}");
        }
        assert_eq!(bucket_and_key("%62/k").unwrap().unwrap().0.as_str(), "b");
    }

    #[test]
    fn anything_else_is_refused_with_the_reason() {
        assert_eq!(bucket_and_key("b"), None);
        for (path, at) in [("b/%", 0), ("b/a%2", 1), ("b/%zz", 0), ("b/ab%+1", 2), ("b/%%20", 0)] {
            assert_eq!(bucket_and_key(path), Some(Err(TargetError::Escape(at))), "{path}");
        }
        let long = format!("b/{}", "k".repeat(starling_types::limits::MAX_KEY + 1));
        for path in ["b/", "/k", "a b/k", "%2e%2e%2f/k", "%ff/k", long.as_str()] {
            assert!(matches!(bucket_and_key(path), Some(Err(TargetError::Name(_)))), "{path}");
        }
    }
}

//! Conditions and checksums that a client states with a write are honoured, or refused before anything is done. A
//! condition that is passed over makes a lock that always opens; a checksum that is passed over vouches for bytes that
//! were never checked.
//!
//! Passed over are only fields that HTTP itself says a server may or must pass over: `If-Modified-Since`, `Range` and
//! `If-Range` mean nothing with a write; descriptions of the value (`Content-Type` and the like) are not kept.

use hyper::StatusCode;
use hyper::header::{CONTENT_ENCODING, EXPECT, HeaderMap, HeaderValue, TRANSFER_ENCODING};

use super::answer::CONTEXT;
use super::problem::Problem;

/// Refuses a write whose head states what this server does not do.
pub(super) fn check_write(headers: &HeaderMap) -> Result<(), Problem> {
    for name in headers.keys() {
        let name = name.as_str();
        if let Some((_, status, why)) = REFUSED.iter().find(|(refused, ..)| *refused == name) {
            return Err(Problem::refused(*status, format!("{name} with a write: {why}")));
        }
        if name.starts_with(OURS) && name != CONTEXT.as_str() {
            return Err(Problem::bad_request(format_args!(
                "there is no header {name:.64} for a write: {CONTEXT} is all that is taken, the rest goes into the query"
            )));
        }
    }
    check_coding(headers)
}

/// Refuses a head that expects, or frames its body by, what this server does not know.
pub(super) fn check_head(headers: &HeaderMap) -> Result<(), Problem> {
    if !all_are(headers.get_all(EXPECT), "100-continue") {
        let why = "the only expectation that can be met is 100-continue";
        return Err(Problem::refused(StatusCode::EXPECTATION_FAILED, why));
    }
    if !all_are(headers.get_all(TRANSFER_ENCODING), "chunked") {
        let why = "the only transfer coding that is undone is chunked, once";
        return Err(Problem::refused(StatusCode::NOT_IMPLEMENTED, why).closing());
    }
    Ok(())
}

/// Refuses fields behind a body: what stands there is too late to be looked at.
pub(super) fn trailers() -> Problem {
    Problem::bad_request("fields behind the body are not looked at: put them into the head")
}

/// A value is given back as it came, but without its coding: readers could not decode it.
fn check_coding(headers: &HeaderMap) -> Result<(), Problem> {
    if all_are(headers.get_all(CONTENT_ENCODING), "identity") {
        return Ok(());
    }
    let why = "values are stored as bytes, without their coding: send the bytes that shall be read, or leave \
               content-encoding out and keep the coding in mind yourself";
    Err(Problem::refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, why))
}

fn all_are<'v>(values: impl IntoIterator<Item = &'v HeaderValue>, word: &str) -> bool {
    let mut values = values.into_iter();
    match (values.next(), values.next()) {
        (None, _) => true,
        (Some(only), None) => only.as_bytes().trim_ascii().eq_ignore_ascii_case(word.as_bytes()),
        _ => false,
    }
}

const OURS: &str = "x-starling-";

/// Name, status, why and what to do.
const REFUSED: &[(&str, StatusCode, &str)] = &[
    ("if-match", StatusCode::NOT_IMPLEMENTED, CONDITION),
    ("if-none-match", StatusCode::NOT_IMPLEMENTED, CONDITION),
    ("if-unmodified-since", StatusCode::NOT_IMPLEMENTED, CONDITION),
    ("if", StatusCode::NOT_IMPLEMENTED, CONDITION),
    ("idempotency-key", StatusCode::NOT_IMPLEMENTED, IDEMPOTENCY),
    (
        "content-range",
        StatusCode::BAD_REQUEST,
        "a value is written whole or not at all: send all of it, without the range",
    ),
    ("content-md5", StatusCode::NOT_IMPLEMENTED, CHECKSUM),
    ("digest", StatusCode::NOT_IMPLEMENTED, CHECKSUM),
    ("content-digest", StatusCode::NOT_IMPLEMENTED, CHECKSUM),
    ("repr-digest", StatusCode::NOT_IMPLEMENTED, CHECKSUM),
    ("x-http-method-override", StatusCode::BAD_REQUEST, METHOD),
    ("x-http-method", StatusCode::BAD_REQUEST, METHOD),
    ("x-method-override", StatusCode::BAD_REQUEST, METHOD),
];
const CONDITION: &str = "there are no conditional writes: read the key, and write with the X-Starling-Context of that read; \
                         then nothing is replaced that you have not seen";
const IDEMPOTENCY: &str = "requests have no ids of the client's here: a write with X-Starling-Context can be sent twice without \
                           harm, and the native client retries under one id";
const CHECKSUM: &str = "checksums of clients are not verified: leave it out, and compare what a read returns";
const METHOD: &str = "the method is the one in the request line: send that which is meant";

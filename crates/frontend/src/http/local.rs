//! The records that this node holds itself, and the owners of a key: for checkers, and for people who debug.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use starling_causality::Sibling;
use starling_types::{BucketName, Key, limits, remedy};
use starling_wire::client::SiblingView;
use starling_wire::local::{LocalAsk, LocalRecord};

use super::answer::{json_response, sibling_json};
use super::body::Chunks;
use super::exchange::look;
use super::options::{OptionError, pairs, refuse};
use super::problem::Problem;
use super::target;
use crate::context;
use crate::service::{Door, FrontEvent, KvService};
use crate::text::decimal;

/// `GET /v1/local/{bucket}/{key}`
pub(super) async fn record<S: KvService>(
    service: &S,
    bucket: BucketName,
    key: Key,
) -> Result<Response<Chunks>, Problem> {
    service.count(Door::Http, FrontEvent::Command("local"));
    let page = look(service, LocalAsk::Key(bucket, key)).await?;
    let held = page.records.first().ok_or_else(|| {
        Problem::refused(StatusCode::NOT_FOUND, "this node holds no record of the key; others may")
    })?;
    Ok(json_response(StatusCode::OK, &record_json(held)))
}

/// `GET /v1/local?bucket=&cursor=&limit=`
pub(super) async fn page<S: KvService>(service: &S, query: &str) -> Result<Response<Chunks>, Problem> {
    service.count(Door::Http, FrontEvent::Command("local_page"));
    let ask = PageQuery::parse(query).map_err(Problem::bad_request)?;
    let page = look(service, ask.into_ask()).await?;
    let records: Vec<Value> = page
        .records
        .iter()
        .map(|held| {
            let mut shown = record_json(held);
            shown["key"] = STANDARD.encode(held.key.as_bytes()).into();
            shown
        })
        .collect();
    let cursor = page.next.map(|row| URL_SAFE_NO_PAD.encode(row));
    Ok(json_response(StatusCode::OK, &json!({ "records": records, "cursor": cursor })))
}

/// `GET /v1/key/{bucket}/{key}/explain`
pub(super) fn explain<S: KvService>(
    service: &S,
    bucket: BucketName,
    key: Key,
) -> Result<Response<Chunks>, Problem> {
    service.count(Door::Http, FrontEvent::Command("explain"));
    let place = service.explain(bucket, key).ok_or_else(|| {
        let detail = format!("this node belongs to no cluster yet: {}", remedy::NO_CLUSTER);
        Problem::refused(StatusCode::SERVICE_UNAVAILABLE, detail)
    })?;
    Ok(json_response(StatusCode::OK, &place))
}

/// Every value, expired ones too; a delete shows as `tombstone`. Equal digests mean equal records.
fn record_json(held: &LocalRecord) -> Value {
    let siblings: Vec<Value> = held.record.siblings().iter().filter_map(value_json).collect();
    json!({
        "siblings": siblings,
        "context": context::to_text(&held.context),
        "tombstone": held.record.siblings().iter().any(Sibling::is_tombstone),
        "digest": held.record.digest().to_string(),
    })
}

fn value_json(sibling: &Sibling) -> Option<Value> {
    let value = sibling.value()?.clone();
    Some(sibling_json(&SiblingView { value, dot: sibling.dot, expires_at: sibling.expires_at }))
}

/// The query of a request for a page.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PageQuery {
    bucket: BucketName,
    from: Option<Bytes>,
    limit: usize,
}

impl PageQuery {
    fn parse(query: &str) -> Result<Self, OptionError> {
        let mut page = Self { bucket: BucketName::default_bucket(), from: None, limit: USUAL_ROWS };
        for (name, value) in pairs(query, &["bucket", "cursor", "limit"])? {
            match name {
                "bucket" => page.bucket = bucket(value)?,
                "limit" => page.limit = rows(value)?,
                _ => page.from = cursor(value)?,
            }
        }
        Ok(page)
    }

    fn into_ask(self) -> LocalAsk {
        LocalAsk::Page { bucket: self.bucket, from: self.from, limit: self.limit }
    }
}

fn bucket(text: &str) -> Result<BucketName, OptionError> {
    let name =
        target::decode(text).ok().and_then(|name| BucketName::new(std::str::from_utf8(&name).ok()?).ok());
    name.ok_or_else(|| refuse("bucket", "a bucket's name", text))
}

fn rows(text: &str) -> Result<usize, OptionError> {
    let most = LocalAsk::MOST_ROWS;
    let rows = decimal(text.as_bytes()).and_then(|rows| usize::try_from(rows).ok());
    let rows = rows.filter(|rows| (1..=most).contains(rows));
    rows.ok_or_else(|| refuse("limit", format!("a number from 1 to {most}"), text))
}

/// An empty one is the start.
fn cursor(text: &str) -> Result<Option<Bytes>, OptionError> {
    let row = URL_SAFE_NO_PAD.decode(text).ok().filter(|row| row.len() <= LONGEST_ROW);
    let row = row.ok_or_else(|| refuse("cursor", "what an earlier page gave", text))?;
    Ok((!row.is_empty()).then(|| row.into()))
}

const USUAL_ROWS: usize = 100;
/// Token, generation, bucket, an end mark, key; and one byte for what follows the longest.
const LONGEST_ROW: usize = 8 + 4 + limits::MAX_BUCKET_NAME + 1 + limits::MAX_KEY + 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_s_query_is_read_or_refused() {
        let page = PageQuery::parse("bucket=b%2Ec&cursor=AAE&limit=7").unwrap();
        let bucket = BucketName::new("b.c").unwrap();
        assert_eq!(page, PageQuery { bucket, from: Some(Bytes::from_static(&[0, 1])), limit: 7 });
        let first = PageQuery { bucket: BucketName::default_bucket(), from: None, limit: USUAL_ROWS };
        assert_eq!(PageQuery::parse("cursor="), Ok(first.clone()));
        assert_eq!(PageQuery::parse(""), Ok(first));
        let long = format!("cursor={}", "A".repeat(2 * LONGEST_ROW));
        for bad in [
            "limit=0",
            "limit=257",
            "limit=-1",
            "bucket=",
            "bucket=a/b",
            "cursor=%",
            "cursor=AA==",
            "r=1",
            "limit=1&limit=1",
            &long,
        ] {
            assert!(PageQuery::parse(bad).is_err(), "{bad}");
        }
    }
}

//! Replies of the machine as responses: one value, several, none; a write's receipt.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use starling_wire::client::{Field, Grounds, ReadReply, Receipt, SiblingView, WriteReply};

use super::body::Chunks;
use super::problem::Problem;
use crate::context;

/// The causal context, in both directions.
pub static CONTEXT: HeaderName = HeaderName::from_static("x-starling-context");
/// How many values there are.
pub static SIBLINGS: HeaderName = HeaderName::from_static("x-starling-siblings");
/// The write that made a value.
pub static DOT: HeaderName = HeaderName::from_static("x-starling-dot");

/// In how far a write is less than its writer may think.
pub static RESERVATIONS: HeaderName = HeaderName::from_static("x-starling-reservations");

/// How to show siblings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Siblings {
    /// One part each, as they are.
    Multipart,
    /// In base64.
    Json,
}

/// To a GET or HEAD: 200 and the value, 300 and the siblings, or the problem 404.
pub fn read(read: ReadReply, wanted: Siblings) -> Result<Response<Chunks>, Problem> {
    let context = read.context.as_ref().map(context_header);
    let mut response = match read.siblings.as_slice() {
        [] => {
            let problem = Problem::refused(StatusCode::NOT_FOUND, "the key has no value");
            return Err(context
                .into_iter()
                .fold(problem, |problem, value| problem.with(CONTEXT.clone(), value)));
        }
        [only] => value(only),
        siblings if wanted == Siblings::Json => siblings_json(siblings, read.context.as_ref()),
        siblings => multipart(siblings),
    };
    let headers = response.headers_mut();
    headers.insert(SIBLINGS.clone(), read.siblings.len().into());
    headers.extend(context.map(|value| (CONTEXT.clone(), value)));
    Ok(response)
}

/// To a PUT or DELETE: 204, or 200 and the receipt if it was asked for; on what grounds the write was made.
pub fn written(written: &WriteReply, receipt: Option<Grounds>) -> Response<Chunks> {
    let mut response = match receipt {
        Some(grounds) => json_response(StatusCode::OK, &receipt_json(&written.receipt, grounds)),
        None => response(StatusCode::NO_CONTENT, Chunks::default()),
    };
    let headers = response.headers_mut();
    let reservations = written.receipt.reservations();
    if !reservations.is_empty() {
        let value = HeaderValue::try_from(reservations.join(", "));
        headers.extend(value.map(|value| (RESERVATIONS.clone(), value)));
    }
    match &written.context {
        Some(token) => headers.insert(CONTEXT.clone(), context_header(token)),
        None => headers.insert(SIBLINGS.clone(), written.siblings.into()),
    };
    response
}

fn value(sibling: &SiblingView) -> Response<Chunks> {
    let mut response = response(StatusCode::OK, Chunks::from(sibling.value.clone()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    // Values are arbitrary bytes of clients: no browser shall run them as a page of this node.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.extend(HeaderValue::try_from(sibling.dot.to_string()).map(|dot| (DOT.clone(), dot)));
    response
}

fn multipart(siblings: &[SiblingView]) -> Response<Chunks> {
    let boundary = boundary(siblings);
    let mut body = Chunks::default();
    for sibling in siblings {
        body.push(format!(
            "--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n{DOT}: {}\r\n\r\n",
            sibling.value.len(),
            sibling.dot
        ));
        body.push(sibling.value.clone());
        body.push("\r\n");
    }
    body.push(format!("--{boundary}--\r\n"));
    let mut response = response(StatusCode::MULTIPLE_CHOICES, body);
    let kind = HeaderValue::try_from(format!("multipart/mixed; boundary={boundary}"));
    response.headers_mut().extend(kind.map(|kind| (CONTENT_TYPE, kind)));
    response
}

/// A boundary that is in none of the values: the first such in a fixed series. No writer can prevent one.
fn boundary(siblings: &[SiblingView]) -> String {
    let candidates = (0_u32..).map(|number| format!("starling-{number}"));
    let clashes = |boundary: &String| {
        let mark = format!("--{boundary}");
        siblings.iter().any(|sibling| sibling.value.windows(mark.len()).any(|bytes| bytes == mark.as_bytes()))
    };
    candidates.skip_while(clashes).take(1).collect()
}

fn siblings_json(siblings: &[SiblingView], token: Option<&Bytes>) -> Response<Chunks> {
    let shown: Vec<Value> = siblings.iter().map(sibling_json).collect();
    let context = token.map(context::to_text);
    json_response(StatusCode::MULTIPLE_CHOICES, &json!({ "siblings": shown, "context": context }))
}

pub(super) fn sibling_json(sibling: &SiblingView) -> Value {
    let mut shown = json!({
        "value": STANDARD.encode(&sibling.value),
        "dot": sibling.dot.to_string(),
        "time_ms": sibling.dot.hlc.millis(),
    });
    if let Some(expires_at) = sibling.expires_at {
        shown["expires_ms"] = expires_at.millis().into();
    }
    shown
}

fn receipt_json(receipt: &Receipt, grounds: Grounds) -> Value {
    let json = |field| match field {
        Field::Text(text) => Value::from(text),
        Field::Number(number) => number.into(),
        Field::Flag(flag) => flag.into(),
        Field::Nothing => Value::Null,
    };
    receipt.fields(grounds).into_iter().map(|(name, field)| (name, json(field))).collect()
}

pub(super) fn json_response(status: StatusCode, json: &Value) -> Response<Chunks> {
    let mut response = response(status, Chunks::from(Bytes::from(json.to_string())));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn response(status: StatusCode, body: Chunks) -> Response<Chunks> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

#[expect(clippy::expect_used, reason = "base64url has no character that a header value refuses")]
fn context_header(token: &Bytes) -> HeaderValue {
    HeaderValue::try_from(context::to_text(token)).expect("base64url is visible ASCII")
}

//! Errors as `application/problem+json` [RFC 9457]: title, status, detail, and what became of the data.

use bytes::Bytes;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use starling_types::Outcome;
use starling_wire::{Failure, FailureKind};

use super::body::Chunks;

/// One error.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    outcome: Outcome,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A request that was refused before anything was done.
    pub fn refused(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), outcome: Outcome::NotApplied, headers: Vec::new() }
    }

    /// A request that makes no sense.
    pub fn bad_request(detail: impl std::fmt::Display) -> Self {
        Self::refused(StatusCode::BAD_REQUEST, detail.to_string())
    }

    /// No such page.
    pub fn no_such_path() -> Self {
        Self::refused(StatusCode::NOT_FOUND, "there is nothing here: keys are at /v1/kv/{bucket}/{key}")
    }

    /// All places are taken by connections that are in use.
    pub fn no_place() -> Self {
        Self::refused(StatusCode::SERVICE_UNAVAILABLE, "too many connections: all places are in use")
            .with(RETRY_AFTER, HeaderValue::from_static("1"))
            .closing()
    }

    /// The page exists, but not for this method.
    pub fn wrong_method(allowed: &'static str) -> Self {
        Self::refused(StatusCode::METHOD_NOT_ALLOWED, format!("this path takes {allowed}"))
            .with(ALLOW, HeaderValue::from_static(allowed))
    }

    /// The same with a header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The same, after which the connection is closed: where the next request begins is not certain.
    #[must_use]
    pub fn closing(self) -> Self {
        self.with(CONNECTION, HeaderValue::from_static("close"))
    }

    /// As a response.
    pub fn into_response(self) -> Response<Chunks> {
        let json = serde_json::json!({
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "outcome": self.outcome,
        });
        let mut response = Response::new(Chunks::from(Bytes::from(json.to_string())));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response.headers_mut().extend(self.headers);
        response
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        let status = status(failure.kind);
        let problem = Self { status, detail: failure.detail, outcome: failure.outcome, headers: Vec::new() };
        let retriable = matches!(failure.kind, FailureKind::Overloaded | FailureKind::NotReady);
        match failure.retry_after_ms.or(retriable.then_some(0)) {
            None => problem,
            Some(ms) => problem.with(RETRY_AFTER, ms.div_ceil(1_000).max(1).into()),
        }
    }
}

const fn status(kind: FailureKind) -> StatusCode {
    match kind {
        FailureKind::BadRequest => StatusCode::BAD_REQUEST,
        FailureKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        FailureKind::NoSuchBucket => StatusCode::NOT_FOUND,
        FailureKind::TooManySiblings => StatusCode::CONFLICT,
        FailureKind::Overloaded => StatusCode::TOO_MANY_REQUESTS,
        FailureKind::NotReady | FailureKind::QuorumNotReached | FailureKind::Storage => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        FailureKind::Deadline => StatusCode::GATEWAY_TIMEOUT,
        FailureKind::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
    }
}

//! From a request's head to what is done about it.

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::header::{ACCEPT, CONTENT_TYPE, EXPECT, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use starling_types::{BucketName, Key};
use starling_wire::client::KvReply;
use starling_wire::{Failure, KvOp, KvRequest, Seen};

use super::answer::{self, CONTEXT, Siblings};
use super::body::{self, BodyError, Chunks};
use super::exchange::ask;
use super::head;
use super::local;
use super::options::Options;
use super::problem::Problem;
use super::stated;
use super::target;
use crate::context;
use crate::places::Seat;
use crate::service::{Door, FrontEvent, FrontLimits, KvService, value_too_large};

/// Answers one request of any kind.
pub(crate) async fn answer<S: KvService>(
    service: &S,
    limits: &FrontLimits,
    seat: &Seat,
    request: Request<Incoming>,
) -> Response<Chunks> {
    let expects = request.headers().contains_key(EXPECT);
    let (parts, incoming) = request.into_parts();
    let mut incoming = Some(incoming);
    let request = Request::from_parts(parts, ());
    let answered = match head::check(service, &request).and_then(|()| Route::of(request.uri().path())) {
        Ok(route) if !route.is_for_operators() && !seat.settle().await => Err(Problem::no_place()),
        Ok(route) => dispatch(service, limits, route, &request, &mut incoming).await,
        Err(problem) => Err(problem),
    };
    let response = answered.unwrap_or_else(Problem::into_response);
    // Reading would invite a body that the client offered to keep.
    if let Some(unread) = incoming.filter(|unread| !expects && !unread.is_end_stream()) {
        body::discard(unread).await;
    }
    response
}

/// The resource that a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// One key.
    Key(BucketName, Key),
    /// This node's own record of one key.
    Local(BucketName, Key),
    /// A page of the records that this node holds.
    LocalPage,
    /// The placement of one key.
    Explain(BucketName, Key),
    /// A page about the node.
    Page(NodePage),
}

/// Pages about the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodePage {
    /// The process runs.
    Healthz,
    /// Clients can be served.
    Readyz,
    /// For Prometheus.
    Metrics,
    /// For tools and people.
    Status,
    /// The owners of the partitions.
    Ring,
}

impl Route {
    /// Whether it is answered even where no place is left.
    const fn is_for_operators(&self) -> bool {
        matches!(self, Self::Page(_))
    }

    /// The route of a path, as it came.
    pub fn of(path: &str) -> Result<Self, Problem> {
        if let Some(rest) = path.strip_prefix("/v1/kv/") {
            return named(rest).map(|(bucket, key)| Self::Key(bucket, key));
        }
        if let Some(rest) = path.strip_prefix("/v1/local/") {
            return named(rest).map(|(bucket, key)| Self::Local(bucket, key));
        }
        if let Some(rest) = path.strip_prefix("/v1/key/").and_then(|rest| rest.strip_suffix("/explain")) {
            return named(rest).map(|(bucket, key)| Self::Explain(bucket, key));
        }
        Ok(Self::Page(match path {
            "/healthz" => NodePage::Healthz,
            "/readyz" => NodePage::Readyz,
            "/metrics" => NodePage::Metrics,
            "/v1/status" => NodePage::Status,
            "/v1/ring" => NodePage::Ring,
            "/v1/local" => return Ok(Self::LocalPage),
            _ => return Err(Problem::no_such_path()),
        }))
    }
}

fn named(rest: &str) -> Result<(BucketName, Key), Problem> {
    target::bucket_and_key(rest).ok_or_else(Problem::no_such_path)?.map_err(Problem::bad_request)
}

async fn dispatch<S: KvService>(
    service: &S,
    limits: &FrontLimits,
    route: Route,
    request: &Request<()>,
    incoming: &mut Option<Incoming>,
) -> Result<Response<Chunks>, Problem> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if !reads && !matches!(route, Route::Key(..)) {
        return Err(Problem::wrong_method("GET, HEAD"));
    }
    let query = request.uri().query().unwrap_or("");
    match route {
        Route::Page(page) => Ok(page.show(service)),
        Route::Local(bucket, key) => local::record(service, bucket, key).await,
        Route::LocalPage => local::page(service, query).await,
        Route::Explain(bucket, key) => local::explain(service, bucket, key),
        Route::Key(bucket, key) => {
            let door = KeyDoor { service, limits, bucket, key, request };
            door.answer(incoming).await
        }
    }
}

impl NodePage {
    fn show<S: KvService>(self, service: &S) -> Response<Chunks> {
        service.count(Door::Http, FrontEvent::Command(self.name()));
        match self {
            Self::Healthz => text("text/plain; charset=utf-8", "ok\n"),
            Self::Metrics => text("text/plain; version=0.0.4", service.metrics()),
            Self::Status => text("application/json", service.status().to_string()),
            Self::Ring => text("application/json", service.ring().to_string()),
            Self::Readyz => match service.ready() {
                Ok(()) => text("text/plain; charset=utf-8", "ready\n"),
                Err(reason) => Problem::refused(StatusCode::SERVICE_UNAVAILABLE, reason).into_response(),
            },
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Healthz => "healthz",
            Self::Readyz => "readyz",
            Self::Metrics => "metrics",
            Self::Status => "status",
            Self::Ring => "ring",
        }
    }
}

/// One request on one key.
struct KeyDoor<'a, S> {
    service: &'a S,
    limits: &'a FrontLimits,
    bucket: BucketName,
    key: Key,
    request: &'a Request<()>,
}

impl<S: KvService> KeyDoor<'_, S> {
    async fn answer(self, incoming: &mut Option<Incoming>) -> Result<Response<Chunks>, Problem> {
        let (headers, method) = (self.request.headers(), self.request.method());
        let options = Options::parse(self.request.uri().query().unwrap_or(""), method);
        let options = options.map_err(Problem::bad_request)?;
        let seen = seen(headers, &options)?;
        if matches!(*method, Method::PUT | Method::DELETE) {
            stated::check_write(headers)?;
        }
        let (name, op) = match *method {
            Method::GET => ("get", KvOp::Get),
            Method::HEAD => ("head", KvOp::Get),
            Method::DELETE => ("delete", KvOp::Delete { seen: deleted(seen, incoming)? }),
            Method::PUT => {
                let value = self.value(incoming).await?;
                ("put", KvOp::Put { value, seen: seen.unwrap_or(Seen::Nothing), ttl_ms: None })
            }
            _ => return Err(Problem::wrong_method("GET, HEAD, PUT, DELETE")),
        };
        self.service.count(Door::Http, FrontEvent::Command(name));
        self.exchange(op, &options).await
    }

    async fn exchange(self, op: KvOp, options: &Options) -> Result<Response<Chunks>, Problem> {
        let is_write = op.is_write();
        let mut request: KvRequest = self.service.draft(self.bucket, self.key, op);
        options.apply(&mut request);
        request.check().map_err(Failure::from)?;
        let grounds = request.op.seen().map(Seen::grounds);
        match ask(self.service, request).await {
            KvReply::Failed(failure) => Err(failure.into()),
            KvReply::Read(read) if !is_write => answer::read(read, siblings_wanted(self.request.headers())),
            KvReply::Written(written) if is_write => {
                Ok(answer::written(&written, grounds.filter(|_| options.receipt)))
            }
            other => Err(crate::service::mismatched(&other).into()),
        }
    }

    async fn value(&self, incoming: &mut Option<Incoming>) -> Result<Bytes, Problem> {
        let limit = self.limits.max_value;
        // Borrowed, not taken: what is refused unread is drained, or not invited, by our caller.
        let Some(body) = incoming.as_mut() else {
            return Ok(Bytes::new());
        };
        body::collect(body, limit, self.limits.body_timeout).await.map_err(|error| match error {
            BodyError::TooLarge => {
                let detail = value_too_large(format_args!("more than {limit}"), limit);
                Problem::refused(StatusCode::PAYLOAD_TOO_LARGE, detail)
            }
            BodyError::Slow => {
                let detail = format!("the body did not arrive within {:?}", self.limits.body_timeout);
                Problem::refused(StatusCode::REQUEST_TIMEOUT, detail).closing()
            }
            BodyError::Broken => {
                Problem::bad_request("the body broke off or is not framed as HTTP wants").closing()
            }
            BodyError::Trailers => stated::trailers(),
        })
    }
}

/// How much the writer says that it has seen.
fn seen(headers: &HeaderMap, options: &Options) -> Result<Option<Seen>, Problem> {
    let mut contexts = headers.get_all(&CONTEXT).iter();
    match (contexts.next(), contexts.next(), &options.seen) {
        (None, _, seen) => Ok(seen.clone()),
        (Some(text), None, None) => context::from_text(text.as_bytes())
            .map(|token| Some(Seen::Context(token)))
            .map_err(Problem::bad_request),
        _ => Err(Problem::bad_request("give one context: one X-Starling-Context header, or ?context=")),
    }
}

/// How much a delete has seen: without a context it is blind, since to delete nothing is of no use.
fn deleted(seen: Option<Seen>, incoming: &Option<Incoming>) -> Result<Seen, Problem> {
    if incoming.as_ref().is_some_and(|body| !body.is_end_stream()) {
        return Err(Problem::bad_request("a DELETE has no body: what it shall do goes into the query"));
    }
    match seen.unwrap_or(Seen::Quorum) {
        Seen::Nothing => Err(Problem::bad_request(
            "a delete that has seen nothing deletes nothing: give a context, or context=quorum or local",
        )),
        seen => Ok(seen),
    }
}

/// In which form the client wants siblings.
fn siblings_wanted(headers: &HeaderMap) -> Siblings {
    let accepted =
        headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
    let mut kinds = accepted.map(|range| range.split(';').next().unwrap_or("").trim());
    let json = kinds.any(|kind| kind.eq_ignore_ascii_case("application/json"));
    if json { Siblings::Json } else { Siblings::Multipart }
}

fn text(kind: &'static str, text: impl Into<Bytes>) -> Response<Chunks> {
    let mut response = Response::new(Chunks::from(text.into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

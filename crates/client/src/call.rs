//! A call being put together.

use std::marker::PhantomData;
use std::time::Duration;

use bytes::Bytes;
use starling_types::{BadSpan, span};
use starling_wire::client::{ReadReply, WriteReply};
use starling_wire::{KvOp, KvReply, KvRequest, Seen};

use crate::client::Client;
use crate::error::ClientError;

/// A request that is not yet sent; `R` is what answers it.
#[must_use = "a call does nothing until it is sent"]
pub struct Call<'c, R> {
    client: &'c Client,
    request: KvRequest,
    /// The last span of time given that is out of its range.
    bad: Option<BadSpan>,
    answer: PhantomData<R>,
}

impl<'c, R: Answer> Call<'c, R> {
    pub(crate) const fn new(client: &'c Client, request: KvRequest) -> Self {
        Self { client, request, bad: None, answer: PhantomData }
    }

    /// How long it may take, tries included: 1 ms to [`starling_types::limits::MAX_TIMEOUT`], anything else is refused
    /// when the call is sent; by default what the cluster's limits say of reads and writes.
    pub fn timeout(mut self, span: Duration) -> Self {
        match span::time_limit(millis(span)) {
            Ok(ms) => self.request.timeout_ms = ms,
            Err(bad) => self.bad = Some(bad),
        }
        self
    }

    /// Whether only owners of the key count towards the quorum.
    pub const fn strict(mut self, strict: bool) -> Self {
        self.request.quorum.strict = Some(strict);
        self
    }

    /// The request as it will be sent, to send it again should its outcome be unknown.
    pub const fn as_request(&self) -> &KvRequest {
        &self.request
    }

    /// Sends it.
    pub async fn send(self) -> Result<R, ClientError> {
        if let Some(bad) = self.bad {
            return Err(bad.into());
        }
        // It is issued now, however long ago it was put together.
        let issued = self.client.nodes.time().now();
        let reply = self.client.request(KvRequest { issued, ..self.request }).await?;
        R::of(reply).ok_or(ClientError::Unexpected("the reply to another operation"))
    }
}

impl Call<'_, ReadReply> {
    /// Replies that are needed, instead of the bucket's r.
    pub const fn quorum(mut self, r: u8) -> Self {
        self.request.quorum.r = Some(r);
        self
    }
}

impl Call<'_, WriteReply> {
    /// Acks that are needed, instead of the bucket's w.
    pub const fn quorum(mut self, w: u8) -> Self {
        self.request.quorum.w = Some(w);
        self
    }

    /// Replaces exactly what the read or write that returned this context has seen.
    pub fn context(self, token: Bytes) -> Self {
        self.seen(Seen::Context(token))
    }

    /// Replaces, unseen, every write that W owners had acked before this one began. Where too few owners answer to be
    /// sure of that, the receipt says so ([`Receipt::partial`](starling_wire::client::Receipt::partial)), or the write is
    /// refused if it is strict.
    pub fn blind(self) -> Self {
        self.seen(Seen::Quorum)
    }

    /// Replaces, unseen, the siblings that the coordinating replica holds, which may lag behind what was acked
    /// elsewhere: one round trip less than [`Call::blind`].
    pub fn blind_local(self) -> Self {
        self.seen(Seen::Local)
    }

    /// The value's time to live, instead of the bucket's default: 1 ms to [`starling_types::limits::MAX_LIFE`],
    /// anything else is refused when the call is sent. Means nothing for a delete.
    pub fn ttl(mut self, span: Duration) -> Self {
        if let KvOp::Put { ttl_ms, .. } = &mut self.request.op {
            match span::life(millis(span)) {
                Ok(ms) => *ttl_ms = Some(ms),
                Err(bad) => self.bad = Some(bad),
            }
        }
        self
    }

    fn seen(mut self, what: Seen) -> Self {
        if let KvOp::Put { seen, .. } | KvOp::Delete { seen } = &mut self.request.op {
            *seen = what;
        }
        self
    }
}

/// A type that a call can return.
pub trait Answer: Sized {
    /// The part of a reply that is this answer, if it is one.
    fn of(reply: KvReply) -> Option<Self>;
}

impl Answer for ReadReply {
    fn of(reply: KvReply) -> Option<Self> {
        if let KvReply::Read(read) = reply { Some(read) } else { None }
    }
}

impl Answer for WriteReply {
    fn of(reply: KvReply) -> Option<Self> {
        if let KvReply::Written(written) = reply { Some(written) } else { None }
    }
}

/// A part of a millisecond counts as one: it is something.
fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

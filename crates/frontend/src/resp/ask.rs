//! A command's operation on one key, as long as it has not begun: the service dates a request, so it is drafted only
//! then.

use starling_types::{BucketName, Key, WallTime, span};
use starling_wire::{Failure, FailureKind, KvOp, KvRequest, QuorumChoice};

use super::order::BucketKey;
use crate::service::KvService;

/// One key's part of a command.
#[derive(Debug)]
pub struct Ask {
    /// Where the key is.
    pub bucket: BucketName,
    /// The key.
    pub key: Key,
    /// The operation.
    pub op: KvOp,
    /// As the connection has chosen.
    pub quorum: QuorumChoice,
    /// The expiry of the value, if the command gave one.
    pub life: Option<Life>,
}

/// A value's time to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// So many milliseconds from the moment at which its command begins.
    For(u64),
    /// Until then.
    Until(WallTime),
}

impl Ask {
    /// The request, issued now: from here on its time limit runs.
    ///
    /// # Errors
    /// The value has expired before the request began.
    pub fn draft<S: KvService>(self, service: &S) -> Result<KvRequest, Failure> {
        let mut request = service.draft(self.bucket, self.key, self.op);
        request.quorum = self.quorum;
        let issued = request.issued;
        if let KvOp::Put { ttl_ms, .. } = &mut request.op {
            *ttl_ms = self.life.map(|life| life.from(issued)).transpose()?;
        }
        request.check()?;
        Ok(request)
    }

    /// Where it stands in line.
    pub fn place(&self) -> BucketKey {
        BucketKey(self.bucket.clone(), self.key.clone())
    }

    /// Bytes that it keeps while it waits, about.
    pub fn weight(&self) -> usize {
        let value = if let KvOp::Put { value, .. } = &self.op { value.len() } else { 0 };
        size_of::<Self>() + self.key.as_bytes().len() + value
    }
}

impl Life {
    fn from(self, issued: WallTime) -> Result<u64, Failure> {
        let left = match self {
            Self::For(ms) => ms,
            Self::Until(end) => end.millis().saturating_sub(issued.millis()),
        };
        span::life(left).map_err(|_| {
            let detail = "invalid expire time in 'set' command: it has passed; use DEL to delete";
            Failure::refused(FailureKind::BadRequest, detail)
        })
    }
}

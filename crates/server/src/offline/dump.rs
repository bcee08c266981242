//! The rows of a store as JSON, one a line. Changes nothing.

use std::ops::ControlFlow;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use starling_causality::Sibling;
use starling_storage::Engine;
use starling_types::row::{RowRange, Space};
use starling_types::{BucketName, ClusterId};

use super::rows::{Held, judge};
use super::shadow::{Shadow, hold};
use super::{OfflineError, cluster_of, walk_while};
use crate::home::Inhabitant;

/// Which rows.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this namespace only.
    pub namespace: Option<Space>,
    /// Of this bucket only; no rows of meta.
    pub bucket: Option<BucketName>,
    /// Whose key begins so.
    pub prefix: Vec<u8>,
}

/// Shows the rows of the store in `dir` as JSON objects, as long as `line` wants more, and whether all that were looked
/// at could be read.
///
/// # Errors
/// If the store cannot be looked at.
pub fn dump(
    dir: &Path,
    scratch: Option<&Path>,
    filter: &Filter,
    mut line: impl FnMut(Value) -> ControlFlow<()>,
) -> Result<bool, OfflineError> {
    let _held = hold(dir)?;
    let shadow = Shadow::cast(dir, scratch)?;
    let (engine, opened) = shadow.open(dir)?;
    let inhabitant = Inhabitant::of(dir).ok().flatten();
    let cluster = cluster_of(&engine, inhabitant.as_ref());
    let mut whole = !opened.has_losses;
    for namespace in Space::ALL.into_iter().filter(|n| filter.namespace.is_none_or(|wanted| wanted == *n)) {
        let walked = walk_while(&engine, namespace, |page| {
            whole &= page.damaged.is_empty() && page.unread.is_empty();
            let lost = page.unread.iter().chain(&page.damaged);
            let damaged = lost.map(|range| (damaged(namespace, range), false));
            let rows =
                page.rows.iter().filter_map(|(key, value)| row(cluster, filter, namespace, key, value));
            for (json, readable) in damaged.chain(rows) {
                whole &= readable;
                if line(json).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if walked.is_break() {
            break;
        }
    }
    engine.close()?;
    Ok(whole)
}

/// One row, if it is wanted, and whether it could be read.
fn row(
    cluster: Option<ClusterId>,
    filter: &Filter,
    namespace: Space,
    key: &Bytes,
    value: &Bytes,
) -> Option<(Value, bool)> {
    if namespace == Space::Meta {
        let wanted = filter.bucket.is_none() && key.starts_with(&filter.prefix);
        let json = json!({
            "namespace": "meta", "key": STANDARD.encode(key), "key_text": text(key), "value": STANDARD.encode(value),
        });
        return wanted.then_some((json, true));
    }
    match judge(cluster, namespace, key, value) {
        Ok(held) => filter.wants(&held).then(|| (record(namespace, &held), true)),
        // The row cannot be assigned to a bucket or key: it is shown, also if only some were asked for.
        Err(flaw) => Some((
            json!({
                "namespace": namespace.name(), "row": STANDARD.encode(key), "error": flaw.to_string(),
                "value": STANDARD.encode(value),
            }),
            false,
        )),
    }
}

impl Filter {
    fn wants(&self, held: &Held) -> bool {
        self.bucket.as_ref().is_none_or(|bucket| *bucket == held.bucket)
            && held.key.as_bytes().starts_with(&self.prefix)
    }
}

fn record(namespace: Space, held: &Held) -> Value {
    let context = held.record.context().iter();
    json!({
        "namespace": namespace.name(),
        "for": held.target,
        "bucket": held.bucket.as_str(),
        "key": STANDARD.encode(held.key.as_bytes()),
        "key_text": text(held.key.as_bytes()),
        "token": held.token.to_string(),
        "generation": held.generation,
        "siblings": held.record.siblings().iter().map(sibling).collect::<Vec<_>>(),
        "context": context.map(|(actor, hlc)| json!({ "actor": actor, "hlc": hlc.to_string() })).collect::<Vec<_>>(),
    })
}

fn sibling(sibling: &Sibling) -> Value {
    json!({
        "dot": sibling.dot.to_string(),
        "time_ms": sibling.dot.hlc.millis(),
        "tombstone": sibling.is_tombstone(),
        "value": sibling.value().map(|value| STANDARD.encode(value)),
        "expires_at_ms": sibling.expires_at.map(|at| at.millis()),
    })
}

fn damaged(namespace: Space, range: &RowRange) -> Value {
    let end = range.end().map(|end| STANDARD.encode(end));
    json!({
        "namespace": namespace.name(), "error": "rows in this range could not be read",
        "damaged": { "start": STANDARD.encode(range.start()), "end": end },
    })
}

/// The bytes as text, if they are.
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.contains(char::is_control))
}

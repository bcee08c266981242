//! A node's own rows for a backup: page by page, as they are stored, while it serves.
//!
//! No snapshot outlives a page. Each row is one that was committed at some moment between the first page and the last,
//! and records of different moments merge: what a backup needs is per key, not across keys.

use bytes::Bytes;
use starling_types::BucketName;
use starling_types::row::{Page, Space};
use starling_vnode::rows::{bucket_of_data, bucket_of_hint};
use starling_wire::client::{AdminReply, Export, ExportPage, Exporter};

use super::Node;
use crate::event::{Effect, ReplyHandle, ScanId};

/// Pages that are read at the same time. A client that makes a backup asks for one after the other.
const MOST_EXPORTS: usize = 16;

impl Node {
    /// Begins to answer.
    pub(super) fn export(&mut self, handle: ReplyHandle, export: Export, out: &mut Vec<Effect>) {
        if self.exports.len() >= MOST_EXPORTS {
            let busy = format!("{MOST_EXPORTS} pages for backups are being read: try again");
            return out.push(Effect::RespondAdmin(handle, AdminReply::Refused(busy)));
        }
        let from = Some(export.from.clone()).filter(|from| !from.is_empty());
        let (id, space) = (ScanId::Export(handle), export.space);
        out.push(Effect::Scan { id, space, prefix: Bytes::new(), from });
        self.exports.insert(handle, export);
    }

    /// The rows of a page have come.
    pub(super) fn exported(
        &mut self,
        handle: ReplyHandle,
        page: Result<Page, String>,
        out: &mut Vec<Effect>,
    ) {
        let Some(Export { space, buckets, .. }) = self.exports.remove(&handle) else { return };
        let answer = match page {
            Ok(page) => AdminReply::Exported(self.export_page(space, &buckets, page)),
            Err(why) => AdminReply::Refused(format!("the node cannot read its store: {why}")),
        };
        out.push(Effect::RespondAdmin(handle, answer));
    }

    fn export_page(&self, space: Space, buckets: &[BucketName], page: Page) -> ExportPage {
        let Page { mut rows, next, mut damaged, unread, sequence } = page;
        damaged.extend(unread);
        damaged.sort();
        rows.retain(|(key, _)| is_wanted(space, key, buckets));
        ExportPage { exporter: self.exporter(), sequence, rows, next, damaged }
    }

    fn exporter(&self) -> Exporter {
        let me = self.control.hello();
        let cluster = self.view().cluster();
        Exporter {
            node: me.node,
            name: me.name.clone(),
            cluster: cluster.is_some().then_some(cluster),
            generation: me.generation,
            layout: self.view().epoch(),
            version: me.version.clone(),
        }
    }
}

fn is_wanted(space: Space, key: &[u8], buckets: &[BucketName]) -> bool {
    let bucket = match space {
        Space::Data => bucket_of_data(key),
        Space::Hints => bucket_of_hint(key),
        Space::Meta => return true,
    };
    buckets.is_empty() || bucket.is_some_and(|bucket| buckets.iter().any(|b| b.as_str().as_bytes() == bucket))
}

#[cfg(test)]
mod tests;

//! `starling backup create`.

use starling_backup::{Cursor, Manifest, Origin, Writer};
use starling_client::Client;
use starling_types::BucketName;
use starling_types::row::Page;
use starling_wire::client::{AdminReply, AdminRequest, Export, ExportPage, Exporter};

use super::{CreateArgs, Progress, show};
use crate::clock::now;
use crate::connect;
use crate::exit::{Exit, Failed};
use crate::output;

/// Makes a backup, or goes on with one.
pub async fn run(args: &CreateArgs, json: bool) -> Result<Exit, Failed> {
    if args.target.at.len() != 1 {
        return Err(Failed::new(Exit::Usage, "a backup is of one node: name one address with --at"));
    }
    let names = args.bucket.iter().map(|name| BucketName::new(name)).collect::<Result<Vec<_>, _>>();
    let buckets = names.map_err(|e| Failed::new(Exit::Usage, e.to_string()))?;
    // Before any node is asked: a directory that cannot be used ends the command here.
    let cursor = Writer::cursor_in(&args.dir)?;
    let client = connect::client(&args.target).await?;
    let copied = copy(&client, args, cursor, &buckets).await;
    client.close().await;
    let manifest = copied?;
    let dir = &args.dir;
    let text = || show::as_text(dir, &manifest);
    output::done(json, if json { show::as_json(dir, &manifest).to_string() } else { text() })?;
    if manifest.unreadable.is_empty() {
        return Ok(Exit::Done);
    }
    let why = format!(
        "the backup has all that could be read, but the node could not read {} ranges of its store: look at its \
         disk, and run `starling data check` there",
        manifest.unreadable.len()
    );
    output::note(format!("starling: {why}"));
    Ok(Exit::Failed)
}

async fn copy(
    client: &Client,
    args: &CreateArgs,
    cursor: Cursor,
    buckets: &[BucketName],
) -> Result<Manifest, Failed> {
    let first = ask(client, &cursor, buckets).await?;
    let origin = origin_of(&first.exporter);
    let only = (!buckets.is_empty()).then(|| buckets.to_vec());
    let dir = &args.dir;
    let writer = Writer::begin(dir, origin.clone(), only, now())?;
    let mut writer = writer.with_chunk_bytes(u64::from(args.file_mib) << 20);
    if let (rows @ 1.., runs) = (writer.progress().all().rows, writer.manifest().runs) {
        output::note(format!("going on with the backup in {} behind {rows} rows, run {runs}", dir.display()));
    }
    let mut progress = Progress::new("copied");
    writer.append(cursor.namespace, page(first))?;
    while let Some(cursor) = writer.cursor().cloned() {
        let answer = ask(client, &cursor, buckets).await?;
        if !origin.is_same_node(&origin_of(&answer.exporter)) {
            let other = answer.exporter.node;
            let why = format!("node {other} answers where node {} did: start again", origin.node_id);
            return Err(Failed::new(Exit::Failed, why));
        }
        writer.append(cursor.namespace, page(answer))?;
        progress.show(writer.progress());
    }
    Ok(writer.finish(now())?)
}

async fn ask(client: &Client, cursor: &Cursor, buckets: &[BucketName]) -> Result<ExportPage, Failed> {
    let export = Export { space: cursor.namespace, from: cursor.from.clone(), buckets: buckets.to_vec() };
    match client.admin(AdminRequest::Export(export)).await {
        Ok(AdminReply::Exported(page)) => Ok(page),
        Ok(AdminReply::Refused(why)) => Err(Failed::new(Exit::Refused, why)),
        Ok(_) => Err(Failed::new(Exit::Failed, "the node answered something else than was asked")),
        Err(error) => {
            let failed = Failed::from(error);
            let why = format!("{}; run the same command again to go on from here", failed.why);
            // Nothing is ever written at the node.
            let exit = if failed.exit == Exit::Unknown { Exit::Unreachable } else { failed.exit };
            Err(Failed::new(exit, why))
        }
    }
}

fn page(answer: ExportPage) -> Page {
    let ExportPage { sequence, rows, next, damaged, .. } = answer;
    Page { rows, next, damaged, sequence, ..Page::default() }
}

fn origin_of(exporter: &Exporter) -> Origin {
    Origin {
        node_id: exporter.node,
        name: exporter.name.clone(),
        cluster_id: exporter.cluster,
        generation: exporter.generation,
        layout_version: exporter.layout,
        release: exporter.version.clone(),
    }
}

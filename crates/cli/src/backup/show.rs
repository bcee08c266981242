//! The description of a backup, for people and programs.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use starling_backup::{Amounts, BackupError, Manifest, State};

use crate::exit::{Exit, Failed};
use crate::output;

/// `starling backup list`.
pub fn list(dir: &Path, json: bool) -> Result<Exit, Failed> {
    let backups = found(dir)?;
    if backups.is_empty() {
        return Err(Failed::new(
            Exit::Failed,
            format!("there is no backup in {} or below it", dir.display()),
        ));
    }
    let all_readable = backups.iter().all(|(_, manifest)| manifest.is_ok());
    if json {
        let of = |(dir, manifest): &Found| match manifest {
            Ok(manifest) => as_json(dir, manifest),
            Err(error) => json!({ "dir": dir, "error": error.to_string() }),
        };
        output::product(json!({ "backups": backups.iter().map(of).collect::<Vec<_>>() }).to_string())?;
    } else {
        for (dir, manifest) in &backups {
            output::product(match manifest {
                Ok(manifest) => as_text(dir, manifest),
                Err(error) => format!("{}: {error}", dir.display()),
            })?;
        }
    }
    Ok(if all_readable { Exit::Done } else { Exit::Failed })
}

/// A directory, and the manifest in it.
type Found = (PathBuf, Result<Manifest, BackupError>);

/// The backup in `dir`, or else those in its directories, by name.
fn found(dir: &Path) -> Result<Vec<Found>, Failed> {
    let load = |dir: PathBuf| Manifest::load(&dir).transpose().map(|manifest| (dir, manifest));
    if let Some(backup) = load(dir.to_owned()) {
        return Ok(vec![backup]);
    }
    let unreadable = |e: std::io::Error| Failed::new(Exit::Failed, format!("reading {}: {e}", dir.display()));
    let entries = std::fs::read_dir(dir).map_err(unreadable)?;
    let mut dirs =
        entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    dirs.sort();
    Ok(dirs.into_iter().filter_map(load).collect())
}

/// One backup in a few lines.
pub fn as_text(dir: &Path, manifest: &Manifest) -> String {
    let Manifest { state, origin, begun_at, ended_at, runs, totals, unreadable, chunks, buckets, .. } =
        manifest;
    let state = match state {
        State::Complete => "complete",
        State::Partial => "PARTIAL",
    };
    let cluster = origin.cluster_id.map_or("none".into(), |id| id.to_string());
    let all = totals.all();
    let mut text = format!(
        "{}  {state}\n  node  {} ({}), cluster {cluster}, layout {}, generation {}, release {}\n  time  {begun_at}",
        dir.display(),
        origin.node_id,
        origin.name,
        origin.layout_version.0,
        origin.generation,
        origin.release,
    );
    if let Some(ended_at) = ended_at {
        text += &format!(" to {ended_at}");
    }
    if *runs > 1 {
        text += &format!(", in {runs} runs");
    }
    text += &format!(
        "\n  rows  {} in {} files: data {}, hints {}, meta {}; {} bytes",
        all.rows,
        chunks.len(),
        totals.data.rows,
        totals.hints.rows,
        totals.meta.rows,
        all.bytes,
    );
    if let Some(buckets) = buckets {
        let names: Vec<_> = buckets.iter().map(|bucket| bucket.as_str()).collect();
        text += &format!("\n  only  buckets {}", names.join(", "));
    }
    if !unreadable.is_empty() {
        text += &format!("\n  ! the node could not read {} ranges of its store", unreadable.len());
    }
    text
}

/// The same for programs.
pub fn as_json(dir: &Path, manifest: &Manifest) -> Value {
    json!({
        "dir": dir, "state": manifest.state, "format_version": manifest.format_version, "origin": manifest.origin,
        "buckets": manifest.buckets, "begun_at": manifest.begun_at, "ended_at": manifest.ended_at,
        "runs": manifest.runs, "first_sequence": manifest.first_sequence, "last_sequence": manifest.last_sequence,
        "totals": totals_json(&manifest.totals), "files": manifest.chunks.len(),
        "unreadable": manifest.unreadable, "cursor": manifest.cursor,
    })
}

/// Rows and bytes by namespace, and of all.
pub fn totals_json(totals: &Amounts) -> Value {
    json!({ "data": totals.data, "hints": totals.hints, "meta": totals.meta, "all": totals.all() })
}

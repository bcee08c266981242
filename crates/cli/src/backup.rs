//! `starling backup`.

mod create;
mod show;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use starling_backup::{Amounts, BackupError, Manifest, Reader, State, Verdict};
use starling_server::offline::{self, Counters, OfflineError, Restore, Restored};

use crate::connect::Target;
use crate::exit::{Exit, Failed};
use crate::output;

/// `starling backup`
#[derive(Debug, Args)]
pub struct BackupArgs {
    #[command(subcommand)]
    pub command: BackupCommand,
}

/// Commands on backups.
#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// Copy the rows of a live node into a directory. One that was cut off goes on where it stopped.
    Create(CreateArgs),
    /// Show the backup in a directory, or all in the directories below it.
    List {
        /// Where.
        dir: PathBuf,
    },
    /// Read all of a backup, against every checksum.
    Verify {
        /// The backup.
        dir: PathBuf,
    },
    /// Merge a backup into the data directory of its node, which must not run; an empty one becomes that node's.
    Restore(RestoreArgs),
}

/// `starling backup create`
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// A backup is of one node: the one at this address.
    #[command(flatten)]
    pub target: Target,
    /// Only records of this bucket; may be repeated.
    #[arg(long)]
    pub bucket: Vec<String>,
    /// Size in MiB at which a file is full and safe: what a run that is cut off has to copy again.
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub file_mib: u16,
    /// Where to: a directory for this backup alone, made if it is not there.
    pub dir: PathBuf,
}

/// `starling backup restore`
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The backup.
    pub backup: PathBuf,
    /// The node's data directory.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Restore what there is of a backup that was cut off or is damaged.
    #[arg(long)]
    pub incomplete: bool,
}

/// Dispatches.
pub async fn run(command: BackupArgs, json: bool) -> Result<Exit, Failed> {
    match command.command {
        BackupCommand::Create(args) => create::run(&args, json).await,
        BackupCommand::List { dir } => show::list(&dir, json),
        BackupCommand::Verify { dir } => verify(&dir, json),
        BackupCommand::Restore(args) => restore(&args, json),
    }
}

fn verify(dir: &std::path::Path, json: bool) -> Result<Exit, Failed> {
    let reader = Reader::open(dir)?;
    let manifest = reader.manifest();
    let (mut progress, mut totals) = (Progress::new("verified"), Amounts::default());
    let (mut flawed, mut first_flaw) = (0u64, None);
    let cluster = manifest.origin.cluster_id;
    let verdict = reader.verify(|row| {
        totals.count(row.namespace, row.size());
        progress.show(&totals);
        if row.namespace != starling_types::row::Space::Meta
            && let Err(flaw) = offline::judge(cluster, row.namespace, &row.key, &row.value)
        {
            flawed += 1;
            first_flaw.get_or_insert_with(|| flaw.to_string());
        }
    });
    let is_whole = verdict.is_whole()
        && manifest.state == State::Complete
        && manifest.unreadable.is_empty()
        && flawed == 0;
    if json {
        let mut out = show::as_json(dir, manifest);
        out["whole"] = is_whole.into();
        out["read"] = show::totals_json(&verdict.totals);
        out["damage"] = verdict.damage.iter().map(ToString::to_string).collect();
        out["damage_not_shown"] = verdict.more.into();
        out["flawed_rows"] = flawed.into();
        output::product(out.to_string())?;
    } else {
        output::product(show::as_text(dir, manifest))?;
        output::product(verdict_text(manifest, &verdict, is_whole))?;
        if let Some(flaw) = first_flaw {
            output::product(format!("  ! {flawed} rows hold no record, the first because {flaw}"))?;
        }
    }
    Ok(if is_whole { Exit::Done } else { Exit::Failed })
}

fn verdict_text(manifest: &Manifest, verdict: &Verdict, is_whole: bool) -> String {
    let all = verdict.totals.all();
    let mut text = match is_whole {
        true => format!("whole: all {} rows match their checksums", all.rows),
        false => {
            format!("NOT whole: {} of {} rows match their checksums", all.rows, manifest.totals.all().rows)
        }
    };
    if manifest.state == State::Partial {
        text += "\n  ! it was cut off: `starling backup create` with the same directory goes on with it";
    }
    for damage in &verdict.damage {
        text += &format!("\n  ! {damage}");
    }
    if verdict.more > 0 {
        text += &format!("\n  ! and {} more", verdict.more);
    }
    text
}

fn restore(args: &RestoreArgs, json: bool) -> Result<Exit, Failed> {
    let order = Restore { backup: &args.backup, data: &args.data, incomplete: args.incomplete };
    let restored = offline::restore(order, |rows| {
        if rows.is_multiple_of(PROGRESS_ROWS) {
            output::note(format!("restored {rows} rows"));
        }
    })?;
    let is_whole = restored.verdict.is_whole() && restored.flawed.is_empty();
    output::done(
        json,
        if json { restored_json(&restored).to_string() } else { restored_text(args, &restored) },
    )?;
    Ok(if is_whole { Exit::Done } else { Exit::Failed })
}

fn restored_text(args: &RestoreArgs, restored: &Restored) -> String {
    let Restored { inhabitant, is_new, data, hints, flawed, verdict } = restored;
    let whose = match is_new {
        true => format!("{} is node {} again", args.data.display(), inhabitant.node_id),
        false => format!("merged into {} of node {}", args.data.display(), inhabitant.node_id),
    };
    let words = |name: &str, counts: &Counters| {
        let Counters { new, merged, known, healed } = counts;
        format!(
            "\n  {name:<5} {new} new, {merged} merged with what was there, {known} known already, {healed} in place of unreadable ones"
        )
    };
    let mut text = whose + &words("data", data) + &words("hints", hints);
    for damage in &verdict.damage {
        text += &format!("\n  ! not restored: {damage}");
    }
    for row in flawed {
        text += &format!("\n  ! not restored: {row}");
    }
    if *is_new {
        text += "\n  next  start the node: it asks the other owners for what was written since the backup";
    }
    text
}

fn restored_json(restored: &Restored) -> serde_json::Value {
    let Restored { inhabitant, is_new, data, hints, flawed, verdict } = restored;
    let counts = |counts: &Counters| {
        let Counters { new, merged, known, healed } = counts;
        serde_json::json!({ "new": new, "merged": merged, "known": known, "healed": healed })
    };
    serde_json::json!({
        "node_id": inhabitant.node_id, "cluster_id": inhabitant.cluster_id, "generation": inhabitant.generation.count(),
        "new_directory": is_new, "data": counts(data), "hints": counts(hints),
        "not_restored": verdict.damage.iter().map(ToString::to_string)
            .chain(flawed.iter().map(ToString::to_string)).collect::<Vec<_>>(),
    })
}

/// Tells a person who waits how far it is.
pub(crate) struct Progress {
    verb: &'static str,
    next: u64,
}

impl Progress {
    pub(crate) const fn new(verb: &'static str) -> Self {
        Self { verb, next: PROGRESS_BYTES }
    }

    pub(crate) fn show(&mut self, totals: &Amounts) {
        let all = totals.all();
        if all.bytes >= self.next {
            self.next = all.bytes + PROGRESS_BYTES;
            output::note(format!("{} {} rows, {} MiB", self.verb, all.rows, all.bytes >> 20));
        }
    }
}

impl From<BackupError> for Failed {
    fn from(error: BackupError) -> Self {
        Self::new(Exit::Failed, error.to_string())
    }
}

impl From<OfflineError> for Failed {
    fn from(error: OfflineError) -> Self {
        Self::new(Exit::Failed, error.to_string())
    }
}

const PROGRESS_BYTES: u64 = 64 << 20;
const PROGRESS_ROWS: u64 = 100_000;

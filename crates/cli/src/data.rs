//! `starling data`.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use starling_server::offline::{
    self, Check, Counters, Filter, FlawedRow, GivenUp, Opened, Repair, SpaceCheck, TakenBack,
};
use starling_types::BucketName;
use starling_types::row::{RowRange, Space};

use crate::clock;
use crate::exit::{Exit, Failed};
use crate::output;

/// `starling data`
#[derive(Debug, Args)]
pub struct DataArgs {
    #[command(subcommand)]
    pub command: DataCommand,
}

/// Commands on a data directory.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Read everything and say what is wrong. Changes nothing.
    Check {
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Print the rows, decoded, as one JSON object a line. Changes nothing.
    Dump(DumpArgs),
    /// Mend what a check finds, as far as one node can; keeps the store as it was beside it.
    Repair {
        /// The data directory.
        dir: PathBuf,
        /// Give up the parts of this file of the store that the disk does not give: they count as lost, the rest is
        /// kept. May be given several times.
        #[arg(long, value_name = "FILE")]
        accept_unreadable: Vec<PathBuf>,
    },
    /// Merge what can be read of a ruin (`NAME.ruin-N`, set aside because something in it was damaged or given up) into
    /// the store, as writes: what is there and newer stays.
    TakeBack {
        /// The data directory.
        dir: PathBuf,
        /// The ruin: the directory of a namespace's tables, or a segment of the log. The copy that a repair kept has such
        /// too.
        ruin: PathBuf,
    },
}

/// Where to look.
#[derive(Debug, Args)]
pub struct PlaceArgs {
    /// The data directory.
    pub dir: PathBuf,
    /// Where to work on a copy of the store (in which table files are only linked, if it is the same volume); by default
    /// in the data directory.
    #[arg(long, value_name = "DIR")]
    pub scratch: Option<PathBuf>,
}

/// `starling data dump`
#[derive(Debug, Args)]
pub struct DumpArgs {
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Only this namespace.
    #[arg(long, value_parser = namespaces())]
    pub namespace: Option<Space>,
    /// Only this bucket.
    #[arg(long)]
    pub bucket: Option<String>,
    /// Only keys that begin so.
    #[arg(long, default_value = "")]
    pub prefix: String,
}

/// The namespaces by their names on disk.
fn namespaces() -> impl TypedValueParser<Value = Space> {
    let values = Space::ALL.map(|space| {
        PossibleValue::new(space.name()).help(match space {
            Space::Data => "Records of the keys that the node owns",
            Space::Hints => "Records kept for absent owners",
            Space::Meta => "What the node knows of itself and the cluster",
        })
    });
    let named =
        |name: String| Space::ALL.into_iter().find(|space| space.name() == name).ok_or("no such namespace");
    PossibleValuesParser::new(values).try_map(named)
}

/// Dispatches.
pub fn run(command: &DataArgs, json: bool) -> Result<Exit, Failed> {
    match &command.command {
        DataCommand::Check { place } => check(place, json),
        DataCommand::Dump(args) => dump(args),
        DataCommand::Repair { dir, accept_unreadable } if accept_unreadable.is_empty() => repair(dir, json),
        DataCommand::Repair { dir, accept_unreadable } => give_up(dir, accept_unreadable, json),
        DataCommand::TakeBack { dir, ruin } => take_back(dir, ruin, json),
    }
}

fn check(place: &PlaceArgs, json: bool) -> Result<Exit, Failed> {
    let found = offline::check(&place.dir, place.scratch.as_deref())?;
    output::product(if json {
        check_json(&place.dir, &found).to_string()
    } else {
        check_text(&place.dir, &found)
    })?;
    Ok(if found.is_sound() { Exit::Done } else { Exit::Failed })
}

fn dump(args: &DumpArgs) -> Result<Exit, Failed> {
    let bucket = args.bucket.as_deref().map(BucketName::new).transpose();
    let filter = Filter {
        namespace: args.namespace,
        bucket: bucket.map_err(|e| Failed::new(Exit::Usage, e.to_string()))?,
        prefix: args.prefix.clone().into_bytes(),
    };
    let scratch = args.place.scratch.as_deref();
    let mut out = output::stream();
    let is_whole = offline::dump(&args.place.dir, scratch, &filter, |row| out.line(&row.to_string()))?;
    out.finish()?;
    if !is_whole {
        output::note("starling: not everything could be read: `starling data check` says what");
    }
    Ok(if is_whole { Exit::Done } else { Exit::Failed })
}

/// The name of the copy that a repair keeps.
fn copy_name() -> String {
    format!("damaged-{}", clock::now().to_string().replace([':', '.'], "-"))
}

fn give_up(dir: &Path, files: &[PathBuf], json: bool) -> Result<Exit, Failed> {
    let done = offline::give_up(dir, &copy_name(), files)?;
    output::done(json, if json { given_up_json(&done).to_string() } else { given_up_text(&done) })?;
    Ok(Exit::Done)
}

fn given_up_text(done: &GivenUp) -> String {
    let mut text = format!("given up; what could be read is kept in {}", done.originals.display());
    for (file, bytes) in &done.files {
        text += &format!("\n  {}  {bytes} bytes could not be read", file.display());
    }
    text += &format!("\n  open    {}", done.opened.words);
    text + "\n  next    start the node: it asks the other owners for what is gone"
}

fn given_up_json(done: &GivenUp) -> Value {
    let files = done.files.iter().map(|(file, bytes)| json!({ "file": file, "unread_bytes": bytes }));
    json!({
        "originals": done.originals, "files": files.collect::<Vec<_>>(), "opened": opened_json(&done.opened),
    })
}

fn take_back(dir: &Path, ruin: &Path, json: bool) -> Result<Exit, Failed> {
    let done = offline::take_back(dir, ruin)?;
    output::done(json, if json { taken_back_json(&done).to_string() } else { taken_back_text(ruin, &done) })?;
    Ok(Exit::Done)
}

fn taken_back_text(ruin: &Path, done: &TakenBack) -> String {
    let TakenBack { found, data, hints, flawed } = done;
    let mut text =
        format!("{}  {} rows read, {} places are damaged", ruin.display(), found.rows, found.damaged);
    for (name, counts) in [("data", data), ("hints", hints)] {
        let Counters { new, merged, known, healed } = counts;
        text += &format!("\n  {name:<6}  {} new, {merged} merged, {known} known already", new + healed);
    }
    flawed.iter().for_each(|row| text += &format!("\n  ! {row}"));
    text + "\n  next    start the node; remove the ruin when nobody wants to look at it any more"
}

fn taken_back_json(done: &TakenBack) -> Value {
    let counts = |counts: &Counters| {
        let Counters { new, merged, known, healed } = counts;
        json!({ "new": new, "merged": merged, "known": known, "healed": healed })
    };
    json!({
        "rows": done.found.rows, "damaged": done.found.damaged, "data": counts(&done.data),
        "hints": counts(&done.hints), "flawed": done.flawed.iter().map(flawed_json).collect::<Vec<_>>(),
    })
}

fn repair(dir: &Path, json: bool) -> Result<Exit, Failed> {
    let name = copy_name();
    let done = offline::repair(dir, &name)?;
    output::done(json, if json { repair_json(dir, &done).to_string() } else { repair_text(dir, &done) })?;
    Ok(Exit::Done)
}

fn check_text(dir: &Path, found: &Check) -> String {
    let verdict = if found.is_sound() { "sound" } else { "NOT sound" };
    let mut text = format!("{}  {verdict}", dir.display());
    if let Some(here) = &found.inhabitant {
        let cluster = here.cluster_id.map_or("none".into(), |id| id.to_string());
        text += &format!("\n  node    {}, cluster {cluster}, generation {}", here.node_id, here.generation);
    }
    text += &format!("\n  format  {}", found.format);
    if !found.opened.words.is_empty() {
        text += &format!(
            "\n  {}  {}",
            if found.opened.has_losses { "! open" } else { "open  " },
            found.opened.words
        );
    }
    for space in &found.spaces {
        text += &format!("\n  {:<6}  {}", space.namespace.name(), space_text(space));
    }
    for problem in &found.problems {
        text += &format!("\n  ! {problem}");
    }
    if found.opened.is_known {
        text += "\n  next    start the node: it asks the other owners for what is gone";
    }
    text
}

fn space_text(space: &SpaceCheck) -> String {
    let SpaceCheck { rows, bytes, tombstones, conflicts, damaged, unread, flawed, flawed_rows, .. } = space;
    let mut text = format!("{rows} rows, {bytes} bytes");
    if space.namespace != Space::Meta {
        text += &format!(", {tombstones} deletes, {conflicts} with siblings");
    }
    damaged.iter().for_each(|range| text += &format!("\n  ! rows from {} are damaged", range_text(range)));
    unread.iter().for_each(|range| {
        text +=
            &format!("\n  ! rows from {} were not given by the disk: they may be whole", range_text(range));
    });
    flawed.iter().for_each(|row| text += &format!("\n  ! {row}"));
    if *flawed_rows > flawed.len() as u64 {
        text += &format!("\n  ! and {} more", flawed_rows - flawed.len() as u64);
    }
    text
}

fn range_text(range: &RowRange) -> String {
    let end = range.end().map_or("the end".into(), |end| end.escape_ascii().to_string());
    format!("\"{}\" to {end}", range.start().escape_ascii())
}

fn check_json(dir: &Path, found: &Check) -> Value {
    let spaces = found.spaces.iter().map(|space| {
        let SpaceCheck { rows, bytes, tombstones, conflicts, damaged, unread, flawed, flawed_rows, .. } =
            space;
        json!({
            "namespace": space.namespace.name(), "rows": rows, "bytes": bytes, "tombstones": tombstones,
            "conflicts": conflicts, "damaged": damaged.iter().map(range_json).collect::<Vec<_>>(),
            "unread": unread.iter().map(range_json).collect::<Vec<_>>(),
            "flawed": flawed.iter().map(flawed_json).collect::<Vec<_>>(), "flawed_rows": flawed_rows,
        })
    });
    json!({
        "dir": dir, "sound": found.is_sound(), "node": found.inhabitant, "format": found.format,
        "opened": opened_json(&found.opened), "namespaces": spaces.collect::<Vec<_>>(), "problems": found.problems,
    })
}

fn opened_json(opened: &Opened) -> Value {
    json!({ "findings": opened.words, "losses": opened.has_losses, "known": opened.is_known })
}

fn range_json(range: &RowRange) -> Value {
    json!({ "start": STANDARD.encode(range.start()), "end": range.end().map(|end| STANDARD.encode(end)) })
}

fn flawed_json(row: &FlawedRow) -> Value {
    json!({ "namespace": row.namespace.name(), "row": STANDARD.encode(&row.row), "flaw": row.flaw.to_string() })
}

fn repair_text(dir: &Path, done: &Repair) -> String {
    let Some(mended) = &done.mended else {
        return format!("{}  nothing to repair", dir.display());
    };
    let mut text = check_text(dir, &done.found);
    text += &format!("\nrepaired; the store as it was is kept in {}", mended.originals.display());
    mended.removed.iter().for_each(|row| text += &format!("\n  removed  {row}"));
    for (namespace, range) in &mended.gone {
        text += &format!("\n  gone     {namespace} rows from {}", range_text(range));
    }
    text +=
        "\n  next     start the node: it asks the other owners for what is gone. Then remove what was kept.";
    text
}

fn repair_json(dir: &Path, done: &Repair) -> Value {
    let mended = done.mended.as_ref().map(|mended| {
        let gone = mended
            .gone
            .iter()
            .map(|(namespace, range)| json!({ "namespace": namespace.name(), "range": range_json(range) }));
        json!({
            "originals": mended.originals, "opened": opened_json(&mended.opened),
            "removed": mended.removed.iter().map(flawed_json).collect::<Vec<_>>(),
            "gone": gone.collect::<Vec<_>>(),
        })
    });
    json!({ "found": check_json(dir, &done.found), "repaired": mended })
}

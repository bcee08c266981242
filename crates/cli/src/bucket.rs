//! `starling bucket`.

use clap::{Args, Subcommand, ValueEnum};
use starling_client::Client;
use starling_types::{BucketChanges, BucketName, BucketProps, Conflict};
use starling_wire::client::{AdminReply, AdminRequest, BucketRegister};

use crate::connect::{self, Target};
use crate::exit::{Exit, Failed};
use crate::output;

/// `starling bucket`
#[derive(Debug, Args)]
pub struct BucketArgs {
    #[command(subcommand)]
    pub command: BucketCommand,
}

/// Commands on buckets.
#[derive(Debug, Subcommand)]
pub enum BucketCommand {
    /// Show all buckets.
    List(Target),
    /// Show one.
    Show(NameArgs),
    /// Create one: what is not named is as in a bucket without options.
    Create(ChangeArgs),
    /// Change one: what is not named stays as it is.
    Set(ChangeArgs),
}

/// Which bucket.
#[derive(Debug, Args)]
pub struct NameArgs {
    #[command(flatten)]
    pub target: Target,
    /// The bucket: 1 to 128 characters of A-Z a-z 0-9 . _ -
    pub name: String,
}

/// Which bucket, and its rules.
#[derive(Debug, Args)]
pub struct ChangeArgs {
    #[command(flatten)]
    pub bucket: NameArgs,
    /// Replies that a read needs; 0 is a majority of the copies.
    #[arg(long)]
    pub r: Option<u8>,
    /// Acks that a write needs; 0 is a majority of the copies.
    #[arg(long)]
    pub w: Option<u8>,
    /// Only owners count, and reads return only what later reads will also see.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub strict: Option<bool>,
    /// The treatment of concurrent values.
    #[arg(long, value_enum)]
    pub conflict: Option<ConflictArg>,
    /// Whether an ack means fsynced.
    #[arg(long, value_name = "BOOL")]
    pub durable: Option<bool>,
    /// The least W that counts: a node that lost its disk hears so many other owners that it learns all that at least
    /// so many had acked; 0 is a majority. Writes with a lower W are taken, and their receipts say `unvouched`.
    #[arg(long, value_name = "W")]
    pub least_w: Option<u8>,
    /// Time to live of a value whose write names none, in milliseconds; 0 is for ever.
    #[arg(long, value_name = "MS")]
    pub ttl_ms: Option<u64>,
}

/// The treatment of concurrent values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ConflictArg {
    /// They stay side by side until a write that has seen them.
    Siblings,
    /// The last one by time stays, the others are lost.
    Lww,
}

/// Dispatches.
pub async fn run(command: BucketArgs, json: bool) -> Result<Exit, Failed> {
    match command.command {
        BucketCommand::List(target) => list(&target, json).await,
        BucketCommand::Show(args) => show(&args, json).await,
        BucketCommand::Create(args) => set(args, true, json).await,
        BucketCommand::Set(args) => set(args, false, json).await,
    }
}

async fn set(args: ChangeArgs, create: bool, json: bool) -> Result<Exit, Failed> {
    let name = name(&args.bucket)?;
    let changes = args.changes();
    if !create && changes == BucketChanges::default() {
        let why =
            "nothing to set: name at least one of --r --w --strict --conflict --durable --ttl-ms --least-w";
        return Err(Failed::new(Exit::Usage, why));
    }
    match ask(&args.bucket.target, AdminRequest::BucketSet { name, changes, create }).await? {
        AdminReply::BucketSet { bucket, held_by, members } => {
            if json {
                let mut out = as_json(&bucket);
                out["held_by"] = held_by.into();
                out["members"] = members.into();
                output::done(json, out.to_string())?;
            } else {
                output::remark(as_text(&bucket));
                output::remark(spread(held_by, members));
            }
            Ok(Exit::Done)
        }
        other => Err(unexpected(other)),
    }
}

async fn show(args: &NameArgs, json: bool) -> Result<Exit, Failed> {
    let name = name(args)?;
    let buckets = table(&args.target).await?;
    let Some(bucket) = buckets.iter().find(|b| b.name == name) else {
        let why = format!("there is no bucket {name}: create it with `starling bucket create {name}`");
        return Err(Failed::new(Exit::Failed, why));
    };
    output::product(if json { as_json(bucket).to_string() } else { as_text(bucket) })?;
    Ok(Exit::Done)
}

async fn list(target: &Target, json: bool) -> Result<Exit, Failed> {
    let buckets = table(target).await?;
    if json {
        let buckets: Vec<_> = buckets.iter().map(as_json).collect();
        output::product(serde_json::json!({ "buckets": buckets }).to_string())?;
    } else {
        let lines: Vec<_> = buckets.iter().map(as_text).collect();
        output::product(lines.join("\n"))?;
    }
    Ok(Exit::Done)
}

async fn table(target: &Target) -> Result<Vec<BucketRegister>, Failed> {
    match ask(target, AdminRequest::BucketList).await? {
        AdminReply::Buckets(buckets) => Ok(buckets),
        other => Err(unexpected(other)),
    }
}

async fn ask(target: &Target, request: AdminRequest) -> Result<AdminReply, Failed> {
    let client: Client = connect::client(target).await?;
    let reply = client.admin(request).await;
    client.close().await;
    Ok(reply?)
}

fn unexpected(reply: AdminReply) -> Failed {
    match reply {
        AdminReply::Refused(why) => Failed::new(Exit::Refused, why),
        _ => Failed::new(Exit::Failed, "the node answered something else than was asked"),
    }
}

fn name(args: &NameArgs) -> Result<BucketName, Failed> {
    BucketName::new(&args.name).map_err(|e| Failed::new(Exit::Usage, e.to_string()))
}

impl ChangeArgs {
    fn changes(&self) -> BucketChanges {
        let conflict = self.conflict.map(|c| match c {
            ConflictArg::Siblings => Conflict::Siblings,
            ConflictArg::Lww => Conflict::Lww,
        });
        BucketChanges {
            r: self.r,
            w: self.w,
            strict: self.strict,
            conflict,
            durable: self.durable,
            ttl_ms: self.ttl_ms,
            least_w: self.least_w,
        }
    }
}

fn spread(held_by: u32, members: u32) -> String {
    match held_by < members {
        false => format!("all {members} members have it"),
        true => format!(
            "{held_by} of {members} members have it so far: the others learn it when they are reached"
        ),
    }
}

fn as_text(bucket: &BucketRegister) -> String {
    let BucketProps { version, r, w, strict, conflict, durable, ttl_ms, least_w } = &bucket.props;
    let quorum = |q: &Option<u8>| q.map_or("majority".into(), |q| q.to_string());
    let life = ttl_ms.map_or("none".into(), |ms| ms.to_string());
    let (r, w, least_w) = (quorum(r), quorum(w), quorum(least_w));
    format!(
        "{:<16} r={r} w={w} least_w={least_w} strict={strict} conflict={conflict} durable={durable} ttl_ms={life} \
         version={version}",
        bucket.name.as_str()
    )
}

/// `null` stands for a majority, and for no time to live.
fn as_json(bucket: &BucketRegister) -> serde_json::Value {
    let BucketProps { version, r, w, strict, conflict, durable, ttl_ms, least_w } = &bucket.props;
    serde_json::json!({
        "name": bucket.name, "version": version, "r": r, "w": w, "least_w": least_w, "strict": strict, "conflict": conflict,
        "durable": durable, "ttl_ms": ttl_ms,
    })
}

//! `starling repair`.

use std::net::SocketAddr;

use clap::{Args, Subcommand};
use starling_types::PartitionId;
use starling_wire::client::{AdminReply, AdminRequest};

use crate::connect::{self, Target};
use crate::exit::{Exit, Failed};
use crate::output;

/// `starling repair`
#[derive(Debug, Args)]
pub struct RepairArgs {
    #[command(subcommand)]
    pub command: RepairCommand,
}

/// Commands on lost data.
#[derive(Debug, Subcommand)]
pub enum RepairCommand {
    /// Nothing more of what was lost can come back: from now on keys that no node holds are absent, not `unknown`. It
    /// deletes nothing, and what turns up later is merged as ever. Every node named by --at is told, each for itself.
    Accept(AcceptArgs),
}

/// Of which partitions.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("which").args(["partition", "all"]).required(true)))]
pub struct AcceptArgs {
    #[command(flatten)]
    pub target: Target,
    /// This partition alone (`starling_losses_to_accept` and the log count and name them).
    #[arg(long, value_name = "P")]
    pub partition: Option<u32>,
    /// All partitions that wait for it.
    #[arg(long)]
    pub all: bool,
    /// Owners that do not answer now never will again: what only they have is given up as well.
    #[arg(long)]
    pub without_silent_owners: bool,
}

/// Dispatches.
pub async fn run(command: RepairArgs, json: bool) -> Result<Exit, Failed> {
    match command.command {
        RepairCommand::Accept(args) => accept(&args, json).await,
    }
}

async fn accept(args: &AcceptArgs, json: bool) -> Result<Exit, Failed> {
    let mut exit = Exit::Done;
    for addr in args.target.addresses()? {
        match ask(args, addr).await {
            Ok(partitions) if json => {
                output::product(serde_json::json!({ "node": addr, "partitions": partitions }).to_string())?;
            }
            Ok(partitions) => {
                output::remark(format!("{addr}: {partitions} partitions are vouched for again"))
            }
            Err(failed) => {
                exit = failed.exit;
                let failed = Failed::new(failed.exit, format!("{addr}: {}", failed.why));
                output::failure(json, &failed);
            }
        }
    }
    Ok(exit)
}

async fn ask(args: &AcceptArgs, addr: SocketAddr) -> Result<u32, Failed> {
    let client = connect::client_at(&[addr], args.target.tls.as_deref()).await?;
    let (partition, without_silent) = (args.partition.map(PartitionId), args.without_silent_owners);
    let reply = client.admin(AdminRequest::AcceptLosses { partition, without_silent }).await;
    client.close().await;
    match reply? {
        AdminReply::LossesAccepted { partitions } => Ok(partitions),
        AdminReply::Refused(why) => Err(Failed::new(Exit::Refused, why)),
        _ => Err(Failed::new(Exit::Failed, "the node answered something else than was asked")),
    }
}

//! `starling clock`.

use clap::{Args, Subcommand};
use starling_backup::Utc;
use starling_types::WallTime;
use starling_wire::client::{AdminReply, AdminRequest};

use crate::connect::{self, Target};
use crate::exit::{Exit, Failed};
use crate::output;

/// `starling clock`
#[derive(Debug, Args)]
pub struct ClockArgs {
    #[command(subcommand)]
    pub command: ClockCommand,
}

/// Commands on a node's clock.
#[derive(Debug, Subcommand)]
pub enum ClockCommand {
    /// The clock of the node that is asked has jumped, and the new time is right: go by it.
    Accept(Target),
}

/// Dispatches.
pub async fn run(command: ClockArgs, json: bool) -> Result<Exit, Failed> {
    let ClockCommand::Accept(target) = command.command;
    let client = connect::client(&target).await?;
    let reply = client.admin(AdminRequest::ClockAccept).await;
    client.close().await;
    match reply? {
        AdminReply::ClockAccepted { moved_ms } => {
            let text = match (json, moved_ms) {
                (true, ms) => serde_json::json!({ "moved_ms": ms }).to_string(),
                (false, 0) => "the node went by its system's clock already".into(),
                (false, ms) => {
                    format!("the node goes by its system's clock again: {ms} ms from the time before")
                }
            };
            output::done(json, text)?;
            Ok(Exit::Done)
        }
        AdminReply::Refused(why) => Err(Failed::new(Exit::Refused, why)),
        _ => Err(Failed::new(Exit::Failed, "the node answered something else than was asked")),
    }
}

/// The wall time of this machine.
#[expect(clippy::disallowed_methods, reason = "a backup and a copy say when they were made")]
pub fn now() -> Utc {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Utc(WallTime::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
}

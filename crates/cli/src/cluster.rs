//! `starling cluster`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use starling_wire::client::{AdminReply, AdminRequest, Layout};

use crate::args::{ClusterArgs, ClusterCommand, InitArgs};
use crate::connect::{self, Target};
use crate::exit::{Exit, Failed};
use crate::output;

/// Where commands look unless told otherwise.
const DEFAULT_AT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7201);

/// Dispatches.
pub async fn run(command: ClusterArgs, json: bool) -> Result<Exit, Failed> {
    match command.command {
        ClusterCommand::Init(args) => init(args, json).await,
        ClusterCommand::Status(target) => status(&target, json).await,
    }
}

async fn init(args: InitArgs, json: bool) -> Result<Exit, Failed> {
    if !args.partitions.is_power_of_two() {
        let why = format!("--partitions {}: a power of two from 1 to 65536 is needed", args.partitions);
        return Err(Failed::new(Exit::Usage, why));
    }
    let bits = u8::try_from(args.partitions.trailing_zeros()).unwrap_or(u8::MAX);
    let nodes = connect::one_each(&args.nodes)?;
    let client = connect::client_at(&nodes[..1], args.tls.as_deref()).await?;
    let request = AdminRequest::Init { nodes, copies: args.copies, bits };
    let reply = client.admin(request).await;
    client.close().await;
    match reply? {
        AdminReply::Initialised(layout) => {
            output::done(json, if json { layout_json(&layout).to_string() } else { layout_text(&layout) })?;
            Ok(Exit::Done)
        }
        AdminReply::Refused(why) => Err(Failed::new(Exit::Refused, why)),
        _ => Err(Failed::new(Exit::Failed, "the node answered something else than was asked")),
    }
}

fn layout_text(layout: &Layout) -> String {
    let mut text = format!(
        "cluster {} formed: {} copies, {} partitions, layout {}",
        layout.cluster(),
        layout.n(),
        layout.bits().count(),
        layout.version()
    );
    for role in layout.members() {
        let held = layout.partitions_of(role.node).count();
        text.push_str(&format!("\n  {}  {:<12} {}  {held} partitions", role.node, role.name, role.addr));
    }
    if let Some(role) = layout.members().next().filter(|role| role.addr != DEFAULT_AT) {
        text.push_str(&format!("\n  next: commands find it with --at {0}, or STARLING_AT={0}", role.addr));
    }
    text
}

fn layout_json(layout: &Layout) -> serde_json::Value {
    let members = layout
        .members()
        .map(|role| serde_json::json!({ "node_id": role.node, "name": role.name, "quic": role.addr }));
    serde_json::json!({
        "cluster_id": layout.cluster(), "copies": layout.n(), "partitions": layout.bits().count(),
        "layout_version": layout.version().0, "members": members.collect::<Vec<_>>(),
    })
}

/// `starling status`, or `starling cluster status`
pub async fn status(target: &Target, json: bool) -> Result<Exit, Failed> {
    let client = connect::client(target).await?;
    let reply = client.admin(AdminRequest::Status).await;
    client.close().await;
    let AdminReply::Status(text) = reply? else {
        return Err(Failed::new(Exit::Failed, "the node answered something else than was asked"));
    };
    let status: serde_json::Value =
        serde_json::from_str(&text).map_err(|e| Failed::new(Exit::Failed, e.to_string()))?;
    output::product(if json { text } else { status_text(&status) })?;
    Ok(if status["health"] == "red" { Exit::Failed } else { Exit::Done })
}

fn status_text(status: &serde_json::Value) -> String {
    let word = |v: &serde_json::Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    let members = status["members"].as_array().cloned().unwrap_or_default();
    let alarms = status["alarms"].as_array().cloned().unwrap_or_default();
    let light = match (word(&status["health"]).as_str(), word(&status["state"]).as_str()) {
        ("green", _) => "green: all members alive",
        ("yellow", _) => "yellow: serving, but look below",
        (_, "serving") => "red: most keys cannot be served from here",
        _ => "red: not serving",
    };
    let mut text = format!(
        "{light}\nnode {} ({}) {}, cluster {}, layout v{}, hints {}",
        word(&status["node_id"]),
        word(&status["name"]),
        word(&status["state"]),
        status["cluster_id"].as_str().unwrap_or("none yet"),
        status["layout_version"],
        status["hints"]["count"],
    );
    for m in &members {
        text.push_str(&format!("\n  {}  {:<12} {}", word(&m["node_id"]), word(&m["name"]), state_of(m)));
    }
    for alarm in &alarms {
        text.push_str(&format!("\n  ! {}", word(alarm)));
    }
    text
}

/// Its state, and whether it is connected, where one would think it is.
fn state_of(member: &serde_json::Value) -> String {
    let state = member["state"].as_str().unwrap_or_default();
    match member["connected"] == false && state == "alive" {
        true => format!("{state}, not connected"),
        false => state.into(),
    }
}

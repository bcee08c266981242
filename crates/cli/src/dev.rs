//! `starling dev`: a cluster on this machine, each node a process of its own, so that one can be killed.

mod child;
mod directory;

use std::time::Duration;

use starling_client::Client;
use starling_cluster::{Place, Ready, ReadyNode};
use starling_types::ClusterId;
use starling_wire::client::{AdminReply, AdminRequest, Layout};
use tokio::signal::unix::{Signal, SignalKind};

use self::child::Child;
use crate::args::DevArgs;
use crate::connect;
use crate::exit::{Exit, Failed};
use crate::output;
use crate::signals::caught;

/// The whole cluster serves by then, or something is wrong.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Status is looked at this often while the cluster starts.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Partitions of a development cluster.
const BITS: u8 = 8;

/// Starts the cluster and serves until Ctrl-C.
pub async fn run(args: DevArgs, json: bool) -> Result<Exit, Failed> {
    let mut stop = stop_signal()?;
    let places = directory::places(&args)?;
    directory::prepare(&args)?;
    let mut children = Vec::new();
    for place in &places {
        children.push(Child::spawn(place, &places)?);
    }
    let cluster = tokio::select! {
        biased;
        () = stop.recv() => None,
        started = tokio::time::timeout(START_TIMEOUT, start(&args, &mut children)) => Some(
            started.unwrap_or_else(|_| Err(Failed::new(Exit::Failed, "the cluster did not start in time: see the nodes' log files")))
        ),
    };
    let result = match cluster {
        None => Ok(Exit::Done),
        Some(Err(failed)) => Err(failed),
        Some(Ok((cluster, nodes))) => {
            announce(&args, cluster, &children, (nodes, json));
            watch(&args, &places, &mut children, &mut stop).await
        }
    };
    child::stop_all(children).await;
    result
}

/// Ctrl-C, SIGTERM, and a terminal that is closed: nodes that go on unseen would hold the ports of the next `dev`.
struct Stop(Signal, Signal, Signal);

impl Stop {
    async fn recv(&mut self) {
        tokio::select! {
            biased;
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
            _ = self.2.recv() => {}
        }
    }
}

fn stop_signal() -> Result<Stop, Failed> {
    Ok(Stop(
        caught(SignalKind::interrupt())?,
        caught(SignalKind::terminate())?,
        caught(SignalKind::hangup())?,
    ))
}

/// Waits for the nodes, makes them a cluster if they are none, and waits until all serve.
async fn start(args: &DevArgs, children: &mut [Child]) -> Result<(ClusterId, Vec<ReadyNode>), Failed> {
    let (mut nodes, mut member) = (Vec::new(), None);
    for child in children.iter_mut() {
        let ready = child.ready(START_TIMEOUT).await?;
        member = member.or(ready.cluster_id.map(|_| child.place.quic));
        nodes.extend(ready.nodes);
    }
    let tls = args.data.join("tls");
    let first = connect::client_at(&[children[0].place.quic], Some(&tls)).await?;
    match member {
        None => found(&first, children).await?,
        Some(member) => {
            let member = connect::client_at(&[member], Some(&tls)).await?;
            check_members(args, &layout(&member).await?, &nodes)?;
            member.close().await;
        }
    }
    first.close().await;
    let mut cluster = ClusterId::NONE;
    for child in children.iter() {
        let client = connect::client_at(&[child.place.quic], Some(&tls)).await?;
        cluster = serving(&client, children.len()).await?;
        client.close().await;
    }
    Ok((cluster, nodes))
}

async fn layout(client: &Client) -> Result<Layout, Failed> {
    match client.admin(AdminRequest::Layout).await? {
        AdminReply::Layout(Some(layout)) => Ok(layout),
        _ => Err(Failed::new(Exit::Failed, "a node that belongs to a cluster does not know its layout")),
    }
}

/// A node that was started but is no member would be waited for in vain.
fn check_members(args: &DevArgs, layout: &Layout, nodes: &[ReadyNode]) -> Result<(), Failed> {
    if layout.members().len() != nodes.len() {
        return Err(directory::other_number(args, layout.members().len()));
    }
    let is_member = |node: &ReadyNode| layout.members().any(|role| node.node_id == role.node);
    match nodes.iter().find(|node| !is_member(node)) {
        None => Ok(()),
        Some(stranger) => {
            let why = format!(
                "{} is no member of the cluster that the other directories hold: put its own directory back, or \
                 begin anew with --fresh",
                stranger.data.display()
            );
            Err(Failed::new(Exit::Usage, why))
        }
    }
}

async fn found(client: &Client, children: &[Child]) -> Result<(), Failed> {
    let nodes = children.iter().map(|c| c.place.quic).collect();
    match client.admin(AdminRequest::Init { nodes, copies: 3, bits: BITS }).await? {
        AdminReply::Initialised(_) => Ok(()),
        AdminReply::Refused(why) => Err(Failed::new(Exit::Refused, why)),
        _ => Err(Failed::new(Exit::Failed, "the first node answered something else than was asked")),
    }
}

/// Waits until a node serves and is connected with all others; the cluster's id.
async fn serving(client: &Client, nodes: usize) -> Result<ClusterId, Failed> {
    loop {
        if let AdminReply::Status(text) = client.admin(AdminRequest::Status).await? {
            let status: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            let members = status["members"].as_array().cloned().unwrap_or_default();
            let connected = members.iter().filter(|m| m["connected"] == true).count();
            let cluster = status["cluster_id"].as_str().and_then(|id| id.parse().ok());
            if let Some(cluster) = cluster
                && status["state"] == "serving"
                && connected >= nodes
            {
                return Ok(cluster);
            }
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn announce(args: &DevArgs, cluster: ClusterId, children: &[Child], (nodes, json): (Vec<ReadyNode>, bool)) {
    let copies = children.len().min(3);
    let warning = if copies < 3 { "  (not fault tolerant: use 3 nodes or more)" } else { "" };
    output::note(format!(
        "starling {} · cluster {cluster} · {} nodes, {copies} copies{warning}",
        env!("CARGO_PKG_VERSION"),
        children.len(),
    ));
    for child in children {
        let p = &child.place;
        output::note(format!(
            "  {:<4} redis {}  http {}  quic {}  pid {}",
            p.name,
            p.resp,
            p.http,
            p.quic,
            child.process.pid()
        ));
    }
    let resp = children[0].place.resp.port();
    let [put, get] =
        ["put hello world", "get hello"].map(|words| child::told(args, &children[0].place, words));
    output::note(format!(
        "  data {} · logs {}\n  try  redis-cli -p {resp} set hello world\n       {put}\n       {get}\n  Ctrl-C stops the nodes that it started; the data stay.",
        args.data.display(),
        args.data.join("n*.log").display(),
    ));
    if json || !output::is_terminal() {
        output::remark(Ready::new(Some(cluster), nodes).to_string());
    }
}

/// Serves until told to stop, or until no node is left.
async fn watch(
    args: &DevArgs,
    places: &[Place],
    children: &mut Vec<Child>,
    stop: &mut Stop,
) -> Result<Exit, Failed> {
    loop {
        let (index, how) = tokio::select! {
            biased;
            () = stop.recv() => return Ok(Exit::Done),
            ended = child::next_end(children) => ended,
        };
        let child = children.remove(index);
        output::note(format!(
            "{} (pid {}) ended: {how}; log: {}",
            child.place.name,
            child.process.pid(),
            child.place.log.display()
        ));
        if args.respawn {
            // A node that ends again and again must not keep a core busy.
            tokio::time::sleep(RESPAWN_PAUSE).await;
            children.push(Child::spawn(&child.place, places)?);
            output::note(format!("{} started again", child.place.name));
        } else {
            output::note(format!("  start it again with: {}", child::command_line(&child.place, places)));
        }
        if children.is_empty() {
            return Err(Failed::new(Exit::Failed, "no node is left"));
        }
    }
}

const RESPAWN_PAUSE: Duration = Duration::from_millis(500);

//! The directory that `dev` works in: `dev.json`, `tls`, and a data directory and a log file for each node.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;

use starling_cluster::{Doors, Place};
use starling_transport::Authority;

use crate::args::{DevArgs, MOST_NODES};
use crate::exit::{Exit, Failed};

/// Marks a directory that `dev` made and `--fresh` may delete.
const MARK: &str = "dev.json";

/// Makes the directory ready. One that is refused is left as it is.
pub fn prepare(args: &DevArgs) -> Result<(), Failed> {
    let failed = |what: &Path, e: &dyn std::fmt::Display| {
        Failed::new(Exit::Failed, format!("{}: {e}", what.display()))
    };
    let (data, mark) = (&args.data, args.data.join(MARK));
    let in_use = data.read_dir().is_ok_and(|mut entries| entries.next().is_some());
    if in_use && !mark.exists() {
        let why = format!(
            "{} exists and was not made by `starling dev`: name another directory with --data",
            data.display()
        );
        return Err(Failed::new(Exit::Usage, why));
    }
    if args.fresh && in_use {
        std::fs::remove_dir_all(data).map_err(|e| failed(data, &e))?;
    }
    holds_no_other_number(args, &mark)?;
    std::fs::create_dir_all(data).map_err(|e| failed(data, &e))?;
    let text = format!("{}\n", serde_json::json!({ "made_by": "starling dev", "nodes": args.nodes }));
    // Not written again: on a volume without a byte left it would be lost.
    if std::fs::read(&mark).ok().as_deref() != Some(text.as_bytes()) {
        std::fs::write(&mark, text).map_err(|e| failed(&mark, &e))?;
    }
    Authority::open_or_create(&data.join("tls")).map_err(|e| failed(data, &e))?;
    Ok(())
}

/// A directory that holds a cluster is for as many nodes as it was made for.
fn holds_no_other_number(args: &DevArgs, mark: &Path) -> Result<(), Failed> {
    let is_founded = (1..=MOST_NODES).any(|k| is_member(&args.data, k));
    let held = read_json(mark)["nodes"].as_u64();
    match held.and_then(|nodes| usize::try_from(nodes).ok()) {
        Some(held) if is_founded && held != usize::from(args.nodes) => Err(other_number(args, held)),
        _ => Ok(()),
    }
}

/// Whether node k belongs to a cluster.
fn is_member(data: &Path, k: u8) -> bool {
    read_json(&data.join(format!("n{k}")).join("node.json"))["cluster_id"].is_string()
}

/// Null if there is no such file, or it is damaged: the node says what is wrong with its own.
fn read_json(path: &Path) -> serde_json::Value {
    let text = std::fs::read(path).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// The refusal of a number of nodes that the directory does not hold.
pub fn other_number(args: &DevArgs, held: usize) -> Failed {
    let why = format!(
        "{} holds a cluster of {held} nodes, not {}: start it with --nodes {held}, or begin anew with --fresh",
        args.data.display(),
        args.nodes
    );
    Failed::new(Exit::Usage, why)
}

/// The place of every node.
pub fn places(args: &DevArgs) -> Result<Vec<Place>, Failed> {
    let highest = u32::from(args.port_base) + 200 + u32::from(args.nodes);
    if highest > u32::from(u16::MAX) {
        let why = format!(
            "--port-base {}: the highest port would be {highest}, at most 65535 exists",
            args.port_base
        );
        return Err(Failed::new(Exit::Usage, why));
    }
    let doors = match args.port_base {
        0 => free(args.nodes).map_err(|e| Failed::new(Exit::Failed, format!("no free port: {e}")))?,
        base => (1..=args.nodes).map(|k| from_base(base, k)).collect(),
    };
    let tls = args.data.join("tls");
    let place = |(k, doors)| Place::new(&args.data, &format!("n{k}"), &tls, doors);
    Ok((1..).zip(doors).map(place).collect())
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn from_base(base: u16, k: u8) -> Doors {
    let at = |offset: u16| local(base + offset + u16::from(k));
    Doors { resp: at(0), http: at(100), quic: at(200) }
}

/// Ports that are free at this moment, all held until the last is found, so that none is found twice. Another process
/// may still take one before its node does, which that node then says.
fn free(nodes: u8) -> std::io::Result<Vec<Doors>> {
    let any = local(0);
    let bind = |_| Ok((TcpListener::bind(any)?, TcpListener::bind(any)?, UdpSocket::bind(any)?));
    let held: Vec<_> = (0..nodes).map(bind).collect::<std::io::Result<_>>()?;
    let doors = held.iter().map(|(resp, http, quic)| {
        Ok(Doors { resp: resp.local_addr()?, http: http.local_addr()?, quic: quic.local_addr()? })
    });
    doors.collect()
}

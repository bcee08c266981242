//! The ready line (docs/protocols.md): the one line on standard output that programs wait for.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};
use starling_types::{ClusterId, NodeId};

/// The announcement of a node, or a cluster of them, that it serves. Displayed, it is the line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    event: Event,
    /// None before `cluster init`.
    pub cluster_id: Option<ClusterId>,
    /// One, or all that were started together.
    pub nodes: Vec<ReadyNode>,
}

/// A node that serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadyNode {
    /// Its name.
    pub name: String,
    /// Its identity.
    pub node_id: NodeId,
    /// RESP.
    pub resp: SocketAddr,
    /// HTTP.
    pub http: SocketAddr,
    /// QUIC.
    pub quic: SocketAddr,
    /// Its data directory.
    #[serde(serialize_with = "as_text")]
    pub data: PathBuf,
    /// Its process.
    pub pid: u32,
}

/// Tells this line from any other that a program prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Event {
    Ready,
}

impl Ready {
    /// These nodes serve.
    pub const fn new(cluster_id: Option<ClusterId>, nodes: Vec<ReadyNode>) -> Self {
        Self { event: Event::Ready, cluster_id, nodes }
    }
}

impl fmt::Display for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

/// JSON has no way to write a path that is no text: a node with such a one says where it is as well as it can.
fn as_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> serde_json::Result<Ready> {
        serde_json::from_str(line)
    }

    #[test]
    fn the_line_is_the_documented_one() {
        let line = concat!(
            r#"{"event":"ready","cluster_id":"000000000000000000000000000000c1","nodes":[{"name":"n1","#,
            r#""node_id":"00000000000000a1","resp":"127.0.0.1:7001","http":"127.0.0.1:7101","#,
            r#""quic":"127.0.0.1:7201","data":"data/n1","pid":123}]}"#
        );
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let node = ReadyNode {
            name: "n1".into(),
            node_id: NodeId::from_bits(0xa1),
            resp: at(7001),
            http: at(7101),
            quic: at(7201),
            data: "data/n1".into(),
            pid: 123,
        };
        let ready = Ready::new(Some(ClusterId::from_bits(0xc1)), vec![node]);
        assert_eq!(ready.to_string(), line);
        assert_eq!(read(line).unwrap(), ready);
        let waiting = r#"{"event":"ready","cluster_id":null,"nodes":[]}"#;
        assert_eq!(Ready::new(None, vec![]).to_string(), waiting);
        assert_eq!(read(waiting).unwrap().cluster_id, None);
    }

    #[test]
    fn no_other_line_is_taken_for_it() {
        let good = r#"{"event":"ready","cluster_id":null,"nodes":[],"later":1}"#;
        assert!(read(good).is_ok(), "a later release may say more");
        for other in ["", "ready", "{}", &good.replace("ready", "stopped"), &good.replace("null", "7")] {
            assert!(read(other).is_err(), "{other}");
        }
    }
}

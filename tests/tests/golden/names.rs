//! Short names for what has long ones, given in the order of appearance: nodes n0, n1, n2; dots n0.1, n0.2 after the
//! node that minted them; requests r1, r2.

use std::collections::BTreeMap;

use bytes::Bytes;
use starling_causality::{ContextToken, Dot, Payload, Record, Sibling, VersionVector};
use starling_types::{BucketName, ClusterId, Key, NodeId, QualifiedKey, RequestId};

/// The only key of all stories.
pub const KEY: &str = "k";

#[derive(Default)]
pub struct Names {
    /// By number.
    pub nodes: Vec<NodeId>,
    /// Once there is one.
    pub cluster: Option<ClusterId>,
    /// The node whose events are told.
    pub acting: usize,
    dots: BTreeMap<Dot, String>,
    minted: BTreeMap<usize, usize>,
    requests: Vec<RequestId>,
}

impl Names {
    pub fn node(&self, id: NodeId) -> String {
        let number = self.nodes.iter().position(|node| *node == id);
        number.map_or_else(|| "a stranger".into(), |number| format!("n{number}"))
    }

    pub fn request(&mut self, id: RequestId) -> String {
        let number = self.requests.iter().position(|request| *request == id).unwrap_or_else(|| {
            self.requests.push(id);
            self.requests.len() - 1
        });
        format!("r{}", number + 1)
    }

    /// A dot is seen first at the node that mints it.
    pub fn dot(&mut self, dot: Dot) -> String {
        let (acting, minted) = (self.acting, &mut self.minted);
        let mint = || {
            let count = minted.entry(acting).or_default();
            *count += 1;
            format!("n{acting}.{count}")
        };
        self.dots.entry(dot).or_insert_with(mint).clone()
    }

    /// The newest write of each actor.
    pub fn vector(&mut self, vector: &VersionVector) -> String {
        let dots: Vec<Dot> = vector.iter().map(|(actor, hlc)| Dot { actor, hlc }).collect();
        self.dots(dots)
    }

    fn dots(&mut self, mut dots: Vec<Dot>) -> String {
        dots.sort();
        let names: Vec<String> = dots.into_iter().map(|dot| self.dot(dot)).collect();
        format!("{{{}}}", names.join(" "))
    }

    /// The writes that a client's token says it has seen.
    pub fn context(&mut self, token: &[u8]) -> String {
        let cluster = self.cluster.unwrap_or(ClusterId::NONE);
        let key = Key::new(KEY).unwrap();
        let key = QualifiedKey::new(cluster.hash_seed(), BucketName::default_bucket(), key);
        let seen = ContextToken::open(token, cluster, 1, &key);
        seen.map_or_else(|error| error.to_string(), |seen| self.vector(&seen))
    }

    /// The siblings, and what they replace as far as it does not go without saying.
    pub fn record(&mut self, bytes: &Bytes) -> String {
        Record::decode(bytes).map_or_else(|error| format!("damaged ({error})"), |record| self.of(&record))
    }

    pub fn of(&mut self, record: &Record) -> String {
        if record.is_empty() {
            return "nothing".into();
        }
        let siblings: Vec<String> = record.siblings().iter().map(|sibling| self.sibling(sibling)).collect();
        let is_shown = |dot: &Dot| record.siblings().iter().any(|sibling| sibling.dot == *dot);
        let covered = record.context().iter().map(|(actor, hlc)| Dot { actor, hlc });
        let replaced: Vec<Dot> = covered.filter(|dot| !is_shown(dot)).collect();
        let siblings = siblings.join(", ");
        match replaced.is_empty() {
            true => format!("[{siblings}]"),
            false => format!("[{siblings} over {}]", self.dots(replaced)),
        }
    }

    fn sibling(&mut self, sibling: &Sibling) -> String {
        let dot = self.dot(sibling.dot);
        match &sibling.payload {
            Payload::Value(value) => format!("{dot} \"{}\"", value.escape_ascii()),
            Payload::Tombstone => format!("{dot} deleted"),
        }
    }
}

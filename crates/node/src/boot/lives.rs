//! The last known generations of other members, and where they were, a row each.
//!
//! A node whose disk was put back from earlier counts too few starts, or again those that it has forgotten. Only others can tell, and all of them may have
//! started anew since they heard the right number.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::str::FromStr;

use bytes::Bytes;
use starling_gossip::{Member, Status};
use starling_types::row::{RowWrite, Space};
use starling_types::{Formats, Generation, NodeId};

use super::check;
use crate::meta::{BootError, decode, encode};

/// The prefix of the keys of these rows; the node's id follows as text.
pub const META_LIFE: &[u8] = b"life/";

/// Format of such a row.
const FORMAT: u8 = 2;
/// The name that errors use for it.
const ROW: &str = "last life of another member";

/// A generation of a node, whether it is over, and where the node is; the later ones greater.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Life {
    /// The start.
    pub generation: Generation,
    /// It has said goodbye: if it comes back, it has started once more.
    pub is_over: bool,
    /// Where it listens for peers, by its own word. Members that have moved are found by it after a start: the layout
    /// knows only where they were when they joined.
    pub addr: Option<SocketAddr>,
}

impl Life {
    /// The generation that gossip knows of; `None` of members that this node has not met, whose generation is 0.
    pub(crate) fn of(member: Member<'_>) -> Option<Self> {
        let (generation, is_over) = (member.info.generation, member.status == Status::Left);
        (generation.0 > 0).then_some(Self { generation, is_over, addr: Some(member.info.quic) })
    }

    /// The least generation of a node that comes back under this id.
    pub(crate) fn least(self) -> Generation {
        if self.is_over { self.generation.beyond() } else { self.generation }
    }

    /// How gossip is to know the member from the start.
    pub(crate) const fn status(self) -> Status {
        if self.is_over { Status::Left } else { Status::Alive }
    }

    /// The row that keeps it.
    pub(crate) fn row(self, node: NodeId) -> RowWrite {
        let value = encode(&(FORMAT, self.generation, self.is_over, self.addr));
        RowWrite { space: Space::Meta, key: life_key(node), value: Some(value.into()) }
    }

    pub(super) fn of_row(value: &[u8]) -> Result<Self, BootError> {
        // Format 1 had no address.
        if let Ok((1, generation, is_over)) = decode::<(u8, Generation, bool)>(ROW, value) {
            return Ok(Self { generation, is_over, addr: None });
        }
        let (format, generation, is_over, addr) =
            decode::<(u8, Generation, bool, Option<SocketAddr>)>(ROW, value)?;
        check(ROW, Formats { oldest: 2, newest: FORMAT.into() }, format)?;
        Ok(Self { generation, is_over, addr })
    }
}

/// Forgets a node that is no member any more.
pub(crate) fn forgotten_life(node: NodeId) -> RowWrite {
    RowWrite { space: Space::Meta, key: life_key(node), value: None }
}

/// All such rows.
pub(super) fn lives(meta: &[(Bytes, Bytes)]) -> Result<BTreeMap<NodeId, Life>, BootError> {
    let rows = meta.iter().filter_map(|(key, value)| Some((key.strip_prefix(META_LIFE)?, value)));
    rows.map(|(node, value)| Ok((node_of(node)?, Life::of_row(value)?))).collect()
}

fn life_key(node: NodeId) -> Bytes {
    [META_LIFE, node.to_string().as_bytes()].concat().into()
}

fn node_of(id: &[u8]) -> Result<NodeId, BootError> {
    NodeId::from_str(&String::from_utf8_lossy(id)).map_err(|e| BootError::damaged(ROW, &e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Boot;
    use crate::losses::Losses;

    const NODE: NodeId = NodeId::from_bits(0xe642_9c93_57c8_9867);

    fn life(generation: u64, is_over: bool) -> Life {
        let addr = is_over.then(|| SocketAddr::from(([10, 0, 0, 1], 7201)));
        Life { generation: Generation(generation), is_over, addr }
    }

    fn read(key: &[u8], value: &[u8]) -> Result<Boot, BootError> {
        Boot::read(&[(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value))], &Losses::NONE)
    }

    #[test]
    fn a_start_knows_what_was_written() {
        for life in [life(1, false), life(7, true), life(u64::MAX, false)] {
            let row = life.row(NODE);
            let boot = read(&row.key, &row.value.unwrap()).unwrap();
            assert_eq!(boot.lives, BTreeMap::from([(NODE, life)]));
        }
    }

    #[test]
    fn a_later_life_is_greater_and_one_that_is_over_ends_its_generation() {
        let rising = [life(1, false), life(1, true), life(2, false)];
        assert!(rising.is_sorted_by(|a, b| a < b));
        assert_eq!(rising.map(|life| life.least().0), [1, 2, 2]);
    }

    #[test]
    fn a_row_that_cannot_be_understood_keeps_the_node_from_starting() {
        let (key, value) = (life_key(NODE), life(3, false).row(NODE).value.unwrap());
        let newer = encode(&(FORMAT + 1, Generation(3), false, None::<SocketAddr>));
        let long = [&value[..], b"\0"].concat();
        for (key, value) in [
            (&key[..], &b""[..]),
            (&key, &value[1..]),
            (&key, &newer),
            (&key, &long),
            (b"life/", &value),
            (b"life/\xff\xfe", &value),
        ] {
            let error = read(key, value).unwrap_err().to_string();
            assert!(error.contains("last life of another member"), "{error}");
        }
    }
}

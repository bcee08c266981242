//! News waiting to ride on messages: at most one rumour a member, the least sent first.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use starling_types::NodeId;
use starling_wire::gossip::{MAX_RUMOURS, Rumour};

/// How often it was sent, and its place among those sent as often: newest first.
type Rank = (u32, Reverse<u64>);

/// The queue. `ranks` and `waiting` mirror each other: `waiting[ranks[n]]` is the rumour about n.
#[derive(Debug, Default)]
pub(crate) struct Rumours {
    waiting: BTreeMap<Rank, Rumour>,
    ranks: BTreeMap<NodeId, Rank>,
    stamp: u64,
}

impl Rumours {
    /// Adds news, in place of older news about the same member.
    pub(crate) fn push(&mut self, rumour: Rumour) {
        self.remove(rumour.node());
        self.stamp += 1;
        self.insert((0, Reverse(self.stamp)), rumour);
    }

    /// Drops the news about `node`.
    pub(crate) fn remove(&mut self, node: NodeId) {
        if let Some(rank) = self.ranks.remove(&node) {
            self.waiting.remove(&rank);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Appends what fits into `budget` bytes and into the bound on rumours; forgets what has now been sent
    /// `limit` times.
    pub(crate) fn fill(&mut self, mut budget: usize, limit: u32, out: &mut Vec<Rumour>) {
        for rank in self.choose(&mut budget, MAX_RUMOURS.saturating_sub(out.len())) {
            let Some(rumour) = self.waiting.remove(&rank) else {
                continue;
            };
            out.push(rumour.clone());
            if rank.0 + 1 < limit {
                self.insert((rank.0 + 1, rank.1), rumour);
            } else {
                self.ranks.remove(&rumour.node());
            }
        }
    }

    fn choose(&self, budget: &mut usize, most: usize) -> Vec<Rank> {
        let mut chosen = Vec::new();
        // A rumour that no longer fits ends the search: the next message starts with it.
        for (rank, rumour) in &self.waiting {
            let weight = rumour.weight();
            if weight > *budget || chosen.len() == most {
                break;
            }
            *budget -= weight;
            chosen.push(*rank);
        }
        chosen
    }

    fn insert(&mut self, rank: Rank, rumour: Rumour) {
        self.ranks.insert(rumour.node(), rank);
        self.waiting.insert(rank, rumour);
    }
}

#[cfg(test)]
mod tests {
    use starling_types::Generation;
    use starling_wire::gossip::{Claim, Status};

    use super::*;

    fn news(node: u64, incarnation: u64) -> Rumour {
        let node = NodeId::from_bits(node);
        let by = NodeId::from_bits(99);
        Rumour::Claim(Claim { node, generation: Generation(1), incarnation, status: Status::Dead, by })
    }

    fn sent(queue: &mut Rumours, budget: usize) -> Vec<Rumour> {
        let mut out = Vec::new();
        queue.fill(budget, 3, &mut out);
        out
    }

    #[test]
    fn newer_news_about_a_member_replaces_older() {
        let mut queue = Rumours::default();
        queue.push(news(1, 1));
        queue.push(news(1, 2));
        assert_eq!(sent(&mut queue, 1_000), [news(1, 2)]);
    }

    #[test]
    fn each_rumour_is_sent_as_often_as_the_limit_says() {
        let mut queue = Rumours::default();
        queue.push(news(1, 1));
        for _ in 0..3 {
            assert_eq!(sent(&mut queue, 1_000).len(), 1);
        }
        assert!(queue.is_empty() && queue.ranks.is_empty());
    }

    #[test]
    fn the_least_sent_goes_first_when_not_all_fit() {
        let mut queue = Rumours::default();
        queue.push(news(1, 1));
        queue.push(news(2, 1));
        let one = news(1, 1).weight();
        assert_eq!(sent(&mut queue, one), [news(2, 1)]);
        assert_eq!(sent(&mut queue, one), [news(1, 1)]);
        assert!(sent(&mut queue, one - 1).is_empty());
    }
}

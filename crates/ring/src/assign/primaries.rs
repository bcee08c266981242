//! Order of preference: each node leads its part of the partitions it owns. Reordering owners moves no data.

use std::collections::VecDeque;

use starling_types::PartitionId;

use crate::owners::OwnerTable;

/// Makes every node the primary of the floor or ceiling of 1/N of the partitions it owns, changing as few
/// orders as it can.
///
/// Such an order exists (let every owner lead 1/N of a partition: a flow, so a whole one exists too), and while
/// a node leads too many or too few, a chain of swaps leads to it.
pub(crate) fn spread(owners: &mut OwnerTable, nodes: usize) {
    let n = u32::from(owners.copies());
    let held = owners.counts(nodes);
    let least = |node: usize| (held[node] / n) as usize;
    let most = |node: usize| held[node].div_ceil(n) as usize;
    let mut leads = Leads::of(owners, nodes);
    leads.relieve(owners, |led, node| led > most(node), |led, node| led < most(node));
    leads.relieve(owners, |led, node| led > least(node), |led, node| led < least(node));
}

/// The partitions that each node leads.
struct Leads(Vec<Vec<PartitionId>>);

/// `partition` gets another of its owners as primary.
#[derive(Clone, Copy)]
struct Swap {
    partition: PartitionId,
    from: u16,
    to: u16,
}

impl Leads {
    fn of(owners: &OwnerTable, nodes: usize) -> Self {
        let mut leads = vec![Vec::new(); nodes];
        for (partition, owners) in owners.iter() {
            leads[usize::from(owners[0])].push(partition);
        }
        Self(leads)
    }

    /// Passes leads from nodes that `can_give` to nodes that `wants` one, while there are both. The two are
    /// asked with the number of partitions that a node leads, and the node.
    fn relieve(
        &mut self,
        owners: &mut OwnerTable,
        can_give: impl Fn(usize, usize) -> bool,
        wants: impl Fn(usize, usize) -> bool,
    ) {
        loop {
            let givers = (0..self.0.len()).filter(|&node| can_give(self.0[node].len(), node));
            let chain = self.shortest_chain(owners, givers.map(|node| node as u16).collect(), |node| {
                wants(self.0[node].len(), node)
            });
            if chain.is_empty() {
                return;
            }
            for swap in chain {
                self.apply(owners, swap);
            }
        }
    }

    /// The swaps of a shortest chain from any of `givers` to a node that `wants` a lead; empty if there is none.
    fn shortest_chain(
        &self,
        owners: &OwnerTable,
        givers: VecDeque<u16>,
        wants: impl Fn(usize) -> bool,
    ) -> Vec<Swap> {
        let mut arrived: Vec<Option<Swap>> = vec![None; self.0.len()];
        let mut seen = vec![false; self.0.len()];
        for &giver in &givers {
            seen[usize::from(giver)] = true;
        }
        let mut queue = givers;
        while let Some(from) = queue.pop_front() {
            for &partition in &self.0[usize::from(from)] {
                for &to in owners.of(partition) {
                    if std::mem::replace(&mut seen[usize::from(to)], true) {
                        continue;
                    }
                    arrived[usize::from(to)] = Some(Swap { partition, from, to });
                    if wants(usize::from(to)) {
                        return chain_to(&arrived, to);
                    }
                    queue.push_back(to);
                }
            }
        }
        Vec::new()
    }

    fn apply(&mut self, owners: &mut OwnerTable, swap: Swap) {
        let list = owners.of_mut(swap.partition);
        if let Some(place) = list.iter().position(|&owner| owner == swap.to) {
            list.swap(0, place);
            self.0[usize::from(swap.from)].retain(|&partition| partition != swap.partition);
            self.0[usize::from(swap.to)].push(swap.partition);
        }
    }
}

fn chain_to(arrived: &[Option<Swap>], last: u16) -> Vec<Swap> {
    std::iter::successors(arrived[usize::from(last)], |swap| arrived[usize::from(swap.from)]).collect()
}

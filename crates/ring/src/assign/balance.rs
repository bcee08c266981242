//! Move copies from nodes above their target to nodes below, along shortest chains of nodes, each handing one
//! copy to the next: first single steps, then longer chains. At the end, copies go back to where their data are
//! if others can make up for it.

use std::cmp::Ordering;
use std::collections::{BTreeSet, VecDeque};

use starling_types::PartitionId;

use super::board::{Board, scatter};
use crate::owners::VACANT;

/// Brings every node to its target.
pub(super) fn balance(board: &mut Board<'_>) {
    let mut hosted = Hosted::of(board);
    hosted.relieve(board, direct);
    hosted.relieve(board, any_chain);
    debug_assert!(board.held == board.targets, "targets can be reached, so some chain leads there");
    hosted.reclaim(board);
}

/// `partition` passes from one node to another.
#[derive(Clone, Copy)]
struct Step {
    partition: PartitionId,
    from: u16,
    to: u16,
}

/// The partitions that each node holds on the board.
struct Hosted(Vec<Vec<PartitionId>>);

impl Hosted {
    fn of(board: &Board<'_>) -> Self {
        let mut hosted = vec![Vec::new(); board.held.len()];
        for (partition, owners) in board.owners.iter() {
            for &owner in owners {
                hosted[usize::from(owner)].push(partition);
            }
        }
        Self(hosted)
    }

    fn by(&self, node: u16) -> &[PartitionId] {
        &self.0[usize::from(node)]
    }

    /// Partitions that `node` can hand over without moving data: it is new there, or an old owner is missing.
    fn free_to_go(&self, board: &Board<'_>, node: u16) -> Vec<PartitionId> {
        let partitions = self.by(node).iter().copied();
        partitions.filter(|&p| !board.held_before(p, node) || board.misses_an_old_owner(p)).collect()
    }

    /// Takes the steps that `find` sees from each surplus node towards nodes in need, until it sees none.
    fn relieve(&mut self, board: &mut Board<'_>, find: impl Fn(&Board<'_>, &Self, u16) -> Vec<Step>) {
        for node in board.nodes() {
            while board.is_surplus(node) {
                let steps = find(board, self, node);
                if steps.is_empty() {
                    break;
                }
                for step in steps {
                    self.apply(board, step);
                }
            }
        }
    }

    /// Gives copies back to old owners that lost them to a newcomer, where a free chain of others gives that
    /// newcomer another copy instead. Each such circle saves the move of one copy.
    fn reclaim(&mut self, board: &mut Board<'_>) {
        let least: u32 = board.nodes().map(|node| board.least_moved(node)).sum();
        let mut excess = board.moved().saturating_sub(least as usize);
        let lost = board.ground.bits.partitions().filter(|&p| board.misses_an_old_owner(p));
        let mut failures = 0;
        for partition in lost.collect::<Vec<_>>() {
            while excess > 0 && failures < RECLAIM_PATIENCE {
                let Some(circle) = self.circle(board, partition) else {
                    failures += 1;
                    break;
                };
                for step in circle {
                    self.apply(board, step);
                }
                (excess, failures) = (excess - 1, 0);
            }
        }
    }

    /// Steps that bring an old owner back to `partition` and leave every node with as many copies as before.
    fn circle(&self, board: &Board<'_>, partition: PartitionId) -> Option<Vec<Step>> {
        let owners = board.owners.of(partition);
        let newcomers = || owners.iter().copied().filter(|&owner| !board.held_before(partition, owner));
        let losers =
            board.before.of(partition).iter().copied().filter(|old| *old != VACANT && !owners.contains(old));
        losers.flat_map(|to| newcomers().map(move |from| (from, to))).find_map(|(from, to)| {
            let back = board.may_replace(partition, from, to).then_some(Step { partition, from, to })?;
            let free = |node| self.free_to_go(board, node);
            let mut circle = shortest_chain(board, to, free, |cost| cost.is_le(), |node| node == from);
            (!circle.is_empty()).then(|| circle.push(back))?;
            meets_each_partition_once(&circle).then_some(circle)
        })
    }

    fn apply(&mut self, board: &mut Board<'_>, step: Step) {
        board.replace(step.partition, step.from, step.to);
        self.0[usize::from(step.from)].retain(|&partition| partition != step.partition);
        self.0[usize::from(step.to)].push(step.partition);
    }
}

/// Whether the steps cannot get in each other's way. A shortest chain of free steps alone may.
fn meets_each_partition_once(steps: &[Step]) -> bool {
    let partitions: BTreeSet<PartitionId> = steps.iter().map(|step| step.partition).collect();
    partitions.len() == steps.len()
}

/// The step to the node in need that is least full among those that can take a copy.
fn direct(board: &Board<'_>, hosted: &Hosted, surplus: u16) -> Vec<Step> {
    let mut needy: Vec<u16> = board.nodes().filter(|&node| board.is_deficit(node)).collect();
    needy.sort_by(|&a, &b| board.by_fullness(a, b).then(a.cmp(&b)));
    let step = needy.into_iter().find_map(|to| cheapest(board, hosted.by(surplus), surplus, to));
    step.map(|(_, step)| step).into_iter().collect()
}

/// A shortest chain, of any moves.
///
/// Each step is valid by itself on the present board. Two steps of a *shortest* chain that met in one partition
/// and stood in each other's way could be replaced by a single one, so all of them are valid together.
fn any_chain(board: &Board<'_>, hosted: &Hosted, surplus: u16) -> Vec<Step> {
    shortest_chain(board, surplus, |from| hosted.by(from).to_vec(), |_| true, |node| board.is_deficit(node))
}

/// The steps of a shortest chain from `start` to any node at which it `ends`, made of partitions that each node
/// may hand over (`hosted`) at a cost that is `allowed`; empty if there is none.
fn shortest_chain(
    board: &Board<'_>,
    start: u16,
    hosted: impl Fn(u16) -> Vec<PartitionId>,
    allowed: impl Fn(Ordering) -> bool,
    ends: impl Fn(u16) -> bool,
) -> Vec<Step> {
    let mut arrived: Vec<Option<Step>> = vec![None; board.held.len()];
    let mut queue = VecDeque::from([start]);
    while let Some(from) = queue.pop_front() {
        let partitions = hosted(from);
        let open = open_zones(board, &partitions, from);
        for to in board.nodes() {
            if to == start || arrived[usize::from(to)].is_some() || !open[usize::from(board.zone(to))] {
                continue;
            }
            let Some((cost, step)) = cheapest(board, &partitions, from, to) else {
                continue;
            };
            if !allowed(cost) {
                continue;
            }
            arrived[usize::from(to)] = Some(step);
            if ends(to) {
                return chain_to(&arrived, to);
            }
            queue.push_back(to);
        }
    }
    Vec::new()
}

/// Which zones could take over one of `partitions` from `from`. Asking this first spares most of the search
/// where a zone is full.
fn open_zones(board: &Board<'_>, partitions: &[PartitionId], from: u16) -> Vec<bool> {
    let mut open = vec![false; board.ground.zones.len()];
    for (zone, open) in (0u16..).zip(&mut open) {
        *open = partitions.iter().any(|&partition| board.has_room(partition, from, zone));
    }
    open
}

fn chain_to(arrived: &[Option<Step>], last: u16) -> Vec<Step> {
    std::iter::successors(arrived[usize::from(last)], |step| arrived[usize::from(step.from)]).collect()
}

/// The step from `from` to `to` that moves the least data, and what it costs. Of several, one in the partition
/// with the fewest new owners, so that the change takes few versions; of these, a different one for each pair.
fn cheapest(board: &Board<'_>, partitions: &[PartitionId], from: u16, to: u16) -> Option<(Ordering, Step)> {
    partitions
        .iter()
        .filter(|&&partition| board.may_replace(partition, from, to))
        .map(|&partition| (cost(board, partition, from, to), partition))
        .min_by_key(|&(cost, partition)| {
            (cost, board.newcomers(partition), scatter(partition.0, u32::from(to)))
        })
        .map(|(cost, partition)| (cost, Step { partition, from, to }))
}

/// Data moved: less if `to` has them already, or `from` does not have them yet.
fn cost(board: &Board<'_>, partition: PartitionId, from: u16, to: u16) -> Ordering {
    board.held_before(partition, from).cmp(&board.held_before(partition, to))
}

/// Partitions in a row for which no circle is found before the excess is taken to be forced by the zones.
const RECLAIM_PATIENCE: u32 = 256;

//! Doubt with a timer. The more members doubt independently, the sooner it becomes a conviction (Lifeguard,
//! Dadgar et al. 2018, "dynamic suspicion timeouts").

use std::time::Duration;

use starling_types::{Instant, NodeId};

/// One suspected incarnation.
///
/// With c accusers beyond the first and k needed, it ends `ceiling - (ceiling - floor) * ln(c+1) / ln(k+1)`
/// after it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Suspicion {
    began: Instant,
    floor: Duration,
    ceiling: Duration,
    needed: usize,
    /// The member that raised it comes first and is no confirmation. At most `needed + 1`.
    accusers: Vec<NodeId>,
}

impl Suspicion {
    /// Raised by `by`; `needed` confirmations bring its span down from `ceiling` to `floor`.
    pub(crate) fn new(began: Instant, by: NodeId, needed: usize, floor: Duration, ceiling: Duration) -> Self {
        Self { began, floor, ceiling, needed, accusers: vec![by] }
    }

    /// Counts a further accuser; whether it was news.
    pub(crate) fn confirm(&mut self, by: NodeId) -> bool {
        let news = self.accusers.len() <= self.needed && !self.accusers.contains(&by);
        if news {
            self.accusers.push(by);
        }
        news
    }

    /// When it becomes a conviction.
    pub(crate) fn deadline(&self) -> Instant {
        if self.needed == 0 {
            return self.began + self.floor;
        }
        let logarithm = |count: usize| (count as f64 + 1.0).ln();
        let share = logarithm(self.accusers.len() - 1) / logarithm(self.needed);
        let span = self.ceiling - self.ceiling.saturating_sub(self.floor).mul_f64(share.min(1.0));
        self.began + span.max(self.floor)
    }

    /// Adds time in which this node could not have heard a refutation.
    pub(crate) fn postpone(&mut self, span: Duration) {
        self.began = self.began + span;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suspicion(needed: usize) -> Suspicion {
        let (floor, ceiling) = (Duration::from_secs(1), Duration::from_secs(5));
        Suspicion::new(Instant::ORIGIN, NodeId::from_bits(1), needed, floor, ceiling)
    }

    fn seconds(suspicion: &Suspicion) -> f64 {
        suspicion.deadline().since(Instant::ORIGIN).as_secs_f64()
    }

    #[test]
    fn nobody_to_confirm_means_the_shortest_span() {
        assert_eq!(seconds(&suspicion(0)), 1.0);
    }

    #[test]
    fn each_accuser_counts_once_and_shortens() {
        let mut doubt = suspicion(3);
        assert_eq!(seconds(&doubt), 5.0);
        assert!(!doubt.confirm(NodeId::from_bits(1)), "the first accuser confirmed itself");
        assert!(doubt.confirm(NodeId::from_bits(2)));
        assert!(!doubt.confirm(NodeId::from_bits(2)));
        assert_eq!(seconds(&doubt), 3.0, "half of ln 4 is ln 2");
        assert!(doubt.confirm(NodeId::from_bits(3)));
        assert!(doubt.confirm(NodeId::from_bits(4)));
        assert_eq!(seconds(&doubt), 1.0);
        assert!(!doubt.confirm(NodeId::from_bits(5)), "accusers are bounded");
    }

    #[test]
    fn postponing_moves_the_end() {
        let mut doubt = suspicion(0);
        doubt.postpone(Duration::from_secs(7));
        assert_eq!(seconds(&doubt), 8.0);
    }
}

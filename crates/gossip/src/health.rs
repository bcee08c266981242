//! Local health: how much this node should doubt itself before it doubts others (Lifeguard, "local health
//! aware probe").

use std::time::Duration;

/// Counts signs of own trouble: missed acks that no other member missed, missing nacks, own suspicions refuted, late
/// timers. Stretches period and timeouts by 1 up to `limit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LocalHealth {
    score: u32,
    limit: u32,
}

impl LocalHealth {
    pub(crate) fn new(limit: u32) -> Self {
        Self { score: 0, limit: limit.max(1) }
    }

    pub(crate) fn worse(&mut self, by: u32) {
        self.score = self.score.saturating_add(by).min(self.limit - 1);
    }

    pub(crate) fn better(&mut self) {
        self.score = self.score.saturating_sub(1);
    }

    /// 1 in good health, at most the limit.
    pub(crate) fn factor(self) -> u32 {
        self.score + 1
    }

    pub(crate) fn stretch(self, span: Duration) -> Duration {
        span.saturating_mul(self.factor())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factor_stays_between_one_and_the_limit() {
        let mut health = LocalHealth::new(8);
        health.better();
        assert_eq!(health.factor(), 1);
        health.worse(u32::MAX);
        assert_eq!(health.factor(), 8);
        health.better();
        assert_eq!(health.stretch(Duration::from_millis(10)), Duration::from_millis(70));
    }
}

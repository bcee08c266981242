//! Which tokens two nodes share.

use starling_types::{PartitionBits, PartitionId, Token};

/// The partitions that two nodes both own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    bits: PartitionBits,
    /// Ascending.
    partitions: Vec<PartitionId>,
}

impl Shared {
    /// From partitions in any order.
    pub fn new(bits: PartitionBits, partitions: impl IntoIterator<Item = PartitionId>) -> Self {
        let mut partitions: Vec<PartitionId> = partitions.into_iter().collect();
        partitions.sort_unstable();
        partitions.dedup();
        Self { bits, partitions }
    }

    /// The partitions, ascending.
    pub fn partitions(&self) -> &[PartitionId] {
        &self.partitions
    }

    /// Whether the partition is one of them.
    pub fn has(&self, partition: PartitionId) -> bool {
        self.partitions.binary_search(&partition).is_ok()
    }

    /// The tokens of a partition, first and last.
    pub fn ends_of(&self, partition: PartitionId) -> (Token, Token) {
        self.bits.range(partition).into_inner()
    }

    /// The partition that holds the token.
    pub fn home_of(&self, token: Token) -> PartitionId {
        self.bits.partition_of(token)
    }

    /// Whether the token lies in one of them.
    pub fn holds(&self, token: Token) -> bool {
        self.partitions.binary_search(&self.bits.partition_of(token)).is_ok()
    }

    /// The first token that lies in one of them, from `token` on.
    pub fn next(&self, token: Token) -> Option<Token> {
        let home = self.bits.partition_of(token);
        let at = self.partitions.partition_point(|&p| p < home);
        let partition = *self.partitions.get(at)?;
        Some(token.max(*self.bits.range(partition).start()))
    }

    /// The last token of the partition that holds `token`.
    pub fn end_of(&self, token: Token) -> Token {
        *self.bits.range(self.bits.partition_of(token)).end()
    }
}

/// The token after this one, if it is not the last.
pub(crate) fn after(token: Token) -> Option<Token> {
    token.bits().checked_add(1).map(Token::from_bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_are_not_shared_are_passed_over() {
        let quarters = PartitionBits::try_from(2).unwrap();
        let shared = Shared::new(quarters, [PartitionId(3), PartitionId(1), PartitionId(1)]);
        let token = |quarter: u64, rest: u64| Token::from_bits((quarter << 62) + rest);
        assert_eq!(shared.partitions(), [PartitionId(1), PartitionId(3)]);
        assert_eq!(shared.next(token(0, 5)), Some(token(1, 0)));
        assert_eq!(shared.next(token(1, 5)), Some(token(1, 5)));
        assert_eq!(shared.next(token(2, 0)), Some(token(3, 0)));
        assert_eq!(Shared::new(quarters, [PartitionId(1)]).next(token(2, 0)), None);
        assert!(shared.holds(token(3, 9)) && !shared.holds(token(2, 9)));
        assert_eq!(after(shared.end_of(token(1, 7))), Some(token(2, 0)));
        assert_eq!(after(Token::from_bits(u64::MAX)), None);
    }
}

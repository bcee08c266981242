//! A receipt in words: the same fields at every door.

use super::{Receipt, Seen};

/// The value of one field of a receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// A name.
    Text(String),
    /// A count, or milliseconds.
    Number(u64),
    /// Yes or no.
    Flag(bool),
    /// There is none: nothing was written.
    Nothing,
}

impl Receipt {
    /// Its fields by name, of a write that rested on `grounds`.
    pub fn fields(&self, grounds: Grounds) -> [(&'static str, Field); 11] {
        let number = |number: u8| Field::Number(number.into());
        [
            ("dot", self.dot.map_or(Field::Nothing, |dot| Field::Text(dot.to_string()))),
            ("time_ms", self.dot.map_or(Field::Nothing, |dot| Field::Number(dot.hlc.millis()))),
            ("coordinator", Field::Text(self.coordinator.to_string())),
            ("acked", number(self.acked)),
            ("owners", number(self.owners)),
            ("w", number(self.w)),
            ("n", number(self.n)),
            ("durable", Field::Flag(self.durable)),
            ("hinted", number(self.hinted)),
            ("context", Field::Text(grounds.word(self.partial).into())),
            ("unvouched", Field::Flag(self.unvouched)),
        ]
    }

    /// Warnings for a writer that has not asked for a receipt: in how far its write is less than it may think.
    pub fn reservations(&self) -> Vec<&'static str> {
        let partial = self.partial.then_some("context=partial");
        partial.into_iter().chain(self.unvouched.then_some("unvouched")).collect()
    }
}

/// The grounds that a write rested on: [`Seen`] without the context itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grounds {
    /// Nothing.
    Nothing,
    /// The versions that the coordinating replica held.
    Local,
    /// The versions that enough owners held.
    Quorum,
    /// The client's context.
    Client,
}

impl Seen {
    /// The grounds of a write that has seen this.
    pub const fn grounds(&self) -> Grounds {
        match self {
            Self::Nothing => Grounds::Nothing,
            Self::Local => Grounds::Local,
            Self::Quorum => Grounds::Quorum,
            Self::Context(_) => Grounds::Client,
        }
    }
}

impl Grounds {
    /// The text by which a receipt says it.
    const fn word(self, partial: bool) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::Local => "local",
            Self::Quorum if partial => "partial",
            Self::Quorum => "quorum",
            Self::Client => "client",
        }
    }
}

#[cfg(test)]
mod tests {
    use starling_causality::{Dot, Hlc};
    use starling_types::{ActorId, NodeId};

    use super::*;

    #[test]
    fn a_receipt_says_what_the_write_replaces_and_where_it_falls_short() {
        let dot = Dot { actor: ActorId::from_bits(1), hlc: Hlc::from_bits(1) };
        let (coordinator, durable) = (NodeId::from_bits(7), true);
        let (partial, unvouched) = (true, false);
        let mut receipt = Receipt {
            dot: Some(dot),
            coordinator,
            acked: 2,
            owners: 2,
            w: 2,
            n: 3,
            durable,
            hinted: 0,
            partial,
            unvouched,
        };
        let context = |receipt: &Receipt, seen: Seen| {
            let fields = receipt.fields(seen.grounds());
            fields.into_iter().find(|(name, _)| *name == "context").unwrap().1
        };
        assert_eq!(context(&receipt, Seen::Quorum), Field::Text("partial".into()));
        assert_eq!(context(&receipt, Seen::Local), Field::Text("local".into()));
        assert_eq!(receipt.reservations(), ["context=partial"]);
        (receipt.partial, receipt.unvouched) = (false, true);
        assert_eq!(context(&receipt, Seen::Quorum), Field::Text("quorum".into()));
        assert!(receipt.fields(Grounds::Nothing).contains(&("unvouched", Field::Flag(true))));
        assert_eq!(receipt.reservations(), ["unvouched"]);
    }
}

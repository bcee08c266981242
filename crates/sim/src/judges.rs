//! The judges of a run, and their findings.

use std::fmt;

/// One judge. Each can be silenced by name, so that a run can show what the others see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Judge {
    /// In the end: nothing lost, revived, invented, or beside what replaced it; one operation is one write, however
    /// often it was minted.
    Survival,
    /// Strict reads of keys with one writer.
    Registers,
    /// Quorum reads of shared keys on the way.
    Sights,
    /// The last writer stays, where only one does.
    LastWriter,
    /// Every ack names a mint of its operation, and as many holders as it says.
    Acks,
    /// No node mints an operation again that it has, or could have been told of.
    Doubles,
    /// A mint is above all that was there, under an actor that never failed.
    Mints,
    /// No node's record ever covers less than before.
    Growth,
    /// Requests succeed in time unless too many owners are troubled.
    Availability,
    /// The debts of hints and repairs are paid before sweeps or reads of all owners pay them.
    Debts,
    /// Everything comes to rest, and then the owners' records are equal.
    Rest,
}

impl Judge {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Survival,
        Self::Registers,
        Self::Sights,
        Self::LastWriter,
        Self::Acks,
        Self::Doubles,
        Self::Mints,
        Self::Growth,
        Self::Availability,
        Self::Debts,
        Self::Rest,
    ];

    /// Its name, for reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Survival => "survival",
            Self::Registers => "registers",
            Self::Sights => "sights",
            Self::LastWriter => "last_writer",
            Self::Acks => "acks",
            Self::Doubles => "doubles",
            Self::Mints => "mints",
            Self::Growth => "growth",
            Self::Availability => "availability",
            Self::Debts => "debts",
            Self::Rest => "rest",
        }
    }

    /// Whether what it finds is harm to data, not only to patience.
    pub const fn is_of_safety(self) -> bool {
        !matches!(self, Self::Availability | Self::Rest)
    }
}

/// Something that a judge found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The judge.
    pub judge: Judge,
    /// The finding; the key comes first if it is about one.
    pub words: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.words, self.judge.name())
    }
}

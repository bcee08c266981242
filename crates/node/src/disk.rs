//! The disk under a node, as the shell sees it: how much room is left, and whether it does its work.

/// The state of the disk. All is well by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Disk {
    /// How much room is left.
    pub room: Room,
    /// The resource of which there is least.
    pub short_of: Lack,
    /// A commit waits for the disk, for longer than one that works ever takes.
    pub is_stalled: bool,
    /// Reads failed of late: the disk did not give what was asked for.
    pub fails_reads: bool,
    /// Tables that are damaged and not mended yet.
    pub damaged_tables: usize,
}

/// How much room is left for rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// Enough.
    #[default]
    Enough,
    /// It will be short soon: everything is taken, and an operator is told.
    Low,
    /// Less than the reserve: no new values.
    Full,
    /// Most of the reserve is gone: the rest is for deletes alone.
    Spent,
}

/// The resource of which there is least.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Lack {
    /// Bytes of the volume.
    #[default]
    Bytes,
    /// Files of the volume (inodes).
    Files,
    /// The system refused a write for want of space although the volume shows some: a quota, most likely.
    Refused,
}

impl Disk {
    /// Whether new values are refused here.
    pub fn is_full(&self) -> bool {
        self.room >= Room::Full
    }

    /// Its conditions that an operator should know of, in words.
    pub fn alarms(&self) -> Vec<String> {
        let mut alarms = Vec::new();
        let of = self.short_of.words();
        match self.room {
            Room::Enough => {}
            Room::Low => alarms.push(format!(
                "the disk is filling up ({of}): new values will be refused soon; make room on the data volume or grow it"
            )),
            Room::Full | Room::Spent => alarms.push(format!(
                "the disk is nearly full ({of}): new values are refused; make room on the data volume, grow it, or delete \
                 what is not needed: the space of deleted values comes back within a minute"
            )),
        }
        if self.is_stalled {
            alarms.push(
                "the disk of the data directory does not answer: a sync has been under way for more than 5 s; writes are \
                 refused here and taken by other owners; look at the disk and the system log"
                    .into(),
            );
        }
        if self.fails_reads {
            alarms.push(
                "the disk of the data directory fails reads: look at the disk, its path and the system log; nothing \
                 counts as lost, and what was not given is asked for again"
                    .into(),
            );
        }
        if self.damaged_tables > 0 {
            alarms.push(
                "stored tables are damaged: what can be read of them is served and kept; each is mended by itself when the \
                 loss of the rest is noted and the volume has as much room free as the table takes; look at the disk"
                    .into(),
            );
        }
        alarms
    }
}

impl Lack {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Bytes => "bytes are short",
            Self::Files => "its file system has hardly any files (inodes) left",
            Self::Refused => {
                "the system refused a write for want of space: a quota, or a volume that is full"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_comes_before_refusal_and_says_what_is_short() {
        assert!(Disk::default().alarms().is_empty());
        let of = |room, short_of| Disk { room, short_of, ..Disk::default() };
        let low = of(Room::Low, Lack::Files);
        assert!(!low.is_full() && low.alarms()[0].contains("inodes"));
        for room in [Room::Full, Room::Spent] {
            assert!(of(room, Lack::Bytes).is_full());
            assert!(of(room, Lack::Refused).alarms()[0].contains("quota"));
        }
        let sick = Disk { is_stalled: true, fails_reads: true, damaged_tables: 1, ..Disk::default() };
        assert_eq!(sick.alarms().len(), 3);
    }
}

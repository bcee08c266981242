//! The limits of the versions that a writer may claim to have seen.

use std::time::Duration;

use starling_causality::{Hlc, Record, VersionVector};
use starling_types::{Now, WallTime};

use crate::event::Refused;
use crate::mint::Minting;
use crate::rows::CellKey;
use crate::vnodes::Vnodes;

/// How far in the future a context may lie that is not known to come from a record.
pub(crate) const CONTEXT_LEAD: Duration = Duration::from_secs(60);

impl Vnodes {
    /// `vouched` is the highest time that owners of the key are known to hold, [`Hlc::ZERO`] if they were not asked: a
    /// context that does not go beyond it is never too far ahead, for data are never refused for their time.
    pub(crate) fn check_context(
        &self,
        wall: WallTime,
        key: &CellKey,
        base: &Record,
        seen: &VersionVector,
        vouched: Hlc,
    ) -> Result<(), Refused> {
        let partition = self.bits.partition_of(key.key.token());
        let claimed = self.mint.claimed(partition, base.context());
        if claimed.is_some_and(|(actor, last)| seen.get(actor) > last) {
            return Err(Refused::ForgedContext);
        }
        let known = base.context().max_hlc().max(vouched);
        let lead = WallTime::from_millis(seen.max_hlc().millis()).since(wall);
        if lead > CONTEXT_LEAD && seen.max_hlc() > known {
            return Err(too_far_ahead(lead));
        }
        Ok(())
    }

    /// A mint that the clock could not follow is one key's affair, and still a sign that some clock was wrong.
    pub(crate) fn count_outlying(&mut self, now: Now, minting: Minting) {
        if let Some(lead) = minting.outlying {
            self.counters.outlying_mints += 1;
            if lead > CONTEXT_LEAD {
                self.outlying = Some((now.instant, lead));
            }
        }
    }
}

pub(crate) fn too_far_ahead(lead: Duration) -> Refused {
    Refused::FutureContext(u64::try_from(lead.as_millis()).unwrap_or(u64::MAX))
}

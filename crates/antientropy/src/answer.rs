//! The other half of a pass: pages that a peer asks to have compared.

use starling_types::{ExchangeId, NodeId, Now, limits};
use starling_wire::Message;
use starling_wire::replica::Refusal;
use starling_wire::sync::{Compare, Compared, Swept};

use crate::event::{Effect, Held};
use crate::page::{Rows, Slice};
use crate::standing::Equal;
use crate::sweep::{Purpose, Sweep};

impl Sweep {
    pub(crate) fn asked(
        &mut self,
        now: Now,
        from: NodeId,
        exchange: ExchangeId,
        compare: Compare,
        out: &mut Vec<Effect>,
    ) {
        let mark = self.changes.now();
        let Some(pair) = self.pairs.get_mut(&from) else {
            let answer = Compared::Refused(Refusal::NotReady);
            return out.push(Effect::Send(from, exchange, Message::Compared(answer)));
        };
        // A repeated frame must not move the beginning of a pass beyond changes made since.
        if compare.first && pair.theirs.is_none_or(|(pass, _)| pass != compare.pass) {
            pair.theirs = Some((compare.pass, Equal { mark, began: now.wall }));
        }
        if pair.asked < limits::SWEEP_ASKED {
            pair.asked += 1;
            let token = compare.from;
            let ticket = self.scans.begin(Purpose::Answer(from, exchange, compare));
            out.push(Effect::Scan(ticket, token));
        }
    }

    pub(crate) fn answer(&mut self, peer: NodeId, compare: &Compare, rows: Option<Rows>) -> Option<Compared> {
        let pair = self.pairs.get_mut(&peer)?;
        pair.asked = pair.asked.saturating_sub(1);
        let Some(rows) = rows else {
            self.counters.skipped += 1;
            pair.equal = None;
            return Some(Compared::Unreadable);
        };
        self.counters.skipped += rows.unreadable.len() as u64;
        let is_whole = rows.are_whole(compare.from, compare.through);
        let page = Slice::cut(&pair.shared, compare.from, compare.through, rows);
        // A row that cannot be read may be anything: for a peer that pulls the page, this node is no source of it.
        let held = self.refill.held(&pair.shared, page.from, page.through);
        let held = if is_whole { held } else { Held::Part };
        if held < Held::All {
            let synced = held == Held::Synced;
            return Some(Compared::Partial { synced, through: page.through, entries: page.list() });
        }
        if page.through == compare.through && page.fingerprint() == compare.fingerprint {
            return Some(Compared::Same);
        }
        // Until the peer has said how its pass went.
        pair.equal = None;
        Some(Compared::Different { through: page.through, entries: page.list() })
    }

    pub(crate) fn swept(&mut self, from: NodeId, swept: Swept) {
        let Some(pair) = self.pairs.get_mut(&from) else { return };
        match pair.theirs {
            Some((pass, equal)) if pass == swept.pass && swept.equal => pair.found_equal(equal),
            _ if swept.equal => {}
            _ => pair.equal = None,
        }
    }
}

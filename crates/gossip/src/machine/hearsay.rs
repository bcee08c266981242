//! The handling of news: it is taken if its standing is higher than what is known, and passed on.

use starling_types::{Generation, NodeId};
use starling_wire::gossip::{Claim, LAST_COUNT, MemberInfo, Record, Rumour, Status};

use super::{Effect, Gossip, Notice};
use crate::suspicion::Suspicion;
use crate::table::{Entry, FIRST_INCARNATION, HEARSAY, Standing};

impl Gossip {
    /// A member is said to exist. If it is not thought alive, a good moment to ask it.
    pub(super) fn learn(&mut self, info: MemberInfo, out: &mut Vec<Effect>) {
        let node = info.node;
        if node == self.me || self.has_left() {
            return;
        }
        let stranger = self.table.get(node).is_none();
        self.table.remember(node);
        self.take_record(Record { info, incarnation: HEARSAY, status: Status::Alive }, out);
        if stranger {
            self.exchange_with_stranger(node, out);
        } else {
            self.on_connected(node, out);
        }
    }

    pub(super) fn take_rumour(&mut self, rumour: Rumour, out: &mut Vec<Effect>) {
        match rumour {
            Rumour::Record(record) => self.take_record(record, out),
            Rumour::Claim(claim) => self.take_claim(claim, out),
        }
    }

    /// Takes a record if it is news; returns silently if not.
    pub(super) fn take_record(&mut self, record: Record, out: &mut Vec<Effect>) {
        let node = record.info.node;
        if !record.info.is_sound() || record.incarnation > LAST_COUNT {
            self.counters.refused += 1;
        } else if node == self.me {
            self.hear_of_self(record.info.generation, record.incarnation, record.status, out);
        } else if let Some(known) = self.table.get(node) {
            let (known, standing) = (known.standing(), Standing::of_record(&record));
            if standing > known {
                self.adopt(record, out);
            } else if standing == known {
                self.reconcile_info(record.info, out);
            }
        } else if !self.table.is_forgotten(node) {
            self.welcome(record, out);
        }
    }

    /// Two texts under one standing: members must agree on one, so the greater wins.
    fn reconcile_info(&mut self, info: MemberInfo, out: &mut Vec<Effect>) {
        let node = info.node;
        if self.table.get(node).is_some_and(|known| info > known.info) {
            out.push(Effect::Notify(Notice::Changed(info.clone())));
            self.table.change(node, |entry| entry.info = info);
        }
    }

    fn welcome(&mut self, record: Record, out: &mut Vec<Effect>) {
        let (node, status) = (record.info.node, record.status);
        if !self.admit(record.clone()) {
            self.counters.refused += 1;
            return;
        }
        out.push(Effect::Notify(Notice::Joined(record.info.clone())));
        if status != Status::Alive {
            self.notify_status(node, out);
        }
        self.start_suspicion(node, self.me);
        self.spread(record);
    }

    /// Adds a member to table and round.
    pub(super) fn admit(&mut self, record: Record) -> bool {
        let node = record.info.node;
        let room = self.table.insert(record.info, record.incarnation, record.status);
        if room {
            self.probes.join_round(node, &mut self.rng);
        }
        room
    }

    /// Replaces what is known of a member by a record of higher standing.
    fn adopt(&mut self, record: Record, out: &mut Vec<Effect>) {
        let node = record.info.node;
        let fresh = record.clone();
        let changed = self.table.change(node, |entry| {
            let changed = (entry.status != fresh.status, entry.info != fresh.info);
            entry.info = fresh.info;
            entry.incarnation = fresh.incarnation;
            entry.status = fresh.status;
            entry.suspicion = None;
            changed
        });
        let (status, info) = changed.unwrap_or_default();
        if info {
            out.push(Effect::Notify(Notice::Changed(record.info.clone())));
        }
        if status {
            self.notify_status(node, out);
        }
        self.start_suspicion(node, self.me);
        self.spread(record);
    }

    /// Passes on a member's own claim and its farewell, but neither hearsay nor the long dead.
    fn spread(&mut self, record: Record) {
        if record.incarnation != HEARSAY && record.status != Status::Dead {
            self.rumours.push(Rumour::Record(record));
        }
    }

    /// Takes a claim about a generation of a member that is known. Others are ignored: claims make no members, and
    /// comparing tables brings a newer generation's record.
    pub(super) fn take_claim(&mut self, claim: Claim, out: &mut Vec<Effect>) {
        if claim.generation.0 > LAST_COUNT || claim.incarnation > LAST_COUNT {
            self.counters.refused += 1;
        } else if claim.node == self.me {
            self.hear_of_self(claim.generation, claim.incarnation, claim.status, out);
        } else if self.table.get(claim.node).is_some_and(|known| known.info.generation == claim.generation) {
            match claim.status {
                Status::Alive => {}
                Status::Suspect => self.accuse(claim.node, claim.incarnation, claim.by, out),
                Status::Dead | Status::Left => self.condemn(claim, out),
            }
        }
    }

    /// `by` doubts a member's incarnation.
    pub(super) fn accuse(&mut self, node: NodeId, incarnation: u64, by: NodeId, out: &mut Vec<Effect>) {
        let Some(known) = self.table.get(node) else { return };
        let (known, generation) = (known.standing(), known.info.generation);
        let doubted = Standing::new(generation, incarnation, Status::Suspect);
        let claim = Claim { node, generation, incarnation, status: Status::Suspect, by };
        if doubted > known {
            self.set_status(claim, out);
            self.start_suspicion(node, by);
            self.rumours.push(Rumour::Claim(claim));
        } else if doubted == known && self.confirm(node, by) {
            self.rumours.push(Rumour::Claim(claim));
        }
    }

    fn confirm(&mut self, node: NodeId, by: NodeId) -> bool {
        let suspicion = self.table.get_mut(node).and_then(|entry| entry.suspicion.as_mut());
        suspicion.is_some_and(|suspicion| suspicion.confirm(by))
    }

    /// Gives a Suspect entry its timer.
    fn start_suspicion(&mut self, node: NodeId, by: NodeId) {
        let others = self.table.live_others();
        let witnesses = others.filter(|entry| entry.status == Status::Alive).count();
        let needed = usize::try_from(self.config.confirmations).unwrap_or(usize::MAX).min(witnesses);
        let floor = self.config.suspicion_floor(self.table.live());
        let ceiling = floor.saturating_mul(self.config.suspicion_stretch);
        let suspicion = Suspicion::new(self.now.instant, by, needed, floor, ceiling);
        if let Some(entry) = self.table.get_mut(node).filter(|entry| entry.status == Status::Suspect) {
            entry.suspicion = Some(suspicion);
        }
    }

    /// A conviction or a farewell.
    fn condemn(&mut self, claim: Claim, out: &mut Vec<Effect>) {
        let known = self.table.get(claim.node).map(Entry::standing);
        if known.is_some_and(|known| Standing::of_claim(&claim) > known) {
            self.set_status(claim, out);
            self.rumours.push(Rumour::Claim(claim));
        }
    }

    /// Convicts the members whose time to refute is over.
    pub(super) fn turn_suspicions(&mut self, out: &mut Vec<Effect>) {
        let due = self.suspicions().filter(|(_, deadline)| *deadline <= self.now.instant);
        for (node, _) in due.collect::<Vec<_>>() {
            let Some(entry) = self.table.get(node) else {
                continue;
            };
            let verdict = Claim { status: Status::Dead, ..entry.claim(self.me) };
            self.condemn(verdict, out);
        }
    }

    fn set_status(&mut self, claim: Claim, out: &mut Vec<Effect>) {
        let changed = self.table.change(claim.node, |entry| {
            let changed = entry.status != claim.status;
            entry.incarnation = claim.incarnation;
            entry.status = claim.status;
            entry.suspicion = None;
            changed
        });
        if changed == Some(true) {
            self.notify_status(claim.node, out);
        }
    }

    fn notify_status(&mut self, node: NodeId, out: &mut Vec<Effect>) {
        let notice = match self.status(node) {
            Some(Status::Alive) => Notice::Alive(node),
            Some(Status::Suspect) => Notice::Suspect(node),
            Some(Status::Dead) => Notice::Dead(node),
            Some(Status::Left) => Notice::Left(node),
            None => return,
        };
        out.push(Effect::Notify(notice));
    }

    /// News of this node itself. Old news is answered by our regular claims; doubt, by a higher incarnation; what no
    /// incarnation can answer, by an alarm.
    pub(super) fn hear_of_self(
        &mut self,
        generation: Generation,
        incarnation: u64,
        status: Status,
        out: &mut Vec<Effect>,
    ) {
        let me = self.table.me();
        let (mine, own_word) = (me.info.generation, me.incarnation);
        let same_word = incarnation == own_word && status == Status::Alive;
        // Generation 0 is what a layout says of members that never spoke to us.
        let is_known = generation.0 > 0 && generation <= mine && status != Status::Left;
        if is_known && !std::mem::replace(&mut self.recognised, true) {
            out.push(Effect::Notify(Notice::Recognised));
        }
        if self.has_left() || generation < mine {
            return;
        }
        if generation > mine || status == Status::Left || incarnation >= LAST_COUNT {
            return self.report_impostor(generation, out);
        }
        if incarnation >= own_word && !same_word {
            self.refute(incarnation);
        }
    }

    /// A claim of our own about a member: it reaches the member as claims of others do.
    pub(super) fn outlive(&mut self, node: NodeId, generation: Generation, out: &mut Vec<Effect>) {
        if let Some(known) = self.table.get(node).filter(|_| node != self.me) {
            let info = MemberInfo { generation, ..known.info.clone() };
            self.take_record(Record { info, incarnation: HEARSAY, status: Status::Alive }, out);
        }
    }

    /// This node overrules what members knew of a later generation of it.
    pub(super) fn reborn(&mut self, generation: Generation) {
        if self.has_left() || generation <= self.table.me().info.generation {
            return;
        }
        self.table.change(self.me, |entry| {
            entry.info.generation = generation;
            entry.incarnation = FIRST_INCARNATION;
        });
        self.rumours.push(Rumour::Record(self.table.me().record()));
    }

    fn refute(&mut self, incarnation: u64) {
        self.health.worse(1);
        self.table.change(self.me, |entry| entry.incarnation = incarnation + 1);
        self.rumours.push(Rumour::Record(self.table.me().record()));
    }

    fn report_impostor(&mut self, generation: Generation, out: &mut Vec<Effect>) {
        if self.impostor.is_none_or(|reported| generation > reported) {
            self.impostor = Some(generation);
            out.push(Effect::Notify(Notice::Impostor { generation }));
        }
    }
}

//! A client's next request: its key, its operation, its context, its quorum.

use std::collections::BTreeSet;

use bytes::Bytes;
use rand::{Rng, RngExt};
use starling_types::{BucketName, RequestId};
use starling_wire::client::Seen as WireSeen;
use starling_wire::{KvOp, KvRequest, QuorumChoice};

use super::{Client, Workload, WorkloadOptions, key_name};
use crate::history::{Kind, Op, Seen};
use crate::world::World;

impl Workload {
    /// The registers that a client writes.
    fn registers_of(&self, client: usize) -> Vec<usize> {
        let all = self.options.keys..self.options.keys + self.options.registers;
        all.filter(|key| key % self.options.clients == client).collect()
    }

    pub(super) fn invent(&mut self, world: &World, client: usize) -> (Op, KvRequest) {
        let number = self.ops.len();
        let registers = self.registers_of(client);
        let options = &self.options;
        let me = &mut self.clients[client];
        let key = me.choose(options, &registers);
        let is_register = key >= options.keys;
        let id = (u128::from(me.rng.next_u64()) << 64) | u128::from(me.rng.next_u64());
        let (seen, wire) = if is_register { me.memory(key, options.lww) } else { me.outlook(key) };
        let reads_only = is_register && !registers.contains(&key);
        // A delete hides nothing that its writer has not seen: where that may be something of its own, none is made.
        let may_delete = !is_register || (seen != Seen::Nothing && !me.loose.contains(&key));
        let (kind, op) = me.deed(options, number, reads_only, (is_register, may_delete), wire);
        let quorum = match is_register {
            true => QuorumChoice { r: None, w: None, strict: Some(true) },
            false => me.quorum(options, kind == Kind::Get),
        };
        let (id, bucket) = (RequestId::from_bits(id), BucketName::default_bucket());
        let limit = u32::try_from(options.patience.as_millis()).unwrap_or(u32::MAX);
        let request = KvRequest {
            timeout_ms: limit,
            patience_ms: limit,
            quorum,
            ..KvRequest::new(id, me.clock.wall(world), bucket, key_name(key), op)
        };
        (record(options, world, (client, key), &request, kind, seen), request)
    }
}

/// The operation as the judges will see it.
fn record(
    options: &WorkloadOptions,
    world: &World,
    (client, key): (usize, usize),
    request: &KvRequest,
    kind: Kind,
    seen: Seen,
) -> Op {
    let ttl_ms = if let KvOp::Put { ttl_ms, .. } = &request.op { *ttl_ms } else { None };
    Op {
        client,
        key,
        request: request.id,
        kind,
        seen,
        issued: request.issued,
        r: request.quorum.r.unwrap_or(options.copies / 2 + 1),
        w: request.quorum.w.unwrap_or(options.copies / 2 + 1),
        strict: options.strict || request.quorum.strict == Some(true),
        ttl_ms,
        tries: Vec::new(),
        acked: BTreeSet::new(),
        acks: Vec::new(),
        uncertain: false,
        refused: false,
        open: true,
        began: world.now(),
        acked_at: None,
        answer: None,
        ended: None,
    }
}

impl Client {
    /// A key; one time in four a register, and of these every other time one of its own.
    fn choose(&mut self, options: &WorkloadOptions, own: &[usize]) -> usize {
        if options.registers == 0 || self.rng.random_range(0..4) > 0 {
            return self.rng.random_range(0..options.keys);
        }
        match self.rng.random_bool(0.5) && !own.is_empty() {
            true => own[self.rng.random_range(0..own.len())],
            false => options.keys + self.rng.random_range(0..options.registers),
        }
    }

    /// Reads, deletes or writes. Registers are deleted more seldom.
    fn deed(
        &mut self,
        options: &WorkloadOptions,
        number: usize,
        reads_only: bool,
        (is_register, may_delete): (bool, bool),
        wire: WireSeen,
    ) -> (Kind, KvOp) {
        let value = self.value(options, number);
        let expires = !is_register && options.ttl > 0.0 && self.rng.random_bool(options.ttl);
        let ttl_ms = expires.then(|| self.rng.random_range(500..8_000));
        match self.rng.random_range(0..100) {
            _ if reads_only => (Kind::Get, KvOp::Get),
            0..30 => (Kind::Get, KvOp::Get),
            dice if may_delete && dice < (if is_register { 37 } else { 45 }) => {
                (Kind::Delete, KvOp::Delete { seen: wire })
            }
            _ => (Kind::Put(value.clone()), KvOp::Put { value, seen: wire, ttl_ms }),
        }
    }

    /// No two operations write the same; few values are long.
    fn value(&mut self, options: &WorkloadOptions, number: usize) -> Bytes {
        let mut value = format!("value {number}");
        let length = self.rng.random_range(0..=options.longest);
        if self.rng.random_bool(0.3) && value.len() < length {
            value.push(' ');
            value.extend(std::iter::repeat_n('.', length - value.len()));
        }
        Bytes::from(value)
    }

    /// The writes of a register that it has seen, or that it replaces what there is.
    fn memory(&mut self, key: usize, lww: bool) -> (Seen, WireSeen) {
        let blind = self.rng.random_bool(0.25);
        match self.seen.get(&key).cloned() {
            Some((token, seen)) if !blind => (seen, WireSeen::Context(token)),
            None if !blind && !lww => (Seen::Nothing, WireSeen::Nothing),
            _ => (Seen::Quorum, WireSeen::Quorum),
        }
    }

    fn outlook(&mut self, key: usize) -> (Seen, WireSeen) {
        let dice = self.rng.random_range(0..20);
        match self.seen.get(&key) {
            Some((token, seen)) if dice < 9 => (seen.clone(), WireSeen::Context(token.clone())),
            _ if dice >= 18 => (Seen::Nothing, WireSeen::Nothing),
            _ if dice >= 15 => (Seen::Local, WireSeen::Local),
            _ => (Seen::Quorum, WireSeen::Quorum),
        }
    }

    fn quorum(&mut self, options: &WorkloadOptions, is_read: bool) -> QuorumChoice {
        let size = match self.rng.random_range(0..10) {
            // In a strict bucket a request may only ask for more.
            0 if !options.strict => Some(1),
            1 => Some(options.copies),
            _ => None,
        };
        let strict = self.rng.random_bool(0.15).then_some(true);
        match is_read {
            true => QuorumChoice { r: size, w: None, strict },
            false => QuorumChoice { r: None, w: size.map(|w| w.max(options.least_w)), strict },
        }
    }
}

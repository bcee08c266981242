//! The clients' side of the reactor.

use rand::Rng;
use starling_frontend::{Door, FrontEvent, FrontLimits, Identity, InfoSection, KvService, ReplyTo};
use starling_node::{Event, Report};
use starling_types::{BucketName, Key, RequestId};
use starling_wire::local::{LocalAsk, LocalPage};
use starling_wire::{Failure, KvOp, KvRequest};
use tokio::sync::oneshot;

use super::{Reactor, Whom};
use crate::metrics;

impl Reactor {
    fn report(&self) -> Report {
        self.node.borrow().report(self.clock.now())
    }
}

impl KvService for Reactor {
    fn submit(&self, request: KvRequest, reply: ReplyTo) {
        let handle = self.wait(Whom::Door(reply), request.op.name());
        self.push(Event::Request(handle, request));
    }

    fn turn(&self) {
        Self::turn(self);
    }

    fn draft(&self, bucket: BucketName, key: Key, op: KvOp) -> KvRequest {
        let mut rng = self.rng.borrow_mut();
        let id = (u128::from(rng.next_u64()) << 64) | u128::from(rng.next_u64());
        // The client has said no time: not this node's clock but the cluster's time is what others judge it by.
        let issued = self.cluster_time();
        // Clients of these doors have no ids: nothing they send is ever tried again under the same one.
        let request = KvRequest::new(RequestId::from_bits(id), issued, bucket, key, op);
        KvRequest { began: self.may_have_come(), ..request }
    }

    fn ready(&self) -> Result<(), String> {
        self.node.borrow().unfit().map_or(Ok(()), Err)
    }

    fn status(&self) -> serde_json::Value {
        let mut json = serde_json::to_value(self.report().status).unwrap_or_default();
        let sizes = self.engine.sizes();
        let reads = self.readers.borrow().counts();
        for (name, value) in [
            ("loads_waiting", reads.loads_waiting as u64),
            ("scans_waiting", reads.scans_waiting as u64),
            ("reads_under_way", reads.under_way as u64),
            ("reads_refused", reads.refused),
            ("reads_left_out", reads.left_out),
        ] {
            json["storage"][name] = value.into();
        }
        // Beside what the machine says of it: is it full, and what is suspected.
        for (name, _, value) in metrics::sizes(&sizes) {
            json["storage"][name] = value.into();
        }
        json["storage"]["short_of_space"] = sizes.is_short_of_space.into();
        json["storage"]["engine"] = "own log over lsm-tree".into();
        json["storage"]["found_at_start"] = self.store_report.as_str().into();
        json
    }

    fn metrics(&self) -> String {
        let Some(transport) = self.transport.get() else { return String::new() };
        let reads = self.readers.borrow().counts();
        self.telemetry.render(&self.report(), transport.counters(), &self.engine.sizes(), reads)
    }

    fn ring(&self) -> serde_json::Value {
        let Some(layout) = self.report().layout else { return serde_json::json!({ "layout_version": 0 }) };
        let protocol = |node| self.transport.get().and_then(|transport| transport.protocol(node));
        let members = layout.members().map(|role| {
            serde_json::json!({
                "protocol": protocol(role.node),
                "node_id": role.node, "name": role.name, "quic": role.addr, "zone": role.zone.as_str(),
                "weight": u32::from(role.weight), "partitions": layout.partitions_of(role.node).count(),
            })
        });
        let owners = layout.bits().partitions().map(|p| layout.owners(p).collect::<Vec<_>>());
        serde_json::json!({
            "cluster_id": layout.cluster(),
            "layout_version": layout.version().0,
            "layout_hash": format!("{:032x}", layout.hash().0),
            "copies": layout.n(),
            "partitions": layout.bits().count(),
            "members": members.collect::<Vec<_>>(),
            "owners": owners.collect::<Vec<_>>(),
        })
    }

    fn explain(&self, bucket: BucketName, key: Key) -> Option<serde_json::Value> {
        let place = self.node.borrow().explain(bucket, key)?;
        serde_json::to_value(place).ok()
    }

    fn local(&self, ask: LocalAsk, answer: oneshot::Sender<Result<LocalPage, Failure>>) {
        let handle = self.wait(Whom::Local(answer), "local");
        self.push(Event::Local(handle, ask));
    }

    fn identity(&self) -> Identity {
        let node = self.node.borrow();
        let me = node.control_plane().hello();
        let listen = &self.settings.listen;
        let (resp, http) = match self.addresses.get() {
            Some(addresses) => (addresses.resp, addresses.http),
            None => (listen.resp, listen.http),
        };
        Identity {
            node_id: me.node,
            cluster_id: node.view().cluster(),
            name: me.name.clone(),
            version: me.version.clone(),
            resp,
            http,
            quic: me.quic,
            data_dir: self.home.borrow().path().into(),
        }
    }

    fn info(&self) -> Vec<InfoSection> {
        let Report { status, counters, cached_bytes, .. } = self.report();
        let line = |name: &str, value: &dyn ToString| (name.to_owned(), value.to_string());
        let members = status.members.iter().filter(|m| m.state == "alive").count();
        let cluster = vec![
            line("cluster_id", &status.cluster_id.clone().unwrap_or_default()),
            line("state", &status.state),
            line("layout_version", &status.layout_version),
            line("members", &status.members.len()),
            line("members_alive", &members),
        ];
        let stats = vec![
            line("reads_reached", &counters.shard.reads_ok),
            line("reads_missed", &counters.shard.reads_missed),
            line("writes_reached", &counters.shard.writes_ok),
            line("writes_missed", &counters.shard.writes_missed),
            line("hints", &status.hints.count),
            line("cached_bytes", &cached_bytes),
        ];
        vec![InfoSection { name: "Cluster", fields: cluster }, InfoSection { name: "Stats", fields: stats }]
    }

    fn limits(&self) -> FrontLimits {
        let limits = &self.settings.limits;
        FrontLimits {
            max_value: limits.max_value,
            max_connections: limits.max_connections,
            max_pipeline: limits.max_pipeline,
            ..FrontLimits::default()
        }
    }

    fn count(&self, door: Door, event: FrontEvent) {
        match event {
            FrontEvent::Opened => metrics::connection(door.as_str(), 1.0),
            FrontEvent::Closed => metrics::connection(door.as_str(), -1.0),
            FrontEvent::Refused => metrics::door_error(door.as_str(), "refused"),
            FrontEvent::AcceptFailed => metrics::door_error(door.as_str(), "accept"),
            FrontEvent::ProtocolError => metrics::door_error(door.as_str(), "protocol"),
            FrontEvent::Stalled => metrics::door_error(door.as_str(), "stalled"),
            FrontEvent::Command(_) => {}
        }
    }
}

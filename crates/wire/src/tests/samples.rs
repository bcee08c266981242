//! At least one of each message, and of each variant of what it carries; small, and the same in every run.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use starling_causality::{Digest, Dot, Hlc};
use starling_ring::{Layout, Refusal as InitRefusal, Role, Verdict, Weight, Zone};
use starling_types::row::{RowRange, Space};
use starling_types::{
    ActorId, BucketChanges, BucketName, BucketProps, ClusterId, Conflict, Generation, Key, LayoutVersion,
    Lineage, NodeId, Outcome, PartitionBits, PartitionId, RequestId, Token, WallTime,
};

use crate::client::{
    AdminReply, AdminRequest, Export, ExportPage, Exporter, Failure, FailureKind, KvOp, KvReply, KvRequest,
    QuorumChoice, ReadReply, Receipt, Seen, SiblingView, WriteReply,
};
use crate::cluster::{BucketRegister, Decide, Propose, SharedState};
use crate::gossip::{self, Body, Claim, MemberInfo, Rumour, Status};
use crate::hello::{Hello, HelloRefusal, NodeHello};
use crate::message::{GoAway, Message};
use crate::replica::{Held, Merge, Merged, Origin, Read, ReadAnswer, Recall, Recalled, Refusal, Shown};
use crate::sync::{Compare, Compared, Entry, Fingerprint, Swept};

pub(super) fn samples() -> Vec<Message> {
    [first_samples(), buckets(), sweeps(), losses(), exports(), clocks()].concat()
}

/// The samples from before buckets could be created.
fn first_samples() -> Vec<Message> {
    [hellos(), gossip(), replicas(), clients(), admin(), cluster()].concat()
}

fn node() -> NodeId {
    NodeId::from_bits(0xa1)
}

fn dot() -> Dot {
    Dot { actor: ActorId::from_bits(0xac), hlc: Hlc::from_parts(1_700_000_000_000, 2) }
}

fn quic() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 7_400))
}

fn layout() -> Layout {
    let role = Role {
        node: node(),
        name: "n1".into(),
        addr: quic(),
        zone: Zone::new("z1").unwrap(),
        weight: Weight::ONE,
    };
    let bits = PartitionBits::try_from(0).unwrap();
    Layout::first(ClusterId::from_bits(0xc1), 1, bits, vec![role]).unwrap()
}

fn hellos() -> Vec<Message> {
    let mut lineage = Lineage::since(Generation::of(3, 5));
    lineage.begin(Generation::of(4, 0x0102_0304));
    let node_hello = NodeHello {
        node: node(),
        generation: Generation::of(4, 0x0102_0304),
        name: "n1".into(),
        quic: quic(),
        resp: Some(SocketAddr::from((Ipv6Addr::LOCALHOST, 6_379))),
        http: None,
        zone: "z1".into(),
        weight: 100,
        layout: LayoutVersion(3),
        version: "0.1.0".into(),
        lineage,
    };
    let wall = Some(WallTime::from_millis(1_700_000_000_000));
    let cluster = ClusterId::from_bits(0xc1);
    let hello = |node| Message::Hello(Hello { protocols: (1, 1), cluster, node, wall });
    let (ours, theirs) = (ClusterId::from_bits(1), ClusterId::from_bits(2));
    vec![
        hello(Some(node_hello)),
        hello(None),
        Message::HelloRefused(HelloRefusal::OtherCluster { ours, theirs }),
        Message::HelloRefused(HelloRefusal::NotYou(node())),
        Message::HelloRefused(HelloRefusal::Protocol { ours: (1, 2) }),
        Message::GoAway(GoAway { reason: "stopping".into() }),
    ]
}

fn gossip() -> Vec<Message> {
    let record = gossip::Record {
        info: MemberInfo {
            node: node(),
            generation: Generation(4),
            name: "n1".into(),
            quic: quic(),
            resp: None,
            http: Some(quic()),
            zone: "z1".into(),
            version: "0.1.0".into(),
        },
        incarnation: 2,
        status: Status::Alive,
    };
    let claim = Claim {
        node: node(),
        generation: Generation(4),
        incarnation: 2,
        status: Status::Suspect,
        by: NodeId::from_bits(0xa2),
    };
    let wall = WallTime::from_millis(1_700_000_000_000);
    let bodies = [
        Body::Ping { seq: 9, reliable: false },
        Body::Ack { seq: 9, wall },
        Body::PingFor { seq: 9, target: node() },
        Body::Reached { seq: 9 },
        Body::Unreached { seq: 9 },
        Body::Rumours,
        Body::Compare { claims: vec![claim] },
        Body::Delta { records: vec![record.clone()], wanted: vec![node()] },
    ];
    let message = |body| {
        Message::Gossip(gossip::Message {
            generation: Generation(4),
            incarnation: 2,
            members: 0x3e,
            shared: 0x5a,
            body,
            rumours: vec![Rumour::Claim(claim), Rumour::Record(record.clone())],
        })
    };
    bodies.into_iter().map(message).collect()
}

fn replicas() -> Vec<Message> {
    let (bucket, key) = (BucketName::default_bucket(), Key::new("k").unwrap());
    let request = RequestId::from_bits(0x4e);
    let merge = |origin, stands_for| {
        Message::Merge(Merge {
            bucket: BucketName::default_bucket(),
            key: Key::new("k").unwrap(),
            record: Bytes::from_static(b"record"),
            props: 1,
            durable: true,
            origin,
            stands_for,
        })
    };
    let refused = |refusal| Message::Merged(Merged::Refused(refusal));
    let read = |digest| {
        Message::Read(Read { bucket: BucketName::default_bucket(), key: Key::new("k").unwrap(), digest })
    };
    let origin = Origin { request, dot: dot() };
    vec![
        merge(Some(origin), Some(node())),
        merge(None, None),
        Message::Merged(Merged::Done { durable: true }),
        refused(Refusal::NotOwner(3)),
        refused(Refusal::StaleEpoch(3)),
        refused(Refusal::NotReady),
        refused(Refusal::Overloaded),
        refused(Refusal::Damaged),
        refused(Refusal::Storage("full".into())),
        read(Some(Digest::from_bits(0xd1))),
        read(None),
        Message::ReadAnswer(ReadAnswer::Record(shown())),
        Message::ReadAnswer(ReadAnswer::Same),
        Message::ReadAnswer(ReadAnswer::Unknown),
        Message::ReadAnswer(ReadAnswer::Refused(Refusal::NotReady)),
        Message::Recall(Recall { bucket, key, request, attempt: 1 }),
        Message::Recalled(Recalled::Known { dot: Some(dot()), shown: shown() }),
        Message::Recalled(Recalled::Known { dot: None, shown: shown() }),
        Message::Recalled(Recalled::Claimed),
        Message::Recalled(Recalled::Nothing(Held {
            since: WallTime::from_millis(1_700_000_000_000),
            context: [dot()].into_iter().collect(),
            is_empty: false,
            is_sure: true,
        })),
        Message::Recalled(Recalled::Refused(Refusal::NotReady)),
    ]
}

fn request(op: KvOp) -> Message {
    Message::Request(KvRequest {
        id: RequestId::from_bits(0x4e),
        attempt: 1,
        issued: WallTime::from_millis(1_700_000_000_000),
        began: WallTime::from_millis(1_700_000_000_500),
        timeout_ms: 250,
        patience_ms: 125,
        bucket: BucketName::default_bucket(),
        key: Key::new("k").unwrap(),
        op,
        quorum: QuorumChoice { r: Some(2), w: None, strict: Some(true) },
        forwarded: false,
    })
}

fn clients() -> Vec<Message> {
    let put = KvOp::Put {
        value: Bytes::from_static(b"v"),
        seen: Seen::Context(Bytes::from_static(b"seen")),
        ttl_ms: Some(60_000),
    };
    let sibling = SiblingView {
        value: Bytes::from_static(b"v"),
        dot: dot(),
        expires_at: Some(WallTime::from_millis(1_700_000_060_000)),
    };
    let read = ReadReply {
        siblings: vec![sibling],
        context: Some(Bytes::from_static(b"seen")),
        deleted: Some(dot()),
    };
    let written = WriteReply {
        context: None,
        siblings: 2,
        existed: true,
        receipt: Receipt {
            dot: Some(dot()),
            coordinator: node(),
            acked: 2,
            owners: 2,
            w: 2,
            n: 3,
            durable: true,
            hinted: 1,
            partial: true,
            unvouched: false,
        },
    };
    let failed = Failure {
        kind: FailureKind::Overloaded,
        outcome: Outcome::NotApplied,
        detail: "busy".into(),
        retry_after_ms: Some(50),
    };
    vec![
        request(put),
        request(KvOp::Get),
        request(KvOp::Delete { seen: Seen::Local }),
        request(KvOp::Delete { seen: Seen::Quorum }),
        request(KvOp::Delete { seen: Seen::Nothing }),
        Message::Reply(KvReply::Written(written)),
        Message::Reply(KvReply::Read(read)),
        Message::Reply(KvReply::Failed(failed)),
    ]
}

fn admin() -> Vec<Message> {
    let init = AdminRequest::Init { nodes: vec![quic()], copies: 3, bits: 6 };
    vec![
        Message::Admin(init),
        Message::Admin(AdminRequest::Status),
        Message::Admin(AdminRequest::Layout),
        Message::AdminReply(AdminReply::Refused("no".into())),
        Message::AdminReply(AdminReply::Status("{}".into())),
        Message::AdminReply(AdminReply::Layout(Some(layout()))),
        Message::AdminReply(AdminReply::Layout(None)),
        Message::AdminReply(AdminReply::Initialised(layout())),
    ]
}

fn cluster() -> Vec<Message> {
    let shared =
        |layout| Message::Shared(SharedState { node: node(), layout, reply: true, buckets: Vec::new() });
    let refused = |refusal| Message::Verdict(Verdict::Refused(refusal));
    vec![
        Message::Propose(Propose { layout: layout() }),
        Message::Verdict(Verdict::Accepted(layout().hash())),
        Message::Verdict(Verdict::Decided(layout().hash())),
        refused(InitRefusal::NotFirst(LayoutVersion(3))),
        refused(InitRefusal::NotNamed(node())),
        refused(InitRefusal::Member(Box::new(layout()))),
        refused(InitRefusal::Promised(Box::new(layout()))),
        refused(InitRefusal::NeverAccepted),
        Message::Decide(Decide { layout: layout() }),
        shared(Some(layout())),
        shared(None),
    ]
}

fn shown() -> Shown {
    Shown { record: Bytes::from_static(b"record"), props: 2 }
}

fn buckets() -> Vec<Message> {
    let register = || BucketRegister {
        name: BucketName::new("sessions").unwrap(),
        props: BucketProps {
            version: 2,
            r: Some(1),
            w: None,
            strict: false,
            conflict: Conflict::Lww,
            durable: true,
            ttl_ms: Some(60_000),
            least_w: Some(2),
        },
        by: node(),
    };
    let changes = BucketChanges {
        r: Some(1),
        w: Some(3),
        strict: Some(false),
        conflict: Some(Conflict::Lww),
        durable: Some(true),
        ttl_ms: Some(60_000),
        least_w: Some(2),
    };
    let shared = SharedState { node: node(), layout: None, reply: false, buckets: vec![register()] };
    vec![
        Message::Merged(Merged::Refused(Refusal::StaleProps(0x20_000a))),
        Message::Admin(AdminRequest::BucketSet { name: register().name, changes, create: true }),
        Message::Admin(AdminRequest::BucketList),
        Message::AdminReply(AdminReply::BucketSet { bucket: register(), held_by: 2, members: 3 }),
        Message::AdminReply(AdminReply::Buckets(vec![register()])),
        Message::Shared(shared),
    ]
}

fn exports() -> Vec<Message> {
    let exporter = Exporter {
        node: node(),
        name: "a".into(),
        cluster: Some(ClusterId::from_bits(0xc1)),
        generation: Generation(2),
        layout: LayoutVersion(1),
        version: "0.1.0".into(),
    };
    let ask = |space| {
        let buckets = vec![BucketName::default_bucket()];
        Message::Admin(AdminRequest::Export(Export { space, from: Bytes::from_static(b"from"), buckets }))
    };
    let page = ExportPage {
        exporter,
        sequence: 4_711,
        rows: vec![(Bytes::from_static(b"key"), Bytes::from_static(b"value"))],
        next: Some(Bytes::from_static(b"next")),
        damaged: vec![RowRange::new("a", Some("b".into())), RowRange::all()],
    };
    vec![
        ask(Space::Data),
        ask(Space::Hints),
        ask(Space::Meta),
        Message::AdminReply(AdminReply::Exported(page)),
    ]
}

fn clocks() -> Vec<Message> {
    vec![
        Message::Admin(AdminRequest::ClockAccept),
        Message::AdminReply(AdminReply::ClockAccepted { moved_ms: -62_000 }),
    ]
}

fn sweeps() -> Vec<Message> {
    let (bucket, key) = (BucketName::default_bucket(), Key::new("k").unwrap());
    let entry = Entry { bucket: bucket.clone(), key: key.clone(), digest: Digest::from_bits(0xd1) };
    let (from, through) = (Token::from_bits(0x40 << 56), Token::from_bits((0x80 << 56) - 1));
    let compare = Compare { pass: 7, first: true, from, through, fingerprint: Fingerprint(0xf1) };
    vec![
        Message::Compare(compare),
        Message::Compared(Compared::Different { through, entries: vec![entry] }),
        Message::Compared(Compared::Same),
        Message::Compared(Compared::Unreadable),
        Message::Compared(Compared::Refused(Refusal::NotReady)),
        Message::Fetch(Read { bucket, key, digest: Some(Digest::from_bits(0xd1)) }),
        Message::Fetched(ReadAnswer::Record(shown())),
        Message::Fetched(ReadAnswer::Same),
        Message::Swept(Swept { pass: 7, equal: true }),
        Message::Swept(Swept { pass: 7, equal: false }),
    ]
}

fn losses() -> Vec<Message> {
    let (bucket, key) = (BucketName::default_bucket(), Key::new("k").unwrap());
    let entry = Entry { bucket, key, digest: Digest::from_bits(0xd1) };
    vec![
        Message::Merged(Merged::Refused(Refusal::DiskFull)),
        Message::ReadAnswer(ReadAnswer::Partial(shown())),
        Message::Compared(Compared::Partial {
            synced: true,
            through: Token::from_bits(0x40 << 56),
            entries: vec![entry],
        }),
        Message::Reply(KvReply::Failed(Failure::refused(FailureKind::DiskFull, "full"))),
        Message::Admin(AdminRequest::AcceptLosses { partition: Some(PartitionId(7)), without_silent: true }),
        Message::Admin(AdminRequest::AcceptLosses { partition: None, without_silent: false }),
        Message::AdminReply(AdminReply::LossesAccepted { partitions: 3 }),
    ]
}

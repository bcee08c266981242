//! The table of keys: the one place where a key's name, type, default, rule, flag and meaning stand. [`Settings`] is
//! made from it.

use std::net::SocketAddr;
use std::path::PathBuf;

use starling_frontend::FrontLimits;
use starling_gossip::Preset;
use starling_ring::role::Zone;
use starling_storage::SyncMode;
use starling_types::{ClusterId, limits};

use super::rule::Rule;
use super::value::{self, Field, Given};
use crate::host::Host;

/// Variables with our prefix that belong to the command-line client, not to a node.
pub(super) const CLI_VARIABLES: [&str; 2] = ["STARLING_AT", "STARLING_TLS"];

/// How every variable of ours begins.
pub(super) const PREFIX: &str = "STARLING_";

/// One thing that can be set.
#[derive(Debug)]
pub(super) struct Key {
    /// Its section.
    pub section: &'static str,
    /// Its name in the section.
    pub name: &'static str,
    /// Its meaning.
    pub meaning: &'static str,
    /// How to choose a value.
    pub choose: &'static str,
    /// The values that it takes.
    pub rule: Rule,
    /// The flag of `starling node` that sets it.
    pub flag: Option<Flag>,
    write: fn(&mut Settings, &str) -> Option<()>,
    show: fn(&Settings) -> Option<String>,
}

/// A flag of `starling node`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flag {
    /// Its name, without the dashes.
    pub name: &'static str,
    /// The name of its value in the help.
    pub value: &'static str,
    /// Its line in the help.
    pub help: &'static str,
}

impl Key {
    /// `section.name`.
    pub(super) fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// The environment variable that sets it.
    pub(super) fn variable(&self) -> String {
        format!("{PREFIX}{}_{}", self.section, self.name).to_ascii_uppercase()
    }

    /// Its value as TOML; `None` if it is unset.
    pub(super) fn show(&self, settings: &Settings) -> Option<String> {
        let shown = (self.show)(settings)?;
        Some(match (self.rule, value::plain_number(&shown)) {
            (Rule::Bytes(..), Some(bytes)) => value::quoted(&value::size(bytes)),
            _ => shown,
        })
    }

    /// Sets it, unless the value is not allowed.
    pub(super) fn write(&self, settings: &mut Settings, given: &Given) -> Option<()> {
        (self.write)(settings, &self.rule.admit(given)?)
    }
}

pub(super) fn find(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.section == section && key.name == name)
}

pub(super) fn sections() -> impl Iterator<Item = &'static str> {
    SECTIONS.iter().map(|(section, _)| *section)
}

pub(super) fn names(section: &str) -> impl Iterator<Item = &'static str> {
    KEYS.iter().filter(move |key| key.section == section).map(|key| key.name)
}

pub(super) fn variables() -> impl Iterator<Item = String> {
    let of_the_cli = CLI_VARIABLES.iter().map(|name| (*name).to_owned());
    KEYS.iter().map(Key::variable).chain(of_the_cli)
}

macro_rules! flag {
    () => {
        None
    };
    ($name:literal, $value:literal, $help:literal) => {
        Some(Flag { name: $name, value: $value, help: $help })
    };
}

/// From `key: type = default, rule, flag(name, value, help); meaning; how to choose;` in sections: a struct for each section
/// with its default, [`Settings`] of all, and the table.
macro_rules! settings {
    ($($section:ident: $struct:ident, $about:literal {$(
        $name:ident: $type:ty = $default:expr, $rule:expr $(, flag($($flag:literal),+))?; $meaning:literal; $choose:literal;
    )+})+) => {
        /// Everything that can be set. A value that came from [`Settings::load`] obeys every rule of the table.
        #[derive(Debug, Clone, PartialEq, Eq, Default)]
        pub struct Settings {
            $(#[doc = $about] pub $section: $struct,)+
        }

        $(
            #[doc = $about]
            #[derive(Debug, Clone, PartialEq, Eq)]
            #[allow(rustdoc::broken_intra_doc_links, reason = "[::] is an address")]
            pub struct $struct {
                $(#[doc = $meaning] pub $name: $type,)+
            }

            impl Default for $struct {
                fn default() -> Self {
                    Self { $($name: $default,)+ }
                }
            }
        )+

        /// Sections in the order of the file, each with what it is about.
        pub(super) const SECTIONS: &[(&str, &str)] = &[$((stringify!($section), $about),)+];

        /// Every key, section by section in the order of [`SECTIONS`].
        pub(super) const KEYS: &[Key] = &[$($(Key {
            section: stringify!($section),
            name: stringify!($name),
            meaning: $meaning,
            choose: $choose,
            rule: $rule,
            flag: flag!($($($flag),+)?),
            write: |settings, text| {
                settings.$section.$name = Field::parse(text)?;
                Some(())
            },
            show: |settings| settings.$section.$name.show(),
        },)+)+];
    };
}

/// Larger caches than this are a typing error.
const MOST_CACHE: u64 = 1 << 40;

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

settings! {
    node: NodeSettings, "Who this node is." {
        name: String = "node".into(), Rule::Name,
            flag("name", "NAME", "Name, for people");
            "Its name, for people: in status, logs and metrics. Its identity is the node id in the data directory.";
            "Short and different on every node: a host name, or n1, n2, n3.";
        data: PathBuf = "./starling-data/node".into(), Rule::Directory,
            flag("data", "DIR", "Data directory");
            "The data directory, made at the first start. A relative path starts at the working directory.";
            "A local disk, never shared between nodes. Moving it moves the node; losing it makes a new one.";
        zone: Zone = Zone::default(), Rule::Zone,
            flag("zone", "ZONE", "Failure domain");
            "Its failure domain. The copies of a key are spread over zones as far as there are any.";
            "The same word for nodes that one fault can take away together: a rack, a room, a provider's zone.";
        weight: u32 = 1, Rule::Count(1, 65_536);
            "Its share of the data, relative to the other nodes: weight 2 holds twice what weight 1 does. Read when the \
             node becomes a member.";
            "In proportion to disk size. Leave 1 where all disks are alike.";
    }
    listen: ListenSettings, "Where it listens." {
        resp: SocketAddr = local(7001), Rule::Listen,
            flag("resp", "ADDR", "Where to speak the Redis protocol");
            "Where Redis clients connect (TCP). There is no password: whoever reaches it may read and write. Port 0 takes \
             a free port.";
            "Loopback, or a private network.";
        http: SocketAddr = local(7101), Rule::Listen,
            flag("http", "ADDR", "Where to speak HTTP");
            "Where HTTP clients, health checks and Prometheus connect (TCP). There is no password. Port 0 \
             takes a free port.";
            "Loopback, or a private network.";
        http_hosts: String = String::new(), Rule::Hosts;
            "Host names by which HTTP clients may call this node, separated by commas, beside its IP addresses, localhost, its \
             name and the machine's. Requests for any other host are refused: a web page could send them.";
            "The names that are used in URLs, as those of a load balancer or of Prometheus' targets. Empty where \
             addresses are.";
        quic: SocketAddr = local(7201), Rule::Listen,
            flag("quic", "ADDR", "Where to listen for peers and native clients");
            "Where other nodes and native clients connect (UDP, mutual TLS). Port 0 takes a free port.";
            "The address of the network between the nodes. With 0.0.0.0, set advertise too.";
        advertise: Option<SocketAddr> = None, Rule::Reachable,
            flag("advertise", "ADDR", "Where others reach `quic`, if that is not where it listens");
            "Where others reach quic, if not at the address it listens on. Required when quic listens on 0.0.0.0 or [::].";
            "Only for address translation or an unspecified quic address: what another node would dial.";
    }
    cluster: ClusterSettings, "Which cluster it may serve." {
        cluster_id: Option<ClusterId> = None, Rule::Cluster;
            "The only cluster this node may serve. It refuses to start on another cluster's data. Unset: any.";
            "Unset on a workbench. In production, what `starling cluster status` shows: it keeps a wrong disk out.";
        seeds: Vec<Host> = Vec::new(), Rule::Addresses,
            flag("seeds", "ADDR[,ADDR]", "Where other members may be found, should they have moved");
            "Where other members may be found: QUIC addresses, names among them. A node remembers where members were; these \
             are tried beside that. Names are looked up again every ten seconds.";
            "Unset where addresses last. Otherwise two or three names that always lead to some member.";
    }
    storage: StorageSettings, "What the store may use, and when a write is on the disk." {
        memory_limit: u64 = 512 << 20, Rule::Bytes(32 << 20, MOST_CACHE);
            "Memory that the node is to get by with. Caches and write buffers are shares of it; requests under way come on \
             top (limits.max_in_flight_bytes).";
            "What the host can spare. More of it saves disk reads and compaction; the node keeps to it within a fifth.";
        engine_cache_bytes: Option<u64> = None, Rule::Bytes(1 << 20, MOST_CACHE);
            "Memory for blocks of the tables on disk: saves disk reads of rows that the record cache does not hold. Unset: a \
             sixth of memory_limit.";
            "Unset; smaller if the system's page cache has memory to work with, larger when reads hit a slow disk.";
        record_cache_bytes: Option<u64> = None, Rule::Bytes(1 << 20, MOST_CACHE);
            "Memory for decoded records: what is read from here costs no disk read and no decoding. Unset: a quarter of \
             memory_limit.";
            "Unset; larger if the keys in frequent use do not fit and table blocks are seldom asked for twice.";
        sync: SyncMode = SyncMode::Always, Rule::Sync;
            "When a write that is acknowledged is on the disk. always: before it is acknowledged. interval N: within N \
             milliseconds; a power cut loses what was acknowledged since, on every node that loses power. os: when the \
             operating system writes it, within about half a minute.";
            "always. The others only for data that can be made again: a bucket with durable=false does the same for its \
             own writes.";
        disk_reserve: Option<u64> = None, Rule::Bytes(0, MOST_CACHE);
            "Free space of the volume below which this node refuses to take new values; deletes, repair and hand-off go on. \
             Unset: a twentieth of the volume, at most 1GiB. Never less than deletes need: two segments of the log and \
             six write buffers.";
            "Unset, or room for what must go on until somebody has made more.";
        scrub_rate: u64 = 4 << 20, Rule::Bytes(0, MOST_CACHE);
            "Bytes of tables a second that are read and held against their checksums, whether anybody asks for them or not: so \
             rot is found while other owners still have the rows. 0B: none.";
            "What the disk can spare: at 4MiB, 100 GiB take seven hours.";
    }
    limits: LimitSettings, "What it takes on. Beyond a limit it refuses, says so, and changes nothing." {
        max_value: usize = FrontLimits::default().max_value, Rule::Bytes(1 << 10, limits::MAX_VALUE as u64);
            "The largest value that a client may write through this node. Larger ones that are stored stay readable.";
            "The same on every node. Larger values make slower repairs and need larger max_in_flight_bytes. With 4, 5, 6 or 7 \
             copies of a key at most 62, 50, 41 or 35 MiB.";
        max_connections: usize = FrontLimits::default().max_connections, Rule::Count(1, 1_000_000);
            "Connections of clients at a time, at each of resp, http and quic.";
            "Above what your clients open; the open-file limit must be more than twice as high.";
        max_pipeline: usize = FrontLimits::default().max_pipeline, Rule::Count(1, 65_536);
            "Requests of one RESP connection that may wait for their reply; beyond it nothing more is read from it.";
            "Above the deepest pipeline your clients send; more only lets one client crowd out others.";
        max_in_flight: usize = limits::DEFAULT_MAX_IN_FLIGHT, Rule::Count(1, 1 << 20);
            "Requests under way in the whole node; beyond it clients are told to retry later.";
            "Throughput times latency, with room for bursts: 100000 a second at 20 ms is 2000.";
        max_in_flight_bytes: usize = limits::DEFAULT_MAX_IN_FLIGHT_BYTES, Rule::Bytes(1 << 10, MOST_CACHE);
            "Bytes of the requests under way; beyond it clients are told to retry later. At least max_value.";
            "A quarter of the memory you give the node.";
    }
    gossip: GossipSettings, "How it judges whether others are alive." {
        preset: Preset = Preset::default(), Rule::Word(&["lan", "calm", "wan"]);
            "How soon a silent node counts as dead: lan about 2 s, calm about 4 s, wan about 10 s. Nodes may differ.";
            "lan on one site; calm where nodes pause for seconds (busy virtual machines); wan between sites.";
    }
    tls: TlsSettings, "How it proves who it is. All traffic between nodes is mutually authenticated." {
        dir: PathBuf = "./starling-tls".into(), Rule::Directory,
            flag("tls-dir", "DIR", "Directory of the cluster's certificate authority");
            "The directory with the cluster's certificate authority and the client certificate, made at the first start \
             if it is not there. A relative path starts at the working directory.";
            "Copy the first node's directory to every other host before its first start; readable by the service alone.";
    }
    telemetry: TelemetrySettings, "What it tells people. Metrics are always on, at /metrics of the HTTP port." {
        log: String = "info".into(), Rule::Filter,
            flag("log", "FILTER", "Which log lines are written, for instance `info` or `starling_node=debug`");
            "Which log lines are written to stderr: a level, or levels per module, separated by commas.";
            "info. For a question about one part: info,starling_node=debug.";
    }
}

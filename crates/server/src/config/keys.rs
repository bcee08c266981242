//! The table of keys: the one place where a key's name, meaning, rule and place in [`Settings`] stand.

use starling_types::limits;

use super::rule::Rule;
use super::value::{self, Field, Given};
use super::{Assignment, ConfigError, Origin, Settings};

/// Variables with our prefix that belong to the command-line client, not to a node.
pub const CLI_VARIABLES: [&str; 2] = ["STARLING_AT", "STARLING_TLS"];

const PREFIX: &str = "STARLING_";

/// What the command line says, as written; checked like everything else. One field per flag.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--name`
    pub name: Option<String>,
    /// `--data`
    pub data: Option<String>,
    /// `--zone`
    pub zone: Option<String>,
    /// `--resp`
    pub resp: Option<String>,
    /// `--http`
    pub http: Option<String>,
    /// `--quic`
    pub quic: Option<String>,
    /// `--advertise`
    pub advertise: Option<String>,
    /// `--tls-dir`
    pub tls_dir: Option<String>,
    /// `--log`
    pub log: Option<String>,
}

/// One thing that can be set.
#[derive(Debug)]
pub struct Key {
    /// Its section.
    pub section: &'static str,
    /// Its name in the section.
    pub name: &'static str,
    /// What it is.
    pub meaning: &'static str,
    /// How to choose a value.
    pub choose: &'static str,
    rule: Rule,
    flag: Option<Flag>,
    write: fn(&mut Settings, &str) -> Option<()>,
    show: fn(&Settings) -> Option<String>,
}

#[derive(Debug)]
struct Flag {
    name: &'static str,
    given: fn(&Overrides) -> Option<&String>,
}

/// A key and its value, for people. Values are TOML, `None` if unset.
#[derive(Debug)]
pub struct Description {
    /// The key.
    pub key: &'static Key,
    /// Its value.
    pub value: Option<String>,
    /// What it is if nobody sets it.
    pub default: Option<String>,
}

impl Key {
    /// `section.name`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}_{}", self.section, self.name).to_ascii_uppercase()
    }

    /// The flag of `starling node` that sets it.
    pub fn flag(&self) -> Option<&'static str> {
        self.flag.as_ref().map(|flag| flag.name)
    }

    /// What its numbers count.
    pub fn unit(&self) -> Option<&'static str> {
        self.rule.unit()
    }

    /// What it takes, to follow "it must be".
    pub fn allowed(&self) -> String {
        self.rule.to_string()
    }

    /// A value that shows the form.
    pub(super) fn example(&self) -> &'static str {
        self.rule.example()
    }

    /// Its value as TOML.
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

pub(super) fn from_env(
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<Vec<Assignment>, ConfigError> {
    let mut ours: Vec<_> = env
        .into_iter()
        .filter(|(name, _)| name.starts_with(PREFIX) && !CLI_VARIABLES.contains(&name.as_str()))
        .collect();
    // The system lists variables in no order: without one, the first error would differ from start to start.
    ours.sort();
    ours.into_iter()
        .map(|(variable, value)| match KEYS.iter().find(|key| key.variable() == variable) {
            Some(key) => {
                Ok(Assignment { key, value: Given::Bare(value), origin: Origin::Variable(variable) })
            }
            None => Err(ConfigError::UnknownVariable { variable }),
        })
        .collect()
}

pub(super) fn from_flags(flags: &Overrides) -> impl Iterator<Item = Assignment> {
    KEYS.iter().filter_map(|key| {
        let flag = key.flag.as_ref()?;
        let value = Given::Bare((flag.given)(flags)?.clone());
        let origin = Origin::Flag(flag.name);
        Some(Assignment { key, value, origin })
    })
}

macro_rules! key {
    ($section:ident . $name:ident $(, $flag:literal $field:ident)?; $rule:expr; $meaning:literal; $choose:literal) => {
        Key {
            section: stringify!($section),
            name: stringify!($name),
            meaning: $meaning,
            choose: $choose,
            rule: $rule,
            flag: flag!($($flag $field)?),
            write: |settings, text| {
                settings.$section.$name = Field::parse(text)?;
                Some(())
            },
            show: |settings| settings.$section.$name.show(),
        }
    };
}

macro_rules! flag {
    () => {
        None
    };
    ($name:literal $field:ident) => {
        Some(Flag { name: $name, given: |flags| flags.$field.as_ref() })
    };
}

/// Sections in the order of the file, each with what it is about.
pub(super) const SECTIONS: [(&str, &str); 8] = [
    ("node", "Who this node is."),
    ("listen", "Where it listens."),
    ("cluster", "Which cluster it may serve."),
    ("storage", "What the store may use, and when a write is on the disk."),
    ("limits", "What it takes on. Beyond a limit it refuses, says so, and changes nothing."),
    ("gossip", "How it judges whether others are alive."),
    ("tls", "How it proves who it is. All traffic between nodes is mutually authenticated."),
    ("telemetry", "What it tells people. Metrics are always on, at /metrics of the HTTP port."),
];

/// Larger caches than this are a typing error.
const MOST_CACHE: u64 = 1 << 40;

/// Every key, section by section in the order of [`SECTIONS`].
pub(super) const KEYS: &[Key] = &[
    key!(node.name, "--name" name; Rule::Name;
        "Its name, for people: in status, logs and metrics. Its identity is the node id in the data directory.";
        "Short and different on every node: a host name, or n1, n2, n3."),
    key!(node.data, "--data" data; Rule::Directory;
        "The data directory, made at the first start. A relative path starts at the working directory.";
        "A local disk, never shared between nodes. Moving it moves the node; losing it makes a new one."),
    key!(node.zone, "--zone" zone; Rule::Zone;
        "Its failure domain. The copies of a key are spread over zones as far as there are any.";
        "The same word for nodes that one fault can take away together: a rack, a room, a provider's zone."),
    key!(node.weight; Rule::Count(1, 65_536);
        "Its share of the data, relative to the other nodes: weight 2 holds twice what weight 1 does. Read when the \
         node becomes a member.";
        "In proportion to disk size. Leave 1 where all disks are alike."),
    key!(listen.resp, "--resp" resp; Rule::Listen;
        "Where Redis clients connect (TCP). There is no password: whoever reaches it may read and write. Port 0 takes \
         a free port.";
        "Loopback, or a private network."),
    key!(listen.http, "--http" http; Rule::Listen;
        "Where HTTP clients, health checks and Prometheus connect (TCP). There is no password. Port 0 \
         takes a free port.";
        "Loopback, or a private network."),
    key!(listen.quic, "--quic" quic; Rule::Listen;
        "Where other nodes and native clients connect (UDP, mutual TLS). Port 0 takes a free port.";
        "The address of the network between the nodes. With 0.0.0.0, set advertise too."),
    key!(listen.advertise, "--advertise" advertise; Rule::Reachable;
        "Where others reach quic, if not at the address it listens on. Required when quic listens on 0.0.0.0 or [::].";
        "Only for address translation or an unspecified quic address: what another node would dial."),
    key!(cluster.cluster_id; Rule::Cluster;
        "The only cluster this node may serve. It refuses to start on another cluster's data. Unset: any.";
        "Unset on a workbench. In production, what `starling cluster status` shows: it keeps a wrong disk out."),
    key!(storage.memory_limit; Rule::Bytes(32 << 20, MOST_CACHE);
        "Memory that the node is to get by with. Caches and write buffers are shares of it; requests under way come on \
         top (limits.max_in_flight_bytes).";
        "What the host can spare. More of it saves disk reads and compaction; the node keeps to it within a fifth."),
    key!(storage.engine_cache_bytes; Rule::Bytes(1 << 20, MOST_CACHE);
        "Memory for blocks of the tables on disk: saves disk reads of rows that the record cache does not hold. Unset: a \
         sixth of memory_limit.";
        "Unset; smaller if the system's page cache has memory to work with, larger when reads hit a slow disk."),
    key!(storage.record_cache_bytes; Rule::Bytes(1 << 20, MOST_CACHE);
        "Memory for decoded records: what is read from here costs no disk read and no decoding. Unset: a quarter of \
         memory_limit.";
        "Unset; larger if the keys in frequent use do not fit and table blocks are seldom asked for twice."),
    key!(storage.sync; Rule::Sync;
        "When a write that is acknowledged is on the disk. always: before it is acknowledged. interval N: within N \
         milliseconds; a power cut loses what was acknowledged since, on every node that loses power. os: when the \
         operating system writes it, within about half a minute.";
        "always. The others only for data that can be made again: a bucket with durable=false does the same for its \
         own writes."),
    key!(storage.disk_reserve; Rule::Bytes(0, MOST_CACHE);
        "Free space of the volume below which this node refuses to take new values; deletes, repair and hand-off go on. \
         Unset: a twentieth of the volume, at most 1GiB.";
        "Unset, or room for what must go on until somebody has made more: compaction needs some of its own."),
    key!(storage.scrub_rate; Rule::Bytes(0, MOST_CACHE);
        "Bytes of tables a second that are read and held against their checksums, whether anybody asks for them or not: so \
         rot is found while other owners still have the rows. 0B: none.";
        "What the disk can spare: at 4MiB, 100 GiB take seven hours."),
    key!(limits.max_value; Rule::Bytes(1 << 10, limits::MAX_VALUE as u64);
        "The largest value that a client may write through this node. Larger ones that are stored stay readable.";
        "The same on every node. Larger values make slower repairs and need larger max_in_flight_bytes. With 4, 5, 6 or 7 \
         copies of a key at most 62, 50, 41 or 35 MiB."),
    key!(limits.max_connections; Rule::Count(1, 1_000_000);
        "Connections of clients at a time, at each of resp, http and quic.";
        "Above what your clients open; the open-file limit must be more than twice as high."),
    key!(limits.max_pipeline; Rule::Count(1, 65_536);
        "Requests of one RESP connection that may wait for their reply; beyond it nothing more is read from it.";
        "Above the deepest pipeline your clients send; more only lets one client crowd out others."),
    key!(limits.max_in_flight; Rule::Count(1, 1 << 20);
        "Requests under way in the whole node; beyond it clients are told to retry later.";
        "Throughput times latency, with room for bursts: 100000 a second at 20 ms is 2000."),
    key!(limits.max_in_flight_bytes; Rule::Bytes(1 << 10, MOST_CACHE);
        "Bytes of the requests under way; beyond it clients are told to retry later. At least max_value.";
        "A quarter of the memory you give the node."),
    key!(gossip.preset; Rule::Word(&["lan", "calm", "wan"]);
        "How soon a silent node counts as dead: lan about 2 s, calm about 4 s, wan about 10 s. Nodes may differ.";
        "lan on one site; calm where nodes pause for seconds (busy virtual machines); wan between sites."),
    key!(tls.dir, "--tls-dir" tls_dir; Rule::Directory;
        "The directory with the cluster's certificate authority and the client certificate, made at the first start \
         if it is not there. A relative path starts at the working directory.";
        "Copy the first node's directory to every other host before its first start; readable by the service alone."),
    key!(telemetry.log, "--log" log; Rule::Filter;
        "Which log lines are written to stderr: a level, or levels per module, separated by commas.";
        "info. For a question about one part: info,starling_node=debug."),
];

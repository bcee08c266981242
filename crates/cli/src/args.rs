//! The command line's arguments.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use starling_server::{Host, Overrides};
use starling_types::span;

use crate::connect::Target;

/// A leaderless key-value store: every node is equal, writes go to N replicas and succeed at W, reads at R.
#[derive(Debug, Parser)]
#[command(name = "starling", version, propagate_version = true)]
pub struct Arguments {
    /// The format of standard output.
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The format of standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// People.
    Text,
    /// Programs.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a cluster of several nodes on this machine, with durable data, for development.
    Dev(DevArgs),
    /// Run one node in the foreground; SIGTERM or Ctrl-C stops it cleanly.
    Node(NodeArgs),
    /// Write a value.
    #[command(alias = "set")]
    Put(PutArgs),
    /// Read a value.
    Get(GetArgs),
    /// Delete a key.
    #[command(alias = "delete", alias = "rm")]
    Del(DelArgs),
    /// Show a node's view of its cluster, as `cluster status` does.
    Status(Target),
    /// Form a cluster, look at it.
    Cluster(ClusterArgs),
    /// Create buckets, look at them, change their rules.
    Bucket(crate::bucket::BucketArgs),
    /// Tell running nodes what to make of records that were lost.
    Repair(crate::repair::RepairArgs),
    /// Keep a copy of a live node's data, look at copies, put one back.
    Backup(crate::backup::BackupArgs),
    /// Look at, or repair, the data directory of a node that does not run.
    Data(crate::data::DataArgs),
    /// Tell a node that its clock, which has jumped, is right.
    Clock(crate::clock::ClockArgs),
    /// Make certificates.
    Cert(CertArgs),
    /// Measure a running cluster with a closed loop of requests.
    Bench(BenchArgs),
    /// Run whole nodes in a seeded world of faults, and judge what became of the data.
    Sim(SimArgs),
    /// Show the version.
    Version,
}

/// Nodes that `dev` can start.
pub const MOST_NODES: u8 = 32;

/// `starling dev`
#[derive(Debug, Args)]
pub struct DevArgs {
    /// How many nodes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=i64::from(MOST_NODES)))]
    pub nodes: u8,
    /// Where the nodes' data, certificates and logs are.
    #[arg(long, default_value = "./starling-data")]
    pub data: PathBuf,
    /// Node k listens at P+k (RESP), P+100+k (HTTP), P+200+k (QUIC); 0 takes free ports.
    #[arg(long, value_name = "P", default_value_t = 7000)]
    pub port_base: u16,
    /// Delete the data directory first, if `dev` made it.
    #[arg(long)]
    pub fresh: bool,
    /// Start a node again that ends by itself.
    #[arg(long)]
    pub respawn: bool,
}

/// `starling node`
#[derive(Debug, Args)]
pub struct NodeArgs {
    /// The configuration (see config/starling.toml). Flags go before the environment, that before the file.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub overrides: Overrides,
    /// Stop when standard input ends: for a parent that must not leave children behind.
    #[arg(long, hide = true)]
    pub exit_with_parent: bool,
}

/// Arguments that all key commands take.
#[derive(Debug, Args)]
pub struct KeyArgs {
    #[command(flatten)]
    pub target: Target,
    /// The bucket.
    #[arg(long, default_value = "default")]
    pub bucket: String,
    /// Time limit in milliseconds.
    #[arg(long, value_name = "MS", value_parser = time_limit)]
    pub timeout_ms: Option<u32>,
    /// Only owners of the key count towards the quorum.
    #[arg(long)]
    pub strict: bool,
    /// The key.
    pub key: String,
}

/// Arguments that all writing commands take.
#[derive(Debug, Args)]
pub struct WriteArgs {
    /// Acks needed.
    #[arg(long)]
    pub w: Option<u8>,
    /// Replace exactly what this context has seen (printed by `get` and `put`). `quorum`, the default, replaces every
    /// write that W owners had acked before, `local` what the coordinating node holds, `none` nothing.
    #[arg(long, value_name = "TOKEN|quorum|local|none", default_value = "quorum", hide_default_value = true)]
    pub context: String,
    /// Print what was done, on how many nodes.
    #[arg(long)]
    pub receipt: bool,
}

/// `starling put`
#[derive(Debug, Args)]
pub struct PutArgs {
    #[command(flatten)]
    pub key: KeyArgs,
    /// The value; `-` reads it from standard input.
    pub value: String,
    #[command(flatten)]
    pub write: WriteArgs,
    /// Time to live of the value in milliseconds.
    #[arg(long, value_name = "MS", value_parser = life)]
    pub ttl_ms: Option<u64>,
}

/// `starling get`
#[derive(Debug, Args)]
pub struct GetArgs {
    #[command(flatten)]
    pub key: KeyArgs,
    /// Replies needed.
    #[arg(long)]
    pub r: Option<u8>,
}

/// `starling del`
#[derive(Debug, Args)]
pub struct DelArgs {
    #[command(flatten)]
    pub key: KeyArgs,
    #[command(flatten)]
    pub write: WriteArgs,
}

/// `starling cluster`
#[derive(Debug, Args)]
pub struct ClusterArgs {
    #[command(subcommand)]
    pub command: ClusterCommand,
}

/// Commands on a cluster.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Form a cluster of empty, running nodes. Safe to repeat: it goes on where it stopped.
    Init(InitArgs),
    /// Show a node's view of its cluster.
    Status(Target),
}

/// `starling cluster init`
#[derive(Debug, Args)]
pub struct InitArgs {
    /// QUIC addresses of all nodes, as they announce them, or host names that lead there; the first one is asked to do it.
    #[arg(long, required = true, value_name = "A,B,C", value_delimiter = ',')]
    pub nodes: Vec<Host>,
    /// Copies of every key; lowered to the number of nodes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=7))]
    pub copies: u8,
    /// Partitions of the ring, a power of two: 1024 is enough for about 60 nodes, 4096 for 250.
    #[arg(long, default_value_t = 1024)]
    pub partitions: u32,
    /// As with `put`.
    #[arg(long, env = "STARLING_TLS", value_name = "DIR")]
    pub tls: Option<PathBuf>,
}

/// `starling cert`
#[derive(Debug, Args)]
pub struct CertArgs {
    #[command(subcommand)]
    pub command: CertCommand,
}

/// Which certificates to make.
#[derive(Debug, Subcommand)]
pub enum CertCommand {
    /// Make a cluster's certificate authority, and a client certificate, unless they are there. Copy the
    /// directory to every host before the first start of its node.
    Init {
        /// Where.
        #[arg(default_value = "./starling-tls")]
        dir: PathBuf,
    },
}

/// `starling bench`
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    #[command(flatten)]
    pub target: Target,
    /// Through which door: `resp` or `quic`.
    #[arg(long, value_enum, default_value_t = Protocol::Resp)]
    pub protocol: Protocol,
    /// RESP addresses of the nodes to load, with `--protocol resp`.
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.1:7001,127.0.0.1:7002,127.0.0.1:7003")]
    pub resp: Vec<Host>,
    /// HTTP addresses of all nodes, whose CPU time and memory are read before and after.
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.1:7101,127.0.0.1:7102,127.0.0.1:7103")]
    pub http: Vec<Host>,
    /// The load: `put`, `get`, or `mixed` (half and half).
    #[arg(long, value_enum, default_value_t = Load::Put)]
    pub load: Load,
    /// Requests outstanding at a time: that many connections with `resp`, one connection a node with `quic`.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub outstanding: u16,
    /// Bytes of a value.
    #[arg(long, default_value_t = 100)]
    pub value_size: usize,
    /// Number of keys; all are written before reads are measured.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub keys: u32,
    /// Seconds of measurement.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=600))]
    pub seconds: u16,
    /// Seed of the order of keys.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// `starling sim`
#[derive(Debug, Args)]
pub struct SimArgs {
    /// Run this seed alone, and tell its story if it fails.
    #[arg(long, value_name = "S", conflicts_with_all = ["first_seed", "seeds"])]
    pub seed: Option<u64>,
    /// Where a range of seeds begins.
    #[arg(long, value_name = "A", default_value_t = 1)]
    pub first_seed: u64,
    /// How many seeds there are in the range.
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub seeds: usize,
    /// Seeds that run at the same time; changes no result.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub jobs: u8,
    /// Break a promise that safety rests on, to see that the judges notice: fsync, hints, hint-replay, actor-renewal,
    /// tombstones, records, contexts or concurrency.
    #[arg(long, value_name = "PROMISE")]
    pub without: Option<String>,
    /// Plant a bug in the code under test, to see that the judges notice. Only builds with the feature `planted` can.
    #[arg(long, value_name = "BUG")]
    pub planted: Option<String>,
    /// Stop at the first seed that fails.
    #[arg(long)]
    pub until_red: bool,
}

/// A door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// The Redis protocol over TCP.
    Resp,
    /// The native protocol.
    Quic,
}

/// A kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Load {
    /// Writes.
    Put,
    /// Reads.
    Get,
    /// One of each in turn.
    Mixed,
}

fn time_limit(text: &str) -> Result<u32, String> {
    span::time_limit(number(text)?).map_err(|bad| bad.to_string())
}

fn life(text: &str) -> Result<u64, String> {
    span::life(number(text)?).map_err(|bad| bad.to_string())
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "a number of milliseconds is expected".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_node_takes_every_flag_that_the_table_of_keys_has() {
        let table = Overrides::augment_args(clap::Command::new("node"));
        let flags: Vec<&str> = table.get_arguments().filter_map(clap::Arg::get_long).collect();
        assert!(flags.len() >= 9, "{flags:?}");
        let help = Arguments::try_parse_from(["starling", "node", "--help"]).unwrap_err().to_string();
        for flag in flags {
            assert!(help.contains(&format!("      --{flag} <")), "--{flag} is not in {help}");
            let typed = Arguments::try_parse_from(["starling", "node", &format!("--{flag}"), "a word"]);
            let Command::Node(node) = typed.unwrap().command else { panic!("{flag}") };
            let taken = format!("{:?}", node.overrides);
            assert!(
                taken.contains(&format!("{flag:?}")) && taken.contains("\"a word\""),
                "--{flag}: {taken}"
            );
        }
    }
}

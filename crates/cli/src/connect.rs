//! How a command reaches a cluster: addresses, and the client certificate.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use starling_client::{Client, Credentials};
use starling_server::Host;

use crate::exit::{Exit, Failed};

/// Where `dev` and `node` put the client certificate unless told otherwise.
const DEFAULT_DIRS: [&str; 2] = ["./starling-data/tls", "./starling-tls"];

/// How to reach a cluster.
#[derive(Debug, Clone, Args)]
pub struct Target {
    /// QUIC addresses of nodes, or host names with a port; the first that answers is asked.
    #[arg(
        long,
        env = "STARLING_AT",
        value_name = "ADDR[,ADDR]",
        value_delimiter = ',',
        default_value = "127.0.0.1:7201"
    )]
    pub at: Vec<Host>,
    /// Directory with ca.pem, client.pem and client-key.pem; by default ./starling-data/tls (made by `dev`) or
    /// ./starling-tls (made by `node`), whichever is there.
    #[arg(long, env = "STARLING_TLS", value_name = "DIR")]
    pub tls: Option<PathBuf>,
}

impl Target {
    /// Everything that the addresses and names lead to, in their order.
    pub fn addresses(&self) -> Result<Vec<SocketAddr>, Failed> {
        let each = self.at.iter().map(|host| host.resolve().map_err(|why| nowhere_at(host, &why)));
        Ok(each.collect::<Result<Vec<_>, _>>()?.concat())
    }
}

/// One address for each.
pub fn one_each(hosts: &[Host]) -> Result<Vec<SocketAddr>, Failed> {
    hosts.iter().map(|host| host.resolve_one().map_err(|why| nowhere_at(host, &why))).collect()
}

fn nowhere_at(host: &Host, why: &std::io::Error) -> Failed {
    Failed::new(Exit::Unreachable, format!("{host} cannot be looked up: {why}"))
}

/// Connects to the first node that answers.
pub async fn client(target: &Target) -> Result<Client, Failed> {
    client_at(&target.addresses()?, target.tls.as_deref()).await
}

/// Connects to the first of `addrs` that answers.
pub async fn client_at(addrs: &[SocketAddr], tls: Option<&Path>) -> Result<Client, Failed> {
    Ok(Client::connect(addrs, credentials(tls)?).await?)
}

fn credentials(tls: Option<&Path>) -> Result<Credentials, Failed> {
    let dir = match tls {
        Some(dir) => dir.to_owned(),
        None => found().ok_or_else(nowhere)?,
    };
    Credentials::load_client(&dir).map_err(|e| Failed::new(Exit::Failed, e.to_string()))
}

fn found() -> Option<PathBuf> {
    DEFAULT_DIRS.iter().map(PathBuf::from).find(|dir| dir.join("client-key.pem").exists())
}

/// Whether commands find the client certificate in `dir` without being told.
pub fn is_found(dir: &Path) -> bool {
    let same = |other: PathBuf| other.canonicalize().ok() == dir.canonicalize().ok();
    found().is_some_and(same)
}

fn nowhere() -> Failed {
    let why = format!(
        "no client certificate in {}: run this where the cluster was started, or name the directory with --tls",
        DEFAULT_DIRS.join(" or ")
    );
    Failed::new(Exit::Usage, why)
}

//! How a command reaches a cluster: addresses, and the client certificate.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use starling_client::{Client, Credentials};

use crate::args::Target;
use crate::exit::{Exit, Failed};

/// Where `dev` and `node` put the client certificate unless told otherwise.
const DEFAULT_DIRS: [&str; 2] = ["./starling-data/tls", "./starling-tls"];

/// Connects to the first node that answers.
pub async fn client(target: &Target) -> Result<Client, Failed> {
    client_at(&target.at, target.tls.as_deref()).await
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

fn nowhere() -> Failed {
    let why = format!(
        "no client certificate in {}: run this where the cluster was started, or name the directory with --tls",
        DEFAULT_DIRS.join(" or ")
    );
    Failed::new(Exit::Usage, why)
}

//! The parts that every example needs: a thread of its own for the client, the address, the certificate.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;

use starling_client::{Client, Credentials};
use tokio::task::LocalSet;

/// Connects and runs `example`.
pub fn run<F>(example: impl FnOnce(Client) -> F) -> Result<(), Box<dyn Error>>
where
    F: Future<Output = Result<(), Box<dyn Error>>>,
{
    let mut arguments = std::env::args().skip(1);
    let addr: SocketAddr = arguments.next().map_or(Ok(FIRST_NODE), |addr| addr.parse())?;
    let tls: PathBuf = arguments.next().unwrap_or_else(|| "./starling-data/tls".into()).into();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let client = Client::connect(&[addr], Credentials::load_client(&tls)?).await?;
        let ended = example(client.clone()).await;
        client.close().await;
        ended
    })
}

/// The first node of `starling dev`.
const FIRST_NODE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7_201);

//! The baseline: requests and answers of fixed length, back to back on one stream, without frames.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use quinn::congestion::CubicConfig;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    AckFrequencyConfig, Endpoint, EndpointConfig, MtuDiscoveryConfig, RecvStream, TransportConfig, VarInt,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{CipherSuite, RootCertStore};
use socket2::{Domain, Protocol, Socket, Type};
use starling_benches::meter::{Meter, Sample, now};
use tokio::sync::oneshot;

use crate::{Load, REQUEST, SERVER, both_ends, run};

/// One round.
pub fn measure(load: &Load<'_>) -> Result<Sample> {
    let dir = tempfile::tempdir()?;
    load.authority.issue_node(SERVER)?.save(dir.path())?;
    let (server, client) = (server_config(dir.path())?, client_config(dir.path())?);
    let (limit, outstanding, span) = (load.limit(), load.outstanding, load.span);
    both_ends(
        move |listens, stop| run(limit, serve(server, listens, stop)),
        |addr| run(limit, call(client, addr, outstanding, span)),
    )
}

async fn serve(
    config: quinn::ServerConfig,
    listens: mpsc::Sender<SocketAddr>,
    stop: oneshot::Receiver<()>,
) -> Result<()> {
    let endpoint = endpoint(Some(config))?;
    listens.send(endpoint.local_addr()?)?;
    let connection = endpoint.accept().await.context("nobody connects")?.await?;
    tokio::select! {
        answered = answer(&connection) => answered?,
        // An error means that the caller is gone, which ends this end as well.
        _ = stop => {}
    }
    endpoint.close(VarInt::from_u32(0), b"");
    endpoint.wait_idle().await;
    Ok(())
}

async fn answer(connection: &quinn::Connection) -> Result<()> {
    let (mut send, recv) = connection.accept_bi().await?;
    let mut requests = Fixed::new(recv, REQUEST);
    // The end of the connection is the end of the measurement.
    while let Ok(Some(count)) = requests.read().await {
        if send.write_chunk(Bytes::from(vec![1; count * ANSWER])).await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn call(
    config: quinn::ClientConfig,
    addr: SocketAddr,
    outstanding: usize,
    span: Duration,
) -> Result<Sample> {
    let endpoint = endpoint(None)?;
    let connection = endpoint.connect_with(config, addr, SERVER_NAME)?.await?;
    let (mut send, recv) = connection.open_bi().await?;
    let mut answers = Fixed::new(recv, ANSWER);
    let mut begun: VecDeque<Instant> = VecDeque::new();
    let mut meter = Meter::start(span)?;
    let mut due = outstanding;
    loop {
        let now = now();
        if !meter.goes_on(now) {
            break;
        }
        begun.extend(std::iter::repeat_n(now, due));
        send.write_chunk(Bytes::from(vec![7; due * REQUEST])).await?;
        due = answers.read().await?.context("the server has ended")?;
        let now = starling_benches::meter::now();
        begun.drain(..due).for_each(|begun| meter.done(begun, now));
    }
    endpoint.close(VarInt::from_u32(0), b"");
    endpoint.wait_idle().await;
    meter.sample()
}

/// Counts messages of one length.
struct Fixed {
    stream: RecvStream,
    length: usize,
    rest: usize,
    chunks: [Bytes; 32],
}

impl Fixed {
    fn new(stream: RecvStream, length: usize) -> Self {
        Self { stream, length, rest: 0, chunks: std::array::from_fn(|_| Bytes::new()) }
    }

    /// How many have arrived, at least one; `None` at the end.
    async fn read(&mut self) -> Result<Option<usize>> {
        while let Some(count) = self.stream.read_chunks(&mut self.chunks).await? {
            self.rest +=
                self.chunks[..count].iter_mut().map(|chunk| std::mem::take(chunk).len()).sum::<usize>();
            let whole = self.rest / self.length;
            self.rest %= self.length;
            if whole > 0 {
                return Ok(Some(whole));
            }
        }
        Ok(None)
    }
}

fn server_config(dir: &Path) -> Result<quinn::ServerConfig> {
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(dir)?), provider()).build()?;
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate(dir)?], key(dir)?)?;
    tls.alpn_protocols = vec![ALPN.into()];
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config.transport_config(Arc::new(transport_config())).migration(false);
    Ok(config)
}

fn client_config(dir: &Path) -> Result<quinn::ClientConfig> {
    let mut tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots(dir)?)
        .with_client_auth_cert(vec![certificate(dir)?], key(dir)?)?;
    tls.alpn_protocols = vec![ALPN.into()];
    let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(Arc::new(transport_config()));
    Ok(config)
}

fn roots(dir: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(dir.join("ca.pem")).map_err(|e| anyhow!("{e}"))?)?;
    Ok(roots)
}

fn certificate(dir: &Path) -> Result<CertificateDer<'static>> {
    CertificateDer::from_pem_file(dir.join("node.pem")).map_err(|e| anyhow!("{e}"))
}

fn key(dir: &Path) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(dir.join("node-key.pem")).map_err(|e| anyhow!("{e}"))
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    Arc::new(provider)
}

fn endpoint(server: Option<quinn::ServerConfig>) -> Result<Endpoint> {
    let mut config = EndpointConfig::default();
    config.max_udp_payload_size(MTU)?;
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_recv_buffer_size(4 << 20)?;
    socket.set_send_buffer_size(4 << 20)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    Ok(Endpoint::new(config, server, socket.into(), Arc::new(quinn::TokioRuntime))?)
}

/// As in `starling-transport`, module `quic`: both subjects must have the same.
fn transport_config() -> TransportConfig {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(MTU);
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(10)).max_ack_delay(Some(Duration::from_millis(5)));
    let mut cubic = CubicConfig::default();
    cubic.initial_window(256 << 10);
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(Some(VarInt::from_u32(30_000).into()))
        .keep_alive_interval(Some(Duration::from_secs(10)))
        .max_concurrent_bidi_streams(VarInt::from_u32(4))
        .max_concurrent_uni_streams(VarInt::from_u32(8))
        .stream_receive_window(VarInt::from_u32(2 << 20))
        .receive_window(VarInt::from_u32(32 << 20))
        .send_window(8 << 20)
        .initial_rtt(Duration::from_millis(50))
        .mtu_discovery_config(Some(mtu))
        .ack_frequency_config(Some(acks))
        .congestion_controller_factory(Arc::new(cubic))
        .datagram_receive_buffer_size(Some(256 << 10))
        .datagram_send_buffer_size(256 << 10)
        .allow_spin(false);
    config
}

const ANSWER: usize = 20;
const MTU: u16 = 6_500;
const ALPN: &[u8] = b"raw-echo/1";
const SERVER_NAME: &str = "node.starling";

//! The settings of QUIC and TLS, each with its reason (design, transport: measured on small-message traffic).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::congestion::CubicConfig;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{AckFrequencyConfig, MtuDiscoveryConfig, TransportConfig, VarInt};
use rustls::CipherSuite;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use socket2::{Domain, Protocol, Socket, Type};
use starling_types::NodeId;

use crate::identity::{Credentials, Identity, IdentityError};
use crate::secrets::EndpointSecrets;

/// An endpoint that could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// Another process listens there.
    #[error("UDP port {0} is in use: stop the other process, or choose another QUIC address")]
    PortInUse(SocketAddr),
    /// The socket failed.
    #[error("cannot open a UDP socket at {addr}: {source}: check the address and the permissions")]
    Socket {
        /// The address.
        addr: SocketAddr,
        /// The error of the system.
        source: io::Error,
    },
    /// The credentials are another node's.
    #[error(
        "these are the credentials of {certified}, not of node {node}: they stay with their data directory"
    )]
    OtherNode {
        /// This node.
        node: NodeId,
        /// The identity that the certificate names.
        certified: Identity,
    },
    /// Keys or certificates cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// TLS refuses the credentials.
    #[error("TLS cannot use these credentials: {0}: issue new ones with the cluster's authority")]
    Tls(String),
}

/// The kind of peer that a connection is for; each has its own ALPN, so that roles are settled before the first frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocols {
    /// Node to node.
    Peer,
    /// Client to node.
    Client,
}

impl Protocols {
    pub(crate) const fn alpn(self) -> &'static [u8] {
        match self {
            Self::Peer => b"starling-peer/1",
            Self::Client => b"starling-client/1",
        }
    }

    pub(crate) fn of(connection: &quinn::Connection) -> Option<Self> {
        let data = connection.handshake_data()?.downcast::<quinn::crypto::rustls::HandshakeData>().ok()?;
        let spoken = data.protocol?;
        [Self::Peer, Self::Client].into_iter().find(|known| known.alpn() == spoken)
    }

    /// Idle timeout and keep-alive. Silence of a peer is noticed by request timeouts and gossip, long before
    /// the connection gives up; a client has only its connection.
    const fn patience(self) -> (Duration, Duration) {
        match self {
            Self::Peer => (Duration::from_secs(30), Duration::from_secs(10)),
            Self::Client => (Duration::from_secs(10), Duration::from_secs(3)),
        }
    }
}

/// For incoming connections of both kinds.
pub(crate) fn server_config(credentials: &Credentials) -> Result<quinn::ServerConfig, TransportError> {
    let provider = provider();
    let roots = Arc::new(credentials.roots()?);
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build().map_err(tls)?;
    let mut tls_config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(tls)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(credentials.chain()?, credentials.key()?)
        .map_err(tls)?;
    tls_config.alpn_protocols = vec![Protocols::Peer.alpn().into(), Protocols::Client.alpn().into()];
    // A resumed session would skip the check of the client's certificate.
    tls_config.send_tls13_tickets = 0;
    let crypto = QuicServerConfig::try_from(tls_config).map_err(tls)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(transport_config(Protocols::Peer)))
        .migration(false)
        .max_incoming(1_024)
        .incoming_buffer_size(64 << 10)
        .incoming_buffer_size_total(16 << 20);
    Ok(config)
}

/// For connections that this end dials.
pub(crate) fn client_config(
    credentials: &Credentials,
    protocol: Protocols,
) -> Result<quinn::ClientConfig, TransportError> {
    let mut tls_config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(tls)?
        .with_root_certificates(credentials.roots()?)
        .with_client_auth_cert(credentials.chain()?, credentials.key()?)
        .map_err(tls)?;
    tls_config.alpn_protocols = vec![protocol.alpn().into()];
    tls_config.resumption = Resumption::disabled();
    let crypto = QuicClientConfig::try_from(tls_config).map_err(tls)?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport_config(protocol)));
    Ok(config)
}

/// Opens the socket and starts the endpoint's driver.
pub(crate) fn endpoint(
    addr: SocketAddr,
    secrets: &EndpointSecrets,
    server: Option<quinn::ServerConfig>,
) -> Result<quinn::Endpoint, TransportError> {
    let mut config = secrets.endpoint_config();
    // The bound is 65,527 and the value a constant below it.
    config.max_udp_payload_size(MTU).map_err(tls)?;
    let start = || {
        let socket = socket(addr)?;
        quinn::Endpoint::new(config, server, socket.into(), Arc::new(quinn::TokioRuntime))
    };
    start().map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => TransportError::PortInUse(addr),
        _ => TransportError::Socket { addr, source },
    })
}

/// Small default buffers lose one packet in a hundred under a burst.
fn socket(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    let granted = socket.recv_buffer_size()?;
    if granted < SOCKET_BUFFER {
        tracing::warn!(granted, wanted = SOCKET_BUFFER, "small UDP receive buffer: raise net.core.rmem_max");
    }
    Ok(socket)
}

fn transport_config(protocol: Protocols) -> TransportConfig {
    let (idle, keep_alive) = protocol.patience();
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(MTU);
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(10)).max_ack_delay(Some(Duration::from_millis(5)));
    let mut cubic = CubicConfig::default();
    cubic.initial_window(256 << 10);
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(idle.try_into().ok())
        .keep_alive_interval(Some(keep_alive))
        // Limits cost memory each: quinn prepares a table entry for every permitted stream.
        .max_concurrent_bidi_streams(VarInt::from_u32(LANES))
        .max_concurrent_uni_streams(VarInt::from_u32(LARGE_STREAMS))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
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

/// AES-128 first: a tenth cheaper than AES-256, a third cheaper than ChaCha20 where the processor has AES.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    Arc::new(provider)
}

fn tls(error: impl std::fmt::Display) -> TransportError {
    TransportError::Tls(error.to_string())
}

/// The best with segmentation offload, which sends ten datagrams of this size in one call: more would exceed
/// what UDP can carry and be lost in silence.
const MTU: u16 = 6_500;
const SOCKET_BUFFER: usize = 4 << 20;
/// Streams that the other end may open and keep for frames.
pub(crate) const LANES: u32 = 4;
/// Large messages that may be under way at once.
pub(crate) const LARGE_STREAMS: u32 = 8;
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 32 << 20;

// Large messages that are not read yet must not keep the lanes from their share.
const _: () = assert!((LANES + LARGE_STREAMS) * STREAM_WINDOW <= CONNECTION_WINDOW);
const _: () = assert!(MTU as usize * 10 <= 65_507);

//! quinn endpoint, identity and mutual TLS, peers, lanes

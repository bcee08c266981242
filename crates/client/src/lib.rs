//! Native client over QUIC

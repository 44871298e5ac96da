//! Where clients connect, and how safely.

use std::net::{IpAddr, SocketAddr};

use super::tls::ServerTls;

/// Where clients connect.
#[derive(Debug, Clone)]
pub struct Listen {
    /// The address and port.
    pub address: SocketAddr,
    /// The certificate and key, if TLS is offered.
    pub tls: Option<ServerTls>,
    /// Somebody said that the network itself is safe.
    pub plaintext_beyond_loopback: bool,
}

impl Listen {
    /// May a client at `peer` go on without TLS?
    pub fn accepts_plaintext_from(&self, peer: IpAddr) -> bool {
        peer.to_canonical().is_loopback() || self.plaintext_beyond_loopback
    }
}

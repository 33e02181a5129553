//! Free ports on the loopback interface.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

use anyhow::{Context as _, Result};

/// Below the range from which systems take the local ports of outgoing connections. So a port stays free while its
/// server is down, and the server can come back on it. The bus ports of cluster nodes, 10 000 above, stay below that
/// range too.
const CANDIDATES: Range<u16> = 10_240..22_000;

/// The offset of a cluster node's bus port from its port.
const BUS_DISTANCE: u16 = 10_000;

const ATTEMPTS: usize = 1_000;

/// A loopback port on which nobody listens right now.
///
/// Another process may take it before it is used, so the caller must be ready to ask for another one.
pub fn free_port() -> Result<u16> {
    (0..ATTEMPTS)
        .map(|_| fastrand::u16(CANDIDATES))
        .find(|&port| is_free(port) && is_free(port + BUS_DISTANCE))
        .with_context(|| format!("no free port in {CANDIDATES:?} after {ATTEMPTS} attempts"))
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

//! Free ports on the loopback interface.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

use anyhow::{Context as _, Result};

/// Below the range from which systems take the local ports of outgoing connections: a port stays free while its server
/// is down, so the server can come back on it. The bus ports of cluster nodes, 10 000 above, stay below that range too.
const CANDIDATES: Range<u16> = 10_240..22_000;

/// How far a cluster node's bus port is from its port.
const BUS_DISTANCE: u16 = 10_000;

const ATTEMPTS: usize = 1_000;

/// A loopback port that nobody listens on right now.
///
/// Somebody else may take it before it is used, so whoever binds it must be ready to ask for another one.
pub fn free_port() -> Result<u16> {
    (0..ATTEMPTS)
        .map(|_| fastrand::u16(CANDIDATES))
        .find(|&port| is_free(port) && is_free(port + BUS_DISTANCE))
        .with_context(|| format!("no free port in {CANDIDATES:?} after {ATTEMPTS} attempts"))
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

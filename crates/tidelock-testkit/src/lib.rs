//! Real servers and a fault-injecting proxy for the tests and benchmarks of Tidelock.
//!
//! - [`Binary`] finds a server program; [`Server`] runs one, and kills, freezes and restarts it.
//! - [`Cluster`] and [`Sentinel`] are several servers that know each other.
//! - [`Proxy`] stands between client and server and breaks the connection at a chosen byte.
//! - [`shared_servers`] names the servers that `cargo xtask test` started for the whole run.
//!
//! Servers are controlled by blocking calls, which a test can afford while it starts one. The proxy runs in the test's
//! tokio runtime, because it must keep forwarding while the test continues.
#![forbid(unsafe_code)]

mod binary;
mod cluster;
mod environment;
mod ports;
mod process;
mod proxy;
mod resp;
mod sentinel;
mod server;
mod wait;

pub use binary::{Binary, Flavour, cache_dir};
pub use cluster::Cluster;
pub use environment::{SHARED_SERVERS, is_ci, scale, shared_servers, soak};
pub use ports::free_port;
pub use proxy::Proxy;
pub use resp::{Connection, Reply};
pub use sentinel::Sentinel;
pub use server::{Builder, Server, Tls};

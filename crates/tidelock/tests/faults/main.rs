//! Failures under a running program: servers killed, emptied, full and unavailable, replies lost, connections cut and
//! stalled, processes killed and frozen.
//!
//! Each test starts its own servers; without any it is skipped, except in CI.

#![cfg(feature = "redis")]
#![expect(unreachable_pub, reason = "this crate has no API: `pub` is what its files share")]

mod clusters;
mod connections;
mod fleet;
mod job;
mod keyed;
mod mutex;
mod queue;
mod ratelimit;
mod refusals;
mod scheduler;
mod sentinels;
mod servers;
#[cfg(unix)]
mod sockets;
mod stage;
#[cfg(feature = "tls")]
mod tls;
mod topic;

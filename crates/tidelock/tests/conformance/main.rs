//! One suite, every backend: each test is a function of a world and runs in process and on every server there is.
//!
//! `cargo xtask test` starts the servers; without them, only the in-process half runs.

#![expect(unreachable_pub, reason = "this crate has no API: `pub` is what its files share")]

mod ephemeral;
mod harness;
mod job;
mod mutex;
mod queue;
mod ratelimit;
mod records;
mod registry;
mod retry;
mod scheduler;
mod topic;

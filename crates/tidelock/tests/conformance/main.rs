//! One suite for every backend: each test is a function of a world, and runs in process and on every available server.
//!
//! `cargo xtask test` starts the servers; without them, only the in-process half runs. That half also runs in a page,
//! from the same sources; each `cfg` for pages says why it is there.

#![expect(unreachable_pub, reason = "this crate has no API: `pub` is what its files share")]

// In a page, this crate provides the parts of tokio that are used here.
#[cfg(target_family = "wasm")]
extern crate tidelock_testpage as tokio;

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
mod texts;
mod topic;
mod wakes;

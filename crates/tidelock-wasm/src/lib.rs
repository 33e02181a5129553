//! The browser binding of Tidelock: what the npm package `tidelock` is made of below its TypeScript.
//!
//! It translates values, promises, signals and callbacks; what a call does is the library's. A call runs as far as it can
//! before it returns: it gives its answer, or a [`Waiting`] for one that comes later. Errors are thrown, with the kind of
//! the library's error as `kind`.
//!
//! Numbers are those of JavaScript: times are milliseconds, and NaN stands for *not given*.
#![cfg(target_family = "wasm")]

mod call;
mod error;
mod keyed;
mod number;
mod queue;
mod tenants;

pub use call::Waiting;
pub use keyed::{RawEphemeral, RawFollower, RawRegistry};
pub use queue::RawQueue;

//! Requests: what a queue's methods return, run when awaited.

mod admin;
mod looks;
mod send;

pub use admin::{
    Delete, Pause, Purge, Remove, RemoveConcurrencyLimit, RemoveRateLimit, Resume, SetConcurrencyLimit, SetRateLimit,
};
pub use looks::{Get, List, Peek, Stats};
pub use send::{SendMany, SendRequest, Sent};

pub(crate) use admin::{change, counted};
pub(crate) use looks::look;

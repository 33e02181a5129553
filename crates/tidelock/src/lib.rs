//! Coordination primitives that let many instances of a program act as one.

mod backend;
mod backoff;
mod codec;
#[cfg(all(feature = "redis", not(target_family = "wasm")))]
mod connect;
mod error;
pub mod guide;
mod lifecycle;
pub mod mutex;
mod name;
mod page;
pub mod queue;
pub mod ratelimit;
pub mod retry;
mod runtime;
mod tidelock;
mod time;

pub use crate::codec::{Codec, Raw, Value};
#[cfg(all(feature = "redis", not(target_family = "wasm")))]
pub use crate::connect::Connect;
pub use crate::error::{BoxError, Error, ErrorKind, Result};
pub use crate::lifecycle::{Left, ShutdownReport};
pub use crate::page::{Page, PageToken};
pub use crate::tidelock::Tidelock;
pub use crate::time::{DAY, HOUR, MINUTE, ManualClock, SECOND, Timestamp};

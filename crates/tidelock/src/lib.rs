//! Coordination primitives that let many instances of a program act as one.

mod backend;
mod backoff;
mod changed;
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

pub use crate::backoff::Backoff;
pub use crate::changed::Changed;
pub use crate::codec::{Codec, Raw, Value};
#[cfg(all(feature = "redis", not(target_family = "wasm")))]
pub use crate::connect::Connect;
pub use crate::error::{BoxError, Error, ErrorKind, Result};
pub use crate::lifecycle::{Left, ShutdownReport};
pub use crate::page::{Page, PageToken};
pub use crate::queue::{
    DeadLetter, DeadLetters, DeadReason, Delivery, HandlerError, Message, MessageId, MessageInfo, Nacked, Place, Queue,
    QueueBuilder, QueueStats, Receipt, Removed, RunningWorker, Sent, State, Worker, WorkerReport, WorkerStats,
};
pub use crate::retry::{
    Attempt, GaveUp, Retry, RetryBudget, RetryBudgetBuilder, RetryError, RetryPolicy, RetryPolicyBuilder, Retryable,
    Retrying, retry,
};
pub use crate::tidelock::Tidelock;
pub use crate::time::{DAY, HOUR, MINUTE, ManualClock, SECOND, Timestamp};

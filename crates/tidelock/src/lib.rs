//! Coordination primitives that let many instances of a program act as one.
//!
//! Tidelock is a library over a backend that you choose: this process, or Redis and Valkey. It is not a server, not a
//! database, and it does not make *exactly once* out of *at least once*; it gives the fences and keys with which your
//! own storage can.
//!
//! Everything begins at one door, [`Tidelock`]; code that is given one does not know its backend:
//!
//! ```
//! use tidelock::{SECOND, Tidelock};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> tidelock::Result<()> {
//! let tide = Tidelock::in_process(); // or Tidelock::connect("redis://localhost").await?
//! let mail = tide.queue::<String>("mail").lease(30 * SECOND).build()?;
//! mail.send(&"hello".to_owned()).await?;
//! let delivery = mail.recv().await?.expect("something was sent");
//! assert_eq!(delivery.as_str(), "hello");
//! delivery.ack().await?;
//! # Ok(())
//! # }
//! ```
//!
//! | module | one line |
//! |---|---|
//! | [`queue`] | each message to one consumer, at least once, with leases, delays, retries and dead letters |
//! | [`topic`] | an event log: consumer groups at least once, live followers, replay |
//! | [`job`] | durable background work: submit, run, retry, cancel, join, events |
//! | [`scheduler`] | cron and interval slots turned into jobs, once across a fleet |
//! | [`mutex`] | one holder per resource, by lease, with a fence |
//! | [`ratelimit`] | may this identifier do this now? |
//! | [`registry`] | named records with versions, compare-and-swap, liveness if wanted, listing by prefix, changes to follow |
//! | [`ephemeral`] | short-lived records that vanish unless touched, with a stream of changes |
//! | [`mod@retry`] | run it again, well |
//! | [`cron`] | expressions of five or six fields, and the instants that they name |
//! | [`guide`] | a page for each, with examples that run as tests |
//!
//! # Rules that hold everywhere
//!
//! - The backend's clock decides; a caller's clock never does. Tests pin it with a [`ManualClock`].
//! - *No* is a value (limited, held by another, nothing there, stale). An [`Error`] means that the question could not be
//!   answered or was wrong; its [`kind`](Error::kind) says which.
//! - A request is a value with options that runs when it is awaited. Dropping it before its first poll does nothing.
//! - What you hold has a lease and a fence, and is finished by value. Dropping it is always safe.
//!
//! # Features
//!
//! `redis` (default): servers. `tls`: `rediss://` URLs. `msgpack`, `postcard`: codecs beside JSON. `garde`: checks of
//! values that derive `garde::Validate`. `metrics`: counters, gauges and distributions through the `metrics` facade.

mod backend;
mod backoff;
mod bell;
mod calendar;
mod changed;
mod check;
mod codec;
#[cfg(all(feature = "redis", not(target_family = "wasm")))]
mod connect;
mod counters;
pub mod cron;
mod cursor;
#[cfg(all(test, feature = "redis"))]
mod differential;
mod draft;
pub mod ephemeral;
mod error;
mod follow;
pub mod guide;
mod handover;
mod hash;
pub mod job;
mod keyed;
mod lifecycle;
mod meta;
pub mod mutex;
mod name;
mod page;
mod pause;
mod proof;
pub mod queue;
pub mod ratelimit;
pub mod registry;
mod request;
pub mod retry;
mod runtime;
pub mod scheduler;
mod sent;
mod tidelock;
mod time;
pub mod topic;
mod weak_map;
// For the binding of the browser package alone: no promise of the version number covers it.
#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod web;
mod word;

pub use crate::backoff::Backoff;
pub use crate::changed::Changed;
pub use crate::codec::{Codec, Raw, Value};
#[cfg(all(feature = "redis", not(target_family = "wasm")))]
pub use crate::connect::Connect;
pub use crate::cron::{Cron, CronError, CronField, Slots};
pub use crate::ephemeral::{Ephemeral, EphemeralBuilder};
pub use crate::error::{BoxError, Error, ErrorKind, Result};
pub use crate::job::{
    CancelOutcome, FailureCode, Job, JobBuilder, JobContext, JobError, JobEvent, JobEvents, JobFailure, JobFilter,
    JobId, JobInfo, JobState, JobStats, JobSummary, JobWorker, JobWorkerReport, JobWorkerStats, Joined, RetryOutcome,
    RunningJobWorker, StopReason, Submitted,
};
pub use crate::lifecycle::{Left, ShutdownReport};
pub use crate::page::{Page, PageToken};
pub use crate::queue::{
    DeadLetter, DeadLetters, DeadReason, Delivery, HandlerError, Message, MessageId, MessageInfo, Nacked, Place, Queue,
    QueueBuilder, QueueStats, Receipt, Removed, RunningWorker, Sent, State, Worker, WorkerReport, WorkerStats,
};
pub use crate::registry::{Membership, Registry, RegistryBuilder};
pub use crate::retry::{
    Attempt, GaveUp, Retry, RetryBudget, RetryBudgetBuilder, RetryError, RetryPolicy, RetryPolicyBuilder, Retryable,
    Retrying, retry,
};
pub use crate::scheduler::{
    DispatchLetter, HistoryEntry, Misfire, Outcome, Overlap, Registered, Rejected, Schedule, ScheduleInfo,
    ScheduleState, Scheduler, SchedulerBuilder, SchedulerEvent, SchedulerMetrics, SchedulerStats, Slot, Trigger,
    Triggered,
};
pub use crate::tidelock::Tidelock;
pub use crate::time::{DAY, HOUR, MINUTE, ManualClock, SECOND, Timestamp};
pub use crate::topic::{
    Cursor, Event, EventDelivery, EventId, Gap, GapCause, GroupEvent, GroupInfo, Item, Published, RawEvent, Reader,
    ReaderBuilder, Start, Topic, TopicBuilder, TopicStats,
};

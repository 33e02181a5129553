//! Distributed coordination primitives: queues, event logs, jobs, schedulers, registries, presence, locks, rate limits
//! and retries.
//!
//! Tidelock is a library over a backend that you choose: this process, or Redis or Valkey. It is neither a server nor a
//! database. It does not turn *at least once* into *exactly once*; it gives you the fencing tokens and idempotency keys
//! with which your own storage can.
//!
//! Everything is created from a [`Tidelock`]; code that receives one does not know which backend is behind it:
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
//! | module | what it does |
//! |---|---|
//! | [`queue`] | delivers each message to one consumer, at least once, with leases, delays, retries and dead letters |
//! | [`topic`] | an event log with consumer groups, live followers and replay |
//! | [`job`] | durable background work: submit, run, retry, cancel, join, events |
//! | [`scheduler`] | turns cron and interval slots into jobs, once across a fleet |
//! | [`mutex`] | one holder per resource, by lease, with a fencing token |
//! | [`ratelimit`] | sliding window, fixed window and token bucket limits |
//! | [`registry`] | named records with versions, compare-and-swap, optional expiry, listing by prefix and a change stream |
//! | [`ephemeral`] | short-lived records that expire unless touched, with a change stream |
//! | [`mod@retry`] | repeats failed calls with backoff, jitter, deadlines and budgets |
//! | [`cron`] | parses cron expressions and computes their instants |
//! | [`guide`] | a page for each primitive, [how to choose one](guide::choosing), and [getting started](guide::getting_started) |
//!
//! # Rules that hold everywhere
//!
//! - The backend's clock decides; a client's clock never does. Tests control it with a [`ManualClock`].
//! - *No* is a value (limited, held by another, nothing there, stale). An [`Error`] means that the question could not
//!   be answered or was wrong; its [`kind`](Error::kind) says which.
//! - A request is a future with options, and starts when it is awaited. Dropping it before its first poll does nothing.
//! - Whatever you hold (a delivery, a lock, a run) has a lease and a fencing token, its *fence*, and is settled by
//!   value. Dropping it is always safe.
//! - A handle is checked by `build`, without I/O, and cloned freely. Clones share their connection.
//!
//! # When the server is away
//!
//! A call is repeated under its own id for up to [`request_timeout`](Connect::request_timeout) (5 s), and then returns
//! an error of kind [*connection*](ErrorKind::Connection) or [*timeout*](ErrorKind::Timeout). Workers, streams and
//! followers wait and reconnect. Locks report their loss before anybody else can have them. Rate limiters do as
//! [`OnUnavailable`](ratelimit::OnUnavailable) says.
//!
//! # Features
//!
//! `redis` (default): servers. `tls`: `rediss://` URLs. `msgpack`, `postcard`: codecs other than JSON. `garde`:
//! validation of values that derive `garde::Validate`. `metrics`: counters, gauges and distributions through the
//! `metrics` facade.

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
mod limits;
mod meta;
pub mod mutex;
mod name;
mod opaque;
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
// Only for the binding of the browser package: not covered by the version number's guarantees.
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

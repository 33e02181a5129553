//! A handler's view of its run, and what it can do in it.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::builder::check_renewed;
use super::failure::JobError;
use super::held::Held;
use super::id::JobId;
use super::step;
use super::stop::StopReason;
use super::store::Action;
use crate::check;
use crate::codec::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::meta::Meta;
use crate::request::awaitable;
use crate::scheduler::Slot;
use crate::time::{Timestamp, whole_millis};

/// Longest progress, in bytes.
const MAX_PROGRESS: usize = 4_096;

/// One run of a job, as its handler sees it. Clones refer to the same run.
#[derive(Clone)]
pub struct JobContext {
    pub(super) held: Arc<Held>,
}

impl JobContext {
    /// The job's id.
    pub fn id(&self) -> JobId {
        JobId(self.held.run.id)
    }

    /// The number of this run of the job, from 1.
    pub fn attempt(&self) -> u64 {
        self.held.run.attempt
    }

    /// How many earlier runs have failed.
    pub fn failures(&self) -> u32 {
        self.held.run.failures
    }

    /// How many earlier runs have ended by a lost lease.
    pub fn crashes(&self) -> u32 {
        self.held.run.crashes
    }

    /// The fencing token of this run: a later run of any job of this name has a greater one, so storage that remembers
    /// it can tell a late writer from the current one.
    pub fn fence(&self) -> u64 {
        self.held.run.fence
    }

    /// 0..=9, higher first.
    pub fn priority(&self) -> u8 {
        self.held.run.priority
    }

    /// The metadata that the submitter attached.
    pub fn meta(&self) -> &Meta {
        self.held.meta()
    }

    /// The W3C trace context that the submitter attached.
    pub fn traceparent(&self) -> Option<&str> {
        std::str::from_utf8(&self.held.run.content.trace).ok().filter(|text| !text.is_empty())
    }

    /// The slot or trigger of the schedule that started this run; `None` for a submitted job.
    pub fn slot(&self) -> Option<&Slot> {
        self.held.slot()
    }

    /// Its ordering key.
    pub fn ordering_key(&self) -> Option<&str> {
        self.held.run.content.ordering_key.as_deref()
    }

    /// When the job was accepted.
    pub fn submitted_at(&self) -> Timestamp {
        Timestamp::from_millis(self.held.run.submitted_at)
    }

    /// How long the lease can still be proven: never longer than it really lasts, and zero when the handler has ended.
    pub fn lease_left(&self) -> Duration {
        if self.held.is_over() { Duration::ZERO } else { self.held.lease_left() }
    }

    /// Resolves when the run should stop, and says why. The handler then has the job's `stop_grace` (after
    /// [`StopReason::Shutdown`] the shutdown's grace) before its future is dropped.
    ///
    /// Dropping the future does nothing.
    pub async fn cancelled(&self) -> StopReason {
        self.held.stopped().await
    }

    /// Why the run should stop, if it should.
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.held.stop_reason()
    }

    /// Renews the lease now. Required with [`manual_heartbeat`](super::JobBuilder::manual_heartbeat); otherwise the
    /// worker renews by itself, and this is only needed to change the lease.
    pub fn heartbeat(&self) -> Heartbeat {
        Heartbeat { held: Arc::clone(&self.held), lease: None }
    }

    /// Runs a step: returns its stored value, or runs `body` and stores its value before returning it.
    ///
    /// `body` runs at least once, and never again after its value was stored: not in a retry, not after a crash, not
    /// after [`Job::retry`](super::Job::retry). Its errors are not stored. The id is 1..=256 bytes; of two concurrent
    /// calls with the same id the second is refused, a later one returns the stored value. A job stores up to 1,000
    /// values of 4 MiB together.
    ///
    /// Fails with the error of `body`, *payload too large*, or *lease lost* when the run is over. A stored value that
    /// cannot be decoded to `T` ends the job as `UNDECODABLE`. Dropping the future drops `body`, and may lose its
    /// value.
    pub async fn step<T, F, Fut>(&self, id: &str, body: F) -> Result<T, JobError>
    where
        T: Value,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, JobError>>,
    {
        step::step(&self.held, id, body).await
    }

    /// Reports the progress of the run: up to 4,096 encoded bytes, shown when the job is inspected and among its
    /// events.
    ///
    /// Returns at once. The latest value wins; it is sent at most every 100 ms, and the last one at the end of the run.
    /// Fails with *payload too large*, *cannot encode*, or *lease lost* when the run is over.
    pub fn progress<P: Serialize + ?Sized>(&self, value: &P) -> Result<()> {
        const OPERATION: &str = "progress";
        let site = &self.held.site;
        let encoded = self.held.codec.encode_plain(value).map_err(|source| {
            let text = format!("the progress cannot be encoded: {source}");
            site.context(OPERATION, Error::new(ErrorKind::Encode, text).with_source(source))
        })?;
        if encoded.len() > MAX_PROGRESS {
            let text = format!("payload exceeds limit: {} bytes of progress, limit {MAX_PROGRESS}", encoded.len());
            return Err(site.context(OPERATION, Error::new(ErrorKind::PayloadTooLarge, text)));
        }
        self.progress_encoded(encoded)
    }

    /// The same for a value that is encoded already and is not too large.
    pub(crate) fn progress_encoded(&self, value: Vec<u8>) -> Result<()> {
        if self.held.progress(value) { Ok(()) } else { Err(self.held.lost("progress")) }
    }
}

impl fmt::Debug for JobContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobContext")
            .field("id", &self.held.run.id)
            .field("attempt", &self.held.run.attempt)
            .field("fence", &self.held.run.fence)
            .finish_non_exhaustive()
    }
}

/// Renews the lease of a run, now. Fails with *lease lost* if the run is over.
///
/// Beyond the run's timeout and `stop_grace` it no longer extends the lease. Dropping the future withdraws it unless it
/// was sent. One that was sent may take effect even if its answer is not seen: until another one is answered, the
/// shorter of both leases applies to the run.
#[derive(Debug)]
#[must_use = "nothing is renewed until it is awaited"]
pub struct Heartbeat {
    held: Arc<Held>,
    lease: Option<Duration>,
}

impl Heartbeat {
    /// The lease of this run from now on: 100 ms..=10 years, with `manual_heartbeat` 1 ms..=10 years. Default:
    /// unchanged.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    async fn run(self) -> Result<()> {
        const OPERATION: &str = "heartbeat";
        let Self { held, lease } = self;
        if let Some(lease) = lease {
            check::lasting(Error::argument, "lease", lease)
                .and_then(|()| check_renewed(Error::argument, lease, held.policy.manual_heartbeat))
                .map_err(|error| held.site.context(OPERATION, error))?;
        }
        held.check(OPERATION)?;
        held.act(OPERATION, Action::Heartbeat { lease: lease.map(whole_millis) }).await?;
        Ok(())
    }
}

awaitable! {
    Heartbeat => ();
}

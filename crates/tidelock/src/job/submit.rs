//! Submitting.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::builder::{Options, RunOptions};
use super::id::JobId;
use super::observe::{self, Measure};
use super::site::{full, store_of};
use super::store::{Acceptance, Accepted, Key, KeyKind, KeyLife, MAX_BATCH, NewJob};
use crate::backoff::Backoff;
use crate::codec::Value;
use crate::draft::{self, Draft, When};
use crate::error::{Error, Result};
use crate::handover::{Receivers, Site};
use crate::request::{awaitable, opaque};
use crate::time::{Timestamp, whole_millis};

/// The result of a submit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Submitted {
    /// The job's id; of a duplicate, that of the first job with its key.
    pub id: JobId,
    /// Whether a job with this deduplication key had been accepted before, so that this submit wrote nothing.
    pub duplicate: bool,
}

/// A job to be submitted. Resolves to [`Submitted`].
///
/// Submits that are awaited at the same time share round trips. Dropping the future before it was sent withdraws it;
/// after that it may take effect.
#[must_use = "nothing is submitted until it is awaited"]
pub struct Submit<I> {
    receivers: Arc<Receivers>,
    options: Arc<Options<I>>,
    /// The options of the definition with changes; `None` if there are none.
    run: Option<Box<RunOptions>>,
    when: When,
    while_active: bool,
    draft: Draft,
}

impl<I: Value> Submit<I> {
    pub(super) fn new(receivers: &Arc<Receivers>, options: &Arc<Options<I>>, input: &I) -> Self {
        Self {
            draft: Draft::new(options.border.encode(input)),
            receivers: Arc::clone(receivers),
            options: Arc::clone(options),
            run: None,
            when: When::default(),
            while_active: false,
        }
    }

    fn run_options(&mut self) -> &mut RunOptions {
        self.run.get_or_insert_with(|| Box::new(self.options.run.clone()))
    }

    /// The number of failed runs after which the job ends: 1..=1,000,000, default that of the definition.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.run_options().attempts = attempts;
        self
    }

    /// The pause before the next run, replacing the definition's backoff as a whole.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.run_options().backoff = Some(backoff);
        self
    }

    /// How long a worker keeps the job without renewing its lease, in the range and with the default of the definition.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.run_options().lease = lease;
        self
    }

    /// The longest run: 1 ms..=10 years or `None`, default that of the definition.
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.run_options().timeout = timeout.into();
        self
    }

    /// If it has not started this long after its current due time, the job ends as `EXPIRED`: 1 ms..=10 years or
    /// `None`, default that of the definition.
    pub fn max_wait(mut self, wait: impl Into<Option<Duration>>) -> Self {
        self.run_options().max_wait = wait.into();
        self
    }

    /// Delays its first run: 0..=10 years after it was accepted, default none. Not together with [`at`](Self::at).
    pub fn delay(mut self, delay: Duration) -> Self {
        self.when.delay = Some(delay);
        self
    }

    /// Due at this instant of the backend's clock, at most 10 years ahead; one in the past means now. Not together with
    /// [`delay`](Self::delay).
    pub fn at(mut self, at: impl Into<Timestamp>) -> Self {
        self.when.at = Some(at.into());
        self
    }

    /// 0..=9, higher first; default 0. Strict: lower ones wait while higher ones are ready.
    pub fn priority(mut self, priority: u8) -> Self {
        self.when.priority = priority;
        self
    }

    /// Jobs with the same key run one at a time, in submit order: 1..=512 bytes.
    pub fn ordering_key(mut self, key: &str) -> Self {
        self.draft.ordering_key = Some(key.into());
        self
    }

    /// At most one job per key: 1..=512 bytes. A later submit with the same key writes nothing and returns the first
    /// one's id, even if that job has ended. The key is bound while the record of its job exists, and at least for
    /// [`dedup_for`](Self::dedup_for), unless it is [`dedup_while_active`](Self::dedup_while_active).
    pub fn dedup_key(mut self, key: &str) -> Self {
        self.draft.dedup_key = Some(key.into());
        self
    }

    /// The minimum life of the deduplication key, from this submit: 1 ms..=10 years, default that of the definition.
    pub fn dedup_for(mut self, window: Duration) -> Self {
        self.draft.dedup_for = Some(window);
        self
    }

    /// The deduplication key becomes free when its job ends: the next submit after that is a new job. Not together with
    /// [`dedup_for`](Self::dedup_for).
    pub fn dedup_while_active(mut self) -> Self {
        self.while_active = true;
        self
    }

    /// Attaches a JSON value under a name; it is delivered unchanged and counts towards the payload limit.
    pub fn meta(mut self, name: &str, value: &impl Serialize) -> Self {
        self.draft.attach(name, value);
        self
    }

    /// Attaches a W3C trace context (`00-<32 hex>-<16 hex>-<2 hex>`), which travels separately from the metadata and
    /// counts towards no limit.
    pub fn traceparent(mut self, context: &str) -> Self {
        self.draft.trace = Some(context.into());
        self
    }

    fn check(&self) -> Result<()> {
        if let Some(run) = &self.run {
            run.check(Error::argument)?;
        }
        self.when.check(self.receivers.site.clock())?;
        match (self.while_active, &self.draft.dedup_key, self.draft.dedup_for) {
            (true, None, _) => return Err(Error::argument("dedup_while_active needs a dedup_key")),
            (true, _, Some(window)) => {
                let text = format!("either dedup_while_active or dedup_for ({window:?}), but both came");
                return Err(Error::argument(text));
            }
            _ => {}
        }
        self.draft.check()
    }

    fn into_job(self) -> Result<NewJob> {
        self.check()?;
        let options = &self.options;
        let window = self.draft.dedup_for.unwrap_or(options.dedup_for);
        let life = if self.while_active { KeyLife::WhileActive } else { KeyLife::For(whole_millis(window)) };
        let (content, dedup) = self.draft.finish(&options.border)?;
        Ok(NewJob {
            content,
            due: self.when.due(),
            priority: self.when.priority,
            key: dedup.map(|dedup| Key { kind: KeyKind::Caller, text: dedup.key, life }),
            rules: self.run.map_or_else(|| options.rules.clone(), |run| run.rules()),
            origin: None,
            max_depth: options.max_depth,
        })
    }

    async fn run(self) -> Result<Submitted> {
        const OPERATION: &str = "submit";
        let receivers = Arc::clone(&self.receivers);
        let site = &receivers.site;
        site.check(OPERATION)?;
        let job = self.into_job().map_err(|error| site.context(OPERATION, error))?;
        let submitted = submit(site, OPERATION, vec![job]).await?;
        submitted.into_iter().next().ok_or_else(|| site.misfit(OPERATION))
    }
}

async fn submit(site: &Site, operation: &str, batch: Vec<NewJob>) -> Result<Vec<Submitted>> {
    let count = batch.len();
    let span = observe::submit_span(site, count);
    let accepted = observe::within(span, store_of(site).submit(&site.address, batch)).await;
    match accepted.map_err(|error| site.context(operation, error))? {
        Accepted::All(accepted) => {
            observe::count(site, Measure::Submitted, count);
            let submitted = accepted.into_iter().map(|acceptance| match acceptance {
                Acceptance::New { id } => Ok(Submitted { id: JobId(id), duplicate: false }),
                Acceptance::Duplicate { id } => Ok(Submitted { id: JobId(id), duplicate: true }),
                // Only runs of a schedule can overlap others.
                Acceptance::Overlapping { .. } => Err(site.misfit(operation)),
            });
            submitted.collect()
        }
        Accepted::Full { index, depth, limit } => {
            let error = full(depth, limit);
            let error = if count > 1 { error.in_context(format_args!("item {index}")) } else { error };
            Err(site.context(operation, error))
        }
    }
}

/// Several jobs, accepted all or none. Resolves to a [`Submitted`] for each, in order.
///
/// 1..=1,000 items of one job name and tenant, and at most 16 MiB together. Dropping the future before it was sent
/// withdraws it; after that it may take effect.
#[must_use = "nothing is submitted until it is awaited"]
pub struct SubmitMany<I> {
    receivers: Arc<Receivers>,
    items: Vec<Submit<I>>,
}

impl<I: Value> SubmitMany<I> {
    pub(super) fn new(receivers: &Arc<Receivers>, items: impl IntoIterator<Item = Submit<I>>) -> Self {
        // One more than allowed, so that an endless iterator is refused instead of collected.
        Self { receivers: Arc::clone(receivers), items: items.into_iter().take(MAX_BATCH + 1).collect() }
    }

    fn into_batch(self) -> Result<Vec<NewJob>> {
        let address = &self.receivers.site.address;
        let check = |index, item: &Submit<I>| {
            let other = &item.receivers.site.address;
            if other != address {
                let text = format!(
                    "item {index} is for job {:?} of tenant {:?}: a batch goes to one job of one tenant ({:?})",
                    other.id, other.tenant, address.tenant
                );
                return Err(Error::argument(text));
            }
            item.check().map_err(|error| error.in_context(format_args!("item {index}")))
        };
        draft::batch(self.items, check, Submit::into_job, |job| &job.content)
    }

    async fn run(self) -> Result<Vec<Submitted>> {
        const OPERATION: &str = "submit_many";
        let receivers = Arc::clone(&self.receivers);
        let site = &receivers.site;
        site.check(OPERATION)?;
        let batch = self.into_batch().map_err(|error| site.context(OPERATION, error))?;
        submit(site, OPERATION, batch).await
    }
}

awaitable! {
    Submit<I> => Submitted;
    SubmitMany<I> => Vec<Submitted>;
}

opaque!(Submit, SubmitMany);

//! What jobs report to `tracing` and, with the feature, to `metrics`. Costs next to nothing without a subscriber or
//! recorder.

use std::time::Duration;

use super::held::Held;
use crate::counters::{Going, Named, measures};
use crate::error::Error;
use crate::handover::Site;
pub(super) use crate::handover::observe::{Ended, failed, within, worker_failed};
use crate::handover::observe::{messaging_span, waited};
use crate::name;

/// The span in which `count` jobs are submitted.
pub(super) fn submit_span(site: &Site, count: usize) -> tracing::Span {
    let names = ("submit", "send", "producer");
    messaging_span!("tidelock::job", "job", names, "", site, count, None::<u64>, &[])
}

/// The span in which a run is handled.
pub(super) fn process_span(held: &Held) -> tracing::Span {
    let (names, run) = (("process", "process", "consumer"), &held.run);
    messaging_span!("tidelock::job", "job", names, "", held.site, 1_usize, run.id, &run.content.trace)
}

measures! {
    /// The metrics of jobs.
    pub(crate) enum Measure: &'static str {
        Submitted = "tidelock.job.submitted",
        Started = "tidelock.job.started",
        Completed = "tidelock.job.completed",
        Retried = "tidelock.job.retried",
        Failed = "tidelock.job.failed",
        Stale = "tidelock.job.stale",
        GivenBack = "tidelock.job.given_back",
        Undecodable = "tidelock.job.undecodable",
        /// Number of running handlers.
        Running = "tidelock.job.running",
        /// Time until a handler started.
        Waited = "tidelock.job.wait.duration",
        /// Time in a handler; counted separately by outcome.
        Processed = "tidelock.job.process.duration",
    }
}

/// Adds to a counter, labelled with the job's name.
pub(super) fn count(site: &Site, what: Measure, by: usize) {
    site.job_counters.add(what as usize, by, || Some(named(site, what, None)));
}

fn named(site: &Site, what: Measure, ended: Option<Ended>) -> Named {
    let mut labels = vec![("job", name::shown(&site.address.id).into())];
    labels.extend(ended.map(|ended| ("outcome", ended.text().into())));
    (what.name().into(), labels)
}

/// Records that a handler starts, and for a first attempt how long its job has waited.
pub(super) fn begin(held: &Held) -> Option<Going> {
    let (site, run) = (&held.site, &held.run);
    let counters = &site.job_counters;
    let running =
        counters.begin(Measure::Running as usize, site.clock(), || Some(named(site, Measure::Running, None)))?;
    if run.attempt == 1 {
        let called = || Some(named(site, Measure::Waited, None));
        counters.record(Measure::Waited as usize, called, || waited(site.clock(), run.submitted_at));
    }
    Some(running)
}

/// Records that a handler has ended.
pub(super) fn end(site: &Site, running: &Going, ended: Ended) {
    let called = || Some(named(site, Measure::Processed, Some(ended)));
    site.processed.record(ended as usize, called, || running.elapsed(site.clock()));
}

/// Reports a job that ends because its input does not decode to the worker's type.
pub(super) fn undecodable(held: &Held, error: &str) {
    let site = &held.site;
    count(site, Measure::Undecodable, 1);
    tracing::warn!(
        messaging.destination.name = %name::shown(&site.address.id),
        messaging.message.id = held.run.id,
        error,
        "the input of a job cannot be decoded: the job fails, and its input stays readable"
    );
}

/// Reports a run whose claim was answered so late that it is given back unstarted.
pub(super) fn late(held: &Held) {
    tracing::warn!(
        messaging.destination.name = %name::shown(&held.site.address.id),
        messaging.message.id = held.run.id,
        fence = held.run.fence,
        lease = ?Duration::from_millis(held.run.rules.lease),
        "the reply to a claim took longer than the lease: the run is given back"
    );
}

/// Reports a run that was over before it was settled.
pub(super) fn stale(held: &Held) {
    tracing::warn!(
        messaging.destination.name = %name::shown(&held.site.address.id),
        messaging.message.id = held.run.id,
        fence = held.run.fence,
        "a run lost its lease before it was settled: the job was cancelled, or another worker has it"
    );
}

/// Reports leases that could not be renewed.
pub(super) fn not_renewed(site: &Site, count: usize, error: &Error) {
    tracing::warn!(
        messaging.destination.name = %name::shown(&site.address.id),
        messaging.batch.message_count = count,
        %error,
        "lease renewals or progress could not be sent; retrying"
    );
}

/// Logs a run that has failed.
macro_rules! failure {
    ($level:ident, $held:expr, $error:expr, $text:literal) => {
        tracing::$level!(
            messaging.destination.name = %name::shown(&$held.site.address.id),
            messaging.message.id = $held.run.id,
            tidelock.tenant = %$held.site.address.tenant,
            attempt = $held.run.attempt,
            error = $error,
            $text
        )
    };
}

/// Reports a job that has ended without success.
pub(super) fn ended(held: &Held, error: &str) {
    failure!(warn, held, error, "a job has failed");
}

/// Reports a run that has failed, and whose job runs again.
pub(super) fn returned(held: &Held, error: &str) {
    failure!(debug, held, error, "a run has failed: its job runs again");
}

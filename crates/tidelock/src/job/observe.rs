//! What jobs tell `tracing` and, with the feature, `metrics`. Costs next to nothing when nobody listens.

use std::time::Duration;

use super::held::Held;
use crate::counters::{Going, Named};
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

/// What is counted of jobs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Counter {
    Submitted,
    Started,
    Completed,
    Retried,
    Failed,
    Stale,
    GivenBack,
    Undecodable,
}

/// The numbers of the gauge of handlers that run, of how long was waited for them, and of how long they took.
const RUNNING: usize = Counter::Undecodable as usize + 1;
const WAITED: usize = RUNNING + 1;
const PROCESSED: usize = WAITED + 1;
/// How much is measured.
pub(crate) const COUNTERS: usize = PROCESSED + Ended::COUNT;

/// Adds to a counter, labelled with the job's name.
pub(super) fn count(site: &Site, counter: Counter, by: usize) {
    let name = match counter {
        Counter::Submitted => "tidelock.job.submitted",
        Counter::Started => "tidelock.job.started",
        Counter::Completed => "tidelock.job.completed",
        Counter::Retried => "tidelock.job.retried",
        Counter::Failed => "tidelock.job.failed",
        Counter::Stale => "tidelock.job.stale",
        Counter::GivenBack => "tidelock.job.given_back",
        Counter::Undecodable => "tidelock.job.undecodable",
    };
    site.job_counters.add(counter as usize, by, || Some(named(site, name, None)));
}

fn named(site: &Site, name: &'static str, ended: Option<Ended>) -> Named {
    let mut labels = vec![("job", name::shown(&site.address.id).into())];
    labels.extend(ended.map(|ended| ("outcome", ended.text().into())));
    (name.into(), labels)
}

/// A handler begins. A first attempt tells how long its job has waited for that.
pub(super) fn begin(held: &Held) -> Option<Going> {
    let (site, run) = (&held.site, &held.run);
    let counters = &site.job_counters;
    let running = counters.begin(RUNNING, site.clock(), || Some(named(site, "tidelock.job.running", None)))?;
    if run.attempt == 1 {
        let called = || Some(named(site, "tidelock.job.wait.duration", None));
        counters.record(WAITED, called, || waited(site.clock(), run.submitted_at));
    }
    Some(running)
}

/// A handler has ended.
pub(super) fn end(site: &Site, running: &Going, ended: Ended) {
    let called = || Some(named(site, "tidelock.job.process.duration", Some(ended)));
    site.job_counters.record(PROCESSED + ended as usize, called, || running.elapsed(site.clock()));
}

/// Reports a job that ends because its input is no value of the worker's type.
pub(super) fn undecodable(held: &Held, error: &str) {
    let site = &held.site;
    count(site, Counter::Undecodable, 1);
    tracing::warn!(
        messaging.destination.name = %name::shown(&site.address.id),
        messaging.message.id = held.run.id,
        error,
        "the input of a job does not decode: the job fails, and its input stays readable"
    );
}

/// Reports a run whose claim was answered so late that it is given back unstarted.
pub(super) fn late(held: &Held) {
    tracing::warn!(
        messaging.destination.name = %name::shown(&held.site.address.id),
        messaging.message.id = held.run.id,
        fence = held.run.fence,
        lease = ?Duration::from_millis(held.run.rules.lease),
        "the answer to a claim took longer than the lease: the run is given back"
    );
}

/// Reports a run that was over before it was settled.
pub(super) fn stale(held: &Held) {
    tracing::warn!(
        messaging.destination.name = %name::shown(&held.site.address.id),
        messaging.message.id = held.run.id,
        fence = held.run.fence,
        "a run was over before it was settled: the job was cancelled, or is somebody else's"
    );
}

/// Reports leases that could not be renewed.
pub(super) fn not_renewed(site: &Site, count: usize, error: &Error) {
    tracing::warn!(
        messaging.destination.name = %name::shown(&site.address.id),
        messaging.batch.message_count = count,
        %error,
        "leases or progress could not be sent; trying again"
    );
}

/// What is told of a run that has failed.
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

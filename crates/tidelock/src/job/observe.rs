//! What jobs tell `tracing` and, with the feature, `metrics`. Costs next to nothing when nobody listens.

use std::time::Duration;

use super::held::Held;
use crate::error::Error;
use crate::handover::Site;
use crate::handover::observe::messaging_span;
pub(super) use crate::handover::observe::{failed, within};
use crate::name;

/// A step of a job's way, by the names of the OpenTelemetry messaging conventions.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operation {
    Submit,
    Process,
}

/// The span of an operation on `count` jobs; `id` is that of a single known one.
pub(super) fn span(site: &Site, operation: Operation, count: usize, id: Option<u64>) -> tracing::Span {
    let names = match operation {
        Operation::Submit => ("submit", "send", "producer"),
        Operation::Process => ("process", "process", "consumer"),
    };
    messaging_span!("tidelock::job", "job", names, "", site, count, id)
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

/// How many there are.
pub(crate) const COUNTERS: usize = Counter::Undecodable as usize + 1;

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
    site.job_counters
        .add(counter as usize, by, || Some((name.into(), vec![("job", name::shown(&site.address.id).into())])));
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

/// Tells at once why a worker cannot go on.
pub(super) fn worker_failed(site: &Site, error: &Error) {
    tracing::error!(
        messaging.destination.name = %name::shown(&site.address.id),
        %error,
        "the worker ends: waiting does not cure this"
    );
}

/// Reports a job that has ended without success.
pub(super) fn ended(held: &Held, error: &str) {
    tracing::warn!(
        messaging.destination.name = %name::shown(&held.site.address.id),
        messaging.message.id = held.run.id,
        tidelock.tenant = %held.site.address.tenant,
        attempt = held.run.attempt,
        error,
        "a job has failed"
    );
}

/// Reports a run that has failed, and whose job runs again.
pub(super) fn returned(held: &Held, error: &str) {
    tracing::debug!(
        messaging.destination.name = %name::shown(&held.site.address.id),
        messaging.message.id = held.run.id,
        tidelock.tenant = %held.site.address.tenant,
        attempt = held.run.attempt,
        error,
        "a run has failed: its job runs again"
    );
}

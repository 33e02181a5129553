//! What queues, groups of topics and groups on the events of jobs report to `tracing` and, with the feature, to
//! `metrics`. Costs next to nothing without a subscriber or recorder.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryFutureExt;
use tracing::Instrument;

use super::site::{Object, Site};
use super::store::Handed;
use crate::counters::{Going, Named, measures};
use crate::error::{Error, Result};
use crate::name;
use crate::time::{Clock, Timestamp};

/// A step in the life of a message, named by the OpenTelemetry messaging conventions.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    Send,
    Receive,
    Process,
    /// `ack`, `nack`, ….
    Settle(&'static str),
}

impl Operation {
    fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Send => ("send", "send", "producer"),
            Self::Receive => ("receive", "receive", "client"),
            Self::Process => ("process", "process", "consumer"),
            Self::Settle(name) => (name, "settle", "client"),
        }
    }
}

/// A span named by the OpenTelemetry messaging conventions; `of` stands between the operation's name and the
/// destination's. `trace` is the W3C trace context of a single message, or empty.
macro_rules! messaging_span {
    (
        $target:literal, $span:literal, $names:expr, $of:literal, $site:expr, $count:expr, $id:expr, $trace:expr
        $(, $($field:tt)+)?
    ) => {{
        let (name, kind, span_kind): (&str, &str, &str) = $names;
        tracing::debug_span!(
            target: $target,
            $span,
            otel.name = %format_args!(concat!("{} ", $of, "{}"), name, $crate::name::shown(&$site.address.id)),
            otel.kind = span_kind,
            messaging.system = "tidelock",
            messaging.operation.name = name,
            messaging.operation.type = kind,
            messaging.destination.name = %$crate::name::shown(&$site.address.id),
            $($($field)+,)?
            messaging.batch.message_count = $count,
            messaging.message.id = $id,
            traceparent = $crate::handover::observe::traceparent($trace),
            tidelock.tenant = %$site.address.tenant,
            error.type = tracing::field::Empty,
            otel.status_code = tracing::field::Empty,
        )
    }};
}

pub(crate) use messaging_span;

/// The span of an operation on `count` messages; `id` is the message's if there is a single known one.
pub(crate) fn span(site: &Site, operation: Operation, count: usize, id: Option<u64>) -> tracing::Span {
    span_with(site, operation, count, id, &[])
}

/// The span in which a message is handled.
pub(super) fn process_span(site: &Site, handed: &Handed) -> tracing::Span {
    span_with(site, Operation::Process, 1, Some(handed.id), &handed.content.trace)
}

fn span_with(site: &Site, operation: Operation, count: usize, id: Option<u64>, trace: &[u8]) -> tracing::Span {
    let names = operation.names();
    match &site.object {
        Object::Queue | Object::Jobs => messaging_span!("tidelock::queue", "queue", names, "", site, count, id, trace),
        Object::Group(group) => messaging_span!(
            "tidelock::topic", "topic", names, "", site, count, id, trace, messaging.consumer.group.name = %group
        ),
        Object::JobGroup(job, group) => messaging_span!(
            "tidelock::job", "job events", names, "events of ", site, count, id, trace,
            job.id = job, messaging.consumer.group.name = %group
        ),
    }
}

/// The part of a trace context that a span shows.
pub(crate) fn traceparent(trace: &[u8]) -> Option<&str> {
    std::str::from_utf8(trace).ok().filter(|text| !text.is_empty())
}

/// Runs a request inside `span` and records its failure there. Not an `async fn`, which would store the future twice.
pub(crate) fn within<T, F>(span: tracing::Span, future: F) -> impl Future<Output = Result<T>>
where
    F: Future<Output = Result<T>>,
{
    let told = span.clone();
    future.inspect_err(move |error| failed(&told, error.kind().text())).instrument(span)
}

/// Records in a span why its operation failed.
pub(crate) fn failed(span: &tracing::Span, why: &str) {
    span.record("error.type", why).record("otel.status_code", "ERROR");
}

/// Logs at once why a worker cannot continue.
pub(crate) fn worker_failed(site: &Site, error: &Error) {
    tracing::error!(
        messaging.destination.name = %name::shown(&site.address.id),
        %error,
        "the worker stops: retrying cannot cure this error"
    );
}

measures! {
    /// The metrics of a queue or group: the name for a queue, for a topic, and for the events of jobs if it exists
    /// there.
    pub(crate) enum Measure: (&'static str, &'static str, Option<&'static str>) {
        Sent = ("tidelock.queue.sent", "tidelock.topic.published", None),
        Received = ("tidelock.queue.received", "tidelock.topic.received", Some("tidelock.job.events.received")),
        Acked = ("tidelock.queue.acked", "tidelock.topic.committed", Some("tidelock.job.events.committed")),
        Nacked = ("tidelock.queue.nacked", "tidelock.topic.nacked", Some("tidelock.job.events.nacked")),
        DeadLettered = ("tidelock.queue.dead_lettered", "tidelock.topic.dead_lettered", None),
        GivenBack = ("tidelock.queue.given_back", "tidelock.topic.given_back", Some("tidelock.job.events.given_back")),
        Stale = ("tidelock.queue.stale", "tidelock.topic.stale", Some("tidelock.job.events.stale")),
        Undecodable = ("tidelock.queue.undecodable", "tidelock.topic.undecodable", None),
        /// Number of running handlers.
        Running = ("tidelock.queue.running", "tidelock.topic.running", None),
        /// Time until a handler started.
        Waited = ("tidelock.queue.wait.duration", "tidelock.topic.wait.duration", None),
        /// Time in a handler; counted separately by outcome.
        Processed = ("tidelock.queue.process.duration", "tidelock.topic.process.duration", None),
    }
}

/// How the run of a handler ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Ok,
    Error,
    Timeout,
    Panic,
    /// Dropped by a stop before it had finished.
    Dropped,
    /// Only jobs have the rest.
    Cancelled,
    LeaseLost,
    Rescheduled,
    Unencodable,
}

impl Ended {
    /// The number of variants.
    pub(crate) const COUNT: usize = Self::Unencodable as usize + 1;

    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Panic => "panic",
            Self::Dropped => "dropped",
            Self::Cancelled => "cancelled",
            Self::LeaseLost => "lease_lost",
            Self::Rescheduled => "rescheduled",
            Self::Unencodable => "unencodable",
        }
    }
}

/// Adds to a counter that is labelled with the queue, with topic and group, or with job and group.
pub(crate) fn count(site: &Site, what: Measure, by: usize) {
    site.counters.add(what as usize, by, || named(site, what, None));
}

fn named(site: &Site, what: Measure, ended: Option<Ended>) -> Option<Named> {
    let (queue, topic, events) = what.name();
    let id: Arc<str> = name::shown(&site.address.id).into();
    let (name, mut labels) = match &site.object {
        Object::Queue => (queue, vec![("queue", id)]),
        Object::Group(group) => (topic, vec![("topic", id), ("group", Arc::clone(group))]),
        Object::JobGroup(_, group) => (events?, vec![("job", id), ("group", Arc::clone(group))]),
        // The worker of jobs measures runs itself.
        Object::Jobs => return None,
    };
    labels.extend(ended.map(|ended| ("outcome", ended.text().into())));
    Some((name.into(), labels))
}

/// Records that a handler starts, and for a first delivery how long its message has waited.
pub(super) fn begin(site: &Site, handed: &Handed) -> Option<Going> {
    let running =
        site.counters.begin(Measure::Running as usize, site.clock(), || named(site, Measure::Running, None))?;
    if handed.attempt == 1 {
        let waited = || waited(site.clock(), handed.enqueued_at);
        site.counters.record(Measure::Waited as usize, || named(site, Measure::Waited, None), waited);
    }
    Some(running)
}

/// The time since the backend accepted something, by the clock of this process.
pub(crate) fn waited(clock: &Clock, accepted: u64) -> Duration {
    clock.now().since(Timestamp::from_millis(accepted))
}

/// Records that a handler has ended.
pub(super) fn end(site: &Site, running: Option<Going>, ended: Ended) {
    if let Some(running) = running {
        let called = || named(site, Measure::Processed, Some(ended));
        site.processed.record(ended as usize, called, || running.elapsed(site.clock()));
    }
}

/// Reports a message that was dead-lettered because its bytes do not decode to the consumer's type.
pub(crate) fn undecodable(site: &Site, id: u64, error: &str) {
    count(site, Measure::Undecodable, 1);
    tracing::warn!(
        messaging.destination.name = %name::shown(&site.address.id),
        messaging.message.id = id,
        error,
        "a message cannot be decoded and is dead-lettered"
    );
}

/// Logs a message that its handler did not finish.
macro_rules! unfinished {
    ($level:ident, $site:expr, $id:expr, $error:expr, $text:literal) => {
        tracing::$level!(
            messaging.destination.name = %name::shown(&$site.address.id),
            messaging.consumer.group.name = $site.group().map(AsRef::<str>::as_ref),
            messaging.message.id = $id,
            tidelock.tenant = %$site.address.tenant,
            error = $error,
            $text
        )
    };
}

/// Reports a message that becomes a dead letter after its last delivery or because its handler rejected it.
pub(super) fn dead_lettered(site: &Site, id: u64, error: &str) {
    unfinished!(warn, site, id, error, "a message goes to the dead letters");
}

/// Reports a message that is delivered again because its handler failed.
pub(super) fn returned(site: &Site, id: u64, error: &str) {
    unfinished!(debug, site, id, error, "a handler has failed: its message comes again");
}

//! What queues, groups of topics and groups on the events of jobs tell `tracing` and, with the feature, `metrics`. Costs
//! next to nothing when nobody listens.

use std::future::Future;
use std::sync::Arc;

use futures_util::TryFutureExt;
use tracing::Instrument;

use super::site::{Object, Site};
use crate::counters::Named;
use crate::error::Result;
use crate::name;

/// A step of a message's way, by the names of the OpenTelemetry messaging conventions.
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

/// A span by the names of the OpenTelemetry messaging conventions; `of` stands between the operation's name and the
/// destination's.
macro_rules! messaging_span {
    ($target:literal, $span:literal, $names:expr, $of:literal, $site:expr, $count:expr, $id:expr $(, $($field:tt)+)?) => {{
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
            tidelock.tenant = %$site.address.tenant,
            error.type = tracing::field::Empty,
            otel.status_code = tracing::field::Empty,
        )
    }};
}

pub(crate) use messaging_span;

/// The span of an operation on `count` messages; `id` is that of a single known one.
pub(crate) fn span(site: &Site, operation: Operation, count: usize, id: Option<u64>) -> tracing::Span {
    let names = operation.names();
    match &site.object {
        Object::Queue | Object::Jobs => messaging_span!("tidelock::queue", "queue", names, "", site, count, id),
        Object::Group(group) => messaging_span!(
            "tidelock::topic", "topic", names, "", site, count, id, messaging.consumer.group.name = %group
        ),
        Object::JobGroup(job, group) => messaging_span!(
            "tidelock::job", "job events", names, "events of ", site, count, id,
            job.id = job, messaging.consumer.group.name = %group
        ),
    }
}

/// Runs a request inside `span`, which is told why it failed. No `async fn`: that would keep room for the future twice.
pub(crate) fn within<T, F>(span: tracing::Span, future: F) -> impl Future<Output = Result<T>>
where
    F: Future<Output = Result<T>>,
{
    let told = span.clone();
    future.inspect_err(move |error| failed(&told, error.kind().text())).instrument(span)
}

/// Tells a span why what it is of has failed.
pub(crate) fn failed(span: &tracing::Span, why: &str) {
    span.record("error.type", why).record("otel.status_code", "ERROR");
}

/// What is counted of a queue or group.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Counter {
    Sent,
    Received,
    Acked,
    Nacked,
    DeadLettered,
    GivenBack,
    Stale,
    Undecodable,
}

/// How many there are.
pub(crate) const COUNTERS: usize = Counter::Undecodable as usize + 1;

/// Adds to a counter, labelled with the queue, with topic and group, or with job and group.
pub(crate) fn count(site: &Site, counter: Counter, by: usize) {
    site.counters.add(counter as usize, by, || named(site, counter));
}

fn named(site: &Site, counter: Counter) -> Option<Named> {
    let (queue, topic) = match counter {
        Counter::Sent => ("tidelock.queue.sent", "tidelock.topic.published"),
        Counter::Received => ("tidelock.queue.received", "tidelock.topic.received"),
        Counter::Acked => ("tidelock.queue.acked", "tidelock.topic.committed"),
        Counter::Nacked => ("tidelock.queue.nacked", "tidelock.topic.nacked"),
        Counter::DeadLettered => ("tidelock.queue.dead_lettered", "tidelock.topic.dead_lettered"),
        Counter::GivenBack => ("tidelock.queue.given_back", "tidelock.topic.given_back"),
        Counter::Stale => ("tidelock.queue.stale", "tidelock.topic.stale"),
        Counter::Undecodable => ("tidelock.queue.undecodable", "tidelock.topic.undecodable"),
    };
    let id: Arc<str> = name::shown(&site.address.id).into();
    match &site.object {
        Object::Queue | Object::Jobs => Some((queue.into(), vec![("queue", id)])),
        Object::Group(group) => Some((topic.into(), vec![("topic", id), ("group", Arc::clone(group))])),
        Object::JobGroup(_, group) => {
            let events = match counter {
                Counter::Received => "tidelock.job.events.received",
                Counter::Acked => "tidelock.job.events.committed",
                Counter::Nacked => "tidelock.job.events.nacked",
                Counter::GivenBack => "tidelock.job.events.given_back",
                Counter::Stale => "tidelock.job.events.stale",
                Counter::Sent | Counter::DeadLettered | Counter::Undecodable => return None,
            };
            Some((events.into(), vec![("job", id), ("group", Arc::clone(group))]))
        }
    }
}

/// Reports a message that was dead-lettered because its bytes are no value of the consumer's type.
pub(crate) fn undecodable(site: &Site, id: u64, error: &str) {
    count(site, Counter::Undecodable, 1);
    tracing::warn!(
        messaging.destination.name = %name::shown(&site.address.id),
        messaging.message.id = id,
        error,
        "a message does not decode and goes to the dead letters"
    );
}

/// Reports a message that was handed out for the last time, or that its handler has given up.
pub(super) fn dead_lettered(site: &Site, id: u64, error: &str) {
    tracing::warn!(
        messaging.destination.name = %name::shown(&site.address.id),
        messaging.consumer.group.name = site.group().map(AsRef::<str>::as_ref),
        messaging.message.id = id,
        tidelock.tenant = %site.address.tenant,
        error,
        "a message goes to the dead letters"
    );
}

/// Reports a message whose handler has failed, and that comes again.
pub(super) fn returned(site: &Site, id: u64, error: &str) {
    tracing::debug!(
        messaging.destination.name = %name::shown(&site.address.id),
        messaging.consumer.group.name = site.group().map(AsRef::<str>::as_ref),
        messaging.message.id = id,
        tidelock.tenant = %site.address.tenant,
        error,
        "a handler has failed: its message comes again"
    );
}

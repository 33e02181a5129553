//! What a topic as a whole reports to `tracing` and, with the feature, to `metrics`. The hand-over reports for its
//! groups.

use std::sync::Arc;

use super::event::Gap;
use super::site::Site;
use super::store::Settings;
use crate::handover::observe::messaging_span;
pub(super) use crate::handover::observe::within;

pub(super) fn publish_span(site: &Site, count: usize) -> tracing::Span {
    let names = ("publish", "send", "producer");
    messaging_span!("tidelock::topic", "topic", names, "", site, count, None::<u64>, &[])
}

/// Counts published events, labelled with the topic.
pub(super) fn count_published(site: &Site, by: usize) {
    site.published
        .add(0, by, || Some(("tidelock.topic.published".into(), vec![("topic", Arc::clone(&site.address.id))])));
}

/// Logs that a publish has changed the settings.
pub(super) fn settings_replaced(site: &Site, before: Settings, now: Settings) {
    tracing::info!(
        messaging.destination.name = %crate::name::shown(&site.address.id),
        retention_ms = now.retention,
        max_len = now.max_len,
        before.retention_ms = before.retention,
        before.max_len = before.max_len,
        "a publish changed the settings of the topic"
    );
}

/// The default warning of a worker about a gap.
pub(super) fn gap(topic: &str, group: &str, gap: &Gap) {
    tracing::warn!(
        messaging.destination.name = topic,
        messaging.consumer.group.name = group,
        missed = gap.missed,
        cause = ?gap.cause,
        from = %gap.from,
        to = %gap.to,
        "the group has lost events: they were no longer retained when it came to them"
    );
}

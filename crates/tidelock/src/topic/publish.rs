//! Publishing.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Topic;
use super::cursor::{Cursor, EventId};
use super::observe;
use super::site::Site;
use super::store::{Appended, MAX_BATCH, NewEvent, Settings};
use crate::codec::Value;
use crate::draft::{self, Draft};
use crate::error::{Error, Result};
use crate::request::{awaitable, opaque};

/// The result of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Published {
    /// The event's id; of a duplicate, that of the first event with its key.
    pub event_id: EventId,
    /// The position after it.
    pub cursor: Cursor,
    /// Whether an event with this deduplication key had been published before, so that this publish appended nothing.
    pub duplicate: bool,
}

/// An event to be published to a topic. Resolves to [`Published`].
///
/// Publishes that are awaited at the same time share round trips. Dropping the future before it was sent withdraws it;
/// after that it may take effect.
#[must_use = "nothing is published until it is awaited"]
pub struct Publish<T> {
    topic: Topic<T>,
    draft: Draft,
}

impl<T: Value> Publish<T> {
    pub(crate) fn new(topic: &Topic<T>, event: &T) -> Self {
        Self { draft: Draft::new(topic.options.border.encode(event)), topic: topic.clone() }
    }

    /// Within each group, events with the same key are delivered in log order and one at a time: 1..=512 bytes.
    pub fn ordering_key(mut self, key: &str) -> Self {
        self.draft.ordering_key = Some(key.into());
        self
    }

    /// At most one event per key and window ([`dedup_for`](Self::dedup_for)): 1..=512 bytes. A later publish with the
    /// same key appends nothing and returns the first one's id, as long as that event is retained.
    pub fn dedup_key(mut self, key: &str) -> Self {
        self.draft.dedup_key = Some(key.into());
        self
    }

    /// How long the deduplication key is remembered after its first publish: 1 ms..=10 years, default 7 days.
    pub fn dedup_for(mut self, window: Duration) -> Self {
        self.draft.dedup_for = Some(window);
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

    fn into_event(self) -> Result<NewEvent> {
        self.draft.check()?;
        let (content, dedup) = self.draft.finish(&self.topic.options.border)?;
        Ok(NewEvent { content, dedup })
    }

    /// Publishes once `record` has accepted the event's id. `None`: `record` refused, and nothing was published.
    #[cfg(target_family = "wasm")]
    pub(crate) fn run_recorded(self, record: &mut dyn FnMut(EventId) -> bool) -> Result<Option<Published>> {
        let (site, settings) = (Arc::clone(&self.topic.site), self.topic.options.settings);
        site.check("publish")?;
        let event = self.into_event().map_err(|error| site.context("publish", error))?;
        let mut recorded = None;
        let mut ask = |place| {
            recorded = Some(place);
            record(EventId(site.cursor(place)))
        };
        let Some(appended) = site.store.publish_recorded(&site.address, settings, event, &mut ask) else {
            return Ok(None);
        };
        let published = published(&site, settings, appended).pop();
        if let Some(Published { event_id, cursor, .. }) = published
            && recorded != Some(cursor.position)
        {
            // `record` published something itself and so changed the id. The event is published now, whatever `record`
            // returns.
            record(event_id);
        }
        Ok(published)
    }

    async fn run(self) -> Result<Published> {
        let (site, settings) = (Arc::clone(&self.topic.site), self.topic.options.settings);
        site.check("publish")?;
        let event = self.into_event().map_err(|error| site.context("publish", error))?;
        let published = append(&site, "publish", settings, vec![event]).await?;
        Ok(*published.first().expect("a batch of one has one answer"))
    }
}

async fn append(site: &Site, operation: &str, settings: Settings, batch: Vec<NewEvent>) -> Result<Vec<Published>> {
    let span = observe::publish_span(site, batch.len());
    let appended = observe::within(span, site.store.publish(&site.address, settings, batch)).await;
    Ok(published(site, settings, appended.map_err(|error| site.context(operation, error))?))
}

/// Converts the outcome for publishers, and reports it.
fn published(site: &Site, settings: Settings, appended: Appended) -> Vec<Published> {
    let Appended { events, replaced } = appended;
    observe::count_published(site, events.len());
    if let Some(before) = replaced {
        observe::settings_replaced(site, before, settings);
    }
    let published = events.into_iter().map(|(position, duplicate)| {
        let cursor = site.cursor(position);
        Published { event_id: EventId(cursor), cursor, duplicate }
    });
    published.collect()
}

/// Several events, appended all or none. Resolves to a [`Published`] for each, in order.
///
/// 1..=1,000 items of one topic and tenant and at most 16 MiB together. Dropping the future before it was sent
/// withdraws it; after that it may take effect.
#[must_use = "nothing is published until it is awaited"]
pub struct PublishMany<T> {
    topic: Topic<T>,
    items: Vec<Publish<T>>,
}

impl<T: Value> PublishMany<T> {
    pub(crate) fn new(topic: &Topic<T>, items: impl IntoIterator<Item = Publish<T>>) -> Self {
        // One more than allowed, so that an endless iterator is refused instead of collected.
        Self { topic: topic.clone(), items: items.into_iter().take(MAX_BATCH + 1).collect() }
    }

    fn into_batch(self) -> Result<Vec<NewEvent>> {
        let address = &self.topic.site.address;
        let check = |index, item: &Publish<T>| {
            let other = &item.topic.site.address;
            if other != address {
                let text = format!(
                    "item {index} is for topic {:?} of tenant {:?}: a batch goes to one topic of one tenant ({:?})",
                    other.id, other.tenant, address.tenant
                );
                return Err(Error::argument(text));
            }
            item.draft.check().map_err(|error| error.in_context(format_args!("item {index}")))
        };
        draft::batch(self.items, check, Publish::into_event, |event| &event.content)
    }

    async fn run(self) -> Result<Vec<Published>> {
        const OPERATION: &str = "publish_many";
        let (site, settings) = (Arc::clone(&self.topic.site), self.topic.options.settings);
        site.check(OPERATION)?;
        let batch = self.into_batch().map_err(|error| site.context(OPERATION, error))?;
        append(&site, OPERATION, settings, batch).await
    }
}

awaitable! {
    Publish<T> => Published;
    PublishMany<T> => Vec<Published>;
}

opaque!(Publish, PublishMany);

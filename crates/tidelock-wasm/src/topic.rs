//! Topics.

use std::future::ready;

use js_sys::{Array, Error as JsError, Function};
use tidelock::topic::{
    Cursor, Event, EventDelivery, EventId, Follower, Gap, Item, Publish, Published, Reader, Receipt, Start,
};
use tidelock::web::{Begun, begin, delivery_numbers, publish_recorded, receipt, recv_event};
use tidelock::{MINUTE, Raw, Tidelock, Topic, TopicBuilder};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::call::{Answer, begun, call};
use crate::error::thrown;
use crate::following::Following;
use crate::number::{js, millis};
use crate::optional::Optional as _;
use crate::tenants::{Tenants, name};
use crate::{PAYLOAD_LIMIT, text};

/// The topic of one factory call.
#[wasm_bindgen]
#[derive(Debug)]
pub struct RawTopic {
    tenants: Tenants<Topic<Raw>>,
    topic: Topic<Raw>,
}

#[wasm_bindgen]
impl RawTopic {
    /// A topic in a world of its own. Its own name distinguishes its cursors from those of other topics.
    #[wasm_bindgen(constructor)]
    pub fn new(id: &str, retention: f64) -> Result<RawTopic, JsValue> {
        let topic = Tidelock::in_process()
            .topic::<Raw>(&name(id))
            .payload_limit(PAYLOAD_LIMIT)
            .with(millis(retention), TopicBuilder::retention);
        let topic = topic.build().map_err(|error| thrown(&error))?;
        Ok(Self { tenants: Tenants::new(topic.clone(), Topic::tenant), topic })
    }

    /// Returns `[event id, duplicate]`. `record` is called with the id first; if it throws, nothing is published.
    pub fn publish(
        &self,
        tenant: &str,
        value: String,
        ordering_key: Option<String>,
        dedup_key: Option<String>,
        dedup_for: f64,
        record: Option<Function>,
    ) -> Answer {
        let request = self
            .tenants
            .get(tenant)
            .publish(&Raw(value.into_bytes()))
            .with(ordering_key, |request, key| request.ordering_key(&name(&key)))
            .with(dedup_key, |request, key| request.dedup_key(&name(&key)))
            .with(millis(dedup_for), Publish::dedup_for);
        let answer = |Published { event_id, duplicate, .. }: Published| {
            JsValue::from(Array::of2(&event_id.to_string().into(), &duplicate.into()))
        };
        let Some(record) = record else { return call(request, answer) };
        let record = move |id: EventId| record.call1(&JsValue::UNDEFINED, &id.to_string().into()).map(drop);
        // Not within a call: calls made by `record` are independent of this one.
        let published = publish_recorded(request, record).map_err(|error| thrown(&error))?.map(answer);
        // Runs what it woke before this returns.
        begun(ready(published))
    }

    /// A reader of a group.
    pub fn reader(&self, group: &str) -> RawTopicReader {
        RawTopicReader { tenants: Tenants::new(Group::new(&self.topic, &name(group)), Group::tenant) }
    }

    /// A follower: after a cursor, from the oldest event (`0`, `0-0`), or from now on (`$`).
    pub fn live(&self, tenant: &str, after: &str) -> Result<RawLive, JsValue> {
        let invalid = |_| JsValue::from(JsError::new(&format!("invalid cursor: {after}")));
        let start = match after {
            "$" => Start::Latest,
            "0" | "0-0" => Start::Earliest,
            text => Start::After(text.parse::<Cursor>().map_err(invalid)?),
        };
        let request = self.tenants.get(tenant).follow().start(start);
        let Begun::Ready(follower) = begin(request.into_future()) else {
            return Err("a page's log answers at once".into());
        };
        // The only possible error is a cursor of another topic or tenant.
        let follower = follower.map_err(invalid)?;
        Ok(RawLive { following: Following::new(Some(follower)) })
    }
}

/// A group of a topic, as one tenant sees it.
#[derive(Clone, Debug)]
struct Group {
    topic: Topic<Raw>,
    reader: Reader<Raw>,
}

impl Group {
    fn new(topic: &Topic<Raw>, group: &str) -> Self {
        let reader = topic.reader(group).lease(MINUTE).build().expect("the name was made one of the library's");
        Self { topic: topic.clone(), reader }
    }

    fn tenant(&self, tenant: &str) -> Self {
        Self::new(&self.topic.tenant(tenant), self.reader.group())
    }
}

/// A reader of a group.
#[wasm_bindgen]
#[derive(Debug)]
pub struct RawTopicReader {
    tenants: Tenants<Group>,
}

#[wasm_bindgen]
impl RawTopicReader {
    /// Returns `[value, event id, published at, delivery id]`, or `null`. Without `wait` there is no limit. `on_gap` is
    /// called with a gap (see [`RawLive::next`]) while the core is running: it must only note it.
    pub fn recv(&self, tenant: &str, wait: f64, on_gap: Option<Function>) -> Answer {
        let tell = move |gap| {
            if let Some(on_gap) = &on_gap {
                // It only notes the gap, and does not throw.
                let _ = on_gap.call1(&JsValue::UNDEFINED, &lost(&gap));
            }
        };
        let receiving = recv_event(self.tenants.get(tenant).reader, millis(wait), tell);
        call(receiving, |delivery| delivery.map_or(JsValue::NULL, delivered))
    }

    /// Returns whether the delivery was held until now.
    pub fn commit(&self, tenant: &str, delivery: &str) -> Answer {
        self.settle(tenant, delivery, |reader, receipt| call(reader.commit(&receipt), JsValue::from))
    }

    /// For an event whose value cannot be decoded: it becomes a dead letter of the group. Returns whether the delivery
    /// was held.
    pub fn bury(&self, tenant: &str, delivery: &str, error: &str) -> Answer {
        self.settle(tenant, delivery, |reader, receipt| {
            call(reader.dead_letter(&receipt, "the value does not decode").error(&error), JsValue::from)
        })
    }

    fn settle(&self, tenant: &str, delivery: &str, settle: impl FnOnce(Reader<Raw>, Receipt) -> Answer) -> Answer {
        let Group { topic, reader } = self.tenants.get(tenant);
        let Some(numbers) = delivery_numbers(delivery) else { return Ok(JsValue::FALSE) };
        let receipt = receipt(&name(tenant), topic.id(), Some(reader.group()), numbers, MINUTE);
        settle(reader, receipt)
    }
}

/// A follower of a topic.
#[wasm_bindgen]
#[derive(Debug)]
pub struct RawLive {
    following: Following<Follower<Raw>>,
}

#[wasm_bindgen]
impl RawLive {
    /// Returns `[value, event id, published at]`, for a gap `[null, from, to, missed, cause]`, at the end `null`. One
    /// call at a time.
    pub fn next(&self) -> Answer {
        self.following.next(|item| {
            Some(match item {
                Item::Event(event) => Ok(seen(event).into()),
                Item::Gap(gap) => Ok(lost(&gap).into()),
                Item::Undecodable(raw) => Err(JsError::new(&raw.error).into()),
            })
        })
    }
}

fn seen(event: Event<Raw>) -> Array {
    let (id, at) = (event.event_id().to_string(), js(event.published_at().as_millis()));
    Array::of3(&text(&event.into_data().0), &id.into(), &at.into())
}

fn delivered(delivery: EventDelivery<Raw>) -> JsValue {
    let (id, event, at) = (delivery.delivery_id(), delivery.event_id().to_string(), delivery.published_at());
    let (value, _) = delivery.into_parts();
    Array::of4(&text(&value.0), &event.into(), &js(at.as_millis()).into(), &id.into()).into()
}

fn lost(gap: &Gap) -> Array {
    let (from, to, cause) = (gap.from.to_string(), gap.to.to_string(), gap.cause.to_string());
    let missed = gap.missed.map_or(JsValue::NULL, |missed| js(missed).into());
    Array::of5(&JsValue::NULL, &from.into(), &to.into(), &missed, &cause.into())
}

//! Queues.

mod admin;
mod dead;

use std::cell::RefCell;
use std::time::Duration;

use js_sys::Array;
use tidelock::queue::{Delivery, Nack, Nacked, Place, Receipt, RecvMany, SendRequest, Sent, Touch};
use tidelock::{Queue, QueueBuilder, Raw, Tidelock, Timestamp, web};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

pub use self::dead::RawDeadLetters;

use crate::PAYLOAD_LIMIT;
use crate::call::{Answer, call};
use crate::error::thrown;
use crate::number::{count, js, js_millis, millis};
use crate::optional::Optional as _;
use crate::tenants::{Tenants, name};

/// The library's id of the queue: each factory call has a world of its own.
const ID: &str = "queue";
/// The lease in receipts of calls that do not use it: all except those that restart it.
const ANY_LEASE: Duration = Duration::from_millis(1);

/// The queue of one factory call.
#[wasm_bindgen]
#[derive(Debug)]
pub struct RawQueue {
    tenants: Tenants<Queue<Raw>>,
}

#[wasm_bindgen]
impl RawQueue {
    /// A queue in a world of its own.
    #[wasm_bindgen(constructor)]
    pub fn new(
        lease: f64,
        max_deliveries: f64,
        max_age: f64,
        dead_retention: f64,
        max_nack_delay: f64,
    ) -> Result<RawQueue, JsValue> {
        let queue = Tidelock::in_process()
            .queue::<Raw>(ID)
            .redelivery(Place::Back)
            .payload_limit(PAYLOAD_LIMIT)
            .with(millis(lease), QueueBuilder::lease)
            .with(count(max_deliveries), QueueBuilder::max_deliveries)
            .with(millis(max_age), QueueBuilder::max_age)
            .with(millis(dead_retention), QueueBuilder::dead_letter_retention)
            .with(millis(max_nack_delay), QueueBuilder::max_nack_delay);
        let queue = queue.build().map_err(|error| thrown(&error))?;
        Ok(Self { tenants: Tenants::new(queue, Queue::tenant) })
    }

    /// Returns the number of the message, negative if it is that of an earlier message with the same key.
    pub fn send(
        &self,
        tenant: &str,
        value: String,
        delay: f64,
        ordering_key: Option<String>,
        dedup_key: Option<String>,
        dedup_for: f64,
    ) -> Answer {
        let queue = self.tenants.get(tenant);
        call(request(&queue, value, delay, ordering_key, dedup_key, dedup_for), sent)
    }

    /// Begins a batch of sends: all or none are stored.
    pub fn batch(&self, tenant: &str) -> RawBatch {
        RawBatch { queue: self.tenants.get(tenant), items: RefCell::default() }
    }

    /// Returns `[value, message, fence, attempt, lease, lease until]`, or `null`. Without `wait` there is no limit.
    pub fn recv(&self, tenant: &str, wait: f64, lease: f64, consumer: Option<String>) -> Answer {
        let request = self.receive(tenant, 1, wait, lease, consumer);
        call(request, |deliveries| deliveries.into_iter().next().map_or(JsValue::NULL, shown))
    }

    /// Returns an array of the same for at most `max` messages.
    pub fn recv_many(&self, tenant: &str, max: usize, wait: f64, lease: f64, consumer: Option<String>) -> Answer {
        let request = self.receive(tenant, max, wait, lease, consumer);
        call(request, |deliveries| deliveries.into_iter().map(shown).collect::<Array>().into())
    }

    /// Returns whether the delivery was held until now.
    pub fn ack(&self, tenant: &str, message: f64, fence: f64) -> Answer {
        let receipt = receipt(tenant, (whole(message), whole(fence)), ANY_LEASE);
        call(self.tenants.get(tenant).ack(&receipt), JsValue::from)
    }

    /// As `ack`, for several deliveries.
    pub fn ack_many(&self, tenant: &str, deliveries: &Array) -> Answer {
        let receipts = deliveries.iter().filter_map(|delivery| receipt_by_text(tenant, &delivery.as_string()?));
        let request = self.tenants.get(tenant).ack_many(&receipts.collect::<Vec<_>>());
        call(request, |held| held.into_iter().map(JsValue::from).collect::<Array>().into())
    }

    /// Returns whether the delivery was held until now.
    pub fn nack(
        &self,
        tenant: &str,
        message: f64,
        fence: f64,
        delay: f64,
        reason: Option<String>,
        error: Option<String>,
    ) -> Answer {
        let receipt = receipt(tenant, (whole(message), whole(fence)), ANY_LEASE);
        let request = self
            .tenants
            .get(tenant)
            .nack(&receipt)
            .with(millis(delay), Nack::delay)
            .with(reason, |request, reason| request.reason(&reason))
            .with(error, |request, error| request.error(&error));
        call(request, |nacked| (!matches!(nacked, Nacked::Stale)).into())
    }

    /// Makes the message a dead letter. Returns whether the delivery was held until now.
    pub fn bury(&self, tenant: &str, delivery: &str, reason: &str, error: Option<String>) -> Answer {
        let Some(receipt) = receipt_by_text(tenant, delivery) else { return Ok(JsValue::FALSE) };
        let request = self.tenants.get(tenant).dead_letter(&receipt, reason);
        call(request.with(error, |request, error| request.error(&error)), JsValue::from)
    }

    /// Returns the message without counting the delivery as an attempt. Returns whether it was held until now.
    pub fn give_back(&self, tenant: &str, delivery: &str) -> Answer {
        let Some(receipt) = receipt_by_text(tenant, delivery) else { return Ok(JsValue::FALSE) };
        call(self.tenants.get(tenant).give_back(&receipt), JsValue::from)
    }

    /// Returns whether the delivery was held until now.
    pub fn touch(&self, tenant: &str, message: f64, fence: f64, lease: f64, new_lease: f64) -> Answer {
        let lease = millis(lease).unwrap_or(ANY_LEASE);
        let receipt = receipt(tenant, (whole(message), whole(fence)), lease);
        let request = self.tenants.get(tenant).touch(&receipt).with(millis(new_lease), Touch::lease);
        call(request, JsValue::from)
    }
}

impl RawQueue {
    fn receive(&self, tenant: &str, max: usize, wait: f64, lease: f64, consumer: Option<String>) -> RecvMany<Raw> {
        let request = self.tenants.get(tenant).recv_many(max);
        let request = match millis(wait) {
            Some(wait) => request.wait(wait),
            None => request.forever(),
        };
        request
            .with(millis(lease), RecvMany::lease)
            .with(consumer, |request, consumer| request.consumer(&name(&consumer)))
    }
}

/// A batch of sends: all or none are stored.
#[wasm_bindgen]
#[derive(Debug)]
pub struct RawBatch {
    queue: Queue<Raw>,
    items: RefCell<Vec<SendRequest<Raw>>>,
}

#[wasm_bindgen]
impl RawBatch {
    /// Adds a message, with the arguments of [`RawQueue::send`].
    pub fn add(
        &self,
        value: String,
        delay: f64,
        ordering_key: Option<String>,
        dedup_key: Option<String>,
        dedup_for: f64,
    ) {
        let item = request(&self.queue, value, delay, ordering_key, dedup_key, dedup_for);
        self.items.borrow_mut().push(item);
    }

    /// Returns what [`RawQueue::send`] returns, for each message.
    pub fn send(self) -> Answer {
        let request = self.queue.send_many(self.items.into_inner());
        call(request, |all| all.into_iter().map(sent).collect::<Array>().into())
    }
}

fn request(
    queue: &Queue<Raw>,
    value: String,
    delay: f64,
    ordering_key: Option<String>,
    dedup_key: Option<String>,
    dedup_for: f64,
) -> SendRequest<Raw> {
    queue
        .send(&Raw(value.into_bytes()))
        .with(millis(delay), SendRequest::delay)
        .with(ordering_key, |request, key| request.ordering_key(&name(&key)))
        .with(dedup_key, |request, key| request.dedup_key(&name(&key)))
        .with(millis(dedup_for), SendRequest::dedup_for)
}

#[wasm_bindgen]
extern "C" {
    /// Passes the numbers unboxed; filling an array would take one boxed number per call.
    #[wasm_bindgen(js_namespace = Array, js_name = of)]
    fn array_of(value: &str, message: f64, fence: f64, attempt: f64, lease: f64, until: f64) -> JsValue;
}

fn sent(Sent { id, duplicate, .. }: Sent) -> JsValue {
    let number = js(web::message_number(id));
    if duplicate { -number } else { number }.into()
}

/// Converts one of the numbers of a delivery.
fn whole(number: f64) -> u64 {
    count(number).unwrap_or_default()
}

fn receipt(tenant: &str, numbers: (u64, u64), lease: Duration) -> Receipt {
    web::receipt(&name(tenant), ID, None, numbers, lease)
}

fn receipt_by_text(tenant: &str, delivery: &str) -> Option<Receipt> {
    Some(receipt(tenant, web::delivery_numbers(delivery)?, ANY_LEASE))
}

fn shown(delivery: Delivery<Raw>) -> JsValue {
    let (message, attempt) = (web::message_number(delivery.id()), delivery.attempt());
    let (value, receipt) = delivery.into_parts();
    let until = Timestamp::from_local_clock() + receipt.lease();
    array_of(
        &String::from_utf8_lossy(&value.0),
        js(message),
        js(receipt.fence()),
        js(attempt),
        js_millis(receipt.lease()),
        js(until.as_millis()),
    )
}

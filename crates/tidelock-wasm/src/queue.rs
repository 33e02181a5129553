//! Queues.

use js_sys::Array;
use tidelock::queue::{Delivery, Nack, Nacked, Place, Receipt, Recv, SendRequest, Touch};
use tidelock::{Queue, QueueBuilder, Raw, Tidelock, Timestamp, web};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::call::{Answer, call};
use crate::error::thrown;
use crate::number::{count, js, js_millis, millis};
use crate::optional::Optional as _;
use crate::tenants::{Tenants, name};
use crate::{PAYLOAD_LIMIT, text};

/// The library's name of a queue that has its world for itself.
const ID: &str = "queue";

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

    /// Gives `[id, duplicate]`.
    pub fn send(
        &self,
        tenant: &str,
        value: String,
        delay: f64,
        ordering_key: Option<String>,
        dedup_key: Option<String>,
        dedup_for: f64,
    ) -> Answer {
        let request = self
            .tenants
            .get(tenant)
            .send(&Raw(value.into_bytes()))
            .with(millis(delay), SendRequest::delay)
            .with(ordering_key, |request, key| request.ordering_key(&name(&key)))
            .with(dedup_key, |request, key| request.dedup_key(&name(&key)))
            .with(millis(dedup_for), SendRequest::dedup_for);
        call(request, |sent| Array::of2(&sent.id.to_string().into(), &sent.duplicate.into()).into())
    }

    /// Gives `[value, message id, delivery id, attempt, lease, lease until]`, or `null`. Without `wait` it waits for ever.
    pub fn recv(&self, tenant: &str, wait: f64, lease: f64, consumer: Option<String>) -> Answer {
        let request = self.tenants.get(tenant).recv();
        let request = match millis(wait) {
            Some(wait) => request.wait(wait),
            None => request.forever(),
        };
        let request = request
            .with(millis(lease), Recv::lease)
            .with(consumer, |request, consumer| request.consumer(&name(&consumer)));
        call(request, |delivery| delivery.map_or(JsValue::NULL, shown))
    }

    /// Gives whether the delivery was held until now.
    pub fn ack(&self, tenant: &str, delivery: &str, lease: f64) -> Answer {
        let Some(receipt) = receipt(tenant, delivery, lease) else { return Ok(JsValue::FALSE) };
        call(self.tenants.get(tenant).ack(&receipt), JsValue::from)
    }

    /// Gives whether the delivery was held until now.
    pub fn nack(
        &self,
        tenant: &str,
        delivery: &str,
        lease: f64,
        delay: f64,
        reason: Option<String>,
        error: Option<String>,
    ) -> Answer {
        let Some(receipt) = receipt(tenant, delivery, lease) else { return Ok(JsValue::FALSE) };
        let request = self
            .tenants
            .get(tenant)
            .nack(&receipt)
            .with(millis(delay), Nack::delay)
            .with(reason, |request, reason| request.reason(&reason))
            .with(error, |request, error| request.error(&error));
        call(request, |nacked| (!matches!(nacked, Nacked::Stale)).into())
    }

    /// Gives whether the delivery was held until now.
    pub fn touch(&self, tenant: &str, delivery: &str, lease: f64, new_lease: f64) -> Answer {
        let Some(receipt) = receipt(tenant, delivery, lease) else { return Ok(JsValue::FALSE) };
        let request = self.tenants.get(tenant).touch(&receipt).with(millis(new_lease), Touch::lease);
        call(request, JsValue::from)
    }
}

fn receipt(tenant: &str, delivery: &str, lease: f64) -> Option<Receipt> {
    web::receipt(&name(tenant), ID, None, delivery, millis(lease)?)
}

fn shown(delivery: Delivery<Raw>) -> JsValue {
    let (message, id, attempt) = (delivery.id().to_string(), delivery.delivery_id(), delivery.attempt());
    let (value, receipt) = delivery.into_parts();
    let lease = receipt.lease();
    let until = Timestamp::from_local_clock() + lease;
    let shown = Array::of5(&text(&value.0), &message.into(), &id.into(), &js(attempt).into(), &js_millis(lease).into());
    shown.push(&js(until.as_millis()).into());
    shown.into()
}

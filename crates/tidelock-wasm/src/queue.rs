//! Queues.

use js_sys::Array;
use tidelock::queue::{Delivery, Nacked, Place, Receipt};
use tidelock::{Queue, Raw, Tidelock, Timestamp, web};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::call::{Answer, call};
use crate::error::thrown;
use crate::number::{count, js, millis};
use crate::tenants::{Tenants, name};
use crate::text;

/// The library's name of a queue that has its world for itself.
const ID: &str = "queue";
/// Larger values are refused before they come here.
const PAYLOAD_LIMIT: usize = 1 << 24;

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
        let mut queue = Tidelock::in_process().queue::<Raw>(ID).redelivery(Place::Back).payload_limit(PAYLOAD_LIMIT);
        if let Some(lease) = millis(lease) {
            queue = queue.lease(lease);
        }
        if let Some(max) = count(max_deliveries) {
            queue = queue.max_deliveries(max);
        }
        if let Some(age) = millis(max_age) {
            queue = queue.max_age(age);
        }
        if let Some(retention) = millis(dead_retention) {
            queue = queue.dead_letter_retention(retention);
        }
        if let Some(max) = millis(max_nack_delay) {
            queue = queue.max_nack_delay(max);
        }
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
        let mut request = self.tenants.get(tenant).send(&Raw(value.into_bytes()));
        if let Some(delay) = millis(delay) {
            request = request.delay(delay);
        }
        if let Some(key) = ordering_key {
            request = request.ordering_key(&name(&key));
        }
        if let Some(key) = dedup_key {
            request = request.dedup_key(&name(&key));
        }
        if let Some(span) = millis(dedup_for) {
            request = request.dedup_for(span);
        }
        call(request, |sent| Array::of2(&sent.id.to_string().into(), &sent.duplicate.into()).into())
    }

    /// Gives `[value, message id, delivery id, attempt, lease, lease until]`, or `null`. Without `wait` it waits for ever.
    pub fn recv(&self, tenant: &str, wait: f64, lease: f64, consumer: Option<String>) -> Answer {
        let mut request = self.tenants.get(tenant).recv();
        request = match millis(wait) {
            Some(wait) => request.wait(wait),
            None => request.forever(),
        };
        if let Some(lease) = millis(lease) {
            request = request.lease(lease);
        }
        if let Some(consumer) = consumer {
            request = request.consumer(&name(&consumer));
        }
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
        let mut request = self.tenants.get(tenant).nack(&receipt);
        if let Some(delay) = millis(delay) {
            request = request.delay(delay);
        }
        if let Some(reason) = reason {
            request = request.reason(&reason);
        }
        if let Some(error) = error {
            request = request.error(&error);
        }
        call(request, |nacked| (!matches!(nacked, Nacked::Stale)).into())
    }

    /// Gives whether the delivery was held until now.
    pub fn touch(&self, tenant: &str, delivery: &str, lease: f64, new_lease: f64) -> Answer {
        let Some(receipt) = receipt(tenant, delivery, lease) else { return Ok(JsValue::FALSE) };
        let mut request = self.tenants.get(tenant).touch(&receipt);
        if let Some(lease) = millis(new_lease) {
            request = request.lease(lease);
        }
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
    let shown = Array::of5(
        &text(&value),
        &message.into(),
        &id.into(),
        &js(attempt).into(),
        &js(u64::try_from(lease.as_millis()).unwrap_or(u64::MAX)).into(),
    );
    shown.push(&js(until.as_millis()).into());
    shown.into()
}

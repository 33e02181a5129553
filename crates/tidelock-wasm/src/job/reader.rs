//! Reader groups on the events of a job.

use std::cell::RefCell;
use std::fmt;
use std::future::pending;

use tidelock::job::{EventDelivery, Item, JobId, Reader};
use tidelock::{Job, Raw, Timestamp, web};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use super::events::{lost, shown};
use crate::call::{Answer, begun, call};
use crate::error::thrown;
use crate::number::millis;
use crate::tenants::name;

/// A reader of a group.
#[wasm_bindgen]
#[derive(Debug)]
pub struct RawJobReader {
    /// `None` if the id is invalid.
    reader: Option<Reader>,
}

impl RawJobReader {
    pub(super) fn new(job: &Job<Raw, Raw>, id: &str, group: &str) -> Result<Self, JsValue> {
        let reader = id.parse::<JobId>().ok().map(|id| job.events(id).reader(&name(group)).build());
        Ok(Self { reader: reader.transpose().map_err(|error| thrown(&error))? })
    }
}

#[wasm_bindgen]
impl RawJobReader {
    /// Returns what [`RawJobEvents::next`](super::RawJobEvents::next) returns, extended to `[.., delivery id,
    /// RawJobDelivery]` for an event; `null` if nothing arrives in time. Without `wait` there is no limit.
    pub fn recv(&self, wait: f64) -> Answer {
        let reader = self.reader.clone();
        let end = millis(wait).map(|wait| Timestamp::from_local_clock() + wait);
        begun(async move {
            let left = || end.map(|end| end.since(Timestamp::from_local_clock()));
            while let Some(reader) = &reader {
                let request = match left() {
                    Some(left) => reader.recv().wait(left),
                    None => reader.recv().forever(),
                };
                match request.await.map_err(|error| thrown(&error))? {
                    None => break,
                    Some(Item::Gap(gap)) => return Ok(lost(&gap)),
                    Some(Item::Event(delivery)) => {
                        if let Some(shown) = shown(&delivery) {
                            let id = format!("{}.{}.{}", reader.group(), delivery.cursor, delivery.fence());
                            shown.push(&id.into());
                            shown.push(&RawJobDelivery { delivery: RefCell::new(Some(delivery)) }.into());
                            return Ok(shown.into());
                        }
                        // Events that are not shown are committed at once.
                        delivery.commit().await.map_err(|error| thrown(&error))?;
                    }
                }
            }
            // If nothing can come any more, wait until the end of the wait.
            match left() {
                Some(left) if left.is_zero() => {}
                Some(left) => web::pause(left).await,
                None => pending().await,
            }
            Ok(JsValue::NULL)
        })
    }
}

/// An event delivered to a reader.
#[wasm_bindgen]
pub struct RawJobDelivery {
    delivery: RefCell<Option<EventDelivery>>,
}

#[wasm_bindgen]
impl RawJobDelivery {
    /// Returns whether the delivery was held until now.
    pub fn commit(&self) -> Answer {
        let delivery = self.delivery.take();
        delivery.map_or(Ok(JsValue::FALSE), |delivery| call(delivery.commit(), JsValue::from))
    }
}

impl fmt::Debug for RawJobDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RawJobDelivery").field(&self.delivery).finish()
    }
}

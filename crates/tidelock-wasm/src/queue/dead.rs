//! Dead letters.

use tidelock::queue::{DeadLetter, DeadLetters, DeadReason, MessageId, PurgeDead, RequeueAll};
use tidelock::{Raw, Timestamp};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use super::RawQueue;
use crate::call::{Answer, call};
use crate::listed::{instant, instant_or_null, list, page, place};
use crate::number::{count, js, millis};
use crate::optional::{Optional as _, or_null};
use crate::text;

/// The dead letters of a queue, as one tenant sees them.
#[wasm_bindgen]
#[derive(Debug)]
pub struct RawDeadLetters {
    letters: DeadLetters<Raw>,
}

#[wasm_bindgen]
impl RawQueue {
    /// The dead letters of a tenant.
    pub fn dead_letters(&self, tenant: &str) -> RawDeadLetters {
        RawDeadLetters { letters: self.tenants.get(tenant).dead_letters() }
    }
}

/// Adds the filter to a request: a reason, and the bounds of the instant at which they were moved.
macro_rules! filtered {
    ($request:expr, $reason:expr, $before:expr, $from:expr) => {
        $request
            .with($reason.and_then(|name| reason_of(&name)), |request, reason| request.reason(reason))
            .with(instant_of($before), |request, at| request.moved_before(at))
            .with(instant_of($from), |request, at| request.moved_after(at))
    };
}

#[wasm_bindgen]
impl RawDeadLetters {
    /// Returns `[[dead letter, ..], next]`.
    pub fn list(&self, reason: Option<String>, before: f64, from: f64, limit: usize, after: Option<String>) -> Answer {
        let request = filtered!(self.letters.list(), reason, before, from).limit(limit);
        call(request.with(after, |request, after| request.after(&place(&after))), |found| page(found, letter))
    }

    /// Returns a dead letter, or `null`.
    pub fn get(&self, id: &str) -> Answer {
        let Ok(id) = id.parse::<MessageId>() else { return Ok(JsValue::NULL) };
        call(self.letters.get(id), |found| found.map_or(JsValue::NULL, letter))
    }

    /// Returns whether it existed.
    pub fn requeue(&self, id: &str, delay: f64) -> Answer {
        let Ok(id) = id.parse::<MessageId>() else { return Ok(JsValue::FALSE) };
        call(self.letters.requeue(id).delay(millis(delay).unwrap_or_default()), JsValue::from)
    }

    /// Returns their number.
    pub fn requeue_all(&self, reason: Option<String>, before: f64, from: f64, limit: f64, delay: f64) -> Answer {
        let request = filtered!(self.letters.requeue_all(), reason, before, from);
        let request = request.with(count(limit), RequeueAll::limit);
        call(request.delay(millis(delay).unwrap_or_default()), |count| js(count).into())
    }

    /// Returns whether it existed.
    pub fn remove(&self, id: &str) -> Answer {
        let Ok(id) = id.parse::<MessageId>() else { return Ok(JsValue::FALSE) };
        call(self.letters.remove(id), JsValue::from)
    }

    /// Returns their number.
    pub fn purge(&self, reason: Option<String>, before: f64, from: f64, limit: f64) -> Answer {
        let request = filtered!(self.letters.purge(), reason, before, from);
        call(request.with(count(limit), PurgeDead::limit), |count| js(count).into())
    }
}

fn instant_of(ms: f64) -> Option<Timestamp> {
    count(ms).map(Timestamp::from_millis)
}

fn reason_of(name: &str) -> Option<DeadReason> {
    const ALL: [DeadReason; 4] =
        [DeadReason::Expired, DeadReason::MaxDeliveriesExceeded, DeadReason::Rejected, DeadReason::Undecodable];
    ALL.into_iter().find(|reason| reason.to_string() == name)
}

/// `[value, id, reason, note, last error, attempts, enqueued at, moved at, kept until]`.
fn letter(letter: DeadLetter<Raw>) -> JsValue {
    list([
        text(&letter.raw),
        letter.id.to_string().into(),
        letter.reason.to_string().into(),
        or_null(letter.note),
        or_null(letter.last_error),
        js(letter.attempts).into(),
        instant(letter.enqueued_at),
        instant(letter.moved_at),
        instant_or_null(letter.kept_until),
    ])
}

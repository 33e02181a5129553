//! Operations on a whole queue, and on messages that nobody holds.

use js_sys::Array;
use tidelock::queue::{Lease, List, MessageId, MessageInfo, Pause, QueueStats, Removed, State};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use super::RawQueue;
use crate::call::{Answer, call};
use crate::listed::{changed, instant, instant_or_null, limited, list, page, paused, place, removed};
use crate::number::{count, js, js_millis, millis};
use crate::optional::{Optional as _, or_null};
use crate::text;

#[wasm_bindgen]
impl RawQueue {
    /// Returns `[ready, blocked, delayed, leased, dead, accepted, settled, oldest ready age, next due, [until, reason],
    /// [limit, per, used, window end], settling]`.
    pub fn stats(&self, tenant: &str) -> Answer {
        call(self.tenants.get(tenant).stats(), |stats| {
            let QueueStats { ready, blocked, delayed, leased, dead, accepted, settled, .. } = stats;
            let counts = [ready, blocked, delayed, leased, dead, accepted, settled];
            let shown: Array = counts.into_iter().map(|count| JsValue::from(js(count))).collect();
            shown.push(&or_null(stats.oldest_ready_age.map(js_millis)));
            shown.push(&instant_or_null(stats.next_due));
            shown.push(&paused(stats.paused));
            shown.push(&limited(stats.rate_limit));
            shown.push(&stats.settling.into());
            shown.into()
        })
    }

    /// Returns `[[message, ..], next]`.
    pub fn list(&self, tenant: &str, state: &str, limit: usize, after: Option<String>) -> Answer {
        let state = match state {
            "ready" => State::Ready,
            "delayed" => State::Delayed,
            _ => State::Leased,
        };
        let request = self.tenants.get(tenant).list(state).limit(limit);
        call(request.with(after, |request: List, after| request.after(&place(&after))), |found| page(found, message))
    }

    /// Returns the messages that would be delivered next.
    pub fn peek(&self, tenant: &str, max: usize) -> Answer {
        let request = self.tenants.get(tenant).peek(max);
        call(request, |found| found.into_iter().map(message).collect::<Array>().into())
    }

    /// Returns a message, or `null`.
    pub fn get(&self, tenant: &str, id: &str) -> Answer {
        let Ok(id) = id.parse::<MessageId>() else { return Ok(JsValue::NULL) };
        call(self.tenants.get(tenant).get(id), |found| found.map_or(JsValue::NULL, message))
    }

    /// Returns the outcome.
    pub fn remove(&self, tenant: &str, id: &str) -> Answer {
        let Ok(id) = id.parse::<MessageId>() else { return Ok(removed(Removed::Absent)) };
        call(self.tenants.get(tenant).remove(id), removed)
    }

    /// Returns their number.
    pub fn purge(&self, tenant: &str) -> Answer {
        call(self.tenants.get(tenant).purge(), |count| js(count).into())
    }

    /// Returns whether there was anything.
    pub fn delete(&self, tenant: &str) -> Answer {
        call(self.tenants.get(tenant).delete(), JsValue::from)
    }

    /// Returns whether this changed anything.
    pub fn pause(&self, tenant: &str, for_at_most: f64, reason: Option<String>) -> Answer {
        let request = self.tenants.get(tenant).pause().with(millis(for_at_most), Pause::for_at_most);
        call(request.with(reason, |request, reason| request.reason(&reason)), changed)
    }

    /// Returns whether this changed anything.
    pub fn resume(&self, tenant: &str) -> Answer {
        call(self.tenants.get(tenant).resume(), changed)
    }

    /// Returns whether this changed anything.
    pub fn set_rate_limit(&self, tenant: &str, limit: f64, per: f64) -> Answer {
        let queue = self.tenants.get(tenant);
        call(queue.set_rate_limit(count(limit).unwrap_or(0), millis(per).unwrap_or_default()), changed)
    }

    /// Returns whether this changed anything.
    pub fn remove_rate_limit(&self, tenant: &str) -> Answer {
        call(self.tenants.get(tenant).remove_rate_limit(), changed)
    }
}

/// `[value, id, state, blocked, attempts, enqueued at, due, expires at, note, last error, [fence, end, consumer]]`.
fn message(info: MessageInfo) -> JsValue {
    let lease = |Lease { fence, end, consumer, .. }: Lease| list([js(fence).into(), instant(end), consumer.into()]);
    list([
        text(&info.raw),
        info.id.to_string().into(),
        info.state.to_string().into(),
        info.blocked.into(),
        js(info.attempts).into(),
        instant(info.enqueued_at),
        instant(info.due),
        instant_or_null(info.expires_at),
        or_null(info.note),
        or_null(info.last_error),
        info.lease.map_or(JsValue::NULL, lease),
    ])
}

//! Results of queries: lists of values, and pages.

use js_sys::Array;
use tidelock::queue::{Paused, RateLimit};
use tidelock::{Changed, Page, PageToken, Removed, Timestamp};
use wasm_bindgen::JsValue;

use crate::number::{js, js_millis};
use crate::optional::or_null;

/// Several values as one list.
pub(crate) fn list<const N: usize>(values: [JsValue; N]) -> JsValue {
    values.into_iter().collect::<Array>().into()
}

/// A page as `[items, next]`.
pub(crate) fn page<T>(page: Page<T>, shown: impl Fn(T) -> JsValue) -> JsValue {
    let items: Array = page.items.into_iter().map(shown).collect();
    list([items.into(), or_null(page.next.map(|next| next.to_string()))])
}

/// The token at which a page begins.
pub(crate) fn place(after: &str) -> PageToken {
    let Ok(token) = after.parse();
    token
}

pub(crate) fn instant(at: Timestamp) -> JsValue {
    js(at.as_millis()).into()
}

pub(crate) fn instant_or_null(at: Option<Timestamp>) -> JsValue {
    at.map_or(JsValue::NULL, instant)
}

/// A current pause as `[until, reason]`.
pub(crate) fn paused(paused: Option<Paused>) -> JsValue {
    paused.map_or(JsValue::NULL, |Paused { until, reason, .. }| list([instant_or_null(until), or_null(reason)]))
}

/// A limit of the rate as `[limit, per, used, end of the window]`.
pub(crate) fn limited(limited: Option<RateLimit>) -> JsValue {
    limited.map_or(JsValue::NULL, |RateLimit { limit, per, used, window_ends, .. }| {
        list([js(limit).into(), js_millis(per).into(), js(used).into(), instant_or_null(window_ends)])
    })
}

/// The name of a change's outcome.
pub(crate) fn changed(changed: Changed) -> JsValue {
    let name = match changed {
        Changed::Yes => "yes",
        Changed::No => "no",
        Changed::Absent => "absent",
    };
    name.into()
}

/// The name of a removal's outcome.
pub(crate) fn removed(removed: Removed) -> JsValue {
    let name = match removed {
        Removed::Removed => "removed",
        Removed::Absent => "absent",
        _ => "held",
    };
    name.into()
}

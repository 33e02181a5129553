//! Rate limits.

use std::cell::Cell;
use std::time::Duration;

use js_sys::Array;
use tidelock::Timestamp;
use tidelock::ratelimit::{Limit, Part, Verdict};
use tidelock::web::{Counting, KeptCounts, LimitSet, SlidingWindow, WindowVerdict};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::error::thrown;
use crate::number::{count, js, js_millis, millis};
use crate::optional::Optional as _;

/// A sliding window whose counts are stored in JavaScript. Only numbers are passed, since every check passes them.
#[wasm_bindgen]
#[derive(Debug)]
pub struct RawWindow {
    window: SlidingWindow,
    last: Cell<WindowVerdict>,
}

#[wasm_bindgen]
impl RawWindow {
    /// Checks the limit and the window, in milliseconds.
    #[wasm_bindgen(constructor)]
    pub fn new(limit: f64, window: f64) -> Result<RawWindow, JsValue> {
        let window = SlidingWindow::new(count(limit).unwrap_or(0), millis(window).unwrap_or_default());
        Ok(Self { window: window.map_err(|error| thrown(&error))?, last: Cell::default() })
    }

    /// Returns whether the request passes. The rest of the verdict can be read until the next call. `counting`: 0
    /// counts a request that passes, 1 also a refused one, 2 none.
    pub fn judge(&self, now: f64, used: f64, before: f64, cost: f64, counting: u8) -> bool {
        let verdict = self.window.judge(instant(now), number(used), number(before), number(cost), counted(counting));
        self.last.set(verdict);
        !verdict.refused
    }

    /// The count of the window after the request.
    #[wasm_bindgen(getter)]
    pub fn used(&self) -> f64 {
        js(self.last.get().used)
    }

    /// Units that are available.
    #[wasm_bindgen(getter)]
    pub fn remaining(&self) -> f64 {
        js(self.last.get().remaining)
    }

    /// Milliseconds to the end of the window.
    #[wasm_bindgen(getter)]
    pub fn reset_in(&self) -> f64 {
        js(self.last.get().reset_in)
    }

    /// Milliseconds until the same request passes; 0 if it did.
    #[wasm_bindgen(getter)]
    pub fn retry_after(&self) -> f64 {
        js(self.last.get().retry_after)
    }
}

/// Several limits that are judged together, whose counts are stored in JavaScript.
#[wasm_bindgen]
#[derive(Debug)]
pub struct RawLimits {
    limits: LimitSet,
}

#[wasm_bindgen]
impl RawLimits {
    /// `limits` contains `[limit, window in milliseconds, algorithm, burst, name]` for each limit.
    #[wasm_bindgen(constructor)]
    pub fn new(limits: &Array) -> Result<RawLimits, JsValue> {
        let limits = LimitSet::new(limits.iter().map(|limit| defined(&Array::from(&limit))));
        Ok(Self { limits: limits.map_err(|error| thrown(&error))? })
    }

    /// Returns `[limited, limit, remaining, reset in, retry after, parts, counts, lapse]`. `parts` has the first five
    /// for each limit, followed by its name; `counts` are the counts after the request; `lapse` is when all of them
    /// have lapsed.
    pub fn judge(&self, now: f64, counts: &[f64], cost: f64, counting: u8) -> Array {
        let mut kept = kept(counts);
        let verdict = self.limits.judge(instant(now), &mut kept, number(cost), counted(counting));
        let parts: Array = verdict.parts().iter().map(part).collect();
        let Verdict { limited, limit, remaining, reset_in, retry_after, .. } = verdict;
        let shown = shown(limited, limit, remaining, reset_in, retry_after);
        let lapse = kept.iter().map(|count| count[5]).max().unwrap_or(0);
        let counts: Array = kept.into_iter().flatten().map(|number| JsValue::from(js(number))).collect();
        for more in [JsValue::from(parts), counts.into(), js(lapse).into()] {
            shown.push(&more);
        }
        shown
    }

    /// Whether anything is counted.
    pub fn counts(&self, now: f64, counts: &[f64]) -> bool {
        !LimitSet::is_empty(&kept(counts), instant(now))
    }
}

fn number(value: f64) -> u64 {
    count(value).unwrap_or(0)
}

fn instant(now: f64) -> Timestamp {
    Timestamp::from_millis(number(now))
}

fn counted(counting: u8) -> Counting {
    match counting {
        0 => Counting::Passing,
        1 => Counting::All,
        _ => Counting::Nothing,
    }
}

fn kept(counts: &[f64]) -> KeptCounts {
    counts.chunks_exact(6).map(|count| std::array::from_fn(|at| number(count[at]))).collect()
}

fn defined(limit: &Array) -> Limit {
    let at = |at| limit.get(at).as_f64().unwrap_or(f64::NAN);
    let defined = Limit::new(number(at(0))).window(millis(at(1)).unwrap_or_default());
    let defined = match limit.get(2).as_string().as_deref() {
        Some("fixed") => defined.fixed(),
        Some("token_bucket") => defined.token_bucket(),
        _ => defined,
    };
    defined.with(count(at(3)), Limit::burst).with(limit.get(4).as_string(), Limit::name)
}

fn shown(limited: bool, limit: u64, remaining: u64, reset_in: Duration, retry_after: Duration) -> Array {
    let (reset_in, retry_after) = (js_millis(reset_in), js_millis(retry_after));
    Array::of5(&limited.into(), &js(limit).into(), &js(remaining).into(), &reset_in.into(), &retry_after.into())
}

fn part(part: &Part) -> Array {
    let shown = shown(part.refused(), part.limit(), part.remaining(), part.reset_in(), part.retry_after());
    shown.push(&part.name().into());
    shown
}

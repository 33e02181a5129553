//! Rate limits.

use std::cell::Cell;

use tidelock::Timestamp;
use tidelock::web::{SlidingWindow, WindowVerdict};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::error::thrown;
use crate::number::{count, js, millis};

/// A sliding window whose counts are kept in JavaScript. Only numbers cross, because each check does.
#[wasm_bindgen]
#[derive(Debug)]
pub struct RawWindow {
    window: SlidingWindow,
    last: Cell<WindowVerdict>,
}

#[wasm_bindgen]
impl RawWindow {
    /// The limit and the window, in milliseconds, are checked.
    #[wasm_bindgen(constructor)]
    pub fn new(limit: f64, window: f64) -> Result<RawWindow, JsValue> {
        let window = SlidingWindow::new(count(limit).unwrap_or(0), millis(window).unwrap_or_default());
        Ok(Self { window: window.map_err(|error| thrown(&error))?, last: Cell::default() })
    }

    /// Gives whether the request passes. The rest of the verdict is there until the next one.
    pub fn judge(&self, now: f64, used: f64, before: f64, cost: f64, peeks: bool) -> bool {
        let number = |value| count(value).unwrap_or(0);
        let now = Timestamp::from_millis(number(now));
        let verdict = self.window.judge(now, number(used), number(before), number(cost), peeks);
        self.last.set(verdict);
        !verdict.refused
    }

    /// The count of the window after the request.
    #[wasm_bindgen(getter)]
    pub fn used(&self) -> f64 {
        js(self.last.get().used)
    }

    /// Units that are free.
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

//! Optional request settings, and optional values.

use wasm_bindgen::JsValue;

/// Sets the options that are given.
pub(crate) trait Optional: Sized {
    /// Sets this option if there is a value.
    fn with<V>(self, value: Option<V>, set: impl FnOnce(Self, V) -> Self) -> Self {
        match value {
            Some(value) => set(self, value),
            None => self,
        }
    }
}

impl<R> Optional for R {}

/// An optional value for JavaScript: `null` if there is none.
pub(crate) fn or_null<V: Into<JsValue>>(value: Option<V>) -> JsValue {
    value.map_or(JsValue::NULL, Into::into)
}

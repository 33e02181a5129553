//! Options of a request that may not be given, and values that may not be there.

use wasm_bindgen::JsValue;

/// Sets options that are there.
pub(crate) trait Optional: Sized {
    /// With this option, if there is a value for it.
    fn with<V>(self, value: Option<V>, set: impl FnOnce(Self, V) -> Self) -> Self {
        match value {
            Some(value) => set(self, value),
            None => self,
        }
    }
}

impl<R> Optional for R {}

/// A value that may not be there, as JavaScript has it.
pub(crate) fn or_null<V: Into<JsValue>>(value: Option<V>) -> JsValue {
    value.map_or(JsValue::NULL, Into::into)
}

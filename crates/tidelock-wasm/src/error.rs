//! Errors of the library as JavaScript errors.

use js_sys::{Error as JsError, Reflect};
use tidelock::{Error, ErrorKind};
use wasm_bindgen::JsValue;

/// An `Error` with the library's message and the error's kind.
pub(crate) fn thrown(error: &Error) -> JsValue {
    let thrown = JsError::new(&error.to_string());
    let kind = match error.kind() {
        ErrorKind::InvalidArgument => "argument",
        ErrorKind::PayloadTooLarge => "payload",
        ErrorKind::CapacityReached => "capacity",
        ErrorKind::LeaseLost => "lease_lost",
        ErrorKind::NotFound => "not_found",
        ErrorKind::Conflict => "conflict",
        _ => "other",
    };
    // A new object accepts any property.
    let _ = Reflect::set(&thrown, &"kind".into(), &kind.into());
    thrown.into()
}

//! The elements of the page, by their ids.

use std::sync::atomic::{AtomicU32, Ordering};

use tidelock::Result;
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::Closure;
use web_sys::{Document, Element, Event, HtmlInputElement, window};

fn document() -> Document {
    window().and_then(|window| window.document()).expect("a page has a document")
}

fn element(id: &str) -> Element {
    document().get_element_by_id(id).unwrap_or_else(|| panic!("the page has no #{id}"))
}

fn input(id: &str) -> HtmlInputElement {
    element(id).dyn_into().expect("a field is an input")
}

/// Runs `call` each time the form is submitted.
pub(crate) fn on_submit(form: &str, call: impl Fn() + 'static) {
    let listener = Closure::<dyn Fn(Event)>::new(move |event: Event| {
        event.prevent_default();
        call();
    });
    let listener = listener.into_js_value().unchecked_into();
    element(form).add_event_listener_with_callback("submit", &listener).expect("a form takes listeners");
}

/// The text in a field.
pub(crate) fn field(id: &str) -> String {
    input(id).value()
}

pub(crate) fn clear(field: &str) {
    input(field).set_value("");
}

pub(crate) fn show(output: &str, text: &str) {
    element(output).set_text_content(Some(text));
}

/// Shows the error, if there is one.
pub(crate) fn show_error(result: Result<()>) {
    if let Err(error) = result {
        show("error", &error.to_string());
    }
}

/// Adds an item at the top of a list. Returns its id.
pub(crate) fn add(list: &str, text: &str) -> String {
    static ADDED: AtomicU32 = AtomicU32::new(0);
    let id = format!("item-{}", ADDED.fetch_add(1, Ordering::Relaxed));
    let item = document().create_element("li").expect("every page has lists");
    item.set_id(&id);
    item.set_text_content(Some(text));
    element(list).prepend_with_node_1(&item).expect("a list takes items");
    id
}

pub(crate) fn remove(item: &str) {
    element(item).remove();
}

//! The cases of a suite, in a page.
//!
//! Rust's own test program finds them: it calls each `#[test]`, and that of an asynchronous case only puts it into this list,
//! since the page can wait for nothing while it is called. Then the page runs one after the other.

use std::cell::RefCell;
use std::future::Future;
use std::panic::set_hook;
use std::pin::Pin;

use wasm_bindgen::prelude::wasm_bindgen;

struct Case {
    name: &'static str,
    is_paused: bool,
    body: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

std::thread_local! {
    static CASES: RefCell<Vec<Case>> = const { RefCell::new(Vec::new()) };
}

#[wasm_bindgen]
extern "C" {
    /// What the page does at a panic, behind which nothing of this instance can be used any more.
    #[wasm_bindgen(js_namespace = globalThis)]
    fn panicked(message: &str);
}

/// Adds a case.
pub fn add(name: &'static str, body: impl Future<Output = ()> + 'static) {
    list(Case { name, is_paused: false, body: Some(Box::pin(body)) });
}

/// Adds a case whose time stands still while something is to be done, and else goes on to the next timer.
pub fn add_paused(name: &'static str, body: impl Future<Output = ()> + 'static) {
    list(Case { name, is_paused: true, body: Some(Box::pin(body)) });
}

fn list(case: Case) {
    CASES.with_borrow_mut(|cases| cases.push(case));
}

/// Their names.
#[wasm_bindgen]
pub fn names() -> Vec<String> {
    CASES.with_borrow(|cases| cases.iter().map(|case| case.name.to_owned()).collect())
}

/// Whether the page has to pause the time of this case.
#[wasm_bindgen]
pub fn is_paused(index: usize) -> bool {
    CASES.with_borrow(|cases| cases[index].is_paused)
}

/// Runs a case to its end, once.
#[wasm_bindgen]
pub async fn run(index: usize) {
    // Not before: the test program, which found the cases, had a hook of its own.
    set_hook(Box::new(|info| panicked(&info.to_string())));
    let body = CASES.with_borrow_mut(|cases| cases[index].body.take());
    body.expect("a case runs once").await;
}

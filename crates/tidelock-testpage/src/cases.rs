//! The cases of a suite, in a page.
//!
//! Rust's own test program finds them: it calls each `#[test]`. That of an asynchronous case only adds the case to this
//! list, because nothing can be awaited during a synchronous call in a page. Then the page runs the cases one by one.

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
    /// The page's handler for panics. After a panic, nothing of this instance can be used any more.
    #[wasm_bindgen(js_namespace = globalThis)]
    fn panicked(message: &str);
}

/// Adds a case.
pub fn add(name: &'static str, body: impl Future<Output = ()> + 'static) {
    list(Case { name, is_paused: false, body: Some(Box::pin(body)) });
}

/// Adds a case with paused time: it stands still while a task can run, and otherwise jumps to the next timer.
pub fn add_paused(name: &'static str, body: impl Future<Output = ()> + 'static) {
    list(Case { name, is_paused: true, body: Some(Box::pin(body)) });
}

fn list(case: Case) {
    CASES.with_borrow_mut(|cases| cases.push(case));
}

/// The names of the cases.
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
    // Not earlier, because the test program, which found the cases, had set its own hook.
    set_hook(Box::new(|info| panicked(&info.to_string())));
    let body = CASES.with_borrow_mut(|cases| cases[index].body.take());
    body.expect("a case runs once").await;
}

//! Calls: a result that is ready is returned, one that has to be waited for becomes a promise.

use std::cell::RefCell;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::rc::Rc;

use async_task::Task;
use js_sys::{Function, Promise};
use tidelock::web::{Begun, begin};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::error::thrown;

/// The result of a call: its answer or a [`Waiting`], or an exception.
pub(crate) type Answer = Result<JsValue, JsValue>;

/// Begins a request of the library.
pub(crate) fn call<R, T>(request: R, answer: impl FnOnce(T) -> JsValue + 'static) -> Answer
where
    R: IntoFuture<Output = tidelock::Result<T>>,
    R::IntoFuture: 'static,
    T: 'static,
{
    let request = request.into_future();
    begun(async move { request.await.map(answer).map_err(|error| thrown(&error)) })
}

/// Starts a future that returns a JavaScript value or throws one.
pub(crate) fn begun(future: impl Future<Output = Answer> + 'static) -> Answer {
    started(Box::pin(future))
}

/// A single instance of the code for all futures: a task type for each would make the package considerably larger.
fn started(future: Pin<Box<dyn Future<Output = Answer>>>) -> Answer {
    match begin(future) {
        Begun::Ready(answer) => answer,
        Begun::Pending(pending) => {
            let mut ends = None;
            let promise = Promise::new(&mut |resolve, reject| ends = Some((resolve, reject)));
            let Some((resolve, reject)) = ends else { return Err("a promise calls its executor".into()) };
            let resolved = resolve.clone();
            let tell = move |answer: Option<Answer>| {
                // The functions that settle a promise do not throw.
                let _ = match answer.unwrap_or(Ok(JsValue::NULL)) {
                    Ok(value) => resolved.call1(&JsValue::UNDEFINED, &value),
                    Err(error) => reject.call1(&JsValue::UNDEFINED, &error),
                };
            };
            let signal = Rc::<RefCell<Option<Signal>>>::default();
            let watched = Rc::clone(&signal);
            let is_withdrawn = move || watched.borrow().as_ref().is_some_and(Signal::aborted);
            let task = RefCell::new(Some(pending.when_ready(tell, is_withdrawn)));
            Ok(Waiting { promise, resolve, signal, task }.into())
        }
    }
}

#[wasm_bindgen]
extern "C" {
    /// An `AbortSignal`.
    pub type Signal;
    #[wasm_bindgen(method, getter)]
    fn aborted(this: &Signal) -> bool;
}

/// A call that has not completed. It continues even if this is dropped.
#[wasm_bindgen]
pub struct Waiting {
    promise: Promise,
    resolve: Function,
    signal: Rc<RefCell<Option<Signal>>>,
    task: RefCell<Option<Task<()>>>,
}

#[wasm_bindgen]
impl Waiting {
    /// The promise of its answer.
    #[wasm_bindgen(getter)]
    pub fn promise(&self) -> Promise {
        self.promise.clone()
    }

    /// From when the signal is aborted, the call takes nothing any more, even before it is cancelled.
    pub fn watch(&self, signal: Signal) {
        self.signal.replace(Some(signal));
    }

    /// Cancels the call if it has not completed: its promise resolves to `null`.
    pub fn cancel(&self) {
        if let Some(task) = self.task.take() {
            drop(task);
            // A function that settles a promise does not throw, and does nothing when called again.
            let _ = self.resolve.call1(&JsValue::UNDEFINED, &JsValue::NULL);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.detach();
        }
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").finish_non_exhaustive()
    }
}

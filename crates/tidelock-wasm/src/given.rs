//! Values that JavaScript provides later: a future, and the function that JavaScript calls with the value.
//!
//! Not a promise: the TypeScript layer settles its promises with such a function, which runs everything that follows
//! before it returns.

use std::cell::RefCell;
use std::future::{Future, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tidelock::web::begin;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::Closure;

#[derive(Default)]
struct Place {
    value: Option<JsValue>,
    waker: Option<Waker>,
}

/// Resolves to the value once it was given.
pub(crate) struct Given {
    place: Rc<RefCell<Place>>,
}

/// A future value, and the function that provides it, to be called once.
pub(crate) fn given() -> (Given, JsValue) {
    let place = Rc::<RefCell<Place>>::default();
    let given = Given { place: Rc::clone(&place) };
    let give = Closure::once_into_js(move |value: JsValue| {
        let waker = {
            let mut place = place.borrow_mut();
            place.value = Some(value);
            place.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        settle_down();
    });
    (given, give)
}

/// Runs all woken tasks.
pub(crate) fn settle_down() {
    drop(begin(ready(())));
}

impl Future for Given {
    type Output = JsValue;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<JsValue> {
        let mut place = self.place.borrow_mut();
        if let Some(value) = place.value.take() {
            return Poll::Ready(value);
        }
        place.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

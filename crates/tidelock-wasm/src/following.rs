//! Followers: each call gets the next item; one call at a time.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;

use futures_core::Stream;
use wasm_bindgen::JsValue;

use crate::call::{Answer, begun};
use crate::error::thrown;

/// A follower of the library's.
pub(crate) struct Following<F> {
    /// `None` while a call waits for the next item, and for ever after such a call was withdrawn, or if there is
    /// nothing to follow.
    follower: Rc<RefCell<Option<F>>>,
}

impl<F, T> Following<F>
where
    F: Stream<Item = tidelock::Result<T>> + Unpin + 'static,
{
    pub(crate) fn new(follower: Option<F>) -> Self {
        Self { follower: Rc::new(RefCell::new(follower)) }
    }

    /// Returns the next item, converted by `shown`; items for which it returns `None` are skipped. `null` at the end.
    pub(crate) fn next(&self, shown: impl Fn(T) -> Option<Answer> + 'static) -> Answer {
        let place = Rc::clone(&self.follower);
        let Some(mut follower) = place.take() else { return Ok(JsValue::NULL) };
        begun(async move {
            let next = loop {
                match poll_fn(|context| Pin::new(&mut follower).poll_next(context)).await {
                    None => break Ok(JsValue::NULL),
                    Some(Err(error)) => break Err(thrown(&error)),
                    Some(Ok(item)) => {
                        if let Some(shown) = shown(item) {
                            break shown;
                        }
                    }
                }
            };
            *place.borrow_mut() = Some(follower);
            next
        })
    }
}

impl<F> fmt::Debug for Following<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Following").finish_non_exhaustive()
    }
}

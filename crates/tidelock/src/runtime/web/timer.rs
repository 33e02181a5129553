//! The host's timers.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use js_sys::{Function, Reflect, Set};
use send_wrapper::SendWrapper;
use wasm_bindgen::prelude::{Closure, JsCast, JsValue, wasm_bindgen};

use super::executor;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = setTimeout)]
    fn set_timeout(callback: &JsValue, millis: i32) -> JsValue;
    #[wasm_bindgen(js_name = clearTimeout)]
    fn clear_timeout(timer: &JsValue);
}

/// Calls `run` after the page has had a turn.
pub(super) fn at_next_turn(run: fn()) {
    set_timeout(&Closure::once_into_js(run), 0);
}

/// Calls a method of a timer. Only in Node and Bun are timers objects.
fn tell(timer: &JsValue, method: &str) {
    let method = timer.is_object().then(|| Reflect::get(timer, &method.into()).ok()).flatten();
    // It cannot fail for a timer; if it does, the process merely lives longer.
    let _ = method.as_ref().and_then(|method| method.dyn_ref::<Function>()?.call0(timer).ok());
}

/// Sets whether a timer keeps the process alive. Returns whether the host has processes at all.
fn hold(timer: &JsValue, holds: bool) -> bool {
    if timer.is_object() {
        tell(timer, if holds { "ref" } else { "unref" });
        return true;
    }
    let deno = Reflect::get(&js_sys::global(), &"Deno".into()).unwrap_or_default();
    let method = if holds { "refTimer" } else { "unrefTimer" };
    if deno.is_object()
        && let Ok(method) = Reflect::get(&deno, &method.into())
        && let Some(method) = method.dyn_ref::<Function>()
    {
        // Ignored, as above.
        let _ = method.call1(&deno, timer);
    }
    deno.is_object()
}

/// The timers of background tasks, on hosts with processes. They do not keep the process alive; but while somebody
/// awaits a call, one of them does, since the call may depend on it.
struct Background {
    timers: Set,
    count: Cell<usize>,
    waiting: Cell<usize>,
    holding: Cell<Option<JsValue>>,
}

std::thread_local! {
    static BACKGROUND: Background = Background {
        timers: Set::new(&JsValue::UNDEFINED),
        count: Cell::new(0),
        waiting: Cell::new(0),
        holding: Cell::new(None),
    };
}

impl Background {
    fn add(&self, timer: &JsValue) {
        self.timers.add(timer);
        self.count.set(self.count.get() + 1);
        self.settle();
    }

    fn remove(&self, timer: &JsValue) {
        self.timers.delete(timer);
        self.count.set(self.count.get() - 1);
        self.settle();
    }

    /// Makes one timer keep the process alive, or none.
    fn settle(&self) {
        let is_wanted = self.waiting.get() > 0 && self.count.get() > 0;
        let mut holding = self.holding.take().filter(|timer| self.timers.has(timer));
        if !is_wanted && let Some(timer) = holding.take() {
            hold(&timer, false);
        }
        if is_wanted && holding.is_none() {
            holding = self.timers.values().next().ok().map(|first| first.value());
            if let Some(timer) = &holding {
                hold(timer, true);
            }
        }
        self.holding.set(holding);
    }
}

/// Marks that somebody awaits a call, as long as this lives.
pub(super) struct Awaited(());

impl Awaited {
    pub(super) fn begin() -> Self {
        BACKGROUND.with(|background| {
            background.waiting.set(background.waiting.get() + 1);
            background.settle();
        });
        Self(())
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        BACKGROUND.with(|background| {
            background.waiting.set(background.waiting.get() - 1);
            background.settle();
        });
    }
}

/// One timer of the host; dropping it clears it.
struct Timeout {
    id: JsValue,
    is_over: Rc<Cell<bool>>,
    waker: Rc<RefCell<Waker>>,
    is_in_background: bool,
}

impl Timeout {
    fn set(millis: i32, waker: &Waker) -> Self {
        let is_over = Rc::new(Cell::new(false));
        let waker = Rc::new(RefCell::new(waker.clone()));
        let (over, wakes) = (Rc::clone(&is_over), Rc::clone(&waker));
        // The closure is handed over to the page, which frees it when collected: a timer set before a test replaced the
        // timer functions cannot be cleared by the replacement, and still fires.
        let callback = Closure::<dyn FnMut()>::new(move || {
            if !over.replace(true) {
                wakes.borrow().wake_by_ref();
                executor::run();
            }
        });
        let id = set_timeout(&callback.into_js_value(), millis);
        let is_in_background = !executor::is_awaited() && hold(&id, false);
        if is_in_background {
            BACKGROUND.with(|background| background.add(&id));
        }
        Self { id, is_over, waker, is_in_background }
    }
}

impl Drop for Timeout {
    fn drop(&mut self) {
        if !self.is_over.replace(true) {
            // Node leaks the list for a timer's duration if the timer is cleared while unreferenced.
            tell(&self.id, "ref");
            clear_timeout(&self.id);
            // If a test has replaced the clear function, the timer is still set: it must not keep the process alive.
            tell(&self.id, "unref");
        }
        if self.is_in_background {
            BACKGROUND.with(|background| background.remove(&self.id));
        }
    }
}

/// Resolves after a duration; with a zero duration, it lets the page's other events run first.
///
/// The host's timers overflow at 2^31 ms and then fire at once, so long waits are taken in steps.
pub(crate) struct Sleep {
    /// Milliseconds for which no timer has been set yet.
    left: u128,
    timeout: Option<SendWrapper<Timeout>>,
}

impl Sleep {
    pub(crate) fn new(duration: Duration) -> Self {
        Self { left: duration.as_nanos().div_ceil(1_000_000), timeout: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if let Some(timeout) = &self.timeout {
            if !timeout.is_over.get() {
                timeout.waker.borrow_mut().clone_from(context.waker());
                return Poll::Pending;
            }
            if self.left == 0 {
                self.timeout = None;
                return Poll::Ready(());
            }
        }
        let step = i32::try_from(self.left).unwrap_or(i32::MAX);
        self.left -= u128::from(step.unsigned_abs());
        self.timeout = Some(SendWrapper::new(Timeout::set(step, context.waker())));
        Poll::Pending
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("left", &self.left).finish_non_exhaustive()
    }
}

/// As [`Sleep`].
pub(crate) fn sleep(duration: Duration) -> Sleep {
    Sleep::new(duration)
}

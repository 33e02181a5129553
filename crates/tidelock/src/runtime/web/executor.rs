//! The executor of a page: tasks run as far as they can, then the page gets its turn.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use async_task::{Runnable, Task};
use wasm_bindgen::prelude::{Closure, JsValue, wasm_bindgen};

use super::timer::Awaited;
use crate::runtime::BoxFuture;

/// How long tasks may run before the page gets a turn, in milliseconds.
const STRETCH: u64 = 8;
/// Number of tasks run between two checks of the clock.
const LOOK_EACH: u32 = 16;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = crypto, js_name = getRandomValues)]
    fn fill_with_random(bytes: &mut [u8]);
}

/// Seeds the random number generator from the host; by itself it would start with the same seed in every page.
pub(crate) fn seed() {
    std::thread_local! {
        static SEEDED: Cell<bool> = const { Cell::new(false) };
    }
    if !SEEDED.replace(true) {
        let mut bytes = [0; 8];
        fill_with_random(&mut bytes);
        fastrand::seed(u64::from_le_bytes(bytes));
    }
}

/// The queue of ready tasks.
#[derive(Default)]
struct Turn {
    ready: RefCell<VecDeque<Runnable>>,
    /// Tasks are running, or will run before the page's other events.
    is_due: Cell<bool>,
    is_running: Cell<bool>,
    /// The current code belongs to a call that somebody awaits.
    is_awaited: Cell<bool>,
}

std::thread_local! {
    static TURN: Turn = Turn::default();
}

fn schedule(task: Runnable) {
    TURN.with(|turn| {
        turn.ready.borrow_mut().push_back(task);
        if !turn.is_running.get() && !turn.is_due.replace(true) {
            soon();
        }
    });
}

/// Runs ready tasks before the page's other events.
fn soon() {
    std::thread_local! {
        static RUN: Closure<dyn FnMut(JsValue)> = Closure::new(|_| run());
    }
    // Not `queueMicrotask`, which tests replace.
    RUN.with(|run| drop(js_sys::Promise::resolve(&JsValue::UNDEFINED).then(run)));
}

/// Runs ready tasks until none is left, or until the page should get a turn.
///
/// A task may call into the page's code, which may call back: then ready tasks run within that nested call, as they
/// would anywhere else.
pub(super) fn run() {
    TURN.with(|turn| {
        turn.is_due.set(false);
        // Usually the call has woken nothing.
        if turn.ready.borrow().is_empty() {
            return;
        }
        let is_nested = turn.is_running.replace(true);
        // Tasks do not belong to the call that happens to run them.
        let is_awaited = turn.is_awaited.replace(false);
        let end = super::wall_clock_millis() + STRETCH;
        let mut ran = 0_u32;
        let rest = loop {
            // Not in a `while let`, which would hold the borrow while the task runs.
            let next = turn.ready.borrow_mut().pop_front();
            let Some(task) = next else { break false };
            task.run();
            ran += 1;
            if ran.is_multiple_of(LOOK_EACH) && super::wall_clock_millis() > end {
                break !turn.ready.borrow().is_empty();
            }
        };
        turn.is_awaited.set(is_awaited);
        turn.is_running.set(is_nested);
        if rest && !is_nested && !turn.is_due.replace(true) {
            super::timer::at_next_turn(run);
        }
    });
}

/// Whether the current code belongs to a call that somebody awaits.
pub(super) fn is_awaited() -> bool {
    TURN.with(|turn| turn.is_awaited.get())
}

/// Runs a task in the background.
pub(super) fn spawn(future: impl Future<Output = ()> + Send + 'static) {
    spawn_boxed(Box::pin(future));
}

/// A single instance of the code for all tasks, to keep the package for pages small.
fn spawn_boxed(future: BoxFuture<'static, ()>) {
    let (runnable, task) = async_task::spawn(future, schedule);
    task.detach();
    schedule(runnable);
}

/// A call that was run as far as it could go at once.
#[derive(Debug)]
pub enum Begun<T> {
    /// The call has completed.
    Ready(T),
    /// The call waits for something.
    Pending(Pending<T>),
}

/// The state of a call's result.
enum Outcome<T> {
    None,
    Ready(T),
    /// The waiting caller has to be told.
    Wanted(Wanted<T>),
}

/// The caller that waits for a result.
struct Wanted<T> {
    tell: Box<dyn FnOnce(Option<T>)>,
    is_withdrawn: Box<dyn Fn() -> bool>,
    _awaited: Awaited,
}

/// A call that waits. Dropping it cancels it.
pub struct Pending<T> {
    outcome: Rc<RefCell<Outcome<T>>>,
    task: Task<()>,
}

impl<T: 'static> Pending<T> {
    /// Passes the result to `tell`. Dropping the returned task cancels the call. So does `is_withdrawn`, which is
    /// checked each time before the call continues: then `tell` gets `None`.
    pub fn when_ready(
        self,
        tell: impl FnOnce(Option<T>) + 'static,
        is_withdrawn: impl Fn() -> bool + 'static,
    ) -> Task<()> {
        let (tell, is_withdrawn) = (Box::new(tell), Box::new(is_withdrawn));
        *self.outcome.borrow_mut() = Outcome::Wanted(Wanted { tell, is_withdrawn, _awaited: Awaited::begin() });
        self.task
    }
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}

/// Begins a call: runs it, and everything that it wakes, as far as possible before returning.
pub fn begin<T: 'static>(mut future: impl Future<Output = T> + Unpin + 'static) -> Begun<T> {
    // Most calls complete at once and need no task. One that does not is polled again as a task, so that it can be
    // woken, but only after the tasks that it has woken itself.
    let first = awaited(|| Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop())));
    if let Poll::Ready(value) = first {
        run();
        return Begun::Ready(value);
    }
    let outcome = Rc::new(RefCell::new(Outcome::None));
    let told = Rc::clone(&outcome);
    let call = async move {
        let value = poll_fn(|context| {
            if let Outcome::Wanted(wanted) = &*told.borrow()
                && (wanted.is_withdrawn)()
            {
                return Poll::Ready(None);
            }
            awaited(|| Pin::new(&mut future).poll(context)).map(Some)
        });
        let value = value.await;
        // If the call was withdrawn, whatever it had taken is given back before the caller is told.
        drop(future);
        let before = std::mem::replace(&mut *told.borrow_mut(), Outcome::None);
        match (before, value) {
            (Outcome::Wanted(Wanted { tell, .. }), value) => tell(value),
            (_, Some(value)) => *told.borrow_mut() = Outcome::Ready(value),
            (_, None) => {}
        }
    };
    let (runnable, task) = async_task::spawn_local(call, schedule);
    TURN.with(|turn| turn.ready.borrow_mut().push_back(runnable));
    run();
    let now = std::mem::replace(&mut *outcome.borrow_mut(), Outcome::None);
    match now {
        Outcome::Ready(value) => {
            task.detach();
            Begun::Ready(value)
        }
        _ => Begun::Pending(Pending { outcome, task }),
    }
}

/// Polls on behalf of a call that somebody awaits.
fn awaited<T>(poll: impl FnOnce() -> T) -> T {
    let before = TURN.with(|turn| turn.is_awaited.replace(true));
    let polled = poll();
    TURN.with(|turn| turn.is_awaited.set(before));
    polled
}

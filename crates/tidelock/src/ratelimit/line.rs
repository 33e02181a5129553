//! The lines of waiting `acquire`s in this process: one per identifier, in order of arrival.
//!
//! An `acquire` waits from its first refusal on, or from the start if others are waiting. While nobody waits, all send
//! their checks concurrently, each holding its place in case it is refused. Sent one after the other, each call would
//! take a round trip of its own.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::verdict::Verdict;
use crate::hash::HashMap;
use crate::name::Address;
use crate::time::Tick;

/// Lines by limiter and identifier. A line exists while somebody is in it.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    lines: Mutex<ByLimiter>,
}

type ByLimiter = HashMap<Address, HashMap<Arc<str>, Standing>>;

/// A line, and the number of places taken in it.
#[derive(Debug, Default)]
struct Standing {
    line: Arc<Line>,
    places: usize,
}

/// One line. The holder of `turn` is first in line and, while anybody waits, the only one that sends checks.
#[derive(Debug, Default)]
struct Line {
    turn: tokio::sync::Mutex<()>,
    /// Number of waiting calls.
    waiting: AtomicUsize,
    again: Notify,
    /// The latest refusal of the first in line, and when it expects to pass.
    refusal: Mutex<Option<(Verdict, Tick)>>,
}

impl Lines {
    /// Joins the line of `identifier` at its end.
    pub(super) fn join(self: &Arc<Self>, address: &Address, identifier: &str) -> Place {
        let identifier: Arc<str> = identifier.into();
        let mut lines = self.lock();
        let standing = lines.entry(address.clone()).or_default().entry(Arc::clone(&identifier)).or_default();
        standing.places += 1;
        let line = Arc::clone(&standing.line);
        Place { lines: Arc::clone(self), address: address.clone(), identifier, line, waits: AtomicBool::new(false) }
    }

    /// Makes the first in line check again at once: for one identifier of a limiter, or for all.
    pub(super) fn look_again(&self, address: &Address, identifier: Option<&str>) {
        let lines = self.lock();
        let Some(of_limiter) = lines.get(address) else { return };
        match identifier {
            Some(identifier) => of_limiter.get(identifier).into_iter().for_each(|known| known.line.look_again()),
            None => of_limiter.values().for_each(|known| known.line.look_again()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, ByLimiter> {
        self.lines.lock().expect("no code panics while it holds this lock")
    }
}

/// A place in a line. Dropping it leaves the line.
#[derive(Debug)]
pub(super) struct Place {
    lines: Arc<Lines>,
    address: Address,
    identifier: Arc<str>,
    line: Arc<Line>,
    waits: AtomicBool,
}

impl Place {
    /// Whether anybody in the line is waiting.
    pub(super) fn is_anybody_waiting(&self) -> bool {
        self.line.waiting.load(Ordering::Acquire) > 0
    }

    /// Marks this call as waiting until it leaves: later arrivals no longer send checks before it.
    pub(super) fn wait(&self) {
        if !self.waits.swap(true, Ordering::AcqRel) {
            self.line.waiting.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// The latest refusal of the first in line, if that one still waits.
    pub(super) fn refusal(&self) -> Option<(Verdict, Tick)> {
        self.line.refusal().clone()
    }

    /// Resolves when it is this call's turn. Fair: in the order in which the futures were first polled.
    pub(super) async fn turn(&self) -> Turn<'_> {
        let held = self.line.turn.lock().await;
        Turn { line: &self.line, _held: held }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if *self.waits.get_mut() {
            self.line.waiting.fetch_sub(1, Ordering::AcqRel);
        }
        let mut lines = self.lines.lock();
        let Some(of_limiter) = lines.get_mut(&self.address) else { return };
        if let Some(standing) = of_limiter.get_mut(&self.identifier) {
            standing.places -= 1;
            if standing.places == 0 {
                of_limiter.remove(&self.identifier);
            }
        }
        if of_limiter.is_empty() {
            lines.remove(&self.address);
        }
    }
}

/// The right to send checks. Dropping it passes the turn on.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    line: &'a Line,
    _held: tokio::sync::MutexGuard<'a, ()>,
}

impl Turn<'_> {
    /// Resolves at the next call of [`Lines::look_again`].
    pub(super) fn look_again(&self) -> Notified<'_> {
        self.line.again.notified()
    }

    /// Shares a refusal with the calls behind.
    pub(super) fn refused(&self, verdict: &Verdict, passes: Tick) {
        *self.line.refusal() = Some((verdict.clone(), passes));
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.line.refusal() = None;
    }
}

impl Line {
    fn look_again(&self) {
        self.again.notify_waiters();
    }

    fn refusal(&self) -> MutexGuard<'_, Option<(Verdict, Tick)>> {
        self.refusal.lock().expect("no code panics while it holds this lock")
    }
}

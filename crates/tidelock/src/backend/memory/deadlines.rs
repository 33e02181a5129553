//! An index of the objects of a store by their next deadline, so that the cost of a deadline does not grow with the
//! number of objects.
//!
//! An object is filed at most once, at its next deadline or earlier. A deadline that moves later, as a lease's does
//! with each message, leaves the index unchanged: the sweep that finds the object too early files it again.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{NEVER, NO_PANIC, Timer};
use crate::name::Address;
use crate::time::{Now, Timestamp};

/// Objects per sweep, so that a busy timer lets other tasks run.
const AT_ONCE: usize = 100;
/// Objects per sweep among those that were set aside.
const ASIDE_AT_ONCE: usize = 10;
/// The time at which objects are filed that are set aside: empty ones that are in use. They have no deadline, so that
/// a page in which a receiver waits for days sets no timer for its empty queue. They are checked when another deadline
/// comes.
const ASIDE: u64 = NEVER - 1;

/// The deadlines of the objects of one store.
pub(crate) struct Deadlines {
    timer: Arc<Timer>,
    filed: Mutex<Filed>,
}

#[derive(Default)]
struct Filed {
    /// The number distinguishes objects that are filed at the same instant.
    entries: BTreeMap<(Timestamp, u64), Arc<Address>>,
    /// The last number that was given.
    numbers: u64,
}

/// The place of one object in the index, stored in the object.
#[derive(Debug)]
pub(crate) struct Mark {
    /// [`NEVER`] while it is not filed.
    at: AtomicU64,
    /// 0 until it is filed for the first time.
    number: AtomicU64,
}

impl Default for Mark {
    fn default() -> Self {
        Self { at: AtomicU64::new(NEVER), number: AtomicU64::new(0) }
    }
}

/// Omits the contents, which may be large.
impl fmt::Debug for Deadlines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deadlines").finish_non_exhaustive()
    }
}

impl Deadlines {
    pub(crate) fn new(timer: &Arc<Timer>) -> Self {
        Self { timer: Arc::clone(timer), filed: Mutex::default() }
    }

    pub(crate) fn timer(&self) -> &Arc<Timer> {
        &self.timer
    }

    pub(crate) fn now(&self) -> Now {
        Now::from_millis(self.timer.clock().now().as_millis())
    }

    /// Schedules a sweep of the object at `at` or earlier. Called after each step. Costs two atomic loads unless `at`
    /// is earlier than the filed deadline.
    ///
    /// No deadline is lost to a race: a sweep clears the mark before it locks the object, and a step files after it has
    /// locked the object. A step that still finds the old mark has therefore locked the object before the sweep, which
    /// sees what the step did.
    pub(crate) fn file(&self, mark: &Mark, address: &Address, at: u64) {
        let filed = mark.at.load(Ordering::Relaxed);
        if at < filed {
            self.file_earlier(mark, address, at);
        }
        // Even if the object was filed long ago, because the timer may have ended with its runtime.
        self.timer.arm(Timestamp::from_millis(at.min(filed)));
    }

    #[cold]
    fn file_earlier(&self, mark: &Mark, address: &Address, at: u64) {
        let mut filed = self.lock();
        let before = mark.at.load(Ordering::Relaxed);
        if at >= before {
            return;
        }
        let mut number = mark.number.load(Ordering::Relaxed);
        if number == 0 {
            number = filed.draw();
            mark.number.store(number, Ordering::Relaxed);
        }
        let known = filed.entries.remove(&(Timestamp::from_millis(before), number));
        let address = known.unwrap_or_else(|| Arc::new(address.clone()));
        filed.entries.insert((Timestamp::from_millis(at), number), address);
        mark.at.store(at, Ordering::Relaxed);
    }

    /// Has an object that is in use checked when another one is swept, unless it is filed already.
    pub(crate) fn set_aside(&self, mark: &Mark, address: &Address) {
        if mark.at.load(Ordering::Relaxed) != NEVER {
            return;
        }
        let mut filed = self.lock();
        if mark.at.load(Ordering::Relaxed) != NEVER {
            return;
        }
        // `take_due` takes the last entry first. Numbers fall, so that is the object that was checked longest ago.
        let number = !filed.draw();
        filed.entries.insert((Timestamp::from_millis(ASIDE), number), Arc::new(address.clone()));
        mark.number.store(number, Ordering::Relaxed);
        mark.at.store(ASIDE, Ordering::Relaxed);
    }

    /// Removes and returns some of the objects that are due or set aside, with the time at which each was filed. The
    /// caller calls [`Mark::take_off`], sweeps the object and files it again.
    pub(crate) fn take_due(&self, now: Now) -> Vec<(u64, Arc<Address>)> {
        let mut filed = self.lock();
        let mut due = Vec::new();
        while due.len() < AT_ONCE {
            let first = filed.entries.first_entry().filter(|first| first.key().0.as_millis() <= now.ms);
            let Some(first) = first else { break };
            let ((at, _), address) = first.remove_entry();
            due.push((at.as_millis(), address));
        }
        for _ in 0..ASIDE_AT_ONCE {
            let last = filed.entries.last_entry().filter(|last| last.key().0.as_millis() == ASIDE);
            let Some(last) = last else { break };
            due.push((ASIDE, last.remove()));
        }
        due
    }

    /// The next deadline.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        let next = self.lock().entries.first_key_value().map(|((at, _), _)| *at);
        next.filter(|at| at.as_millis() < ASIDE)
    }

    fn lock(&self) -> MutexGuard<'_, Filed> {
        self.filed.lock().expect(NO_PANIC)
    }

    /// The numbers of objects that have a deadline, and of those that are set aside.
    #[cfg(test)]
    pub(crate) fn len(&self) -> (usize, usize) {
        let filed = self.lock();
        let aside = filed.entries.keys().filter(|(at, _)| at.as_millis() == ASIDE).count();
        (filed.entries.len() - aside, aside)
    }
}

impl Filed {
    fn draw(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }
}

impl Mark {
    /// Clears the mark of an object that [`Deadlines::take_due`] returned with `at`, unless it was filed again since.
    pub(crate) fn take_off(&self, at: u64) {
        _ = self.at.compare_exchange(at, NEVER, Ordering::Relaxed, Ordering::Relaxed);
    }
}

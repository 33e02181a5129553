//! A leadership: its epoch, and how long it can be proven.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::proof::{Moment, Proof};
use crate::time::{Clock, Tick};

/// One leadership of this instance.
#[derive(Debug)]
pub(super) struct Term {
    pub(super) epoch: u64,
    proof: Mutex<Proof>,
    over: AtomicBool,
    /// Whether the end was reported.
    told: AtomicBool,
    ended: Notify,
}

impl Term {
    pub(super) fn new(epoch: u64, proof: Proof) -> Arc<Self> {
        Arc::new(Self {
            epoch,
            proof: Mutex::new(proof),
            over: AtomicBool::new(false),
            told: AtomicBool::new(false),
            ended: Notify::new(),
        })
    }

    fn proof(&self) -> MutexGuard<'_, Proof> {
        self.proof.lock().expect("no code panics while it holds this lock")
    }

    pub(super) fn renew(&self, proof: Proof) {
        *self.proof() = proof;
    }

    /// Whether the end must still be reported. Returns true once.
    pub(super) fn is_untold(&self) -> bool {
        !self.told.swap(true, Ordering::AcqRel)
    }

    /// The instant at which it ends unless it is renewed.
    pub(super) fn until(&self) -> Tick {
        self.proof().until()
    }

    /// Whether it can be proven now.
    pub(super) fn holds(&self, clock: &Clock) -> bool {
        !self.over.load(Ordering::Acquire) && !self.proof().left(Moment::of(clock)).is_zero()
    }

    /// Resolves when the leadership was ended.
    pub(super) async fn over(&self) {
        loop {
            let ended = self.ended.notified();
            if self.over.load(Ordering::Acquire) {
                return;
            }
            ended.await;
        }
    }
}

/// The current leadership of this instance, if any.
#[derive(Debug, Default)]
pub(super) struct Office {
    term: Mutex<Option<Arc<Term>>>,
}

impl Office {
    fn lock(&self) -> MutexGuard<'_, Option<Arc<Term>>> {
        self.term.lock().expect("no code panics while it holds this lock")
    }

    pub(super) fn current(&self) -> Option<Arc<Term>> {
        self.lock().clone()
    }

    pub(super) fn take(&self, term: &Arc<Term>) {
        *self.lock() = Some(Arc::clone(term));
    }

    /// Ends this leadership. Returns false if it was over already.
    pub(super) fn leave(&self, term: &Arc<Term>) -> bool {
        let mut current = self.lock();
        let is_it = current.as_ref().is_some_and(|current| Arc::ptr_eq(current, term));
        if is_it {
            *current = None;
        }
        drop(current);
        term.over.store(true, Ordering::Release);
        term.ended.notify_waiters();
        is_it
    }
}

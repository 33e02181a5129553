//! The tray between pulse and desk: what a beat showed stays there until the desk takes it, and the desk reports how
//! much more it can take.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use super::term::Term;
use crate::scheduler::store::{Busy, DueView, TriggerView};
use crate::time::Tick;

/// What a beat showed.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) term: Arc<Term>,
    /// The backend's now, and when it was received.
    pub(super) now: u64,
    pub(super) heard: Tick,
    pub(super) due: Vec<DueView>,
    pub(super) triggers: Vec<TriggerView>,
    pub(super) zones: Option<Arc<str>>,
}

/// The tray itself.
#[derive(Debug, Default)]
struct Tray {
    /// How many due schedules the desk can take; 0 if it is busy.
    room: AtomicUsize,
    freed: Notify,
    asked: Notify,
    lying: Mutex<Lying>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Lying {
    work: Option<Work>,
    /// What is in flight, or has landed but is not written yet. A beat sent before that write does not know about it,
    /// and would show a failed slot for an immediate retry.
    under_way: Busy,
}

/// The pulse's end.
#[derive(Debug)]
pub(super) struct Out(Arc<Tray>);

/// The desk's end.
#[derive(Debug)]
pub(super) struct In(Arc<Tray>);

pub(super) fn inbox() -> (Out, In) {
    let tray = Arc::<Tray>::default();
    (Out(Arc::clone(&tray)), In(tray))
}

impl Tray {
    fn lock(&self) -> MutexGuard<'_, Lying> {
        self.lying.lock().expect("no code panics while it holds this lock")
    }
}

impl Out {
    pub(super) fn room(&self) -> usize {
        self.0.room.load(Ordering::Acquire)
    }

    /// What a beat must not show.
    pub(super) fn under_way(&self) -> Busy {
        self.0.lock().under_way.clone()
    }

    /// Puts what a beat showed into the tray. Older work in it is outdated.
    pub(super) fn hand_over(&self, work: Work) {
        let mut lying = self.0.lock();
        self.0.room.store(0, Ordering::Release);
        lying.work = Some(work);
        drop(lying);
        self.0.arrived.notify_one();
    }

    /// Resolves when the desk can take work.
    pub(super) async fn free(&self) {
        loop {
            let freed = self.0.freed.notified();
            if self.room() > 0 {
                return;
            }
            freed.await;
        }
    }

    /// Resolves when the desk wants a beat at once.
    pub(super) async fn asked(&self) {
        self.0.asked.notified().await;
    }
}

impl In {
    pub(super) async fn take(&self) -> Work {
        loop {
            self.0.arrived.notified().await;
            let work = self.0.lock().work.take();
            if let Some(work) = work {
                return work;
            }
        }
    }

    /// The desk can take `room` more in addition to what is in flight. Ignored while there is work in the tray: that
    /// work will be in flight, and a beat sent before then would show it again.
    pub(super) fn want(&self, room: usize, under_way: Busy) {
        let mut lying = self.0.lock();
        if lying.work.is_some() {
            return;
        }
        lying.under_way = under_way;
        self.0.room.store(room, Ordering::Release);
        self.0.freed.notify_waiters();
    }

    pub(super) fn ask(&self) {
        self.0.asked.notify_one();
    }
}

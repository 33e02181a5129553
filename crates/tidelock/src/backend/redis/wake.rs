//! Wake-ups: messages that servers publish to this process, delivered to the objects that wait here.

use crate::hash::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, Weak};

/// An object in this process that waits for events.
pub(crate) trait Wakeable: Send + Sync {
    /// An event for the object. The script defines `detail`.
    fn woken(&self, detail: &[u8]);
    /// The connection was lost, or is back. Events may have been lost, so query again. Without a connection the query
    /// reports that.
    fn reset(&self);
}

/// Waiting objects, by their hash tags.
#[derive(Default)]
pub(crate) struct Wakes {
    waiting: Mutex<HashMap<Arc<str>, Weak<dyn Wakeable>>>,
}

impl Wakes {
    /// From now on events for the object with `tag` go to `waiter`, until it is dropped and `forget` is called.
    pub(crate) fn register(&self, tag: &Arc<str>, waiter: Weak<dyn Wakeable>) {
        self.lock().insert(Arc::clone(tag), waiter);
    }

    /// Drops the registration of `tag` if its waiter is gone.
    pub(crate) fn forget(&self, tag: &str) {
        let mut waiting = self.lock();
        if waiting.get(tag).is_some_and(|waiter| waiter.strong_count() == 0) {
            waiting.remove(tag);
        }
    }

    /// Delivers one message: the tag, a line feed, the detail.
    pub(crate) fn deliver(&self, message: &[u8]) {
        let end = message.iter().position(|byte| *byte == b'\n').unwrap_or(message.len());
        let Ok(tag) = std::str::from_utf8(&message[..end]) else { return };
        let waiter = self.lock().get(tag).and_then(Weak::upgrade);
        if let Some(waiter) = waiter {
            waiter.woken(message.get(end + 1..).unwrap_or_default());
        }
    }

    /// Tells all objects that events may have been lost.
    pub(crate) fn reset(&self) {
        let waiters: Vec<_> = self.lock().values().filter_map(Weak::upgrade).collect();
        for waiter in waiters {
            waiter.reset();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, Weak<dyn Wakeable>>> {
        self.waiting.lock().expect("no code panics while it holds this lock")
    }
}

impl fmt::Debug for Wakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wakes").field("objects", &self.lock().len()).finish()
    }
}

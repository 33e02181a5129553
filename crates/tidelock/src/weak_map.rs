//! What handles to one object share, found by its name for as long as anybody uses it.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

/// Shared values by key. A value lives as long as somebody outside holds it; then its place is [`forget`]ten.
///
/// [`forget`]: WeakMap::forget
pub(crate) struct WeakMap<K, V> {
    known: Mutex<HashMap<K, Weak<V>>>,
}

impl<K: Clone + Eq + Hash, V> WeakMap<K, V> {
    /// The value of `key`: the same for all who ask. `make` must not ask this map.
    pub(crate) fn get_or_insert(&self, key: &K, make: impl FnOnce() -> Arc<V>) -> Arc<V> {
        let mut known = self.lock();
        if let Some(value) = known.get(key).and_then(Weak::upgrade) {
            return value;
        }
        let value = make();
        known.insert(key.clone(), Arc::downgrade(&value));
        value
    }

    /// Gives up the place of a value that is gone: its `Drop` calls this.
    pub(crate) fn forget<Q: Eq + Hash + ?Sized>(&self, key: &Q)
    where
        K: Borrow<Q>,
    {
        let mut known = self.lock();
        if known.get(key).is_some_and(|value| value.strong_count() == 0) {
            known.remove(key);
            if known.capacity() > 4 * known.len() + 64 {
                known.shrink_to_fit();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Weak<V>>> {
        self.known.lock().expect("no code panics while it holds this lock")
    }
}

impl<K, V> Default for WeakMap<K, V> {
    fn default() -> Self {
        Self { known: Mutex::default() }
    }
}

impl<K, V> fmt::Debug for WeakMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakMap").finish_non_exhaustive()
    }
}

//! What all handles to one object share, found by name for as long as anybody uses it.

use crate::hash::HashMap;
use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

/// Shared values by key. A value lives as long as somebody outside holds it; then its entry is [`forget`]ten.
///
/// [`forget`]: WeakMap::forget
pub(crate) struct WeakMap<K, V> {
    known: Mutex<HashMap<K, Weak<V>>>,
}

impl<K: Clone + Eq + Hash, V> WeakMap<K, V> {
    /// The value of `key`, the same for all callers. `make` must not use this map.
    pub(crate) fn get_or_insert(&self, key: &K, make: impl FnOnce() -> Arc<V>) -> Arc<V> {
        let mut known = self.lock();
        if let Some(value) = known.get(key).and_then(Weak::upgrade) {
            return value;
        }
        let value = make();
        known.insert(key.clone(), Arc::downgrade(&value));
        value
    }

    /// Removes the entry of a value that is gone. The value's `Drop` calls this.
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

/// One value, shared by all callers as long as any of them holds it.
pub(crate) struct WeakSlot<V>(Mutex<Weak<V>>);

impl<V> WeakSlot<V> {
    /// The value, if somebody holds it.
    pub(crate) fn get(&self) -> Option<Arc<V>> {
        self.lock().upgrade()
    }

    /// The value that somebody holds, or else a new one.
    pub(crate) fn get_or_default(&self) -> Arc<V>
    where
        V: Default,
    {
        let mut known = self.lock();
        known.upgrade().unwrap_or_else(|| {
            let value = Arc::<V>::default();
            *known = Arc::downgrade(&value);
            value
        })
    }

    /// Whether somebody holds it.
    pub(crate) fn is_held(&self) -> bool {
        self.lock().strong_count() > 0
    }

    fn lock(&self) -> MutexGuard<'_, Weak<V>> {
        self.0.lock().expect("no code panics while it holds this lock")
    }
}

impl<V> Default for WeakSlot<V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<V> fmt::Debug for WeakSlot<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WeakSlot").field(&self.is_held()).finish()
    }
}

impl<K, V> fmt::Debug for WeakMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakMap").finish_non_exhaustive()
    }
}

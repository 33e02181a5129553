//! Maps and sets by hash, as everything here has them: quick to hash small keys, and each seeded at random, so that nobody
//! can choose keys that meet. The hasher of the standard library withstands more, at several times the price.

use foldhash::fast::RandomState;

pub(crate) type HashMap<K, V> = std::collections::HashMap<K, V, RandomState>;
pub(crate) type HashSet<T> = std::collections::HashSet<T, RandomState>;

//! The hash maps and sets of the library: fast for small keys, and each with a random seed, so that nobody can choose
//! keys that collide. The standard library's hasher resists more attacks, at several times the cost.

use foldhash::fast::RandomState;

pub(crate) type HashMap<K, V> = std::collections::HashMap<K, V, RandomState>;
pub(crate) type HashSet<T> = std::collections::HashSet<T, RandomState>;

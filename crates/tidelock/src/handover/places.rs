//! Delivery order: places of what is ready, and lines for what must be delivered one at a time. Part of pure models.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Where a ready message stands: rank (lower first), standing time, order among those with the same time, id.
pub(crate) type Standing = (u8, u64, u64, u64);

/// The order in which messages are handed out.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// What may be handed out, in order.
    pub(crate) ready: BTreeSet<Standing>,
    /// Unfinished messages with an ordering key: (key, order of joining) to id. The first of each key is its head.
    pub(crate) lines: BTreeMap<(Arc<str>, u64), u64>,
    /// How many are due but wait for the head of their line.
    pub(crate) blocked: u64,
}

impl Places {
    /// Joins the end of a key's line. `join` must be greater than that of every earlier member.
    pub(crate) fn join(&mut self, key: &Arc<str>, join: u64, id: u64) {
        self.lines.insert((Arc::clone(key), join), id);
    }

    /// Whether its line lets it through: it is the head, or has no key.
    pub(crate) fn may_go(&self, key: Option<&Arc<str>>, id: u64) -> bool {
        key.is_none_or(|key| self.head(key) == Some(id))
    }

    fn head(&self, key: &Arc<str>) -> Option<u64> {
        let from = (Arc::clone(key), 0);
        self.lines.range(from..).next().filter(|((line, _), _)| line == key).map(|(_, id)| *id)
    }

    /// Leaves a key's line. Returns the new head if there is one because of that.
    pub(crate) fn leave(&mut self, key: &Arc<str>, join: u64, id: u64) -> Option<u64> {
        let was_head = self.head(key) == Some(id);
        self.lines.remove(&(Arc::clone(key), join));
        if was_head { self.head(key) } else { None }
    }

    /// The standing time of the oldest message that may be handed out.
    pub(crate) fn oldest(&self) -> Option<u64> {
        let firsts = (0..=9).filter_map(|rank| self.ready.range((rank, 0, 0, 0)..(rank + 1, 0, 0, 0)).next());
        firsts.map(|(_, standing, ..)| *standing).min()
    }
}

//! Groups that read the events of a job: requests and outcomes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::EventView;

/// How many groups may read the events of one job.
pub(crate) const MAX_GROUPS: usize = 100;
/// How many events a group may hold without a commit. At this number it takes no new ones.
pub(crate) const MAX_OPEN: usize = 1_000;
/// The most that one take may ask for. It is small because answers are remembered for a while, in case a reply is
/// lost.
pub(crate) const MAX_GROUP_TAKE: usize = 16;

/// A request for events of a job on behalf of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GroupTake {
    /// The job.
    pub(crate) id: u64,
    /// Created if it does not exist: it begins at the first event that is kept.
    pub(crate) group: Arc<str>,
    /// At most this many, including a gap: 1..=[`MAX_GROUP_TAKE`].
    pub(crate) max: usize,
    pub(crate) lease: u64,
    /// If there are fewer than `max` and more may come, register this process for news of the job.
    pub(crate) park: bool,
}

/// The result of a take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GroupTaken {
    /// Precedes the events.
    pub(crate) gap: Option<Lost>,
    pub(crate) events: Vec<HandedEvent>,
    /// If the take parked: take again at this instant of this process's clock, because an event will be available
    /// again.
    pub(crate) next: Option<u64>,
    /// Nothing will come any more: there is no such job, or it has ended and the group has committed everything.
    pub(crate) ended: bool,
    /// There is no room for another group; nothing was done.
    pub(crate) full: bool,
}

/// Events that were dropped before the group had committed them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lost {
    /// The position before the first of them, and the one after the last.
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// How many there are, without those in between that were committed or are held.
    pub(crate) missed: u64,
}

/// An event that was handed out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HandedEvent {
    /// Its number in the job.
    pub(crate) number: u64,
    /// From the series of the object's runs.
    pub(crate) fence: u64,
    pub(crate) attempt: u64,
    pub(crate) event: EventView,
    /// Whether the job ended with this event.
    pub(crate) is_last: bool,
}

/// What a holder does with its event, under the fence of the hand-over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GroupSettle {
    pub(crate) id: u64,
    pub(crate) group: Arc<str>,
    pub(crate) number: u64,
    pub(crate) fence: u64,
    pub(crate) action: GroupAction,
}

/// An action on an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum GroupAction {
    Commit,
    /// Hand it out again, `delay` from now at the earliest. `unused`: the attempt does not count.
    Return {
        delay: u64,
        unused: bool,
    },
    /// The lease ends this long after now.
    Touch {
        lease: u64,
    },
}

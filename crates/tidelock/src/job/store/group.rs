//! Groups that read the events of a job: what is asked, and what becomes of it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::EventView;

/// Groups that the events of one job may have.
pub(crate) const MAX_GROUPS: usize = 100;
/// Events that a group may have handed out without a commit; with so many it takes no new one.
pub(crate) const MAX_OPEN: usize = 1_000;
/// The most that one take asks for: answers are remembered for a while, in case they are lost.
pub(crate) const MAX_GROUP_TAKE: usize = 16;

/// A wish for events of a job on behalf of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GroupTake {
    /// The job.
    pub(crate) id: u64,
    /// Made if it does not exist: it begins at the first event that is kept.
    pub(crate) group: Arc<str>,
    /// At most so many, a gap counted: 1..=[`MAX_GROUP_TAKE`].
    pub(crate) max: usize,
    pub(crate) lease: u64,
    /// If fewer than `max` were there and more may come, note that this process wants to hear of the job.
    pub(crate) park: bool,
}

/// What it gave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GroupTaken {
    /// Comes before the events.
    pub(crate) gap: Option<Lost>,
    pub(crate) events: Vec<HandedEvent>,
    /// Of a take that parked: something comes back at this instant of this process's clock.
    pub(crate) next: Option<u64>,
    /// Nothing comes any more: the job is not there, or has ended and the group has committed all.
    pub(crate) ended: bool,
    /// There is no room for one more group; nothing was done.
    pub(crate) full: bool,
}

/// Events that went before the group had committed them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lost {
    /// The place before the first of them, and the one behind the last.
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// How many; those between them that were committed, or are held, are not among them.
    pub(crate) missed: u64,
}

/// An event that was handed out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HandedEvent {
    /// Its number in the job.
    pub(crate) number: u64,
    /// Of the series of the object's runs.
    pub(crate) fence: u64,
    pub(crate) attempt: u64,
    pub(crate) event: EventView,
    /// The job has ended with it.
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

/// What is done with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum GroupAction {
    Commit,
    /// Handed out again, so long after now at the earliest. `unused`: the attempt does not count.
    Return {
        delay: u64,
        unused: bool,
    },
    /// The lease ends so long after now.
    Touch {
        lease: u64,
    },
}

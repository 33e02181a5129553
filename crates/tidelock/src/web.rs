//! For bindings to JavaScript: calls from a page that cannot `await` them, deliveries and positions by their texts,
//! jobs whose handlers cannot be dropped, and schedules that call objects of the page.
//!
//! In a page, effects are synchronous: a call's changes have been made before it returns its promise. [`begin`] runs a
//! request of this library, and every task that it wakes, as far as they can go, and only then returns.
//!
//! This module is for the binding of the browser package only, and not covered by the version number's guarantees.

mod job;
mod scheduler;
mod topic;

use std::time::Duration;

pub use self::job::{job_ends, job_progress, lease_is_limit};
pub use self::scheduler::{Targets, appeared, failure_of, register_behind, target_failed, with_targets};
pub use self::topic::{publish_recorded, recv_event};
use crate::codec::Value;
use crate::error::Result;
use crate::handover::Receipt;
use crate::keyed::memory::Pace;
use crate::queue::MessageId;
pub use crate::ratelimit::web::{Counting, KeptCounts, LimitSet, SlidingWindow, WindowVerdict};
use crate::registry::{Cursor, Event, Follow, Follower};
pub use crate::retry::web::RetryCourse;
use crate::runtime::BoxFuture;
pub use crate::runtime::{Begun, Pending, begin, pause};
use crate::tidelock::Tidelock;
use crate::time::{Clock, whole_millis};

/// The numbers in a [`delivery_id`](crate::queue::Message::delivery_id): of the message and of the delivery. `None`:
/// the text is not a delivery id.
pub fn delivery_numbers(delivery_id: &str) -> Option<(u64, u64)> {
    let (message, fence) = delivery_id.split_once('.')?;
    Some((message.parse().ok()?, fence.parse().ok()?))
}

/// The receipt of a delivery of a queue or of a group, from the numbers of message and delivery and the lease under
/// which it was taken.
pub fn receipt(tenant: &str, object: &str, group: Option<&str>, (id, fence): (u64, u64), lease: Duration) -> Receipt {
    Receipt {
        tenant: tenant.into(),
        object: object.into(),
        group: group.map(Into::into),
        id: MessageId(id),
        fence,
        lease: whole_millis(lease),
    }
}

/// The number of a message, below 2^53, as in its text.
pub fn message_number(id: MessageId) -> u64 {
    id.0
}

/// A world of its own in which at most `step` overdue records are settled before the page gets a turn.
///
/// Calls do not wait for that: to each of them, a record ends at its deadline.
pub fn in_turns(step: usize) -> Tidelock {
    Tidelock::in_memory(Clock::System, Pace { step, pause: 1, numbers_kept: 0 })
}

/// The revision of a position in the changes of a registry or an ephemeral store: that of the event before it.
pub fn revision(cursor: &Cursor) -> u64 {
    cursor.revision()
}

/// Follows from the position with this revision on.
pub fn follow_after<T: Value>(follow: Follow<T>, revision: u64) -> Follow<T> {
    follow.after_revision(revision)
}

/// As [`Follower::recv`], for several concurrent callers, served in the order of their calls. `None`: no limit.
pub fn recv_in_line<T: Value>(
    follower: &Follower<T>,
    wait: Option<Duration>,
) -> BoxFuture<'static, Result<Option<Event<T>>>> {
    follower.recv_in_line(wait)
}

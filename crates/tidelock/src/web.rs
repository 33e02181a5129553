//! For bindings to JavaScript: calls from a page that has no `await` of its own, deliveries by their texts, jobs whose
//! handlers cannot be dropped, and schedules that call objects of the page.
//!
//! In a page, effects are synchronous: what a call changes is changed before it gives its promise back. [`begin`] runs a
//! request of this library, and every task that it wakes, as far as they can go, and only then returns.

mod job;
mod scheduler;
mod topic;

use std::time::Duration;

pub use self::job::{job_ends, lease_is_limit};
pub use self::scheduler::{Targets, announce, failure_of, register_behind, target_failed, with_targets};
pub use self::topic::{publish_recorded, recv_event, without_limit};
use crate::handover::Receipt;
use crate::queue::MessageId;
pub use crate::ratelimit::web::{SlidingWindow, WindowVerdict};
pub use crate::retry::web::RetryCourse;
pub use crate::runtime::{Begun, Pending, begin, pause};
use crate::time::whole_millis;

/// The receipt of a delivery of a queue, or of a group's, by its [`delivery_id`](crate::queue::Message::delivery_id) and
/// the lease that it was taken with. `None`: the text is no delivery id.
pub fn receipt(tenant: &str, object: &str, group: Option<&str>, delivery_id: &str, lease: Duration) -> Option<Receipt> {
    let (id, fence) = delivery_id.split_once('.')?;
    Some(Receipt {
        tenant: tenant.into(),
        object: object.into(),
        group: group.map(Into::into),
        id: MessageId(id.parse().ok()?),
        fence: fence.parse().ok()?,
        lease: whole_millis(lease),
    })
}

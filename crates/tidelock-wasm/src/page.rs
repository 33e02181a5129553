//! What belongs to the page instead of one factory call: jobs and schedules.

use tidelock::Tidelock;

std::thread_local! {
    static WORLD: Tidelock = Tidelock::in_process();
}

/// The world that all handles of the page share.
pub(crate) fn world() -> Tidelock {
    WORLD.with(Clone::clone)
}

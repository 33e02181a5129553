//! What happens when servers die, hang, refuse or lose replies.
//!
//! Each test starts servers of its own; where there is none to start, it is skipped, except in CI.

mod ratelimit;

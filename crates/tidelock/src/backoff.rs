//! Backoff: growing, capped, jittered pauses.

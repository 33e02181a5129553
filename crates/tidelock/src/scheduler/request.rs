//! The requests of a scheduler.

mod define;
mod letters;
mod look;
mod trigger;

pub use self::define::{Delete, Pause, Register, Registered, Resume, Unregister};
pub use self::letters::{DispatchDeadLetters, ListLetters, PurgeLetters, RemoveLetter, RetryLetter};
pub use self::look::{Get, History, List, Stats, Upcoming};
pub use self::trigger::{Rejected, TriggerNow, Triggered};

/// How often a change is tried if it is computed from values that may change meanwhile.
const TRIES: u32 = 100;

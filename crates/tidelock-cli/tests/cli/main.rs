//! The real binary, run as people and scripts run it.

mod demo;
mod failures;
mod fleet;
mod queue;
mod rights;
mod run;

//! The real binary, run as users and scripts run it.

mod access;
mod demo;
mod failures;
mod fleet;
mod job;
mod queue;
mod records;
mod rights;
mod run;
mod schedule;
mod topic;

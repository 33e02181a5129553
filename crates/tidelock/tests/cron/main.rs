//! Cron expressions: what is read, and which instants they name.

mod dst;
mod errors;
mod instants;
mod scan;

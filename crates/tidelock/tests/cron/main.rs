//! Cron expressions: their syntax, and their instants.

mod croner;
mod dst;
mod errors;
mod expressions;
mod instants;
mod reference;
mod scan;

//! Cron expressions: what is read, and which instants they name.

mod croner;
mod dst;
mod errors;
mod expressions;
mod instants;
mod reference;
mod scan;

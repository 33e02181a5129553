//! `cargo xtask`: set-up, tests, benchmarks and builds of Tidelock.

fn main() {}

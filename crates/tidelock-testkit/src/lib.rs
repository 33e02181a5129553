//! Real servers and a fault-injecting proxy for the tests and benchmarks of Tidelock.

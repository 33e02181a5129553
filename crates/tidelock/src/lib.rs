//! Tidelock

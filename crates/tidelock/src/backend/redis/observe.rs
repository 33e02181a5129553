//! What calls of scripts and connections report to `metrics`, with that feature.

use redis::Value;
use tokio::time::Instant;

use super::failure::Failure;
use super::url::Host;
use crate::counters::{Counters, Going, Named};
use crate::time::Clock;

/// The duration of the calls of one script.
#[derive(Debug)]
pub(super) struct Calls(Counters<4>);

impl Calls {
    pub(super) const fn new() -> Self {
        Self(Counters::new())
    }

    /// Records a call that began at `begun` and is over, including retries.
    pub(super) fn over(&self, script: &'static str, answer: &Result<Value, Failure>, begun: Instant) {
        let (number, outcome) = match answer {
            Ok(_) => (0, "ok"),
            Err(Failure::Refused { .. }) => (1, "refused"),
            Err(Failure::Unknown(_)) => (2, "unknown"),
            Err(Failure::NotSent(_) | Failure::Closed) => (3, "not_sent"),
        };
        let labels = || vec![("script", script.into()), ("outcome", outcome.into())];
        self.0.record(number, || Some(("tidelock.redis.call.duration".into(), labels())), || begun.elapsed());
    }
}

/// An attempt to connect, and its outcome.
#[derive(Debug)]
pub(super) struct Attempt(Counters<2>);

impl Attempt {
    pub(super) fn over(host: &Host, is_connected: bool) -> Self {
        let attempt = Self(Counters::new());
        let outcome = if is_connected { "ok" } else { "failed" };
        attempt.0.add(0, 1, || Some(named("tidelock.redis.connects", host, Some(outcome))));
        attempt
    }

    /// The measurement that runs as long as the connection is up.
    pub(super) fn connected(&self, host: &Host) -> Option<Going> {
        self.0.begin(1, &Clock::System, || Some(named("tidelock.redis.connected", host, None)))
    }
}

fn named(name: &'static str, host: &Host, outcome: Option<&'static str>) -> Named {
    let mut labels = vec![("server", host.to_string().into())];
    labels.extend(outcome.map(|outcome| ("outcome", outcome.into())));
    (name.into(), labels)
}

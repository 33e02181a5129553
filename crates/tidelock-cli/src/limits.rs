//! Limits of what a queue or a job hands out: of its rate, and of how much is held at once.

use std::time::Duration;

use clap::Args;
use tidelock::queue::RateLimit;

use crate::value::{count, duration, instant};

/// How much, in what time; or no limit any more.
#[derive(Args)]
pub(crate) struct Rate {
    /// How many at most in each window.
    #[arg(value_name = "N", required_unless_present = "remove")]
    limit: Option<u64>,
    /// How long a window lasts.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1s")]
    per: Duration,
    /// Remove the limit.
    #[arg(long, conflicts_with_all = ["limit", "per"])]
    remove: bool,
}

impl Rate {
    /// The limit to set; `None` if it is to be removed.
    pub(crate) fn wanted(&self) -> Option<(u64, Duration)> {
        self.limit.map(|limit| (limit, self.per))
    }

    pub(crate) fn words(&self, absent: &'static str) -> [&'static str; 3] {
        words(self.remove, absent)
    }
}

/// How many at once; or no limit any more.
#[derive(Args)]
pub(crate) struct Concurrency {
    /// How many at once.
    #[arg(value_name = "N", required_unless_present = "remove")]
    limit: Option<u64>,
    /// Remove the limit.
    #[arg(long, conflicts_with = "limit")]
    remove: bool,
}

impl Concurrency {
    /// The limit to set; `None` if it is to be removed.
    pub(crate) fn wanted(&self) -> Option<u64> {
        self.limit
    }

    pub(crate) fn words(&self, absent: &'static str) -> [&'static str; 3] {
        words(self.remove, absent)
    }
}

/// What to say if something changed, if nothing did, and if the object does not exist.
fn words(removed: bool, absent: &'static str) -> [&'static str; 3] {
    if removed {
        ["not limited any more", "was not limited", absent]
    } else {
        ["limited", "was limited just so already", absent]
    }
}

/// The limits for people, a line each.
pub(crate) fn limited(rate: Option<&RateLimit>, concurrency: Option<u64>) -> String {
    let rate = rate.map(|limit| {
        let per = humantime::format_duration(limit.per);
        let used =
            limit.window_ends.map(|end| format!(": {} until {}", count(limit.used), instant(end))).unwrap_or_default();
        format!("limited to {} per {per}{used}\n", count(limit.limit))
    });
    let concurrency = concurrency.map(|limit| format!("limited to {} at once\n", count(limit)));
    rate.into_iter().chain(concurrency).collect()
}

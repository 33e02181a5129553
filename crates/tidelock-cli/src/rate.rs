//! Limits of the rate at which a queue or a job hands out work.

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

    /// What to say if something changed, if nothing did, and if the object does not exist.
    pub(crate) fn words(&self, absent: &'static str) -> [&'static str; 3] {
        if self.remove {
            ["not limited any more", "was not limited", absent]
        } else {
            ["limited", "was limited just so already", absent]
        }
    }
}

/// A limit for people, on one line.
pub(crate) fn limited(limit: &RateLimit) -> String {
    let per = humantime::format_duration(limit.per);
    let used =
        limit.window_ends.map(|end| format!(": {} until {}", count(limit.used), instant(end))).unwrap_or_default();
    format!("limited to {} per {per}{used}\n", count(limit.limit))
}

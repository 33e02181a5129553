//! How a rate limiter is defined.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use super::fallback::Local;
use super::limit::{Limit, Limits};
use super::{Inner, RateLimiter};
use crate::counters::Counters;
use crate::error::{Error, Result};
use crate::name::{self, Address};
use crate::tidelock::{Tidelock, World};
use crate::time::{MINUTE, SECOND, check_duration};

/// What a limiter answers when its backend gives no answer.
///
/// That is: the connection is lost, no answer came within [`answer_within`](RateLimiterBuilder::answer_within), or the
/// server cannot serve just now (it is loading, its cluster is down, it is a replica). While the connection is known
/// to be down, the answer comes without waiting. State that cannot be read is an error under each policy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OnUnavailable {
    /// The error.
    Error,
    /// The request passes; `remaining` is 0.
    Allow,
    /// The request is refused for a second.
    Deny,
    /// A limiter in this process decides, with its part of each limit and burst, rounded up and at least 1.
    ///
    /// It knows what the backend allowed this process, so it does not begin from zero. What it allows alone is not
    /// reported later: when the backend is back, the backend decides by its own counts.
    Local {
        /// The part of each limit that this process takes: above 0, at most 1. One over the number of processes keeps
        /// the fleet inside its limits.
        share: f64,
    },
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) count_refused: bool,
    pub(super) on_unavailable: OnUnavailable,
    pub(super) answer_within: Duration,
}

/// Defines a [`RateLimiter`]; from [`Tidelock::ratelimit`].
///
/// | option | default |
/// |---|---|
/// | [`limit`](Self::limit), [`limits`](Self::limits) | required, 1 to 8 |
/// | [`count_refused`](Self::count_refused) | off |
/// | [`on_unavailable`](Self::on_unavailable) | [`OnUnavailable::Error`] |
/// | [`answer_within`](Self::answer_within) | 1 s |
#[derive(Clone, Debug)]
#[must_use = "a limiter is made by `build`"]
pub struct RateLimiterBuilder {
    world: Arc<World>,
    address: Address,
    limits: Vec<Limit>,
    set: Option<Limits>,
    options: Options,
}

impl RateLimiterBuilder {
    pub(crate) fn new(tide: &Tidelock, id: &str) -> Self {
        Self {
            world: Arc::clone(&tide.world),
            address: Address::new(&tide.tenant, id),
            limits: Vec::new(),
            set: None,
            options: Options { count_refused: false, on_unavailable: OnUnavailable::Error, answer_within: SECOND },
        }
    }

    /// Adds a limit. All limits of a limiter are judged together, all or nothing.
    pub fn limit(mut self, limit: Limit) -> Self {
        self.limits.push(limit);
        self
    }

    /// Takes a checked set of limits, instead of single ones.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.set = Some(limits);
        self
    }

    /// Makes a refused check count too: who keeps hammering stays out until it pauses. Default off.
    ///
    /// Window counts stop at 10^12, buckets at twice their capacity. A waiting `acquire` counts one refusal.
    pub fn count_refused(mut self) -> Self {
        self.options.count_refused = true;
        self
    }

    /// What to answer when the backend gives no answer. Default [`OnUnavailable::Error`].
    pub fn on_unavailable(mut self, policy: OnUnavailable) -> Self {
        self.options.on_unavailable = policy;
        self
    }

    /// Without an answer after this time the backend is unavailable for this try: 1 ms..=1 min, default 1 s.
    pub fn answer_within(mut self, within: Duration) -> Self {
        self.options.answer_within = within;
        self
    }

    /// Makes the limiter. No I/O. *Invalid configuration* names the option, its range and what came.
    pub fn build(self) -> Result<RateLimiter> {
        let Self { world, address, limits, set, options } = self;
        let context = |error: Error| error.in_context(format_args!("ratelimit {:?}", address.id));
        let limits = Self::check(&address, limits, set, options).map_err(context)?;
        Ok(RateLimiter { inner: Arc::new(Inner::new(world, address, limits, options)) })
    }

    fn check(address: &Address, limits: Vec<Limit>, set: Option<Limits>, options: Options) -> Result<Limits> {
        name::check(Error::configuration, "id", &address.id, name::MAX_ID)?;
        name::check(Error::configuration, "tenant", &address.tenant, name::MAX_ID)?;
        let millisecond = Duration::from_millis(1);
        check_duration(Error::configuration, "answer_within", options.answer_within, millisecond, MINUTE)?;
        match options.on_unavailable {
            OnUnavailable::Local { share } if !(share > 0.0 && share <= 1.0) => {
                return Err(Error::configuration(format!("share must be above 0 and at most 1, but is {share}")));
            }
            _ => {}
        }
        match set {
            Some(set) if limits.is_empty() => Ok(set),
            Some(_) => Err(Error::configuration("limits are given either one by one or as a set, but came as both")),
            None => Limits::new(limits),
        }
    }
}

impl Inner {
    pub(super) fn new(world: Arc<World>, address: Address, limits: Limits, options: Options) -> Self {
        let backend = world.backend.ratelimit();
        let local = match options.on_unavailable {
            OnUnavailable::Local { share } => Some(Local::new(&world, &address, share)),
            OnUnavailable::Error | OnUnavailable::Allow | OnUnavailable::Deny => None,
        };
        Self {
            store: backend.limiter(&address),
            lines: Arc::clone(backend.lines()),
            named: address.check().is_ok(),
            limits: RwLock::new(limits),
            world,
            address,
            options,
            local,
            counters: Counters::new(),
        }
    }
}

//! The builder of a rate limiter.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use super::fallback::Local;
use super::limit::{Limit, Limits};
use super::observe::Meter;
use super::{Inner, RateLimiter};
use crate::check;
use crate::error::{Error, Result};
use crate::name::Address;
use crate::tidelock::{Tidelock, World};
use crate::time::{MINUTE, SECOND};

/// What a limiter answers when its backend does not.
///
/// That is the case if the connection is lost, if no answer came within
/// [`answer_within`](RateLimiterBuilder::answer_within), or if the server cannot serve at the moment (it is loading,
/// its cluster is down, it is a replica). While the connection is known to be down, the answer comes without waiting.
/// State that cannot be read is an error under every policy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OnUnavailable {
    /// Return the error.
    Error,
    /// Let the request pass; `remaining` is 0.
    Allow,
    /// Refuse the request for a second.
    Deny,
    /// Let a limiter in this process decide, with its share of each limit and burst, rounded up and at least 1.
    ///
    /// It has counted what the backend allowed this process, so it does not begin from zero. What it allows on its own
    /// is not reported later: when the backend is back, the backend decides by its own counts.
    Local {
        /// The share of each limit for this process: above 0, at most 1. One divided by the number of processes keeps
        /// the fleet within its limits.
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

    /// Adds a limit. All limits of a limiter are checked together, all or nothing.
    pub fn limit(mut self, limit: Limit) -> Self {
        self.limits.push(limit);
        self
    }

    /// Uses a checked set of limits, instead of single ones.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.set = Some(limits);
        self
    }

    /// Makes a refused check count too: a caller who keeps hammering stays out until it pauses. Default off.
    ///
    /// Window counts stop at 10^12, buckets at twice their capacity. A waiting `acquire` counts one refusal.
    pub fn count_refused(mut self) -> Self {
        self.options.count_refused = true;
        self
    }

    /// What to answer when the backend does not. Default [`OnUnavailable::Error`].
    pub fn on_unavailable(mut self, policy: OnUnavailable) -> Self {
        self.options.on_unavailable = policy;
        self
    }

    /// The time without an answer after which the backend counts as unavailable for this request: 1 ms..=1 min, default
    /// 1 s.
    pub fn answer_within(mut self, within: Duration) -> Self {
        self.options.answer_within = within;
        self
    }

    /// Creates the limiter. No I/O. An error of kind *invalid configuration* names the option, its range and its value.
    pub fn build(self) -> Result<RateLimiter> {
        let Self { world, address, limits, set, options } = self;
        let context = |error: Error| error.in_context(format_args!("ratelimit {:?}", address.id));
        let limits = Self::check(&address, limits, set, options).map_err(context)?;
        Ok(RateLimiter { inner: Arc::new(Inner::new(world, address, limits, options)) })
    }

    fn check(address: &Address, limits: Vec<Limit>, set: Option<Limits>, options: Options) -> Result<Limits> {
        address.check_built()?;
        let millisecond = Duration::from_millis(1);
        check::range(Error::configuration, "answer_within", options.answer_within, millisecond, MINUTE)?;
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
            meter: Meter::new(),
        }
    }
}

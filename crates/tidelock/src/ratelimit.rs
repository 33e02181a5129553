//! May this identifier do this now, and if not, when?
//!
//! A limiter has 1 to 8 limits that are checked together, all or nothing, in one round trip. *No* is a value: a
//! [`Verdict`] that says when the same request will pass.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! use tidelock::Tidelock;
//! use tidelock::ratelimit::Limit;
//!
//! let tide = Tidelock::in_process();
//! let api = tide.ratelimit("api").limit(Limit::per_second(20)).limit(Limit::per_day(100_000)).build()?;
//!
//! let verdict = api.check("user:42").cost(3).await?;
//! assert!(!verdict.limited);
//! assert_eq!(verdict.remaining, 17);
//! # Ok::<_, tidelock::Error>(()) })?; Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! See also the [guide](crate::guide::ratelimit).

mod acquire;
mod builder;
#[cfg(all(test, feature = "redis", not(target_family = "wasm")))]
mod differential;
mod fallback;
mod limit;
mod line;
pub(crate) mod memory;
mod model;
mod observe;
#[cfg(all(feature = "redis", not(target_family = "wasm")))]
pub(crate) mod redis;
mod request;
pub(crate) mod store;
mod verdict;
#[cfg(target_family = "wasm")]
pub(crate) mod web;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

pub use self::acquire::Acquire;
pub use self::builder::{OnUnavailable, RateLimiterBuilder};
pub use self::limit::{Limit, Limits};
pub use self::request::{Check, CheckOrErr, Judging, Peek, Reset};
pub use self::verdict::{DecidedBy, Part, Verdict};

use self::builder::Options;
use self::fallback::Local;
use self::line::Lines;
use self::request::Ask;
use self::store::LimiterStore;
use crate::name::Address;
use crate::tidelock::World;

/// A rate limiter; created by [`Tidelock::ratelimit`](crate::Tidelock::ratelimit). Clones share it.
///
/// A count belongs to tenant, limiter, identifier, algorithm and window, not to the number of the limit. So when a
/// limit changes, by [`set_limits`](Self::set_limits), by `.limits(…)` on a request or by a deployment, existing counts
/// are kept; another window or algorithm starts empty. Time never runs backwards for an identifier: if the backend's
/// clock is behind the last count, the time of that count is used.
///
/// An identifier is any text without NUL; if it is longer than 512 bytes, its SHA-256 is stored. Identifiers cannot be
/// listed.
///
/// All requests fail with *invalid argument* for an empty identifier, a cost of 0, or a cost above the smallest
/// capacity, which could never pass; nothing is sent then. If the backend does not answer, [`OnUnavailable`] decides.
/// State that cannot be read is *incompatible data format* until it is reset or expires.
#[derive(Clone)]
pub struct RateLimiter {
    inner: Arc<Inner>,
}

struct Inner {
    world: Arc<World>,
    address: Address,
    /// Whether tenant and id are valid names; with invalid ones every request is refused.
    named: bool,
    store: Arc<dyn LimiterStore>,
    lines: Arc<Lines>,
    limits: RwLock<Limits>,
    options: Options,
    local: Option<Local>,
    meter: observe::Meter,
}

impl RateLimiter {
    /// Checks whether the identifier may use one unit now, or `.cost(n)` units; if so, they are used.
    ///
    /// A check that passes counts against every limit; one that any limit refuses counts against none (unless
    /// [`count_refused`](RateLimiterBuilder::count_refused) is set). It is sent once: if the connection breaks, its
    /// cost was counted once or not at all, and the same goes for dropping the future.
    pub fn check<'a>(&'a self, identifier: &'a str) -> Check<'a> {
        Check { ask: Ask::new(self, identifier) }
    }

    /// Like [`check`](Self::check), for use with `?`: a refusal is an error of kind *rate limited*.
    ///
    /// The error is retryable, carries the verdict ([`Error::verdict`](crate::Error::verdict)), and its
    /// [`retry_after`](crate::Error::retry_after) is that of the verdict.
    pub fn check_or_err<'a>(&'a self, identifier: &'a str) -> CheckOrErr<'a> {
        CheckOrErr { ask: Ask::new(self, identifier) }
    }

    /// Reads what a check would find, and changes nothing: `limited` says whether it would be refused, the rest is the
    /// current state. An identifier that was never seen is empty. Dropping the future does nothing.
    pub fn peek<'a>(&'a self, identifier: &'a str) -> Peek<'a> {
        Peek { ask: Ask::new(self, identifier) }
    }

    /// Checks, and while refused, sleeps for exactly `retry_after` and checks again, for at most `.timeout(…)`.
    ///
    /// If the request cannot pass in time, the refusing verdict is returned at once. Without a timeout it waits until
    /// it is allowed; a shutdown ends it with *shutting down*. Waiters of one process for one identifier are served in
    /// order of arrival, and only the first of them asks the backend; while nobody waits, calls ask concurrently.
    /// Nothing is reserved: if another process was faster, it waits again. While the backend is unavailable,
    /// [`OnUnavailable::Error`] returns the error, `Allow` allows, `Deny` tries again every second, and `Local` uses
    /// the limiter of this process.
    ///
    /// Dropping the future leaves the line; nothing is counted afterwards.
    pub fn acquire<'a>(&'a self, identifier: &'a str) -> Acquire<'a> {
        Acquire { ask: Ask::new(self, identifier), timeout: None }
    }

    /// Forgets all counts of the identifier; returns whether there were any. Waiters of this process check again at
    /// once. An unavailable backend is an error here, whatever the policy. Dropping the future withdraws the request if
    /// it was not sent.
    pub fn reset<'a>(&'a self, identifier: &'a str) -> Reset<'a> {
        Reset { ask: Ask::new(self, identifier) }
    }

    /// Replaces the limits of this limiter and its clones in this process, from the next request on. Waiters of this
    /// process check again at once.
    pub fn set_limits(&self, limits: Limits) {
        *self.inner.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
        self.inner.lines.look_again(&self.inner.address, None);
    }

    /// The limits that apply to requests without limits of their own.
    pub fn limits(&self) -> Limits {
        self.inner.limits.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The limiter's id.
    pub fn id(&self) -> &str {
        &self.inner.address.id
    }

    /// The same limiter for another tenant: with the same options and current limits, but its own counts and later
    /// changes.
    ///
    /// A bad name (empty, over 256 bytes, with NUL) is refused by the first request.
    pub fn tenant(&self, tenant: &str) -> Self {
        let Inner { world, address, options, .. } = &*self.inner;
        let inner = Inner::new(Arc::clone(world), address.with_tenant(tenant), self.limits(), *options);
        Self { inner: Arc::new(inner) }
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter")
            .field("address", &self.inner.address)
            .field("limits", &self.limits())
            .field("options", &self.inner.options)
            .finish_non_exhaustive()
    }
}

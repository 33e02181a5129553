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
use crate::counters::Counters;
use crate::name::Address;
use crate::tidelock::World;

/// A rate limiter; made by [`Tidelock::ratelimit`](crate::Tidelock::ratelimit). Clones share it.
///
/// A count belongs to tenant, limiter, identifier, algorithm and window. So other numbers judge the counts that are
/// there, whether they come from [`set_limits`](Self::set_limits), from `.limits(…)` on a request or from another
/// deployment; another window or algorithm starts empty. Time never runs back for an identifier: where the backend's
/// clock stands before what was counted, that instant is *now*.
///
/// An identifier is any text without NUL; of one above 512 bytes a SHA-256 is kept. Nothing lists identifiers.
///
/// All requests fail with *invalid argument* for an empty identifier, a cost of 0 or a cost above the smallest
/// capacity, which could never pass; nothing is sent then. When the backend gives no answer they do as
/// [`OnUnavailable`] says. State that cannot be read is *incompatible data format* until it is reset or expires.
#[derive(Clone)]
pub struct RateLimiter {
    inner: Arc<Inner>,
}

struct Inner {
    world: Arc<World>,
    address: Address,
    /// Whether tenant and id are good names; a bad one is refused by each request.
    named: bool,
    store: Arc<dyn LimiterStore>,
    lines: Arc<Lines>,
    limits: RwLock<Limits>,
    options: Options,
    local: Option<Local>,
    counters: Counters<{ observe::COUNTERS }>,
}

impl RateLimiter {
    /// Asks whether the identifier may use one unit now, or `.cost(n)` units; if so, they are used.
    ///
    /// A check that passes counts in every limit, one that any limit refuses counts in none (unless
    /// [`count_refused`](RateLimiterBuilder::count_refused) is set). It is sent once: if the connection breaks, its
    /// cost has been counted once or not at all. Dropping the future does no more than that.
    pub fn check<'a>(&'a self, identifier: &'a str) -> Check<'a> {
        Check { ask: Ask::new(self, identifier) }
    }

    /// As [`check`](Self::check), for code that wants `?`: a refusal is an error of kind *rate limited*.
    ///
    /// The error is retryable, has the verdict ([`Error::verdict`](crate::Error::verdict)), and its
    /// [`retry_after`](crate::Error::retry_after) is the verdict's.
    pub fn check_or_err<'a>(&'a self, identifier: &'a str) -> CheckOrErr<'a> {
        CheckOrErr { ask: Ask::new(self, identifier) }
    }

    /// Tells what a check would find, and changes nothing: `limited` is whether it would be refused, the rest is the
    /// state as it is. An identifier that was never seen is an empty one. Dropping the future does nothing.
    pub fn peek<'a>(&'a self, identifier: &'a str) -> Peek<'a> {
        Peek { ask: Ask::new(self, identifier) }
    }

    /// Checks, and while refused sleeps for exactly `retry_after` and checks again, at most for `.timeout(…)`.
    ///
    /// When the request cannot pass in time, the refusing verdict is answered at once. Without a timeout it waits
    /// until allowed; a shutdown ends it with *shutting down*. Waiters of one process for one identifier go in the
    /// order in which they came, and only the first of them asks; while nobody waits, all ask at once. Nothing is
    /// reserved: if another process was faster, it waits anew. While the backend is unavailable: with
    /// [`OnUnavailable::Error`] the error, with `Allow` allowed, with `Deny` a new try each second, with `Local` the
    /// limiter of this process.
    ///
    /// Dropping the future leaves the line; nothing is counted afterwards.
    pub fn acquire<'a>(&'a self, identifier: &'a str) -> Acquire<'a> {
        Acquire { ask: Ask::new(self, identifier), timeout: None }
    }

    /// Forgets all counts of the identifier; answers whether there were any. Waiters of this process look again at
    /// once. An unavailable backend is an error here whatever the policy. Dropping the future withdraws the request
    /// if it was not sent.
    pub fn reset<'a>(&'a self, identifier: &'a str) -> Reset<'a> {
        Reset { ask: Ask::new(self, identifier) }
    }

    /// Replaces the limits of this limiter and its clones in this process, from the next request on. Waiters of this
    /// process look again at once.
    pub fn set_limits(&self, limits: Limits) {
        *self.inner.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
        self.inner.lines.look_again(&self.inner.address, None);
    }

    /// The limits that judge requests which bring none of their own.
    pub fn limits(&self) -> Limits {
        self.inner.limits.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The id that the limiter was made with.
    pub fn id(&self) -> &str {
        &self.inner.address.id
    }

    /// The same limiter for another tenant: options and current limits are the same, counts and later changes are not.
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

//! Answers of a limiter while its backend is unavailable.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::builder::OnUnavailable;
use super::limit::Limits;
use super::request::Ask;
use super::store::{Judge, LimiterStore, Mode};
use super::verdict::{DecidedBy, Verdict};
use crate::error::{Error, ErrorKind, Result};
use crate::name::Address;
use crate::tidelock::World;
use crate::time::SECOND;

/// The limiter in this process that decides while the backend is unavailable. All handles of one limiter and tenant
/// count in it, including dropped ones.
pub(super) struct Local {
    share: f64,
    limiter: Arc<dyn LimiterStore>,
}

impl Local {
    pub(super) fn new(world: &World, address: &Address, share: f64) -> Self {
        Self { share, limiter: world.local().ratelimit().limiter(address) }
    }

    fn judge(&self, ask: &Ask<'_>, limits: &Limits, mode: Mode) -> Option<Verdict> {
        let rules = limits.share(self.share);
        let identifier = Cow::Borrowed(ask.identifier);
        let judge = Judge { identifier, rules: Cow::Borrowed(&rules), cost: ask.cost, mode };
        let outcome = self.limiter.judge_now(&judge)?;
        Some(Verdict::new(limits, &rules, &outcome, DecidedBy::Local))
    }

    /// Counts what the backend allowed, even if this limiter would have refused it.
    pub(super) fn count(&self, ask: &Ask<'_>, limits: &Limits) {
        // The result is irrelevant: the backend's verdict counts.
        let _ = self.judge(ask, limits, Mode::CountRefused);
    }

    /// Forgets the local counts of the identifier.
    pub(super) async fn reset(&self, identifier: &str) {
        // Cannot fail in memory.
        let _ = self.limiter.reset(identifier, SECOND).await;
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("share", &self.share).field("limiter", &self.limiter).finish_non_exhaustive()
    }
}

impl Ask<'_> {
    /// The answer to a request for which the backend returned `error`.
    pub(super) fn instead(&self, limits: &Limits, mode: Mode, error: Error) -> Result<Verdict> {
        let inner = &self.limiter.inner;
        let limiter = &*inner.address.id;
        match error.kind() {
            ErrorKind::Connection | ErrorKind::Timeout | ErrorKind::Server => {}
            ErrorKind::IncompatibleFormat => {
                tracing::warn!(limiter, %error, "a stored count cannot be read; its identifier is blocked until it is reset");
                return Err(error);
            }
            _ => return Err(error),
        }
        tracing::debug!(limiter, %error, policy = ?inner.options.on_unavailable, "the backend is unavailable");
        let instead = match inner.options.on_unavailable {
            OnUnavailable::Error => None,
            OnUnavailable::Allow => Some(Verdict::assumed(limits, None)),
            OnUnavailable::Deny => Some(Verdict::assumed(limits, Some(SECOND))),
            OnUnavailable::Local { .. } => inner.local.as_ref().and_then(|local| local.judge(self, limits, mode)),
        };
        instead.ok_or(error)
    }
}

//! Requests that change a record without writing its value.
//!
//! Dropping one of these futures withdraws the request if it was not sent; once sent it may take effect.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::cursor::Version;
use super::handle::{Handle, ttl_millis};
use super::site::{Call, Site};
use super::store::{Action, Bounds, Change, Outcome};
use crate::error::Result;
use crate::handover::{MAX_REASON, cut_or_none};
use crate::request::awaitable;
use crate::time::Timestamp;
use crate::word::words;

/// The outcome of a touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Touch {
    /// The record's life was extended.
    Extended {
        /// Its version: in a registry unchanged, in an ephemeral store a new one.
        version: Version,
        /// When it expires now.
        expires_at: Timestamp,
    },
    /// There is no active record. Nothing changed.
    Absent,
    /// The record is permanent, and no ttl was given. Nothing changed. Does not occur in an ephemeral store.
    Permanent,
    /// The record has this version, not the requested one. Nothing changed.
    Conflict(Version),
}

/// The outcome of a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Removal {
    /// The record was active, and has been removed.
    Removed,
    /// There was no active record. Nothing changed.
    Absent,
    /// The record has this version, not the requested one. Nothing changed.
    Conflict(Version),
}

words!(Touch: Self::Extended { .. } => "extended", Self::Absent => "absent", Self::Permanent => "permanent",
    Self::Conflict(_) => "conflict");
words!(Removal: Self::Removed => "removed", Self::Absent => "absent", Self::Conflict(_) => "conflict");

/// Restarts the time to live of an active record. Resolves to [`Touch`].
///
/// The value is not rewritten, so a concurrent upsert is never undone. Dropping the future withdraws it unless it was
/// sent.
#[derive(Debug)]
#[must_use = "nothing is touched until it is awaited"]
pub struct TouchRequest {
    target: Target,
    ttl: Option<Duration>,
    if_version: Option<Version>,
}

impl TouchRequest {
    pub(crate) fn new<T>(handle: &Handle<T>, key: &str) -> Self {
        Self { target: Target::new(handle, key), ttl: None, if_version: None }
    }

    /// The record's time to live from now on, also for later touches: 1 ms..=10 years. Default: the record's own, that
    /// of its last upsert or of the last touch with a ttl. In a registry it gives a permanent record an end.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Only if the record still has this version.
    pub fn if_version(mut self, version: Version) -> Self {
        self.if_version = Some(version);
        self
    }

    async fn run(self) -> Result<Touch> {
        let Self { target, ttl, if_version } = self;
        let call = Call::on("touch", &target.key);
        target.check(&call)?;
        let ttl = ttl.map(ttl_millis).transpose().map_err(|error| target.site.context(&call, error))?;
        let action = Action::Touch { ttl, if_version: if_version.map(|version| version.0) };
        match target.change(&call, action).await? {
            Outcome::Extended { version, expires_at } => {
                let expires_at = Timestamp::from_millis(expires_at);
                Ok(Touch::Extended { version: Version(version), expires_at })
            }
            Outcome::Absent => Ok(Touch::Absent),
            Outcome::Permanent => Ok(Touch::Permanent),
            Outcome::Stale { version } => Ok(Touch::Conflict(Version(version))),
            _ => Err(target.site.misfit(&call)),
        }
    }
}

/// Removes an active record. Resolves to [`Removal`].
///
/// An expired record counts as absent. Dropping the future withdraws it unless it was sent.
#[derive(Debug)]
#[must_use = "nothing is removed until it is awaited"]
pub struct Remove {
    target: Target,
    reason: Option<Arc<str>>,
    if_version: Option<Version>,
}

impl Remove {
    pub(crate) fn new<T>(handle: &Handle<T>, key: &str) -> Self {
        Self { target: Target::new(handle, key), reason: None, if_version: None }
    }

    /// Delivered to followers with the event, and stored nowhere else; up to 1,024 bytes, cut with `…`. An empty text
    /// counts as none.
    pub fn reason(mut self, reason: &str) -> Self {
        self.reason = cut_or_none(reason, MAX_REASON);
        self
    }

    /// Only if the record still has this version: a successor's record stays.
    pub fn if_version(mut self, version: Version) -> Self {
        self.if_version = Some(version);
        self
    }

    async fn run(self) -> Result<Removal> {
        let Self { target, reason, if_version } = self;
        let call = Call::on("remove", &target.key);
        target.check(&call)?;
        let action = Action::Remove { reason, if_version: if_version.map(|version| version.0) };
        match target.change(&call, action).await? {
            Outcome::Removed => Ok(Removal::Removed),
            Outcome::Absent => Ok(Removal::Absent),
            Outcome::Stale { version } => Ok(Removal::Conflict(Version(version))),
            _ => Err(target.site.misfit(&call)),
        }
    }
}

/// The record that a request changes.
struct Target {
    site: Arc<Site>,
    bounds: Bounds,
    key: Arc<str>,
}

impl Target {
    fn new<T>(handle: &Handle<T>, key: &str) -> Self {
        Self { site: Arc::clone(&handle.site), bounds: handle.options.bounds, key: key.into() }
    }

    fn check(&self, call: &Call<'_>) -> Result<()> {
        self.site.check_key(call)
    }

    async fn change(&self, call: &Call<'_>, action: Action) -> Result<Outcome> {
        self.site.change(call, Change { key: Arc::clone(&self.key), action, bounds: self.bounds }).await
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("site", &self.site).field("key", &self.key).finish_non_exhaustive()
    }
}

awaitable! {
    TouchRequest => Touch;
    Remove => Removal;
}

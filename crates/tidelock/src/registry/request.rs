//! Requests of a registry: what its methods return, run when awaited.

use std::sync::Arc;
use std::time::Duration;

use super::Cas;
use crate::check;
use crate::codec::Value;
use crate::error::{Error, Result};
use crate::keyed::cursor::Version;
use crate::keyed::entry::{Entry, Listing, entry};
use crate::keyed::handle::{Encoded, Handle, ttl_millis};
use crate::keyed::key::check_key;
use crate::keyed::observe;
use crate::keyed::site::Call;
use crate::keyed::store::{self, Action, Kind, Life, MAX_PAGE, Outcome};
use crate::page::PageToken;
use crate::request::{awaitable, opaque};

/// The requested lifetime of a record.
#[derive(Clone, Copy, Debug)]
enum Wish {
    Unsaid,
    For(Duration),
    /// The other lifetime option of the request.
    Other,
    /// Both were set.
    Both,
}

impl Wish {
    fn with(self, wish: Self) -> Self {
        match (self, wish) {
            (Self::Unsaid, wish) => wish,
            (Self::For(_), Self::For(ttl)) => Self::For(ttl),
            (Self::Other, Self::Other) => Self::Other,
            _ => Self::Both,
        }
    }

    fn life(self, unsaid: Life, other: (&str, Life)) -> Result<Life> {
        match self {
            Self::Unsaid => Ok(unsaid),
            Self::For(ttl) => ttl_millis(ttl).map(Life::For),
            Self::Other => Ok(other.1),
            Self::Both => Err(Error::argument(format!("ttl and {} exclude each other, but both were given", other.0))),
        }
    }
}

/// Stores a value under a key, whatever is there. Resolves to [`Entry`].
///
/// Without an option the record becomes permanent, even if it had a ttl before. Dropping the future withdraws it unless
/// it was sent.
#[must_use = "nothing is stored until it is awaited"]
pub struct Upsert<T> {
    handle: Handle<T>,
    key: Arc<str>,
    value: Encoded,
    wish: Wish,
}

impl<T: Value> Upsert<T> {
    pub(crate) fn new(handle: &Handle<T>, key: &str, value: &T) -> Self {
        Self { handle: handle.clone(), key: key.into(), value: handle.encode(value), wish: Wish::Unsaid }
    }

    /// The record expires after this time unless it is touched: 1 ms..=10 years.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.wish = self.wish.with(Wish::For(ttl));
        self
    }

    /// Keeps the ttl of the active record, and restarts it. A new or permanent record is permanent.
    pub fn keep_ttl(mut self) -> Self {
        self.wish = self.wish.with(Wish::Other);
        self
    }

    async fn run(self) -> Result<Entry<T>> {
        let Self { handle, key, value, wish } = self;
        let call = Call::on("upsert", &key);
        handle.site.check_key(&call)?;
        let life = wish.life(Life::Permanent, ("keep_ttl", Life::Keep));
        let life = life.map_err(|error| handle.site.context(&call, error))?;
        handle.upsert(&call, &key, value, life).await
    }
}

/// Stores a value if the record is active and has the expected version; or, with `None`, if no record is active under
/// the key. Resolves to [`Cas`].
///
/// Of several contenders with the same expectation exactly one swaps. Without an option the record keeps its ttl,
/// restarted in full; a new one is permanent. A conflict changes nothing. If the conflicting record cannot be decoded,
/// the error is of kind *decode*. Dropping the future withdraws it unless it was sent.
#[must_use = "nothing is stored until it is awaited"]
pub struct CasRequest<T> {
    handle: Handle<T>,
    key: Arc<str>,
    expected: Option<Version>,
    value: Encoded,
    wish: Wish,
}

impl<T: Value> CasRequest<T> {
    pub(crate) fn new(handle: &Handle<T>, key: &str, expected: Option<Version>, value: &T) -> Self {
        Self { handle: handle.clone(), key: key.into(), expected, value: handle.encode(value), wish: Wish::Unsaid }
    }

    /// The record expires after this time unless it is touched: 1 ms..=10 years.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.wish = self.wish.with(Wish::For(ttl));
        self
    }

    /// The record does not expire.
    pub fn permanent(mut self) -> Self {
        self.wish = self.wish.with(Wish::Other);
        self
    }

    async fn run(self) -> Result<Cas<T>> {
        let Self { handle, key, expected, value, wish } = self;
        let call = Call::on("cas", &key);
        handle.site.check_key(&call)?;
        let life = wish.life(Life::Keep, ("permanent", Life::Permanent));
        let life = life.map_err(|error| handle.site.context(&call, error))?;
        let (bytes, value) = handle.checked(&call, value)?;
        let action = Action::Cas { expected: expected.map(|version| version.0), value: bytes, life };
        match handle.change(&call, &key, action).await? {
            Outcome::Stored(stamp) => Ok(Cas::Swapped(entry(&key, value, &stamp, false))),
            Outcome::Conflict(None) => Ok(Cas::Conflict(None)),
            Outcome::Conflict(Some(record)) => Ok(Cas::Conflict(Some(handle.opened(&call, record)?))),
            _ => Err(handle.site.misfit(&call)),
        }
    }
}

/// Reads the record of a key. Resolves to `Option<Entry<T>>`; `None` if no record is active.
///
/// A record that cannot be decoded is an error of kind *decode*, whose [`raw`](Error::raw) returns its bytes. Dropping
/// the future does nothing.
#[must_use = "nothing is asked until it is awaited"]
pub struct Get<T> {
    handle: Handle<T>,
    key: Arc<str>,
    include_expired: bool,
}

impl<T: Value> Get<T> {
    pub(crate) fn new(handle: &Handle<T>, key: &str) -> Self {
        Self { handle: handle.clone(), key: key.into(), include_expired: false }
    }

    /// Includes an expired record, for as long as it can be inspected (`tombstone_retention`).
    pub fn include_expired(mut self) -> Self {
        self.include_expired = true;
        self
    }

    async fn run(self) -> Result<Option<Entry<T>>> {
        self.handle.get(&Call::on("get", &self.key), &self.key, self.include_expired).await
    }
}

/// A page of records, in byte order of their keys. Resolves to [`Listing`].
///
/// A page ends at its limit, or when its values pass 4 MiB, with at least one record. Pages of one listing are read at
/// different instants: follow from the cursor of the *first* page and ignore events whose revision a listed record
/// already has, or take a [`snapshot`](super::Registry::snapshot). Dropping the future does nothing.
#[must_use = "nothing is asked until it is awaited"]
pub struct List<T> {
    handle: Handle<T>,
    prefix: Arc<str>,
    expired: bool,
    limit: usize,
    after_key: Option<Arc<str>>,
    after: Option<PageToken>,
}

/// Limits the size of a server's reply; in a page there is no server.
const MAX_LIMIT: usize = if cfg!(target_family = "wasm") { usize::MAX } else { MAX_PAGE };

/// The prefix of page tokens; the key of the page's last record follows.
const TOKEN: &str = "k.";

impl<T: Value> List<T> {
    pub(crate) fn new(handle: &Handle<T>) -> Self {
        let (handle, prefix) = (handle.clone(), "".into());
        Self { handle, prefix, expired: false, limit: 100, after_key: None, after: None }
    }

    /// Only keys under this path, which ends in `/`. Default, and if it is empty: all.
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Lists the expired records that can still be inspected, instead of the active ones.
    pub fn expired(mut self) -> Self {
        self.expired = true;
        self
    }

    /// Records of a page: 1..=1,000, default 100.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Continues after an earlier page: pass its `next`.
    pub fn after(mut self, page: &PageToken) -> Self {
        self.after = Some(page.clone());
        self
    }

    /// Begins after this key, which must be under the prefix; the record need not exist.
    pub fn after_key(mut self, key: &str) -> Self {
        self.after_key = Some(key.into());
        self
    }

    /// The key after which the page begins.
    fn place(&self) -> Result<Option<Arc<str>>> {
        let (what, key) = match (&self.after, &self.after_key) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => {
                return Err(Error::argument("after and after_key exclude each other, but both were given"));
            }
            (None, Some(key)) => ("after_key", &**key),
            (Some(token), None) => {
                let key = token.0.strip_prefix(TOKEN);
                let refused =
                    || Error::argument(format!("the page token {:?} is not one that a listing gave", token.0));
                ("the key in the page token", key.ok_or_else(refused)?)
            }
        };
        check_key(Kind::Registry, what, key)?;
        if !key.starts_with(&*self.prefix) {
            return Err(Error::argument(format!("{what} must lie under the prefix {:?}, but is {key:?}", self.prefix)));
        }
        Ok(Some(key.into()))
    }

    async fn run(self) -> Result<Listing<T>> {
        let call = Call::whole("list");
        let site = &self.handle.site;
        site.check(&call)?;
        self.handle.check_prefix(&call, &self.prefix)?;
        let limit = check::range(Error::argument, "limit", self.limit, 1, MAX_LIMIT);
        limit.map_err(|error| site.context(&call, error))?;
        let after_key = self.place().map_err(|error| site.context(&call, error))?;
        let Self { handle, prefix, expired, limit, .. } = &self;
        let list = store::List { prefix: Arc::clone(prefix), after_key, limit: *limit, expired: *expired };
        let listed = observe::within(observe::span(site, &call), site.store.list(&site.object, list)).await;
        let store::Listing { records, more, place } = listed.map_err(|error| site.context(&call, error))?;
        let last = records.last().filter(|_| more);
        let next = last.map(|record| PageToken(format!("{TOKEN}{}", record.key)));
        let items = records.into_iter().map(|record| handle.listed(record)).collect();
        Ok(Listing { items, cursor: site.cursor(place), next })
    }
}

awaitable! {
    Upsert<T> => Entry<T>;
    CasRequest<T> => Cas<T>;
    Get<T> => Option<Entry<T>>;
    List<T> => Listing<T>;
}

opaque!(Upsert, CasRequest, Get, List);

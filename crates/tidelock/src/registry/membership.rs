//! Memberships: records that renew themselves as long as their owner lives.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::member::{Member, Terms, check_life};
use crate::codec::Value;
use crate::error::Result;
use crate::keyed::cursor::Version;
use crate::keyed::handle::{Encoded, Handle};
use crate::keyed::site::Call;
use crate::keyed::store::{Action, Life, Outcome};
use crate::proof::Moment;
use crate::request::{awaitable, opaque};
use crate::sent::{Sent, in_task};
use crate::time::{SECOND, whole_millis};
use crate::word::words;

/// The state of a member's record when it left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Left {
    /// Its record existed until now.
    Left,
    /// Its record no longer existed: it had expired, or the key was taken over.
    WasLost,
}

words!(Left: Self::Left => "left", Self::WasLost => "was_lost");

/// The parameters of a registration request.
struct Registration<T> {
    handle: Handle<T>,
    key: Arc<str>,
    value: Encoded,
    ttl: Duration,
}

impl<T: Value> Registration<T> {
    fn new(handle: &Handle<T>, key: &str, value: &T) -> Self {
        Self { handle: handle.clone(), key: key.into(), value: handle.encode(value), ttl: 15 * SECOND }
    }

    /// `takes_over`: replaces whatever record there is.
    async fn run(self, name: &'static str, takes_over: bool) -> Result<Option<Membership<T>>> {
        let Self { handle, key, value, ttl } = self;
        let (site, call) = (&handle.site, Call::on(name, &key));
        site.check_beginning(&call)?;
        site.check_key(&call)?;
        check_life(ttl).map_err(|error| site.context(&call, error))?;
        let (value, _) = handle.checked(&call, value)?;
        let ttl = whole_millis(ttl);
        let start = Moment::of(&site.world.clock);
        let life = Life::For(ttl);
        let action = if takes_over {
            Action::Upsert { value: value.clone(), life }
        } else {
            Action::Cas { expected: None, value: value.clone(), life }
        };
        match handle.change(&call, &key, action).await? {
            Outcome::Stored(stamp) => {
                let terms = Terms { key: Arc::clone(&key), ttl, value, bounds: handle.options.bounds };
                let member = Member::new(site, terms, stamp.version, start);
                Ok(Some(Membership { member: Some(member), handle: handle.clone(), value: PhantomData }))
            }
            Outcome::Conflict(_) if !takes_over => Ok(None),
            _ => Err(site.misfit(&call)),
        }
    }
}

/// Stores a record that is renewed automatically, and takes the key over from whoever has it. Resolves to
/// [`Membership`].
///
/// Dropping the future withdraws it unless it was sent; a record that was stored anyway ends with its ttl.
#[must_use = "nothing is registered until it is awaited"]
pub struct Register<T>(Registration<T>);

impl<T: Value> Register<T> {
    pub(crate) fn new(handle: &Handle<T>, key: &str, value: &T) -> Self {
        Self(Registration::new(handle, key, value))
    }

    /// How long the record outlives its process: 1 s..=10 years, default 15 s. It is renewed every third of it.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.0.ttl = ttl;
        self
    }

    async fn run(self) -> Result<Membership<T>> {
        let (handle, key) = (self.0.handle.clone(), Arc::clone(&self.0.key));
        let membership = self.0.run("register", true).await?;
        membership.ok_or_else(|| handle.site.misfit(&Call::on("register", &key)))
    }
}

/// Stores a record that is renewed automatically, if no record is active under the key. Resolves to
/// `Option<Membership<T>>`; `None` if the key is taken.
///
/// Dropping the future withdraws it unless it was sent; a record that was stored anyway ends with its ttl.
#[must_use = "nothing is registered until it is awaited"]
pub struct TryRegister<T>(Registration<T>);

impl<T: Value> TryRegister<T> {
    pub(crate) fn new(handle: &Handle<T>, key: &str, value: &T) -> Self {
        Self(Registration::new(handle, key, value))
    }

    /// How long the record outlives its process: 1 s..=10 years, default 15 s. It is renewed every third of it.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.0.ttl = ttl;
        self
    }

    async fn run(self) -> Result<Option<Membership<T>>> {
        self.0.run("try_register", false).await
    }
}

/// A record of this process, renewed automatically every third of its ttl, together with the others of its registry: up
/// to 256 in one request.
///
/// If the record is gone at a renewal (the process was paused for longer than the ttl, or the server lost it), it is
/// registered again. If somebody else has the key by then, the membership is lost, and writes nothing more. If the
/// answer to registering again or to an update was lost, a record with that value and its own ttl that nobody has
/// renewed yet counts as its own: members of different owners should have different values.
///
/// Dropping it removes the record in the background, but never that of a successor; so does the beginning of a
/// shutdown.
#[must_use = "dropping it ends the membership and removes the record"]
pub struct Membership<T> {
    /// `None` after leaving.
    member: Option<Arc<Member>>,
    handle: Handle<T>,
    value: PhantomData<fn() -> T>,
}

impl<T> Membership<T> {
    fn member(&self) -> &Arc<Member> {
        self.member.as_ref().expect("it is taken only by what consumes the membership")
    }

    /// The key.
    pub fn key(&self) -> &str {
        &self.member().key
    }

    /// The version of its record: that of its last registration or update.
    pub fn version(&self) -> Version {
        Version(self.member().version())
    }

    /// How long the record certainly still lives, by this machine's clock: 0 no later than its deadline, and 0 when the
    /// membership is over. Counted from before the last confirmed renewal was sent, less a margin of 1 % of the ttl (at
    /// least 1 ms, at most 1 min).
    pub fn valid_for(&self) -> Duration {
        self.member().valid_for()
    }

    /// Resolves when the membership is over: the key was taken over, or a shutdown has removed the record. Dropping the
    /// future does nothing.
    pub async fn lost(&self) {
        self.member().lost().await;
    }

    /// How often the record was gone and had to be registered again.
    pub fn rejoins(&self) -> u64 {
        self.member().rejoins()
    }
}

impl<T: Value> Membership<T> {
    /// Stores another value, if the record is still the one that this membership stored last. Returns `false` if it is
    /// not; nothing was written then.
    ///
    /// Once polled, it is sent even if the future is dropped. After an error of kind *timeout* it may have taken
    /// effect; the next renewal finds out.
    pub async fn update(&self, value: &T) -> Result<bool> {
        let (site, call) = (&self.handle.site, Call::on("update", self.key()));
        site.check(&call)?;
        let (value, _) = self.handle.checked(&call, self.handle.encode(value))?;
        in_task(&site.world.spawner, Box::pin(Arc::clone(self.member()).update(value))).await
    }

    /// Ends the membership and removes its record.
    ///
    /// Once polled it is sent even if the future is dropped. After an error the record ends with its ttl at the latest.
    pub async fn leave(mut self) -> Result<Left> {
        let member = self.member.take().expect("it is taken only by what consumes the membership");
        in_task(&self.handle.site.world.spawner, Box::pin(member.leave())).await
    }
}

impl<T> Drop for Membership<T> {
    fn drop(&mut self) {
        if let Some(member) = self.member.take() {
            Sent::new(Box::pin(member.leave_quietly()), &self.handle.site.world.spawner).detach();
        }
    }
}

impl<T> fmt::Debug for Membership<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, version) = (self.key(), self.version());
        f.debug_struct("Membership").field("key", &key).field("version", &version).finish_non_exhaustive()
    }
}

awaitable! {
    Register<T> => Membership<T>;
    TryRegister<T> => Option<Membership<T>>;
}

opaque!(Register, TryRegister);

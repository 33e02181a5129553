//! The requests of a mutex.

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use crate::check;
use crate::error::{Error, ErrorKind, Result};
use crate::mutex::guard::Guard;
use crate::mutex::observe::Measure;
use crate::mutex::room::{Entered, Room};
use crate::mutex::seat::{Grant, Standing, State};
use crate::mutex::store::{Ask, Effort, MAX_WAITING, Spot, Step, Token};
use crate::mutex::tenure::Tenure;
use crate::mutex::{Holder, Holding, Locked, Mutex, NotAcquired, Scoped, check_lease};
use crate::name::digest_if_long;
use crate::proof::Moment;
use crate::runtime::{self, BoxFuture};
use crate::time::{SECOND, TEN_YEARS, Tick, whole_millis};

/// How long, in real time, a call whose timeout has passed waits for the backend to confirm that it left the queue.
const PATIENCE: Duration = SECOND;

/// A request for a resource, with its options as the caller gave them.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    operation: &'static str,
    mutex: Mutex,
    resource: Arc<str>,
    lease: Duration,
    renews: bool,
    /// `None` for `try_lock`.
    wait: Option<Duration>,
}

impl Question {
    fn check(&self) -> Result<Spot> {
        check_lease(Error::argument, self.lease, self.renews)?;
        check::range(Error::argument, "timeout", self.wait.unwrap_or_default(), Duration::ZERO, TEN_YEARS)?;
        spot(&self.mutex, &self.resource)
    }

    async fn ask(self) -> Result<Locked> {
        let answer = self.ask_bare().await;
        let about = || format!("{} {:?} of mutex {:?}", self.operation, self.resource, self.mutex.id());
        answer.map_err(|error| error.in_context(about()))
    }

    async fn ask_bare(&self) -> Result<Locked> {
        let spot = self.check()?;
        let room = &self.mutex.room;
        room.lifecycle().check_not_closed()?;
        let start = room.clock().tick();
        let wait = self.wait.unwrap_or_default();
        let ask = Ask {
            token: Token::draw(),
            lease: whole_millis(self.lease),
            owner: self.mutex.options.owner.as_ref().to_owned(),
        };
        let entered = room.enter(spot, ask, !wait.is_zero());
        self.put(&entered, wait).await?;
        let locked = self.wait(&entered, start, start.plus(wait)).await?;
        self.tell(&locked, start);
        Ok(locked)
    }

    /// Counts the result.
    fn tell(&self, locked: &Locked, start: Tick) {
        let Mutex { meter, room, .. } = &self.mutex;
        let waits = self.wait.is_some_and(|wait| !wait.is_zero());
        let acquired = matches!(locked, Locked::Guard(_));
        meter.count(match (acquired, waits) {
            (true, _) => Measure::Acquired,
            (false, true) => Measure::TimedOut,
            (false, false) => Measure::Refused,
        });
        if waits {
            meter.waited(acquired, || room.clock().tick().since(start));
        }
    }

    /// Sends the request and waits for the answer.
    async fn put(&self, entered: &Entered, within: Duration) -> Result<()> {
        let Entered { room, seat } = entered;
        let asked = room.sent(Arc::clone(room).ask(Arc::clone(seat), within));
        tokio::select! {
            biased;
            () = asked => {}
            // Until the shutdown ends, a handler that is to finish may still take a free resource.
            () = room.lifecycle().closed() => return Err(Error::shut_down()),
        }
        seat.failure().map_or(Ok(()), Err)
    }

    /// Waits for the grant. The first request has been answered.
    async fn wait(&self, entered: &Entered, start: Tick, limit: Tick) -> Result<Locked> {
        let Entered { room, seat } = entered;
        let mut asked_again = false;
        loop {
            let standing = match seat.look() {
                State::Granted(grant) if !asked_again && grant.ran_out(Moment::of(room.clock())) => {
                    // The call was not polled for so long that the proof ran out. The same request tells what is left
                    // of the grant, or asks anew.
                    asked_again = true;
                    seat.reopen();
                    self.put(entered, limit.since(room.clock().tick())).await?;
                    continue;
                }
                State::Granted(grant) => return Ok(Locked::Guard(self.guard(entered, grant))),
                State::Refused(error) => return Err(error),
                State::Held(standing) => return Ok(self.not_acquired(room, start, standing)),
                State::Full(waiting) => return Err(full(waiting)),
                State::Waiting { standing, .. } => Ok(standing),
                State::Failing(error) => Err(error),
                State::Asking => {
                    // It was asked again while another request was in flight, whose answer also tells.
                    tokio::select! {
                        biased;
                        () = seat.changed() => continue,
                        () = room.lifecycle().closing() => return Err(Error::shut_down()),
                    }
                }
                State::Taken(_) | State::Gone => unreachable!("only this call takes the grant or leaves"),
            };
            if room.clock().tick() >= limit {
                let standing = standing?;
                return self.give_up(entered, start, standing).await;
            }
            tokio::select! {
                biased;
                () = seat.changed() => {}
                () = room.lifecycle().closing() => return Err(Error::shut_down()),
                () = room.clock().sleep_until(limit) => {}
            }
        }
    }

    /// Returns `NotAcquired` once the backend has confirmed that the call left the queue. If the backend does not
    /// answer, this is an error: only the backend knows whether the call still waits.
    async fn give_up(&self, entered: &Entered, start: Tick, standing: Standing) -> Result<Locked> {
        let Entered { room, seat } = entered;
        let (inner, ours) = (Arc::clone(room), Arc::clone(seat));
        let mut leaving = room.sent(async move {
            let answer = inner.step(&ours.spot, Step::Leave { ask: ours.ask.clone() }, Effort::ONCE).await;
            if answer.is_err() {
                inner.leave_seat(&ours);
            }
            answer
        });
        let left = (&mut leaving).now_or_never();
        // A grant that has arrived by now is still given back, when the call leaves the room.
        let _ = seat.settle(State::Held(standing));
        let left = if let Some(left) = left {
            left
        } else {
            tokio::select! {
                biased;
                left = leaving => left,
                () = room.lifecycle().closing() => return Err(Error::shut_down()),
                () = runtime::sleep(PATIENCE) => Err(Error::new(ErrorKind::Timeout, "the backend gives no answer")),
            }
        };
        match left {
            Err(error) if error.may_pass() => Err(error),
            _ => Ok(self.not_acquired(room, start, standing)),
        }
    }

    fn not_acquired(&self, room: &Room, start: Tick, standing: Standing) -> Locked {
        let now = room.clock().tick();
        Locked::NotAcquired(NotAcquired {
            resource: self.resource.as_ref().to_owned(),
            waited: now.since(start),
            lease_left: standing.deadline.since(now),
            waiting: standing.waiting,
        })
    }

    fn guard(&self, entered: &Entered, grant: Grant) -> Guard {
        let tenure = Tenure::new(entered, &self.mutex.meter, grant, self.lease, self.renews);
        let hold = entered.room.lifecycle().hold("lock", &self.mutex.address.id);
        Guard::new(tenure, &self.resource, hold)
    }
}

fn full(waiting: u64) -> Error {
    let text = format!("at most {MAX_WAITING} may wait for one resource, and {waiting} do");
    Error::new(ErrorKind::CapacityReached, text).retryable()
}

fn spot(mutex: &Mutex, resource: &str) -> Result<Spot> {
    mutex.address.check()?;
    Ok(mutex.room.store().spot(&mutex.address, &digest_if_long("resource", resource)?.key()))
}

macro_rules! options {
    () => {
        /// How long this grant lasts unless it is renewed: whole milliseconds, 100 ms (1 ms with `fixed_lease`) to 10
        /// years. Default: the mutex's.
        pub fn lease(mut self, lease: Duration) -> Self {
            self.question.lease = lease;
            self
        }

        /// This grant is not renewed.
        pub fn fixed_lease(mut self) -> Self {
            self.question.renews = false;
            self
        }
    };
    (timeout) => {
        options!();

        /// How long to wait, counted from the first poll: 0 to 10 years; with zero it asks once. Default: the mutex's
        /// `wait`.
        pub fn timeout(mut self, timeout: Duration) -> Self {
            self.question.wait = Some(timeout);
            self
        }
    };
}

/// Waits for a resource; created by [`Mutex::lock`].
///
/// Resolves to [`Locked`]. Waiters are served in order of arrival. If the connection breaks, the same request is
/// repeated until the timeout.
///
/// Dropping the future leaves the queue at once; a grant that was on its way goes to the next waiter.
///
/// # Errors
///
/// *Invalid argument*; *connection* or *timeout* when the backend did not answer; *capacity reached* when 10,000 wait;
/// *shutting down*.
#[derive(Clone, Debug)]
#[must_use = "nothing is locked until it is awaited"]
pub struct Lock {
    question: Question,
}

impl Lock {
    pub(crate) fn new(mutex: &Mutex, resource: &str) -> Self {
        Self { question: question("lock", mutex, resource, Some(mutex.options.wait)) }
    }

    options!(timeout);

    /// Locks, runs `run`, and releases the lock however `run` ended, even if it panics or this future is dropped.
    ///
    /// `run` is not stopped when the lock is lost; it can select on [`Guard::lost`]. The answer contains both the
    /// result of `run` and the outcome of the release. Errors are those of [`Lock`].
    pub async fn with<T>(self, run: impl AsyncFnOnce(&Guard) -> T) -> Result<Scoped<T>> {
        match self.question.ask().await? {
            Locked::Guard(guard) => {
                let value = run(&guard).await;
                Ok(Scoped::Ran { value, release: guard.release().await })
            }
            Locked::NotAcquired(not_acquired) => Ok(Scoped::NotAcquired(not_acquired)),
        }
    }
}

impl IntoFuture for Lock {
    type Output = Result<Locked>;
    type IntoFuture = BoxFuture<'static, Result<Locked>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.question.ask())
    }
}

/// Like [`Lock`], with *not acquired* as an error; created by [`Mutex::lock_or_err`].
///
/// # Errors
///
/// Those of [`Lock`], and *lock not acquired*, which is retryable and carries [`NotAcquired`].
#[derive(Clone, Debug)]
#[must_use = "nothing is locked until it is awaited"]
pub struct LockOrErr {
    question: Question,
}

impl LockOrErr {
    pub(crate) fn new(mutex: &Mutex, resource: &str) -> Self {
        Self { question: question("lock_or_err", mutex, resource, Some(mutex.options.wait)) }
    }

    options!(timeout);
}

impl IntoFuture for LockOrErr {
    type Output = Result<Guard>;
    type IntoFuture = BoxFuture<'static, Result<Guard>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let id = Arc::clone(&self.question.mutex.address.id);
            match self.question.ask().await? {
                Locked::Guard(guard) => Ok(guard),
                Locked::NotAcquired(no) => {
                    let text = format!("lock_or_err {:?} of mutex {id:?}: {no}", no.resource);
                    Err(Error::lock_not_acquired(text, no))
                }
            }
        })
    }
}

/// Asks once for a resource; created by [`Mutex::try_lock`].
///
/// Resolves to the guard, or to `None` if the resource is held or others wait for it. Dropping the future withdraws the
/// request; a grant that was on its way goes to the next waiter. Errors are those of [`Lock`].
#[derive(Clone, Debug)]
#[must_use = "nothing is locked until it is awaited"]
pub struct TryLock {
    question: Question,
}

impl TryLock {
    pub(crate) fn new(mutex: &Mutex, resource: &str) -> Self {
        Self { question: question("try_lock", mutex, resource, None) }
    }

    options!();
}

impl IntoFuture for TryLock {
    type Output = Result<Option<Guard>>;
    type IntoFuture = BoxFuture<'static, Result<Option<Guard>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { Ok(self.question.ask().await?.guard()) })
    }
}

fn question(operation: &'static str, mutex: &Mutex, resource: &str, wait: Option<Duration>) -> Question {
    let (lease, renews) = (mutex.options.lease, mutex.options.renews);
    Question { operation, mutex: mutex.clone(), resource: resource.into(), lease, renews, wait }
}

/// Reads the state of a resource; created by [`Mutex::describe`].
///
/// Resolves to [`Holding`]. It changes nothing. Dropping the future does nothing.
#[derive(Clone, Debug)]
#[must_use = "nothing is asked until it is awaited"]
pub struct Describe {
    mutex: Mutex,
    resource: Arc<str>,
}

impl Describe {
    pub(crate) fn new(mutex: &Mutex, resource: &str) -> Self {
        Self { mutex: mutex.clone(), resource: resource.into() }
    }

    async fn look(self) -> Result<Holding> {
        let about = format!("describe {:?} of mutex {:?}", self.resource, self.mutex.id());
        let room = &self.mutex.room;
        let seen = match room.lifecycle().check_not_closed().and_then(|()| spot(&self.mutex, &self.resource)) {
            Ok(spot) => room.store().describe(&spot).await,
            Err(error) => Err(error),
        };
        let seen = seen.map_err(|error| error.in_context(about))?;
        let holder = seen.holder.map(|(owner, left)| Holder {
            owner,
            fence: seen.last_fence.unwrap_or_default(),
            lease_left: Duration::from_millis(left),
        });
        Ok(Holding { holder, waiting: seen.waiting, last_fence: seen.last_fence })
    }
}

impl IntoFuture for Describe {
    type Output = Result<Holding>;
    type IntoFuture = BoxFuture<'static, Result<Holding>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.look())
    }
}

//! `RetryBudget`: a limit for the retries of all calls that share it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use futures_util::FutureExt;

use crate::check;
use crate::counters::Counters;
use crate::error::{Error, ErrorKind, Result};
use crate::lifecycle::Lifecycle;
use crate::name::Address;
use crate::retry::model::Bucket;
use crate::retry::store::{BudgetStore, Numbers, TOKEN, Take};
use crate::runtime::{BoxFuture, Spawner};
use crate::tidelock::Tidelock;
use crate::time::{Clock, SECOND, Tick, Timestamp};

const MOST_TOKENS: u32 = 1_000_000;

/// Limits retries across all calls that share it: a token bucket, full at first.
///
/// A retry takes one token when it is decided, before its pause; if there is none, the call gives up with
/// [`GaveUp::Budget`](crate::GaveUp::Budget). Time and successful calls refill the bucket. First attempts take no token
/// and are never refused. So a dependency that is down gets few retries however many calls fail at once, and one that
/// is healthy can be retried freely. A clone is the same budget.
///
/// ```
/// use tidelock::{RetryBudget, retry};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let budget = RetryBudget::builder().capacity(50).build()?;
/// let answer = retry(async |_| Ok::<_, std::io::Error>(42)).budget(&budget).await?;
/// assert_eq!(answer, 42);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RetryBudget {
    shared: Arc<Shared>,
}

struct Shared {
    numbers: Numbers,
    /// Thousandths of a token earned by each successful call.
    per_success: u64,
    clock: Clock,
    origin: Tick,
    /// The bucket of a budget without a backend.
    bucket: Mutex<Bucket>,
    remote: Option<Remote>,
    /// Retries refused for lack of a token.
    refused: Counters<1>,
}

/// The connection of a budget to its backend.
struct Remote {
    store: Arc<dyn BudgetStore>,
    /// Decides while the backend does not answer, for all handles of the budget in this process.
    local: Arc<dyn BudgetStore>,
    address: Address,
    lifecycle: Lifecycle,
    spawner: Arc<Spawner>,
    /// Thousandths of a token earned here but not yet sent.
    earned: AtomicU64,
    /// A task is going to send them.
    sending: AtomicBool,
    /// The last request to the backend failed.
    away: AtomicBool,
}

/// The answer to a retry that asks for a token.
pub(crate) enum Taking {
    Decided(bool),
    Asking(BoxFuture<'static, bool>),
}

impl RetryBudget {
    /// Starts the definition of a budget for this process.
    pub fn builder() -> RetryBudgetBuilder {
        RetryBudgetBuilder { capacity: 100, per_second: 10.0, per_success: 0.1, door: None }
    }

    pub(crate) fn take(&self) -> Taking {
        if self.shared.remote.is_none() {
            return Taking::Decided(self.shared.take_here());
        }
        let shared = Arc::clone(&self.shared);
        Taking::Asking(Box::pin(async move { shared.take_there().await }))
    }

    /// Credits a successful call. Never waits.
    pub(crate) fn succeeded(&self) {
        let Shared { per_success, numbers, remote, .. } = &*self.shared;
        if *per_success == 0 {
            return;
        }
        let Some(remote) = remote else { return self.shared.lock().credit(numbers, *per_success) };
        remote.decide(numbers, *per_success, 0);
        remote.earn(*per_success, numbers.capacity);
        if !remote.sending.swap(true, Ordering::AcqRel) {
            self.send_in_a_second(remote);
        }
    }

    /// Starts the task that sends the earned credit after a second, unless a take has sent it by then.
    fn send_in_a_second(&self, remote: &Remote) {
        let (sending, clock) = (Sending(Arc::downgrade(&self.shared)), self.shared.clock.clone());
        let lifecycle = remote.lifecycle.clone();
        // Without a runtime, the next take sends it.
        remote.spawner.spawn(async move {
            tokio::select! {
                () = clock.sleep(SECOND) => {}
                () = lifecycle.closing() => return,
            }
            let Some(shared) = sending.0.upgrade() else { return };
            drop(sending);
            if let Some(remote) = &shared.remote {
                let credit = remote.earned.swap(0, Ordering::AcqRel);
                if credit > 0 {
                    remote.ask(&shared.numbers, credit, 0).await;
                }
            }
        });
    }
}

/// Held by the task that will send the earned credit. The task may be dropped with its runtime before it has.
struct Sending(Weak<Shared>);

impl Drop for Sending {
    fn drop(&mut self) {
        if let Some(remote) = self.0.upgrade().as_ref().and_then(|shared| shared.remote.as_ref()) {
            remote.sending.store(false, Ordering::Release);
        }
    }
}

impl Shared {
    fn take_here(&self) -> bool {
        let take = Take { numbers: self.numbers, credit: 0, amount: TOKEN };
        let now = self.now();
        let taken = self.lock().take(now, &take, Duration::MAX).0.taken;
        self.count(taken);
        taken
    }

    async fn take_there(&self) -> bool {
        let Some(remote) = &self.remote else { return self.take_here() };
        let credit = remote.earned.swap(0, Ordering::AcqRel);
        let taken = match remote.ask(&self.numbers, credit, TOKEN).await {
            Some(taken) => taken,
            None => remote.decide(&self.numbers, 0, TOKEN),
        };
        self.count(taken);
        taken
    }

    /// Counts a refused retry. A budget of this process has no id for a label.
    fn count(&self, taken: bool) {
        if !taken {
            self.refused.add(0, 1, || {
                let label = |remote: &Remote| ("budget", Arc::clone(&remote.address.id));
                let labels = self.remote.as_ref().map(label).into_iter().collect();
                Some(("tidelock.retry.budget.refused".into(), labels))
            });
        }
    }

    /// Time since the budget was created, by its own clock, as the model's timestamp.
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(0) + self.clock.tick().since(self.origin)
    }

    fn lock(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().expect("no code panics while it holds this lock")
    }
}

impl Remote {
    /// Decides in this process, without waiting.
    fn decide(&self, numbers: &Numbers, credit: u64, amount: u64) -> bool {
        let answer = self.local.take(&self.address, Take { numbers: *numbers, credit, amount }).now_or_never();
        answer.and_then(Result::ok).is_some_and(|answer| answer.taken)
    }

    fn earn(&self, amount: u64, capacity: u64) {
        let more = |earned: u64| Some(earned.saturating_add(amount).min(capacity));
        // The closure always returns a value, so the result carries no information.
        let _ = self.earned.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
    }

    /// One call of the backend; `None` if it did not answer.
    async fn ask(&self, numbers: &Numbers, credit: u64, amount: u64) -> Option<bool> {
        let answer = self.store.take(&self.address, Take { numbers: *numbers, credit, amount }).await;
        let was_away = self.away.swap(answer.is_err(), Ordering::AcqRel);
        let id = &*self.address.id;
        match answer {
            Ok(answer) => {
                if was_away {
                    tracing::info!(budget = id, "the retry budget is shared through the backend again");
                }
                Some(answer.taken)
            }
            Err(error) => {
                if !was_away {
                    tracing::warn!(budget = id, %error, "this process falls back to a retry budget of its own");
                }
                if error.kind() != ErrorKind::Timeout {
                    // It was not sent, or refused: the credit still has to be sent.
                    self.earn(credit, numbers.capacity);
                }
                None
            }
        }
    }
}

impl fmt::Debug for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { numbers, per_success, remote, .. } = &*self.shared;
        f.debug_struct("RetryBudget")
            .field("numbers", numbers)
            .field("per_success", per_success)
            .field("address", &remote.as_ref().map(|remote| &remote.address))
            .finish_non_exhaustive()
    }
}

/// Defines a [`RetryBudget`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct RetryBudgetBuilder {
    capacity: u32,
    per_second: f64,
    per_success: f64,
    door: Option<(Tidelock, String)>,
}

impl RetryBudgetBuilder {
    pub(crate) fn on(tide: &Tidelock, id: &str) -> Self {
        Self { door: Some((tide.clone(), id.to_owned())), ..RetryBudget::builder() }
    }

    /// Its capacity and initial number of tokens: 1..=1,000,000. Default 100.
    pub fn capacity(mut self, tokens: u32) -> Self {
        self.capacity = tokens;
        self
    }

    /// Tokens refilled per second: 0..=1,000,000. Default 10. Precise to the millionth.
    pub fn per_second(mut self, tokens: f64) -> Self {
        self.per_second = tokens;
        self
    }

    /// Tokens refilled per successful call: 0..=1. Default 0.1. Precise to the thousandth.
    pub fn per_success(mut self, tokens: f64) -> Self {
        self.per_success = tokens;
        self
    }

    /// Creates the budget. Does no I/O.
    ///
    /// Values out of range, and a bad id or tenant, are refused as
    /// [`InvalidConfiguration`](crate::ErrorKind::InvalidConfiguration).
    pub fn build(self) -> Result<RetryBudget> {
        if !(1..=MOST_TOKENS).contains(&self.capacity) {
            let text = format!("capacity must be 1..={MOST_TOKENS} tokens, but is {}", self.capacity);
            return Err(Error::configuration(text));
        }
        check::parts(Error::configuration, "per_second", self.per_second, 0.0, f64::from(MOST_TOKENS))?;
        check::parts(Error::configuration, "per_success", self.per_success, 0.0, 1.0)?;
        let numbers = Numbers { capacity: u64::from(self.capacity) * TOKEN, rate: parts(self.per_second, 1_000_000.0) };
        let clock = self.door.as_ref().map_or(Clock::System, |(tide, _)| tide.world.clock.clone());
        let remote = self.door.map(|(tide, id)| Remote::new(&tide, &id)).transpose()?;
        let (origin, start) = (clock.tick(), Timestamp::from_millis(0));
        let bucket = Mutex::new(Bucket::full(&numbers, start));
        let per_success = parts(self.per_success, 1_000.0);
        let refused = Counters::new();
        Ok(RetryBudget { shared: Arc::new(Shared { numbers, per_success, clock, origin, bucket, remote, refused }) })
    }
}

impl Remote {
    fn new(tide: &Tidelock, id: &str) -> Result<Self> {
        let address = Address::new(&tide.tenant, id);
        address.check_built()?;
        Ok(Self {
            store: tide.world.backend.retry_budget(),
            local: tide.world.local().retry_budget(),
            address,
            lifecycle: tide.world.lifecycle.clone(),
            spawner: Arc::clone(&tide.world.spawner),
            earned: AtomicU64::new(0),
            sending: AtomicBool::new(false),
            away: AtomicBool::new(false),
        })
    }
}

/// Converts a validated amount to whole parts; a positive amount is at least one part.
fn parts(amount: f64, per_token: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0..=10^12, checked before")]
    let parts = (amount * per_token).round() as u64;
    if amount > 0.0 { parts.max(1) } else { 0 }
}

#[cfg(test)]
mod tests;

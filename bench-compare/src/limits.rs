//! Rate limits: checks for a thousand users.

use std::future::Future;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, bail};
use governor::DefaultKeyedRateLimiter;
use redis::aio::MultiplexedConnection;
use tidelock::Tidelock;
use tidelock::ratelimit::{Limit, RateLimiter};

use crate::jobs::spread;
use crate::limit::connect;
use crate::protocol::{Outcome, Stage, Task};

const USERS: usize = 1_000;
/// More per second than anybody requests, so that checks are measured, not refusals.
const LIMIT: u32 = 1_000_000;

trait Limiter: Clone + Send + Sync + 'static {
    fn open(url: &str) -> impl Future<Output = Result<Self>> + Send;

    fn admits(&self, user: &str) -> impl Future<Output = Result<bool>> + Send;
}

pub(crate) async fn run(contender: &str, stage: &mut Stage, task: &Task) -> Result<Outcome> {
    match contender {
        "tidelock-ratelimit" => check::<Tide>(stage, task).await,
        "tidelock-in-process" => check::<InProcess>(stage, task).await,
        "governor" => check::<Governor>(stage, task).await,
        "incr" => check::<Incr>(stage, task).await,
        _ => bail!("there is no contender {contender}"),
    }
}

async fn check<L: Limiter>(stage: &mut Stage, task: &Task) -> Result<Outcome> {
    let limiter = L::open(&task.url).await?;
    let users: Arc<[String]> = (0..USERS).map(|user| format!("user:{user}")).collect();
    stage.ready()?;
    let start = Instant::now();
    spread(task.items, task.callers, move |number| {
        let (limiter, users) = (limiter.clone(), Arc::clone(&users));
        async move {
            if !limiter.admits(&users[number % USERS]).await? {
                bail!("refused, although it is far below the limit");
            }
            Ok(())
        }
    })
    .await?;
    Ok(Outcome::rate(task.items, start.elapsed()))
}

#[derive(Clone)]
struct Tide(RateLimiter);

impl Limiter for Tide {
    async fn open(url: &str) -> Result<Self> {
        Ok(Self(Tidelock::connect(url).await?.ratelimit("compare").limit(Limit::per_second(LIMIT.into())).build()?))
    }

    async fn admits(&self, user: &str) -> Result<bool> {
        Ok(!self.0.check(user).await?.limited)
    }
}

#[derive(Clone)]
struct InProcess(RateLimiter);

impl Limiter for InProcess {
    async fn open(_url: &str) -> Result<Self> {
        Ok(Self(Tidelock::in_process().ratelimit("compare").limit(Limit::per_second(LIMIT.into())).build()?))
    }

    async fn admits(&self, user: &str) -> Result<bool> {
        Ok(!self.0.check(user).await?.limited)
    }
}

#[derive(Clone)]
struct Governor(Arc<DefaultKeyedRateLimiter<String>>);

impl Limiter for Governor {
    async fn open(_url: &str) -> Result<Self> {
        let limit = NonZeroU32::new(LIMIT).unwrap_or(NonZeroU32::MAX);
        Ok(Self(Arc::new(governor::RateLimiter::keyed(governor::Quota::per_second(limit)))))
    }

    async fn admits(&self, user: &str) -> Result<bool> {
        Ok(self.0.check_key(&user.to_owned()).is_ok())
    }
}

/// What many programs build by hand: a counter per second that expires.
#[derive(Clone)]
struct Incr(MultiplexedConnection);

impl Limiter for Incr {
    async fn open(url: &str) -> Result<Self> {
        Ok(Self(connect(url).await?))
    }

    async fn admits(&self, user: &str) -> Result<bool> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("INCR").arg(user).cmd("EXPIRE").arg(user).arg(1).arg("NX").ignore();
        let (count,): (u32,) = pipeline.query_async(&mut self.0.clone()).await?;
        Ok(count <= LIMIT)
    }
}

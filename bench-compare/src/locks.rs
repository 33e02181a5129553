//! Locks: acquired and released by callers with a resource each, or contending for one.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use redis::aio::MultiplexedConnection;
use tidelock::Tidelock;

use crate::jobs::{PATIENCE, spread};
use crate::limit::connect;
use crate::protocol::{Outcome, Stage, Task};

/// The lease of a holder.
const LEASE: Duration = Duration::from_secs(10);
/// The pause of polling waiters between two attempts.
const PAUSE: Duration = Duration::from_millis(2);

trait Locks: Clone + Send + Sync + 'static {
    fn open(url: &str) -> impl Future<Output = Result<Self>> + Send;

    /// Waits for the lock, holds it while `held` runs, and releases it.
    fn hold(&self, resource: &str, held: impl Future<Output = ()> + Send) -> impl Future<Output = Result<()>> + Send;
}

pub(crate) async fn run(contender: &str, stage: &mut Stage, task: &Task) -> Result<Outcome> {
    match contender {
        "tidelock-mutex" => take_turns::<Tide>(stage, task).await,
        "rslock" => take_turns::<RsLock>(stage, task).await,
        "set-nx" => take_turns::<SetNx>(stage, task).await,
        _ => bail!("there is no contender {contender}"),
    }
}

async fn take_turns<L: Locks>(stage: &mut Stage, task: &Task) -> Result<Outcome> {
    let locks = L::open(&task.url).await?;
    let contended = match task.work.as_str() {
        "uncontended" => false,
        "contended" => true,
        other => bail!("there is no workload {other}"),
    };
    let turns = Arc::new(AtomicUsize::new(0));
    stage.ready()?;
    let (start, taken) = (Instant::now(), Arc::clone(&turns));
    spread(task.items, task.callers, move |number| {
        let (locks, turns) = (locks.clone(), Arc::clone(&turns));
        async move {
            if contended {
                locks.hold("resource", turn(&turns)).await
            } else {
                locks.hold(&format!("resource-{number}"), async {}).await
            }
        }
    })
    .await?;
    let elapsed = start.elapsed();
    let counted = taken.load(Ordering::Relaxed);
    ensure!(
        !contended || counted == task.items,
        "{counted} of {} turns were counted: two callers held the lock at once",
        task.items
    );
    Ok(Outcome::rate(task.items, elapsed))
}

/// Increments in two steps, so that an increment is lost if two callers do it at the same time.
async fn turn(turns: &AtomicUsize) {
    let before = turns.load(Ordering::Relaxed);
    tokio::task::yield_now().await;
    turns.store(before + 1, Ordering::Relaxed);
}

#[derive(Clone)]
struct Tide(tidelock::mutex::Mutex);

impl Locks for Tide {
    async fn open(url: &str) -> Result<Self> {
        Ok(Self(Tidelock::connect(url).await?.mutex("compare").lease(LEASE).wait(PATIENCE).build()?))
    }

    async fn hold(&self, resource: &str, held: impl Future<Output = ()> + Send) -> Result<()> {
        let guard = self.0.lock_or_err(resource).await?;
        held.await;
        guard.release().await?;
        Ok(())
    }
}

#[derive(Clone)]
struct RsLock(rslock::LockManager);

impl Locks for RsLock {
    async fn open(url: &str) -> Result<Self> {
        let mut locks = rslock::LockManager::new(vec![url.to_owned()]);
        // Its pauses are random, between zero and this.
        locks.set_retry(100_000, 2 * PAUSE);
        Ok(Self(locks))
    }

    async fn hold(&self, resource: &str, held: impl Future<Output = ()> + Send) -> Result<()> {
        let lock = self.0.lock(resource, LEASE).await.map_err(|error| anyhow!("{error:?}"))?;
        held.await;
        self.0.unlock(&lock).await;
        Ok(())
    }
}

/// What many programs build by hand: polling with `SET NX`, and a script that deletes only their own lock.
#[derive(Clone)]
struct SetNx {
    connection: MultiplexedConnection,
    release: String,
}

impl Locks for SetNx {
    async fn open(url: &str) -> Result<Self> {
        let mut connection = connect(url).await?;
        let script = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";
        let release = redis::cmd("SCRIPT").arg("LOAD").arg(script).query_async(&mut connection).await?;
        Ok(Self { connection, release })
    }

    async fn hold(&self, resource: &str, held: impl Future<Output = ()> + Send) -> Result<()> {
        let mut connection = self.connection.clone();
        let token = format!("{:032x}", fastrand::u128(..));
        let lease = u64::try_from(LEASE.as_millis()).context("a lease of some seconds")?;
        loop {
            let mut take = redis::cmd("SET");
            take.arg(resource).arg(&token).arg("NX").arg("PX").arg(lease);
            if take.query_async::<Option<String>>(&mut connection).await?.is_some() {
                break;
            }
            tokio::time::sleep(PAUSE.mul_f64(0.5 + fastrand::f64())).await;
        }
        held.await;
        let mut give_back = redis::cmd("EVALSHA");
        give_back.arg(&self.release).arg(1).arg(resource).arg(&token);
        give_back.query_async::<i64>(&mut connection).await?;
        Ok(())
    }
}

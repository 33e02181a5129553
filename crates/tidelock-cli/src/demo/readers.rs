//! The readers of the run's topic: one per group, in the process that produces the account.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tidelock::SECOND;
use tidelock::topic::{GroupInfo, Item, Reader, Topic};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::event::Outcome;
use super::projection::{GROUPS, Projection, STOCK};

/// Short, so that what a stopped reader held is available again within a second.
const LEASE: Duration = SECOND;
/// Maximum number of events taken, applied and committed together.
const BATCH: usize = 1_000;
/// How long a reader lets events accumulate before it takes the next ones. Totals need not be current to the
/// millisecond, and a few large batches cost less than many small ones.
const PAUSE: Duration = Duration::from_millis(20);
/// How long the groups may take to reach the end of the log.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often that is checked.
const TICK: Duration = Duration::from_millis(20);

/// A reader's instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Read,
    /// Fail with the next events in hand: applied, but never committed.
    Fall,
    Stop,
}

/// The state of a group at the end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    pub(crate) group: &'static str,
    pub(crate) projection: Projection,
    pub(crate) lag: u64,
    pub(crate) missed: u64,
    pub(crate) dead: u64,
    /// Number of events that a reader held when it failed; `None`: no reader failed.
    pub(crate) held: Option<u64>,
}

/// The running readers.
pub(crate) struct Readers {
    topic: Topic<Outcome>,
    running: Vec<Running>,
}

/// The reader of one group, and what it has read.
struct Running {
    group: &'static str,
    projection: Arc<Mutex<Projection>>,
    told: watch::Sender<Told>,
    /// Number of events that the first reader held when it failed.
    held: Arc<Mutex<Option<u64>>>,
    task: JoinHandle<tidelock::Result<()>>,
}

impl Readers {
    /// Starts a reader for each group.
    pub(crate) fn start(topic: &Topic<Outcome>) -> tidelock::Result<Self> {
        let running = GROUPS.into_iter().map(|group| Running::start(topic, group));
        Ok(Self { running: running.collect::<tidelock::Result<_>>()?, topic: topic.clone() })
    }

    /// Makes the reader of the stock fail with the next events in hand; another one replaces it at once.
    pub(crate) fn fall(&self) {
        for running in self.running.iter().filter(|running| running.group == STOCK) {
            running.told.send_replace(Told::Fall);
        }
    }

    /// Waits until both groups have reached the end of the log, and stops the readers.
    pub(crate) async fn finish(self) -> anyhow::Result<Vec<Standing>> {
        let began = Instant::now();
        let groups = loop {
            let groups = self.topic.groups().list().await?;
            // A group is created by its first event.
            let expected = if self.topic.stats().await?.events == 0 { 0 } else { GROUPS.len() };
            let is_done = groups.len() == expected && groups.iter().all(|group| group.lag == 0);
            let failed = self.running.iter().any(|running| running.task.is_finished());
            if is_done || failed || began.elapsed() > PATIENCE {
                break groups;
            }
            tokio::time::sleep(TICK).await;
        };
        let mut standings = Vec::new();
        for running in self.running {
            running.told.send_replace(Told::Stop);
            running.task.await?.with_context(|| format!("the reader of group {:?}", running.group))?;
            let info = groups.iter().find(|group| group.name == running.group);
            let number = |field: fn(&GroupInfo) -> u64| info.map_or(0, field);
            standings.push(Standing {
                group: running.group,
                projection: lock(&running.projection).clone(),
                lag: number(|info| info.lag),
                missed: number(|info| info.missed),
                dead: number(|info| info.dead),
                held: *lock(&running.held),
            });
        }
        Ok(standings)
    }
}

impl Running {
    fn start(topic: &Topic<Outcome>, group: &'static str) -> tidelock::Result<Self> {
        // A projection accepts an event any number of times.
        let reader = topic.reader(group).lease(LEASE).max_deliveries(None).build()?;
        let (told, hears) = watch::channel(Told::Read);
        let projection = Arc::<Mutex<Projection>>::default();
        let held = Arc::<Mutex<Option<u64>>>::default();
        let task = tokio::spawn(keep_reading(reader, group, Arc::clone(&projection), hears, Arc::clone(&held)));
        Ok(Self { group, projection, told, held, task })
    }
}

/// Reads until told to stop; a failing reader is replaced by another.
async fn keep_reading(
    reader: Reader<Outcome>,
    group: &'static str,
    projection: Arc<Mutex<Projection>>,
    hears: watch::Receiver<Told>,
    held: Arc<Mutex<Option<u64>>>,
) -> tidelock::Result<()> {
    let first = read(&reader, group, &projection, hears.clone(), true).await?;
    if first == 0 {
        return Ok(());
    }
    *lock(&held) = Some(first);
    read(&reader, group, &projection, hears, false).await.map(drop)
}

/// Takes, applies and commits. Returns the number of events held when it failed; 0 if it was told to stop.
async fn read(
    reader: &Reader<Outcome>,
    group: &str,
    projection: &Mutex<Projection>,
    mut hears: watch::Receiver<Told>,
    falls: bool,
) -> tidelock::Result<u64> {
    loop {
        let items = tokio::select! {
            items = reader.recv_many(BATCH).consumer(group).into_future() => items?,
            _ = hears.wait_for(|told| *told == Told::Stop) => return Ok(0),
        };
        let mut receipts = Vec::new();
        for item in items {
            match item {
                Item::Event(event) => {
                    lock(projection).apply(group, event.data());
                    receipts.push(event.into_parts().1);
                }
                Item::Gap(gap) => lock(projection).amiss.push(format!("a gap: {gap:?}")),
                Item::Undecodable(raw) => lock(projection).amiss.push(format!("undecodable: {raw:?}")),
            }
        }
        if receipts.is_empty() {
            continue;
        }
        if falls && *hears.borrow() == Told::Fall {
            return Ok(receipts.len() as u64);
        }
        // An event whose lease has ended is delivered again.
        reader.commit_many(&receipts).await?;
        tokio::time::sleep(PAUSE).await;
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().expect("no code panics while it holds this lock")
}

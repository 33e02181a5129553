//! A whole fleet: workers and leaders are killed and frozen at random while jobs and slots pass through them.
//!
//! Before doing anything else, each run records itself outside the library, over a separate connection. In the end, the
//! state of the backend is compared with these records.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tidelock::job::{FailureCode, JobEventKind, JobStats, RetryReason};
use tidelock::scheduler::{Misfire, Overlap, Registered, Schedule, Scheduler, Slot};
use tidelock::{Backoff, Job, JobContext, JobError, JobId, Joined, Tidelock, Timestamp};
use tidelock_testkit::{Binary, Connection, Flavour, Server, scale, soak};

use crate::job::{story, told};
use crate::stage::{Other, keys_without_lifetime, open, until, within};

const MS: Duration = Duration::from_millis(1);
const LEASE: Duration = Duration::from_millis(400);
/// Number of failed runs that ends a job.
const ATTEMPTS: u32 = 4;
/// The lists of recorded runs.
const JOBS: &str = "jobs";
const SLOTS: &str = "slots";

/// How often the job with this input fails on its own; a few fail until they have failed for good.
fn failures(input: u64) -> u32 {
    match input % 20 {
        3 | 8 => 1,
        13 => 2,
        18 => ATTEMPTS,
        _ => 0,
    }
}

/// Jobs that return the fence of the run that produced their result. They may crash any number of times.
fn work(tide: &Tidelock) -> Job<u64, u64> {
    let backoff = Backoff::fixed(20 * MS);
    let job = tide.job("work").lease(LEASE).attempts(ATTEMPTS).backoff(backoff).max_crashes(1_000);
    job.build().expect("the options are good")
}

/// The target of half of the schedules.
fn target(tide: &Tidelock) -> Job<String, u64> {
    tide.job("runs").lease(LEASE).max_crashes(1_000).build().expect("the options are good")
}

/// Where runs are recorded: another database of the same server.
struct Log(Mutex<Connection>);

impl Log {
    fn open(url: &str) -> Self {
        let port = url.rsplit(':').next().and_then(|port| port.trim_end_matches('/').parse().ok());
        let mut connection = Connection::open(port.expect("a URL with a port")).expect("the server answers");
        connection.command(&["SELECT", "1"]).expect("there are several databases");
        Self(Mutex::new(connection))
    }

    fn command(&self, words: &[&str]) -> tidelock_testkit::Reply {
        self.0.lock().unwrap().command(words).expect("the server answers")
    }

    fn write(&self, list: &str, entry: &impl Serialize) {
        self.command(&["RPUSH", list, &serde_json::to_string(entry).expect("it is plain data")]);
    }

    fn len(&self, list: &str) -> usize {
        self.command(&["LLEN", list]).int().and_then(|len| usize::try_from(len).ok()).expect("a length")
    }

    fn all<T: DeserializeOwned>(&self, list: &str) -> Vec<T> {
        let entries = self.command(&["LRANGE", list, "0", "-1"]);
        let entries = entries.items().iter().map(|entry| entry.text().expect("a text"));
        entries.map(|entry| serde_json::from_str(entry).expect("it was written here")).collect()
    }

    /// Records the run of a slot, for handler targets and job targets alike.
    fn slot(&self, ctx: &JobContext, input: &str) -> Result<u64, JobError> {
        let slot = ctx.slot().ok_or("a run of a schedule knows its slot")?;
        assert_eq!(slot.schedule, input);
        self.write(SLOTS, &(slot, ctx.id()));
        Ok(ctx.fence())
    }
}

/// The scheduler of the fleet; its handler is the target of the other half of the schedules.
fn scheduler(tide: &Tidelock, url: &str) -> Scheduler {
    let log = std::sync::Arc::new(Log::open(url));
    let scheduler = tide.scheduler("platform").lease(600 * MS).tick(200 * MS);
    let scheduler = scheduler.handler("note", move |ctx: JobContext, input: String| {
        let log = std::sync::Arc::clone(&log);
        async move {
            // A run whose process is killed is run again after this lease, instead of the 30 s of a handler.
            ctx.heartbeat().lease(2 * LEASE).await?;
            log.slot(&ctx, &input).map(drop)
        }
    });
    scheduler.build().expect("the options are good")
}

/// One of the processes of the test below that run jobs, of both names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker() {
    let Some(url) = Other::url() else { return };
    let tide = open(&url).await;
    let logs = [(); 2].map(|()| std::sync::Arc::new(Log::open(&url)));
    let [log, of_slots] = logs;
    let working = work(&tide).process_with(log, async |log, ctx, input| {
        log.write(JOBS, &(ctx.id(), ctx.fence()));
        // Some time in which it can be killed or frozen.
        let _ = tokio::time::timeout(Duration::from_millis(input % 8 * 5), ctx.cancelled()).await;
        if ctx.failures() < failures(input) {
            return Err(format!("failure {}", ctx.failures() + 1).into());
        }
        Ok(ctx.fence())
    });
    let _working = working.concurrency(8).spawn();
    let slots = target(&tide).process_with(of_slots, async |log, ctx, input: String| log.slot(&ctx, &input));
    slots.concurrency(8).run_until(std::future::pending()).await.unwrap();
}

/// One of the processes of the test below that decide slots, and run those of the handler.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leader() {
    let Some(url) = Other::url() else { return };
    let scheduler = scheduler(&open(&url).await, &url);
    scheduler.start().await.unwrap();
    std::future::pending::<()>().await;
}

/// A schedule of the test, with slots at the multiples of `period` since the epoch, from `first` on.
struct Planned {
    id: String,
    period: Duration,
    first: Timestamp,
}

/// Intervals and cron expressions, each with both kinds of target; some treat every late slot as missed.
async fn register(scheduler: &Scheduler, job: &Job<String, u64>, count: usize) -> Vec<Planned> {
    let mut planned = Vec::new();
    for number in 0..count {
        let (id, seconds) = (format!("s{number}"), number % 3 + 1);
        let period = Duration::from_secs(seconds as u64);
        let schedule = match number / 3 % 3 {
            0 => Schedule::cron(&format!("*/{seconds} * * * * *")).tz("Asia/Kathmandu"),
            _ => Schedule::every(period),
        };
        let schedule = schedule.misfire(Misfire::CatchUpAll).overlap(Overlap::Allow);
        let schedule = if number % 5 == 0 { schedule.tolerance(Duration::ZERO) } else { schedule };
        let schedule = if number % 2 == 0 { schedule.job(job, &id) } else { schedule.handler("note", &id) };
        assert_eq!(within(scheduler.register(&id, schedule)).await.unwrap(), Registered::Created);
        // Nobody leads yet.
        let first = within(scheduler.get(&id)).await.unwrap().expect("it is there").next.expect("it goes on");
        planned.push(Planned { id, period, first });
    }
    planned
}

/// Three workers and three leaders, of which at least one each is neither dead nor frozen.
struct Fleet<'a> {
    url: &'a str,
    random: fastrand::Rng,
    members: Vec<Other>,
    frozen: Vec<usize>,
    kills: usize,
    freezes: usize,
}

impl<'a> Fleet<'a> {
    const ROLES: [&'static str; 6] =
        ["fleet::worker", "fleet::worker", "fleet::worker", "fleet::leader", "fleet::leader", "fleet::leader"];

    fn start(url: &'a str, random: fastrand::Rng) -> Self {
        let members = Self::ROLES.map(|role| Other::start(role, url)).into();
        Self { url, random, members, frozen: Vec::new(), kills: 0, freezes: 0 }
    }

    /// Kills or freezes one member; one that was frozen before may continue.
    fn hit(&mut self) {
        if self.frozen.len() == 2 || self.random.bool() {
            self.thaw();
        }
        let hit = self.random.usize(..self.members.len());
        if self.random.bool() {
            self.members[hit].signal("-KILL");
            self.frozen.retain(|frozen| *frozen != hit);
            self.members[hit] = Other::start(Self::ROLES[hit], self.url);
            self.kills += 1;
        } else if !self.frozen.contains(&hit) {
            self.members[hit].signal("-STOP");
            self.frozen.push(hit);
            self.freezes += 1;
        }
    }

    fn thaw(&mut self) {
        if !self.frozen.is_empty() {
            let thawed = self.frozen.swap_remove(self.random.usize(..self.frozen.len()));
            self.members[thawed].signal("-CONT");
        }
    }
}

/// Submits the jobs of these inputs, and again from elsewhere with another input: a key stands for one job.
async fn submit(job: &Job<u64, u64>, elsewhere: &Job<u64, u64>, inputs: std::ops::Range<u64>) -> Vec<JobId> {
    let keyed = |job: &Job<u64, u64>, number: u64, input: u64| job.submit(&input).dedup_key(&format!("k{number}"));
    let first = within(job.submit_many(inputs.clone().map(|number| keyed(job, number, number)))).await.unwrap();
    let again = within(elsewhere.submit_many(inputs.map(|number| keyed(elsewhere, number, 0)))).await.unwrap();
    for (first, again) in first.iter().zip(&again) {
        assert!(!first.duplicate && again.duplicate && first.id == again.id, "{first:?} {again:?}");
    }
    first.into_iter().map(|sent| sent.id).collect()
}

fn over(stats: &JobStats) -> bool {
    stats.completed + stats.failed == stats.totals.submitted
}

/// Checks one job that has ended against the fences that its runs recorded. Returns how often it crashed.
async fn check(job: &Job<u64, u64>, id: JobId, input: u64, runs: &BTreeSet<u64>) -> u64 {
    let (joined, events) = (within(job.join(id)).await.unwrap(), told(job, id).await);
    let crashes = story(&events);
    let info = within(job.get(id)).await.unwrap().expect("it is kept");
    let started = events.iter().filter_map(|event| match event {
        JobEventKind::Started { fence, .. } => Some(*fence),
        _ => None,
    });
    let started: BTreeSet<_> = started.collect();
    assert!(runs.is_subset(&started), "{runs:?} were run, {events:?}");
    let last = *started.last().expect("it was started");
    assert_eq!(info.fence, last);
    match joined {
        Joined::Completed(fence) => {
            assert_eq!((fence, info.failures), (last, failures(input)), "the result is that of the last run");
            assert!(runs.contains(&fence), "{fence} wrote a result, but {runs:?} were run");
        }
        Joined::Failed(failure) => {
            assert_eq!((failure.code, failure.message.as_str()), (FailureCode::Error, "failure 4"), "{failure:?}");
            assert_eq!((info.failures, failures(input)), (ATTEMPTS, ATTEMPTS));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(u64::from(info.crashes), crashes);
    // Another run followed each failure, except the last one of a job that failed for good; each crash; and each claim
    // that was given back because its worker no longer needed it.
    let released = |event: &&JobEventKind| matches!(event, JobEventKind::Retry { reason: RetryReason::Released, .. });
    let released = events.iter().filter(released).count() as u64;
    let ended_by_failure = u64::from(info.failures == ATTEMPTS);
    assert_eq!(info.attempt, u64::from(info.failures) + crashes + released + 1 - ended_by_failure, "{info:?}");
    assert_eq!(started.len() as u64, info.attempt);
    crashes
}

/// Checks all jobs. Returns the number of crashes.
async fn check_jobs(job: &Job<u64, u64>, ids: &[JobId], log: &Log) -> u64 {
    let mut runs: HashMap<JobId, BTreeSet<u64>> = HashMap::new();
    for (id, fence) in log.all::<(JobId, u64)>(JOBS) {
        assert!(runs.entry(id).or_default().insert(fence), "{fence} of {id} is one run");
    }
    assert_eq!(runs.keys().copied().collect::<HashSet<_>>(), ids.iter().copied().collect(), "no job but these was run");
    let mut crashes = 0;
    for (input, id) in (0..).zip(ids) {
        crashes += check(job, *id, input, &runs[id]).await;
    }
    let stats = within(job.stats()).await.unwrap();
    let inputs = || 0..ids.len() as u64;
    let failed = inputs().filter(|input| failures(*input) == ATTEMPTS).count() as u64;
    let retries: u64 = inputs().map(|input| u64::from(failures(input).min(ATTEMPTS - 1))).sum();
    let totals = stats.totals;
    assert_eq!((totals.submitted, totals.failed), (ids.len() as u64, failed), "{stats:?}");
    assert_eq!((totals.completed, totals.retries), (ids.len() as u64 - failed, retries), "{stats:?}");
    assert_eq!(totals.crashes, crashes, "{stats:?}");
    crashes
}

/// Checks what was run for the schedules: from the first slot of each on, every slot is one job, in order, and the run
/// numbers have no holes and no repeats. Returns the number of jobs, and of additional runs.
fn check_slots(planned: &[Planned], until: Timestamp, log: &Log) -> (u64, u64) {
    let mut slots: BTreeMap<String, BTreeMap<u64, (Timestamp, JobId)>> = BTreeMap::new();
    let (mut jobs, mut again) = (0, 0);
    for (slot, id) in log.all::<(Slot, JobId)>(SLOTS) {
        let known = slots.entry(slot.schedule.clone()).or_default().insert(slot.run, (slot.slot, id));
        // A crashed run is run again as the same job.
        assert!(known.is_none_or(|known| known == (slot.slot, id)), "{known:?} and {id} of {slot:?}");
        if known.is_some() {
            again += 1;
        } else {
            jobs += 1;
        }
        assert_eq!(slot.missed, 0, "{slot:?}");
    }
    assert_eq!(slots.len(), planned.len());
    for Planned { id, period, first } in planned {
        let runs = &slots[id];
        assert!(runs.keys().copied().eq(1..=runs.len() as u64), "{id}: {runs:?}");
        let expected = (0..).map(|count| *first + count * *period);
        assert!(runs.values().map(|(slot, _)| *slot).eq(expected.take(runs.len())), "{id}: {runs:?}");
        let ids: HashSet<_> = runs.values().map(|(_, id)| *id).collect();
        assert_eq!(ids.len(), runs.len(), "{id}: {runs:?}");
        assert!(runs.values().last().is_some_and(|(slot, _)| *slot >= until), "{id}: {runs:?}");
    }
    (jobs, again)
}

/// The objects of the fleet, as this process sees them.
struct Stage {
    log: Log,
    job: Job<u64, u64>,
    runs: Job<String, u64>,
    platform: Scheduler,
    planned: Vec<Planned>,
}

impl Stage {
    async fn set(url: &str) -> Self {
        let tide = open(url).await;
        let (runs, platform) = (target(&tide), scheduler(&tide, url));
        let planned = register(&platform, &runs, scale(100)).await;
        Self { log: Log::open(url), job: work(&tide), runs, platform, planned }
    }

    /// Waits until everything that was begun has ended. Returns the instant up to which each schedule has run.
    async fn clear(&self) -> Timestamp {
        until("all jobs are over", async || over(&self.job.stats().await.unwrap())).await;
        let slots = self.log.all::<(Slot, JobId)>(SLOTS).into_iter().map(|(slot, _)| slot.slot);
        let last = slots.max().expect("some were run");
        until("each schedule has come so far", async || {
            let page = self.platform.list().limit(1_000).await.unwrap();
            page.items.iter().all(|info| info.last.as_ref().is_some_and(|run| run.slot >= last))
        })
        .await;
        for Planned { id, .. } in &self.planned {
            assert!(within(self.platform.unregister(id)).await.unwrap());
        }
        let handled = self.platform.runs("note");
        until("all runs are over", async || {
            over(&self.runs.stats().await.unwrap()) && over(&handled.stats().await.unwrap())
        })
        .await;
        last
    }

    /// Checks everything that has happened; returns a summary.
    async fn account(&self, ids: &[JobId], last: Timestamp) -> String {
        let crashes = check_jobs(&self.job, ids, &self.log).await;
        let (slots, again) = check_slots(&self.planned, last, &self.log);
        let of_job = within(self.runs.stats()).await.unwrap().totals;
        let of_handler = within(self.platform.runs("note").stats()).await.unwrap().totals;
        assert_eq!(of_job.submitted + of_handler.submitted, slots, "no job without a slot of its own");
        assert_eq!((of_job.failed, of_handler.failed), (0, 0), "{of_job:?} {of_handler:?}");
        assert!(again <= of_job.crashes + of_handler.crashes, "{again} more runs: {of_job:?} {of_handler:?}");
        format!(
            "{} jobs, {crashes} crashes, {} stale settles; {} schedules, {slots} slots, {} + {} crashes, {again} runs again",
            ids.len(),
            within(self.job.stats()).await.unwrap().totals.stale,
            self.planned.len(),
            of_job.crashes,
            of_handler.crashes,
        )
    }
}

async fn storm(flavour: Flavour) {
    let Some(binary) = Binary::or_skip(flavour) else { return };
    let server = Server::start(&binary).unwrap();
    let (url, begin, seed) = (server.url(), Instant::now(), fastrand::u64(..));
    eprintln!("seed {seed}");
    let (stage, elsewhere) = (Stage::set(&url).await, work(&open(&url).await));
    let Stage { log, job, platform, planned, .. } = &stage;
    let mut fleet = Fleet::start(&url, fastrand::Rng::with_seed(seed));
    let (rounds, count) = (if soak() { 300 } else { 8 }, scale(10_000));
    let (mut ids, mut epochs) = (Vec::new(), HashSet::new());
    for round in 1..=rounds {
        // Once in the middle of jobs, and once around slots.
        let (inputs, before) = (ids.len() as u64..(count * round / rounds) as u64, log.len(JOBS));
        let enough = before + fleet.random.usize(1..=count / rounds);
        ids.extend(submit(job, &elsewhere, inputs).await);
        until("jobs are run", async || log.len(JOBS) >= enough).await;
        fleet.hit();
        let enough = log.len(SLOTS) + fleet.random.usize(1..planned.len());
        until("slots are run", async || log.len(SLOTS) >= enough).await;
        epochs.insert(platform.stats().await.unwrap().epoch);
        fleet.hit();
    }
    while !fleet.frozen.is_empty() {
        fleet.thaw();
    }
    let last = stage.clear().await;
    let (lasted, kills, freezes) = (begin.elapsed(), fleet.kills, fleet.freezes);
    drop(fleet);
    let told = stage.account(&ids, last).await;
    assert!(epochs.len() > rounds / 20, "leaders followed one another: {epochs:?}");
    assert_eq!(keys_without_lifetime(&server), ["tidelock:format"]);
    eprintln!("{flavour}: {lasted:?}, {kills} kills, {freezes} freezes, {} epochs; {told}", epochs.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_killed_and_frozen_at_random_on_redis70() {
    storm(Flavour::Redis70).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_killed_and_frozen_at_random_on_other_servers() {
    if !soak() {
        return;
    }
    storm(Flavour::Redis62).await;
    storm(Flavour::Valkey8).await;
}

//! The scheduler when its leaders, their connections or its callers fail.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidelock::scheduler::{Misfire, Overlap, Registered, Schedule, Scheduler, Slot, Trigger, Triggered};
use tidelock::{HOUR, Job, JobId, RunningJobWorker, SECOND, Tidelock, Timestamp};
use tidelock_testkit::{Proxy, scale};

use crate::stage::{Other, keys_without_lifetime, open, server, until, within};

const MS: Duration = Duration::from_millis(1);
const WAIT: Duration = Duration::from_secs(30);

fn scheduler(tide: &Tidelock) -> Scheduler {
    tide.scheduler("platform").lease(600 * MS).tick(200 * MS).build().expect("the options are good")
}

fn target(tide: &Tidelock) -> Job<String, ()> {
    tide.job("runs").build().expect("the options are good")
}

/// A schedule that loses no slot, however late it is decided.
fn every_slot(period: Duration, job: &Job<String, ()>, id: &str) -> Schedule {
    let schedule = Schedule::every(period).misfire(Misfire::CatchUpAll).overlap(Overlap::Allow);
    schedule.job(job, &id.to_owned())
}

/// The slots that a worker was given, by job.
#[derive(Clone, Default)]
struct Noted(Arc<Mutex<BTreeMap<JobId, Slot>>>);

impl Noted {
    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Those of one schedule, by run number.
    fn of(&self, schedule: &str) -> Vec<Slot> {
        let mut slots: Vec<_> =
            self.0.lock().unwrap().values().filter(|slot| slot.schedule == schedule).cloned().collect();
        slots.sort_by_key(|slot| slot.run);
        slots
    }

    fn worker(&self, job: &Job<String, ()>) -> RunningJobWorker {
        let worker = job.process_with(self.clone(), async |noted, ctx, input| {
            let slot = ctx.slot().cloned().ok_or("a run of a schedule knows its slot")?;
            assert_eq!(slot.schedule, input);
            noted.0.lock().unwrap().insert(ctx.id(), slot);
            Ok(())
        });
        worker.concurrency(8).spawn()
    }

    /// Checks the runs of a schedule of every second: from its first slot on, each slot once and in order, and run
    /// numbers without holes or repeats. Returns the last slot.
    fn each_slot_once(&self, schedule: &str, first: Timestamp) -> Timestamp {
        let slots = self.of(schedule);
        let runs: Vec<_> = slots.iter().map(|slot| slot.run).collect();
        assert_eq!(runs, (1..=slots.len() as u64).collect::<Vec<_>>(), "{schedule}");
        let (found, expected): (Vec<_>, Vec<_>) =
            (0..).zip(&slots).map(|(count, slot)| (slot.slot, first + count * SECOND)).unzip();
        assert_eq!(found, expected, "{schedule}");
        slots.last().expect("it has run").slot
    }
}

/// The schedules of the tests below; half of them treat each slot that is decided late as missed.
async fn register(scheduler: &Scheduler, job: &Job<String, ()>) -> Vec<(String, Timestamp)> {
    let mut first = Vec::new();
    for number in 0..6 {
        let id = format!("s{number}");
        let schedule = every_slot(SECOND, job, &id);
        let schedule = if number % 2 == 0 { schedule.tolerance(Duration::ZERO) } else { schedule };
        assert_eq!(within(scheduler.register(&id, schedule)).await.unwrap(), Registered::Created);
        // Nobody leads yet.
        let next = within(scheduler.get(&id)).await.unwrap().expect("it is there").next.expect("it goes on");
        first.push((id, next));
    }
    first
}

/// One of the other processes of the tests below: leaders, or followers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leader() {
    let Some(url) = Other::url() else { return };
    let scheduler = scheduler(&open(&url).await);
    scheduler.start().await.unwrap();
    until("it leads", async || scheduler.metrics().is_leader).await;
    println!("leads");
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_killed_and_frozen_at_random_run_each_slot_once() {
    let Some(server) = server() else { return };
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let (mut random, url, noted) = (fastrand::Rng::with_seed(seed), server.url(), Noted::default());
    let tide = open(&url).await;
    let (scheduler, job) = (scheduler(&tide), target(&tide));
    let worker = noted.worker(&job);
    let schedules = register(&scheduler, &job).await;
    let start = || Other::start("scheduler::leader", &url);
    let (mut others, mut frozen) = ([start(), start(), start()], None::<usize>);
    let mut epochs = HashSet::new();
    let rounds = scale(90);
    for round in 1..=rounds {
        let enough = noted.len() + random.usize(1..8);
        until("slots are run", async || noted.len() >= enough).await;
        epochs.insert(scheduler.stats().await.unwrap().epoch);
        if let Some(thawed) = frozen.take() {
            others[thawed].signal("-CONT");
        }
        let hit = random.usize(..others.len());
        if round % 3 == 0 {
            others = [start(), start(), start()];
        } else if random.bool() {
            others[hit].signal("-STOP");
            frozen = Some(hit);
        } else {
            others[hit].signal("-KILL");
            others[hit] = start();
        }
    }
    if let Some(thawed) = frozen {
        others[thawed].signal("-CONT");
    }
    let enough = noted.len() + 12;
    until("slots are run", async || noted.len() >= enough).await;
    epochs.insert(scheduler.stats().await.unwrap().epoch);
    assert!(epochs.len() > rounds / 3, "leaders followed one another: {epochs:?}");
    // Nobody decides from here on, and slots that are decided but not submitted are removed with their schedules.
    drop(others);
    for (id, _) in &schedules {
        assert!(within(scheduler.unregister(id)).await.unwrap());
    }
    until("all jobs are over", async || {
        let stats = job.stats().await.unwrap();
        stats.completed == stats.totals.submitted
    })
    .await;
    within(worker.shutdown(WAIT)).await;
    assert_eq!(job.stats().await.unwrap().totals.submitted, noted.len() as u64, "no job without a slot of its own");
    let last: Vec<_> = schedules.iter().map(|(id, first)| noted.each_slot_once(id, *first)).collect();
    eprintln!("{} runs up to {:?}, {} epochs", noted.len(), last.iter().max(), epochs.len());
    assert_eq!(keys_without_lifetime(&server), ["tidelock:format"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_replies_to_the_leaders_double_no_slot_and_no_trigger() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let (behind, tide) = ([open(&proxy.url()).await, open(&proxy.url()).await], open(&server.url()).await);
    let (noted, job, witness) = (Noted::default(), target(&tide), scheduler(&tide));
    let worker = noted.worker(&job);
    let mut schedules = register(&witness, &job).await;
    within(witness.register("hours", every_slot(HOUR, &job, "hours"))).await.unwrap();
    let leaders = behind.each_ref().map(scheduler);
    for leader in &leaders {
        within(leader.start()).await.unwrap();
    }
    let (mut asked, mut ids) = (0, HashSet::new());
    let end = schedules[0].1 + 5 * SECOND;
    until("all slots are run", async || {
        proxy.drop_reply_after(fastrand::u64(1..8));
        let Ok(triggered) = within(leaders[asked % 2].trigger_now("hours")).await else {
            panic!("a lost reply is repeated")
        };
        asked += 1;
        let Triggered::Submitted { id, duplicate: false } = triggered else { panic!("{triggered:?}") };
        assert!(ids.insert(id), "{id} twice");
        schedules.iter().all(|(id, _)| noted.of(id).last().is_some_and(|slot| slot.slot >= end))
    })
    .await;
    for leader in &leaders {
        within(leader.stop()).await.unwrap();
    }
    until("all jobs are over", async || {
        let stats = job.stats().await.unwrap();
        stats.completed == stats.totals.submitted
    })
    .await;
    within(worker.shutdown(WAIT)).await;
    assert_eq!(job.stats().await.unwrap().totals.submitted, noted.len() as u64);
    let runs: Vec<_> = noted.of("hours").iter().map(|slot| slot.run).collect();
    let manual = noted.of("hours").iter().filter(|slot| slot.trigger == Trigger::Manual { key: None }).count();
    assert_eq!(runs, (1..=runs.len() as u64).collect::<Vec<_>>());
    assert_eq!(manual, asked, "each trigger is one run");
    for (id, first) in schedules.drain(..) {
        assert!(noted.each_slot_once(&id, first) >= end);
    }
    eprintln!("{asked} triggers, {} runs", noted.len());
}

/// One of the other processes of the test below: waits for its start, registers, and prints the answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registrar() {
    let Some(url) = Other::url() else { return };
    let tide = open(&url).await;
    let (scheduler, job) = (scheduler(&tide), target(&tide));
    let go = tide.registry::<u64>("go").build().unwrap();
    println!("ready");
    until("all are there", async || go.get("go").await.unwrap().is_some()).await;
    let mut told = String::new();
    for number in 0..20 {
        let id = format!("s{number}");
        let registered = scheduler.register(&id, every_slot(HOUR, &job, &id)).await.unwrap();
        assert!(scheduler.get(&id).await.unwrap().is_some(), "never without it from then on");
        told.push(match registered {
            Registered::Created => 'c',
            Registered::Unchanged => 'u',
            _ => 'x',
        });
    }
    println!("registered {told}");
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_processes_that_register_at_once_create_each_schedule_once() {
    let Some(server) = server() else { return };
    let tide = open(&server.url()).await;
    let mut others: Vec<_> = (0..8).map(|_| Other::start("scheduler::registrar", &server.url())).collect();
    for other in &mut others {
        other.says("ready").await;
    }
    within(tide.registry::<u64>("go").build().unwrap().upsert("go", &1)).await.unwrap();
    let mut created = [0; 20];
    for other in &mut others {
        let told = other.says("registered").await;
        let told = told.strip_prefix("registered ").unwrap();
        assert!(told.len() == 20 && !told.contains('x'), "{told}");
        for (count, letter) in created.iter_mut().zip(told.chars()) {
            *count += usize::from(letter == 'c');
        }
    }
    assert_eq!(created, [1; 20], "one creates it, the others find it unchanged");
    let listed = scheduler(&tide).list().await.unwrap().items;
    assert_eq!(listed.len(), 20);
    assert!(listed.iter().all(|info| info.run == 0), "{listed:?}");
}

/// One of the other processes of the test below: triggers as fast as it can.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caller() {
    let Some(url) = Other::url() else { return };
    let scheduler = scheduler(&open(&url).await);
    for count in 0.. {
        scheduler.trigger_now("s").await.unwrap();
        if count == 0 {
            println!("triggered");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_whose_caller_is_killed_is_one_run() {
    let Some(server) = server() else { return };
    let (tide, noted) = (open(&server.url()).await, Noted::default());
    let (scheduler, job) = (scheduler(&tide), target(&tide));
    let worker = noted.worker(&job);
    within(scheduler.register("s", every_slot(HOUR, &job, "s"))).await.unwrap();
    within(scheduler.start()).await.unwrap();
    for _ in 0..scale(60) {
        let mut callers = [(); 2].map(|()| Other::start("scheduler::caller", &server.url()));
        for caller in &mut callers {
            caller.says("triggered").await;
        }
        let enough = noted.len() + fastrand::usize(..20);
        until("more are run", async || noted.len() >= enough).await;
        for caller in &mut callers {
            caller.signal("-KILL");
        }
    }
    until("each trigger that was accepted is run", async || {
        noted.len() as u64 == scheduler.get("s").await.unwrap().unwrap().run
    })
    .await;
    within(scheduler.stop()).await.unwrap();
    let slots = noted.of("s");
    let runs: Vec<_> = slots.iter().map(|slot| slot.run).collect();
    assert_eq!(runs, (1..=slots.len() as u64).collect::<Vec<_>>());
    assert_eq!(job.stats().await.unwrap().totals.submitted, slots.len() as u64);
    assert!(slots.iter().all(|slot| slot.trigger == Trigger::Manual { key: None }));
    eprintln!("{} triggers", slots.len());
    within(worker.shutdown(WAIT)).await;
}

/// The other process of the test below: triggers once when told to, through the second URL.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_caller() {
    let Some(urls) = Other::url() else { return };
    let (direct, slow) = urls.split_once(' ').expect("there are two");
    let go = open(direct).await.registry::<u64>("go").build().unwrap();
    let scheduler = scheduler(&open(slow).await);
    assert!(scheduler.get("s").await.unwrap().is_some());
    println!("ready");
    until("it is told to", async || go.get("go").await.unwrap().is_some()).await;
    scheduler.trigger_now("s").key("k").await.unwrap();
    println!("done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_whose_caller_is_killed_before_it_hears_the_answer_is_run_by_a_leader() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let (tide, noted) = (open(&server.url()).await, Noted::default());
    let (scheduler, job) = (scheduler(&tide), target(&tide));
    let worker = noted.worker(&job);
    within(scheduler.register("s", every_slot(HOUR, &job, "s"))).await.unwrap();
    let mut caller = Other::start("scheduler::slow_caller", &format!("{} {}", server.url(), proxy.url()));
    caller.says("ready").await;
    // The answer is lost, and it cannot be asked for again.
    proxy.refuse(true);
    proxy.drop_reply_after(1);
    within(tide.registry::<u64>("go").build().unwrap().upsert("go", &1)).await.unwrap();
    until("it is accepted", async || scheduler.get("s").await.unwrap().unwrap().run == 1).await;
    caller.signal("-KILL");
    assert_eq!(job.stats().await.unwrap().totals.submitted, 0, "its caller did not get to it");
    within(scheduler.start()).await.unwrap();
    until("a leader submits it", async || noted.len() == 1).await;
    let slots = noted.of("s");
    assert_eq!((slots[0].run, &slots[0].trigger), (1, &Trigger::Manual { key: Some("k".to_owned()) }));
    let again = within(scheduler.trigger_now("s").key("k")).await.unwrap();
    assert!(matches!(again, Triggered::Submitted { duplicate: true, .. }), "{again:?}");
    within(scheduler.stop()).await.unwrap();
    assert_eq!(job.stats().await.unwrap().totals.submitted, 1);
    within(worker.shutdown(WAIT)).await;
}

/// The other process of the test below: a slow leader.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_leader() {
    let Some(url) = Other::url() else { return };
    let scheduler = open(&url).await.scheduler("platform").lease(10 * SECOND).build().unwrap();
    scheduler.start().await.unwrap();
    until("it leads", async || scheduler.metrics().is_leader).await;
    println!("leads");
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_killed_before_it_hears_of_its_submit_leaves_one_run() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let (tide, noted) = (open(&server.url()).await, Noted::default());
    let (scheduler, job) = (scheduler(&tide), target(&tide));
    let worker = noted.worker(&job);
    let mut other = Other::start("scheduler::slow_leader", &proxy.url());
    other.says("leads").await;
    // Less than the silence after which a connection is given up.
    proxy.latency(900 * MS);
    within(scheduler.register("s", every_slot(SECOND, &job, "s"))).await.unwrap();
    let first = scheduler.get("s").await.unwrap().unwrap().next.unwrap();
    // The answer takes half of that to arrive, and the confirmation follows it.
    until("the target has the slot", async || job.stats().await.unwrap().totals.submitted >= 1).await;
    other.signal("-KILL");
    let left = scheduler.get("s").await.unwrap().unwrap().planned;
    within(scheduler.start()).await.unwrap();
    until("another one goes on", async || noted.of("s").last().is_some_and(|slot| slot.run >= 4)).await;
    within(scheduler.stop()).await.unwrap();
    until("all jobs are over", async || {
        let stats = job.stats().await.unwrap();
        stats.completed == stats.totals.submitted
    })
    .await;
    within(worker.shutdown(WAIT)).await;
    assert_eq!(job.stats().await.unwrap().totals.submitted, noted.len() as u64);
    noted.each_slot_once("s", first);
    assert!(left > 0, "the slot was submitted and not confirmed when its leader was killed");
}

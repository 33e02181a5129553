//! Servers that refuse for a while because they are full or cannot save. Long-running work waits it out.

use std::sync::Arc;
use std::time::Duration;

use tidelock::registry::EventKind;
use tidelock::{ErrorKind, Job, JobContext, Joined, Misfire, Queue, Registry, Schedule, Tidelock};
use tidelock_testkit::{Binary, Flavour, Proxy, Server};
use tokio::sync::Semaphore;

use crate::stage::{open, until, within};

const WAIT: Duration = Duration::from_secs(30);

/// Why a server accepts no writes.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    Full,
    /// It could not save, and refuses writes until that is fixed.
    Unsaved,
}

const REFUSALS: [Refusal; 2] = [Refusal::Full, Refusal::Unsaved];

/// A server behind a proxy.
struct Stage {
    server: Server,
    proxy: Proxy,
    folder: std::path::PathBuf,
}

impl Stage {
    async fn start(name: &str) -> Option<Self> {
        let binary = Binary::or_skip(Flavour::Redis70)?;
        let folder = std::env::temp_dir().join(format!("tidelock-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let server = Server::builder(&binary)
            .config("maxmemory-policy noeviction")
            .config("save 3600 1000000")
            .config(format!("dir {}", folder.display()))
            .start()
            .unwrap();
        let proxy = Proxy::start(server.port()).await.unwrap();
        Some(Self { server, proxy, folder })
    }

    fn set(&self, option: &str, value: &str) {
        self.server.command(&["CONFIG", "SET", option, value]).unwrap();
    }

    /// From now on no write is accepted.
    async fn refuse(&self, refusal: Refusal) {
        match refusal {
            Refusal::Full => self.set("maxmemory", "1"),
            Refusal::Unsaved => {
                let _ = std::fs::remove_dir_all(&self.folder);
                self.set("stop-writes-on-bgsave-error", "yes");
                let saved = || self.server.command(&["INFO", "persistence"]).unwrap();
                self.server.command(&["BGSAVE"]).unwrap();
                until("it cannot save", async || saved().field("rdb_last_bgsave_status") == Some("err")).await;
            }
        }
    }

    fn serve(&self, refusal: Refusal) {
        match refusal {
            Refusal::Full => self.set("maxmemory", "0"),
            Refusal::Unsaved => self.set("stop-writes-on-bgsave-error", "no"),
        }
    }

    /// How many requests the server has refused so far.
    fn refused(&self) -> u64 {
        let errors = self.server.command(&["INFO", "errorstats"]).unwrap();
        let count = |code| {
            let field = errors.field(&format!("errorstat_{code}"))?;
            field.strip_prefix("count=")?.parse::<u64>().ok()
        };
        count("OOM").unwrap_or_default() + count("MISCONF").unwrap_or_default()
    }

    /// Makes waiting calls ask again, and waits until the server has refused more of them.
    async fn refuses_again(&self) {
        let before = self.refused();
        self.proxy.cut();
        until("those who wait are refused", async || self.refused() > before + 1).await;
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_of_a_queue_goes_on_when_the_server_takes_writes_again() {
    let Some(stage) = Stage::start("queue").await else { return };
    let queue: Queue<u64> = open(&stage.proxy.url()).await.queue("q").build().unwrap();
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let worker = queue.process_with(held, async |gate, _| {
        gate.acquire().await.expect("it is not closed").forget();
        Ok(())
    });
    let worker = worker.concurrency(2).spawn();
    for (refusal, done) in REFUSALS.into_iter().zip([2, 4]) {
        queue.send(&1).await.unwrap();
        until("it is taken", async || queue.stats().await.unwrap().leased == 1).await;
        stage.refuse(refusal).await;
        stage.refuses_again().await;
        let before = stage.refused();
        gate.add_permits(1);
        // A full server still accepts requests that free memory.
        if matches!(refusal, Refusal::Unsaved) {
            until("the ack is refused", async || stage.refused() > before + 2).await;
        }
        stage.serve(refusal);
        until("it is acked", async || queue.stats().await.unwrap().settled == done - 1).await;
        gate.add_permits(1);
        within(queue.send(&2)).await.unwrap();
        until("the worker goes on", async || queue.stats().await.unwrap().settled == done).await;
    }
    let report = within(worker.shutdown(WAIT)).await;
    assert!(report.error.is_none() && report.acked == 4, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_of_jobs_goes_on_when_the_server_takes_writes_again() {
    let Some(stage) = Stage::start("job").await else { return };
    let job: Job<u64, u64> = open(&stage.proxy.url()).await.job("j").build().unwrap();
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let worker = job.process_with(held, async |gate, _, input| {
        gate.acquire().await.map_err(|error| error.to_string())?.forget();
        Ok(input * 2)
    });
    let worker = worker.concurrency(2).spawn();
    for refusal in REFUSALS {
        let first = job.submit(&1).await.unwrap();
        until("it runs", async || worker.stats().running == 1).await;
        stage.refuse(refusal).await;
        stage.refuses_again().await;
        let before = stage.refused();
        gate.add_permits(1);
        until("its end is refused", async || stage.refused() > before + 2).await;
        stage.serve(refusal);
        assert_eq!(within(job.join(first.id).wait(WAIT)).await.unwrap(), Joined::Completed(2));
        gate.add_permits(1);
        let second = within(job.submit(&2)).await.unwrap();
        assert_eq!(within(job.join(second.id).wait(WAIT)).await.unwrap(), Joined::Completed(4));
    }
    let report = within(worker.shutdown(WAIT)).await;
    assert!(report.error.is_none() && report.completed == 4, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_goes_on_when_the_server_takes_writes_again() {
    let Some(stage) = Stage::start("follower").await else { return };
    let registry: Registry<u64> = open(&stage.proxy.url()).await.registry("r").build().unwrap();
    let mut follower = registry.follow().await.unwrap();
    // A full server still registers waiting processes.
    let refusal = Refusal::Unsaved;
    for value in 1..=2 {
        stage.refuse(refusal).await;
        let mut waiting = std::pin::pin!(follower.recv().wait(WAIT).into_future());
        tokio::select! {
            received = &mut waiting => panic!("there is nothing: {received:?}"),
            () = stage.refuses_again() => {}
        }
        stage.serve(refusal);
        within(registry.upsert("key", &value)).await.unwrap();
        let event = within(waiting).await.expect("it waits it out").expect("there is an event");
        assert!(matches!(&event.kind, EventKind::Upsert(entry) if entry.value == value), "{event:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_is_stored_when_the_server_takes_writes_again() {
    let Some(stage) = Stage::start("step").await else { return };
    let job: Job<u64, u64> = open(&stage.proxy.url()).await.job("j").build().unwrap();
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let worker = job.process_with(held, async |gate, context: JobContext, input| {
        let charge = async || {
            gate.acquire().await.map_err(|error| error.to_string())?.forget();
            Ok(input * 2)
        };
        context.step("charge", charge).await
    });
    let worker = worker.spawn();
    for refusal in REFUSALS {
        let submitted = job.submit(&1).await.unwrap();
        until("it runs", async || worker.stats().running == 1).await;
        stage.refuse(refusal).await;
        let before = stage.refused();
        gate.add_permits(1);
        until("the step is refused", async || stage.refused() > before + 2).await;
        stage.serve(refusal);
        let joined = within(job.join(submitted.id).wait(WAIT)).await.unwrap();
        assert_eq!(joined, Joined::Completed(2), "what its attempts are for has not happened");
    }
    let report = within(worker.shutdown(WAIT)).await;
    assert!(report.error.is_none() && report.completed == 2 && report.retried == 0, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_are_released_when_the_server_takes_writes_again() {
    let Some(stage) = Stage::start("mutex").await else { return };
    let mutex = open(&stage.proxy.url()).await.mutex("m").lease(Duration::from_mins(10)).build().unwrap();
    for refusal in REFUSALS {
        let dropped = mutex.lock("dropped").await.unwrap().guard().unwrap();
        let released = mutex.lock("released").await.unwrap().guard().unwrap();
        stage.refuse(refusal).await;
        let before = stage.refused();
        drop(dropped);
        released.release().await.expect_err("the server refuses");
        until("both are refused", async || stage.refused() > before + 2).await;
        stage.serve(refusal);
        for resource in ["dropped", "released"] {
            let locked = within(mutex.lock(resource).timeout(WAIT)).await.unwrap();
            assert!(locked.guard().is_some(), "{resource} is not held until its lease ends");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_runs_when_the_server_takes_writes_again() {
    let Some(stage) = Stage::start("slot").await else { return };
    let tide = open(&stage.proxy.url()).await;
    let job: Job<String, ()> = tide.job("j").build().unwrap();
    let scheduler = tide.scheduler("s").build().unwrap();
    // A decision is stored before it is submitted: then there is no room for the job itself.
    let schedule = Schedule::every(Duration::from_secs(2)).misfire(Misfire::CatchUpAll);
    within(scheduler.register("every", schedule.job(&job, &"x".repeat(120_000)))).await.unwrap();
    within(scheduler.start()).await.unwrap();
    // After the first slot, so that memory used temporarily by registering is free again.
    let jobs = async || job.stats().await.unwrap().ready;
    until("a slot has its job", async || jobs().await > 0).await;
    let memory = stage.server.command(&["INFO", "memory"]).unwrap();
    let used: u64 = memory.field("used_memory").unwrap().parse().unwrap();
    let before = jobs().await;
    stage.set("maxmemory", &(used + 60_000).to_string());
    until("the slot is refused", async || stage.refused() > 0).await;
    stage.serve(Refusal::Full);
    until("the slot has its job", async || jobs().await > before).await;
    assert!(scheduler.dead_letters().list().await.unwrap().items.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_no_writes_can_be_connected_to() {
    let Some(stage) = Stage::start("connect").await else { return };
    let connect = || within(Tidelock::connect(&stage.server.url()));
    stage.refuse(Refusal::Full).await;
    let error = connect().await.expect_err("it says of which format its data is before it has any");
    assert_eq!(error.kind(), ErrorKind::Connection, "{error}");
    assert!(error.to_string().contains("OOM"), "{error}");
    stage.serve(Refusal::Full);
    connect().await.unwrap();
    for refusal in REFUSALS {
        stage.refuse(refusal).await;
        connect().await.unwrap().ping().await.unwrap();
        stage.serve(refusal);
    }
    stage.set("min-replicas-to-write", "1");
    connect().await.unwrap().ping().await.unwrap();
}

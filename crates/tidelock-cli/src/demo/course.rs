//! The course of a run: from the first order to the account.

use std::time::{Duration, Instant};

use tidelock::job::{Job, JobFilter};
use tidelock::topic::{Item, Topic};
use tidelock::{PageToken, Raw, Tidelock};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Args;
use super::audit::{self, Dead, Figures, Log, Presences, Sent, Told, Witnesses};
use super::crew::{self, Crew};
use super::digest;
use super::event::Outcome;
use super::input::{self, Input};
use super::ledger::{self, Entry};
use super::members::Roll;
use super::plan::Plan;
use super::progress::Progress;
use super::readers::Readers;
use super::report::{self, Report};
use super::worker::Receipt;

/// How often the jobs are checked.
const TICK: Duration = Duration::from_millis(100);
/// Number of entries per page of jobs or events.
const PAGE: usize = 1_000;
/// Number of events published together.
const BATCH: usize = 250;

/// Everything that a run has on the backend.
struct Stage {
    orders: Job<Raw, Receipt>,
    topic: Topic<Outcome>,
    readers: Readers,
    roll: Roll,
    crew: Crew,
}

impl Stage {
    /// Starts readers and watchers first, and then workers, so that no member comes unseen.
    async fn set(args: &Args, plan: &Plan, tide: &Tidelock) -> anyhow::Result<Self> {
        let (orders, topic) = (plan.orders(tide)?, plan.topic(tide)?);
        let readers = Readers::start(&topic)?;
        let roll = Roll::call(plan, tide).await?;
        let crew = match args.processes {
            Some(count) => Crew::processes(plan, count.into()).await?,
            None => Crew::here(plan, tide).await?,
        };
        Ok(Self { orders, topic, readers, roll, crew })
    }
}

/// What happened during the run.
#[derive(Default)]
struct Course {
    /// The reader of the stock was told to fail.
    fell: bool,
    killed: Vec<String>,
    /// Orders that the killed process held.
    killed_holding: u64,
}

/// Carries out a run and produces its account.
pub(crate) async fn carry_out(
    args: &Args,
    plan: &Plan,
    tide: &Tidelock,
    input: Input,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<Report> {
    let began = Instant::now();
    let mut stage = Stage::set(args, plan, tide).await?;
    let mut sender = tokio::spawn(input::feed(input, stage.orders.clone(), stop.clone()));
    let mut progress = Progress::new();
    let (sent, course) = watch_over(args.chaos, &mut stage, &mut sender, &mut progress, stop.clone()).await?;
    let sent = match sent {
        Some(sent) => sent,
        None => sender.await??,
    };
    let interrupted = *stop.borrow();
    if interrupted {
        progress.say("stopping: the workers finish what they hold");
    }
    let Stage { orders, topic, readers, roll, crew } = stage;
    digest::finish(plan, tide).await?;
    let expected = crew.names(plan, &course.killed);
    let ledger = crew.dismiss().await?;
    let digests = digest::ended(plan, tide).await?;
    let dead = failed(&orders).await?;
    tell_dead(&topic, &ledger, &dead).await?;
    let groups = readers.finish().await?;
    let seen = roll.finish(&expected).await;
    let account = audit::account(Witnesses {
        sent: &sent,
        ledger: &ledger,
        dead: &dead,
        jobs: figures(&orders).await?,
        log: &read_log(&topic).await?,
        groups: &groups,
        digests,
        presences: &Presences { expected, seen, killed: course.killed.clone() },
    });
    progress.finish();
    Ok(Report {
        account,
        interrupted,
        backend: if args.redis.is_some() { "redis" } else { "in_process" },
        processes: args.processes.unwrap_or(1),
        killed: course.killed.len() as u64,
        killed_holding: course.killed_holding,
        reader_fell_holding: groups.iter().find_map(|group| group.held),
        elapsed_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        job_name: plan.run.clone(),
        kept: args.keep,
        samples: report::samples(&dead),
    })
}

/// Watches until everything is finished or a signal arrives. After a third of the orders a reader fails, a worker stops
/// and, with `chaos`, a process is killed.
async fn watch_over(
    chaos: bool,
    stage: &mut Stage,
    sender: &mut JoinHandle<anyhow::Result<Sent>>,
    progress: &mut Progress,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<(Option<Sent>, Course)> {
    let (mut sent, mut course) = (None, Course::default());
    let mut ticks = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            outcome = &mut *sender, if sent.is_none() => sent = Some(outcome??),
            _ = ticks.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return Ok((sent, course)),
        }
        stage.crew.check()?;
        let figures = figures(&stage.orders).await?;
        progress.show(figures);
        let is_midway = sent.is_some() && (figures.settled + figures.dead) * 3 >= figures.accepted;
        if is_midway && !course.fell {
            course.fell = true;
            stage.readers.fall();
            stage.crew.stop_one().await;
        }
        let victim = crew::worker_name(1);
        let has_work = async || Ok::<_, tidelock::Error>(held_by(&stage.orders, &victim).await? > 0);
        if is_midway && chaos && course.killed.is_empty() && stage.roll.has_seen(&victim) && has_work().await? {
            stage.crew.kill_first().await?;
            course.killed_holding = held_by(&stage.orders, &victim).await?;
            progress.say(&format!("killed {victim}, which held {} orders", course.killed_holding));
            course.killed.push(victim);
        }
        if sent.is_some() && figures.unfinished == 0 {
            return Ok((sent, course));
        }
    }
}

async fn figures(orders: &Job<Raw, Receipt>) -> tidelock::Result<Figures> {
    let stats = orders.stats().await?;
    let unfinished = stats.ready + stats.delayed + stats.running;
    let dead = stats.failed + stats.timed_out;
    Ok(Figures { accepted: stats.totals.submitted, settled: stats.completed, dead, unfinished })
}

async fn held_by(orders: &Job<Raw, Receipt>, process: &str) -> tidelock::Result<u64> {
    let running = orders.list(JobFilter::Running).limit(PAGE).await?;
    let of_process = |worker: &str| worker.strip_prefix(process).is_some_and(|rest| rest.starts_with('-'));
    let held = running.items.iter().filter(|job| job.lease.as_ref().is_some_and(|lease| of_process(&lease.worker)));
    Ok(held.count() as u64)
}

async fn failed(orders: &Job<Raw, Receipt>) -> tidelock::Result<Vec<Dead>> {
    let mut dead = Vec::new();
    let mut next = None;
    loop {
        let mut list = orders.list(JobFilter::Failed).limit(PAGE);
        if let Some(next) = &next {
            list = list.after(next);
        }
        let page = list.await?;
        for job in &page.items {
            dead.extend(orders.get(job.id).await?.map(Dead::from));
        }
        next = page.next;
        if next.is_none() {
            return Ok(dead);
        }
    }
}

/// Publishes the end of every failed job. A worker publishes the orders that it refuses, but not those that end because
/// a lease expired. The dedup key prevents publishing twice.
async fn tell_dead(topic: &Topic<Outcome>, ledger: &[Entry], dead: &[Dead]) -> tidelock::Result<()> {
    let charges = ledger::charges(ledger);
    for letters in dead.chunks(BATCH) {
        let outcomes = letters.iter().map(|letter| match charges.get(&letter.id) {
            Some(charge) => (*charge).clone(),
            None => Outcome::died(letter.id, &letter.raw, &letter.error),
        });
        topic.publish_many(outcomes.map(|outcome| outcome.publish(topic))).await?;
    }
    Ok(())
}

/// Reads the whole topic.
async fn read_log(topic: &Topic<Outcome>) -> tidelock::Result<Log> {
    let mut log = Log::default();
    let mut next: Option<PageToken> = None;
    loop {
        let mut read = topic.read().limit(PAGE);
        if let Some(next) = &next {
            read = read.after(next);
        }
        let page = read.await?;
        for item in page.items {
            match item {
                Item::Event(event) => log.events.push(Told::from(event.data())),
                Item::Gap(gap) => log.amiss.push(format!("a gap: {gap:?}")),
                Item::Undecodable(raw) => log.amiss.push(format!("something undecodable: {raw:?}")),
            }
        }
        next = page.next;
        if next.is_none() {
            return Ok(log);
        }
    }
}

#[cfg(test)]
mod tests {
    use tidelock::HOUR;

    use super::super::ledger::Hold;
    use super::*;

    fn dead(id: u64) -> Dead {
        let (reason, error) = ("ERROR".to_owned(), "declined".to_owned());
        Dead { id, reason, rejected: false, error, attempts: 5, failures: 5, raw: b"{}".to_vec() }
    }

    #[tokio::test]
    async fn every_failed_job_is_told_once_and_as_the_ledger_has_it() {
        let tide = Tidelock::in_process();
        let topic = tide.topic::<Outcome>("test").retention(HOUR).build().unwrap();
        let charge = Entry::Charge {
            hold: Hold { shelf: "4:oslo/lamp".to_owned(), fence: 1, proven: true },
            order: "o-1".to_owned(),
            amount_cents: 500,
            quantity: 2,
            job: 1,
            run: "1.1".to_owned(),
            failures: 4,
        };
        Outcome::died(2, b"{}", "told by a worker").publish(&topic).await.unwrap();
        for _ in 0..2 {
            tell_dead(&topic, std::slice::from_ref(&charge), &[dead(1), dead(2), dead(3)]).await.unwrap();
        }
        let told = |job, sale| Told { job, sale };
        assert_eq!(read_log(&topic).await.unwrap().events, [told(2, None), told(1, Some((500, 2))), told(3, None)]);
    }
}

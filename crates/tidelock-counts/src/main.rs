//! `counts <work> <times>`: performs one kind of work in process, this many times, on one thread. `cargo xtask counts`
//! runs it under Valgrind, which counts instructions; the difference between two runs gives the cost of one operation.
//!
//! Times vary on shared machines, instruction counts do not: a change that makes a code path longer is visible on any
//! machine.

use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;

use anyhow::{Context as _, Result};
use tidelock::cron::Cron;
use tidelock::ratelimit::Limit;
use tidelock::topic::Item;
use tidelock::{Raw, SECOND, Tidelock, Timestamp};

type Work = fn(u64) -> Pin<Box<dyn Future<Output = Result<()>>>>;

/// The workloads that can be counted, by name.
const WORKS: [(&str, Work); 9] = [
    ("queue", |times| Box::pin(queue(times))),
    ("topic", |times| Box::pin(topic(times))),
    ("job", |times| Box::pin(job(times))),
    ("mutex", |times| Box::pin(mutex(times))),
    ("ratelimit", |times| Box::pin(ratelimit(times))),
    ("registry", |times| Box::pin(registry(times))),
    ("ephemeral", |times| Box::pin(ephemeral(times))),
    ("retry", |times| Box::pin(retry(times))),
    ("cron", |times| Box::pin(async move { cron(times) })),
];

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let Some(name) = arguments.next() else {
        // Without arguments: lists the workloads.
        for (name, _) in WORKS {
            println!("{name}");
        }
        return Ok(());
    };
    let times = arguments.next().context("how many times?")?.parse()?;
    let (_, work) =
        WORKS.iter().find(|(known, _)| *known == name).with_context(|| format!("no workload is named {name}"))?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work(times))
}

fn payload() -> Raw {
    Raw(vec![b'x'; 100])
}

/// A message is sent, received and acknowledged.
async fn queue(times: u64) -> Result<()> {
    let queue = Tidelock::in_process().queue::<Raw>("counts").build()?;
    let payload = payload();
    for _ in 0..times {
        queue.send(&payload).await?;
        let delivery = queue.try_recv().await?.context("nothing was received")?;
        black_box(delivery.ack().await?);
    }
    Ok(())
}

/// An event is published, received and committed.
async fn topic(times: u64) -> Result<()> {
    let topic = Tidelock::in_process().topic::<Raw>("counts").build()?;
    let reader = topic.reader("counts").build()?;
    let payload = payload();
    for _ in 0..times {
        topic.publish(&payload).await?;
        let event = reader.try_recv().await?.and_then(Item::event).context("nothing was received")?;
        black_box(event.commit().await?);
    }
    Ok(())
}

/// A job is submitted, run and joined.
async fn job(times: u64) -> Result<()> {
    let job = Tidelock::in_process().job::<Raw, ()>("counts").build()?;
    let worker = job.process(|_run, _input| async { Ok(()) }).spawn();
    let payload = payload();
    for _ in 0..times {
        let submitted = job.submit(&payload).await?;
        black_box(job.join(submitted.id).await?);
    }
    worker.shutdown(SECOND).await;
    Ok(())
}

/// A free lock is taken and released.
async fn mutex(times: u64) -> Result<()> {
    let mutex = Tidelock::in_process().mutex("counts").build()?;
    for _ in 0..times {
        let held = mutex.try_lock("resource").await?.context("somebody holds it")?;
        black_box(held.release().await?);
    }
    Ok(())
}

/// A check passes.
async fn ratelimit(times: u64) -> Result<()> {
    let limiter = Tidelock::in_process().ratelimit("counts").limit(Limit::per_second(1_000_000_000)).build()?;
    for _ in 0..times {
        anyhow::ensure!(!limiter.check("identifier").await?.limited, "the limit is never reached");
    }
    Ok(())
}

/// A record is written and read.
async fn registry(times: u64) -> Result<()> {
    let registry = Tidelock::in_process().registry::<Raw>("counts").build()?;
    let payload = payload();
    for _ in 0..times {
        registry.upsert("key", &payload).await?;
        black_box(registry.get("key").await?);
    }
    Ok(())
}

/// A record is written and touched.
async fn ephemeral(times: u64) -> Result<()> {
    let ephemeral = Tidelock::in_process().ephemeral::<Raw>("counts").ttl(SECOND).build()?;
    let payload = payload();
    for _ in 0..times {
        ephemeral.upsert("key", &payload).await?;
        black_box(ephemeral.touch("key").await?);
    }
    Ok(())
}

/// A call succeeds at once.
async fn retry(times: u64) -> Result<()> {
    for call in 0..times {
        black_box(tidelock::retry(async |_| Ok::<_, std::io::Error>(black_box(call))).await?);
    }
    Ok(())
}

/// The next slot of an expression in a zone that changes its clock.
fn cron(times: u64) -> Result<()> {
    let cron = Cron::parse("15 3 * * 1-5")?.tz("Europe/Berlin")?;
    let mut after = Timestamp::from_millis(1_800_000_000_000);
    for _ in 0..times {
        after = cron.next_after(after).context("there is always a next slot")?;
    }
    black_box(after);
    Ok(())
}

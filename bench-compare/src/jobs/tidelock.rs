//! Tidelock: a job with state, result, retries and events, and a queue with at-least-once delivery.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tidelock::ratelimit::{Limit, RateLimiter};
use tidelock::{HOUR, Tidelock};

use super::{Jobs, Seen};
use crate::protocol::Pace;

const NAME: &str = "compare";
/// The rate limit's identifier, which all handlers share.
const ALL: &str = "all";

/// A job has no limit of its own: a handler acquires from a rate limiter before its work.
async fn limiter(url: &str, pace: Pace) -> Result<RateLimiter> {
    let limit = Limit::new(pace.items.into()).window(pace.window);
    Ok(Tidelock::connect(url).await?.ratelimit(NAME).limit(limit).build()?)
}

async fn turn(limiter: &RateLimiter) -> tidelock::Result<()> {
    let verdict = limiter.acquire(ALL).await?;
    assert!(!verdict.limited, "without a timeout it waits until it passes");
    Ok(())
}

/// By default, a worker of jobs prefetches none.
#[derive(Clone, Debug)]
pub(super) struct Job<const PREFETCH: usize>(tidelock::job::Job<String, ()>);

impl<const PREFETCH: usize> Jobs for Job<PREFETCH> {
    const ORDERED: bool = true;

    async fn open(url: &str) -> Result<Self> {
        Ok(Self(Tidelock::connect(url).await?.job(NAME).build()?))
    }

    async fn enqueue(&self, payload: String) -> Result<()> {
        self.0.submit(&payload).await?;
        Ok(())
    }

    async fn enqueue_ordered(&self, payload: String, key: &str) -> Result<()> {
        self.0.submit(&payload).ordering_key(key).await?;
        Ok(())
    }

    async fn enqueue_many(&self, payloads: Vec<String>, delay: Option<Duration>) -> Result<()> {
        let delay = delay.unwrap_or_default();
        self.0.submit_many(payloads.iter().map(|payload| self.0.submit(payload).delay(delay))).await?;
        Ok(())
    }

    async fn work(url: &str, handlers: usize, seen: Arc<Seen>) -> Result<Box<dyn Any>> {
        let Self(job) = Self::open(url).await?;
        let worker = job.process(move |_, payload: String| {
            seen.handle(&payload);
            async { Ok(()) }
        });
        Ok(Box::new(worker.concurrency(handlers).prefetch(PREFETCH).spawn()))
    }

    const PACED: bool = true;

    async fn work_paced(url: &str, handlers: usize, seen: Arc<Seen>, pace: Pace) -> Result<Box<dyn Any>> {
        let (Self(job), limiter) = (Self::open(url).await?, limiter(url, pace).await?);
        let worker = job.process_with((limiter, seen), async |(limiter, seen), _, payload: String| {
            turn(&limiter).await?;
            seen.handle(&payload);
            Ok(())
        });
        Ok(Box::new(worker.concurrency(handlers).prefetch(PREFETCH).spawn()))
    }
}

#[derive(Clone, Debug)]
pub(super) struct Queue(tidelock::queue::Queue<String>);

impl Jobs for Queue {
    const ORDERED: bool = true;

    async fn open(url: &str) -> Result<Self> {
        Ok(Self(Tidelock::connect(url).await?.queue(NAME).build()?))
    }

    async fn enqueue(&self, payload: String) -> Result<()> {
        self.0.send(&payload).await?;
        Ok(())
    }

    async fn enqueue_ordered(&self, payload: String, key: &str) -> Result<()> {
        self.0.send(&payload).ordering_key(key).await?;
        Ok(())
    }

    async fn enqueue_many(&self, payloads: Vec<String>, delay: Option<Duration>) -> Result<()> {
        let delay = delay.unwrap_or_default();
        self.0.send_many(payloads.iter().map(|payload| self.0.send(payload).delay(delay))).await?;
        Ok(())
    }

    async fn work(url: &str, handlers: usize, seen: Arc<Seen>) -> Result<Box<dyn Any>> {
        let Self(queue) = Self::open(url).await?;
        let worker = queue.process(move |message| {
            seen.handle(&message);
            async { Ok(()) }
        });
        let worker = worker.concurrency(handlers);
        // Longer than the process runs.
        Ok(Box::new(tokio::spawn(worker.run_until(tokio::time::sleep(HOUR)).into_future())))
    }
    const PACED: bool = true;

    async fn work_paced(url: &str, handlers: usize, seen: Arc<Seen>, pace: Pace) -> Result<Box<dyn Any>> {
        let (Self(queue), limiter) = (Self::open(url).await?, limiter(url, pace).await?);
        let worker = queue.process(move |message| {
            let (limiter, seen) = (limiter.clone(), Arc::clone(&seen));
            async move {
                turn(&limiter).await?;
                seen.handle(&message);
                Ok(())
            }
        });
        let worker = worker.concurrency(handlers);
        Ok(Box::new(tokio::spawn(worker.run_until(tokio::time::sleep(HOUR)).into_future())))
    }
}

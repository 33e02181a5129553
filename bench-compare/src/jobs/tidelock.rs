//! Tidelock: a job with state, result, retries and events, and a queue with at-least-once delivery.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tidelock::{HOUR, Tidelock};

use super::{Jobs, Seen};
use crate::protocol::Pace;

const NAME: &str = "compare";

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
        Self::open(url).await?.0.set_rate_limit(pace.items.into(), pace.window).await?;
        Self::work(url, handlers, seen).await
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
        Self::open(url).await?.0.set_rate_limit(pace.items.into(), pace.window).await?;
        Self::work(url, handlers, seen).await
    }
}

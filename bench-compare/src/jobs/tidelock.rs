//! Tidelock: a job with state, result, retries and events, and a queue that hands over at least once.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tidelock::{HOUR, Tidelock};

use super::{Jobs, Seen};

const NAME: &str = "compare";

#[derive(Clone, Debug)]
pub(super) struct Job(tidelock::job::Job<String, ()>);

impl Jobs for Job {
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
        Ok(Box::new(worker.concurrency(handlers).spawn()))
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
        // The process ends long before.
        Ok(Box::new(tokio::spawn(worker.run_until(tokio::time::sleep(HOUR)).into_future())))
    }
}

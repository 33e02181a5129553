//! The Rust port of BullMQ, which runs the scripts of the original.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bullmq::options::{RateLimiterOptions, RedisConnectionOptions};
use bullmq::queue::BulkJob;
use bullmq::{Queue, QueueOptions, Worker, WorkerOptions};
use serde_json::Value;

use super::{Jobs, Seen};
use crate::protocol::Pace;

const NAME: &str = "compare";

#[derive(Clone)]
pub(super) struct BullMq(Arc<Queue>);

fn connection(url: &str) -> RedisConnectionOptions {
    RedisConnectionOptions { url: url.to_owned(), ..RedisConnectionOptions::default() }
}

impl Jobs for BullMq {
    async fn open(url: &str) -> Result<Self> {
        let options = QueueOptions { connection: connection(url), ..QueueOptions::default() };
        Ok(Self(Arc::new(Queue::with_options(NAME, options).await?)))
    }

    async fn enqueue(&self, payload: String) -> Result<()> {
        self.0.add("item", payload).await?;
        Ok(())
    }

    async fn enqueue_many(&self, payloads: Vec<String>, delay: Option<Duration>) -> Result<()> {
        let jobs = payloads.into_iter().map(|payload| {
            let job = BulkJob::new("item", payload);
            match delay {
                Some(delay) => job.delay(delay),
                None => job,
            }
        });
        self.0.add_bulk(jobs.collect()).await?;
        Ok(())
    }

    async fn work(url: &str, handlers: usize, seen: Arc<Seen>) -> Result<Box<dyn Any>> {
        work(options(url, handlers), seen).await
    }

    const PACED: bool = true;

    async fn work_paced(url: &str, handlers: usize, seen: Arc<Seen>, pace: Pace) -> Result<Box<dyn Any>> {
        let limiter = RateLimiterOptions::new(pace.items.into(), pace.window);
        work(options(url, handlers).limiter(limiter), seen).await
    }
}

fn options(url: &str, handlers: usize) -> WorkerOptions {
    WorkerOptions { connection: connection(url), ..WorkerOptions::default() }.concurrency(handlers)
}

async fn work(options: WorkerOptions, seen: Arc<Seen>) -> Result<Box<dyn Any>> {
    let handler = move |job: bullmq::Job, _| {
        seen.handle(job.data().as_str().unwrap_or_default());
        async { Ok(Value::Null) }
    };
    Ok(Box::new(Worker::with_options(NAME, handler, options).await?))
}

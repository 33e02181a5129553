//! Apalis over its Redis storage.

use std::any::Any;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use apalis::prelude::*;
use apalis_redis::{Config, RedisStorage};

use super::{Jobs, Seen};
use crate::protocol::Pace;

const QUEUE: &str = "compare";
/// Without an interval, a worker that found nothing looks again only at its next heartbeat: items that are pushed in
/// the meantime wake nobody, even with the storage that listens to published messages.
const POLL: Duration = Duration::from_millis(100);

#[derive(Clone, Debug)]
pub(super) struct Apalis(RedisStorage<String>);

impl Jobs for Apalis {
    async fn open(url: &str) -> Result<Self> {
        let storage = RedisStorage::new(apalis_redis::connect(url).await?);
        Ok(Self(storage.with_config(Config::default().queue(QUEUE))))
    }

    async fn enqueue(&self, payload: String) -> Result<()> {
        self.0.clone().push(payload).await.map_err(|error| anyhow!("{error}"))
    }

    async fn enqueue_many(&self, payloads: Vec<String>, delay: Option<Duration>) -> Result<()> {
        let mut storage = self.0.clone();
        let Some(delay) = delay else {
            return storage.push_bulk(payloads).await.map_err(|error| anyhow!("{error}"));
        };
        for payload in payloads {
            let task = TaskBuilder::new(payload).run_after(delay).build();
            storage.push_task(task).await.map_err(|error| anyhow!("{error}"))?;
        }
        Ok(())
    }

    async fn work(url: &str, handlers: usize, seen: Arc<Seen>) -> Result<Box<dyn Any>> {
        let worker = WorkerBuilder::new(QUEUE).backend(storage(url, handlers).await?.poll_with_interval(POLL));
        let worker = worker.concurrency(handlers).build(handler(seen));
        Ok(Box::new(tokio::spawn(worker.run())))
    }

    const PACED: bool = true;

    async fn work_paced(url: &str, handlers: usize, seen: Arc<Seen>, pace: Pace) -> Result<Box<dyn Any>> {
        let worker = WorkerBuilder::new(QUEUE).backend(storage(url, handlers).await?.poll_with_interval(POLL));
        let worker = worker.rate_limit(pace.items.into(), pace.window).concurrency(handlers).build(handler(seen));
        Ok(Box::new(tokio::spawn(worker.run())))
    }
}

/// Where a worker looks for work.
async fn storage(url: &str, handlers: usize) -> Result<RedisStorage<String>> {
    let config = Config::default().queue(QUEUE).batch_size(handlers.max(10));
    Ok(RedisStorage::new(apalis_redis::connect(url).await?).with_config(config))
}

fn handler(seen: Arc<Seen>) -> impl Fn(String) -> Ready<Result<(), BoxDynError>> + Clone + Send + Sync {
    move |payload| {
        seen.handle(&payload);
        ready(Ok(()))
    }
}

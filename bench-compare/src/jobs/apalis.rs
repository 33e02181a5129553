//! Apalis over its Redis storage.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use apalis::prelude::*;
use apalis_redis::factory::RedisStorageFactory;
use apalis_redis::{Client, Config, RedisStorage};

use super::{Jobs, Seen};

/// Its own default, the name of the type, has the colons in it that its wake-ups are parsed by.
const QUEUE: &str = "compare";

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

    /// Woken by published messages: a storage without them looks again only when its heartbeat comes round.
    async fn work(url: &str, handlers: usize, seen: Arc<Seen>) -> Result<Box<dyn Any>> {
        let mut woken = RedisStorageFactory::new(Client::open(format!("{url}/?protocol=resp3"))?).await?;
        let config = Config::default().queue(QUEUE).batch_size(handlers.max(10));
        let storage = <RedisStorageFactory as BackendFactory<String>>::create_with_config(&mut woken, config)?;
        let worker =
            WorkerBuilder::new("compare").backend(storage).concurrency(handlers).build(move |payload: String| {
                seen.handle(&payload);
                async { Ok::<_, BoxDynError>(()) }
            });
        Ok(Box::new((woken, tokio::spawn(worker.run()))))
    }
}

//! Sidekiq in Rust.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use futures_util::future::try_join_all;
use sidekiq::{Processor, ProcessorConfig, RedisConnectionManager, RedisPool};

use super::{Jobs, Seen};

const QUEUE: &str = "compare";

#[derive(Clone, Debug)]
pub(super) struct Sidekiq(RedisPool);

/// A pool large enough that nobody waits for a connection: a worker blocks one per handler, and needs more in addition.
async fn pool(url: &str, size: u32) -> Result<RedisPool> {
    Ok(bb8::Pool::builder().max_size(size).build(RedisConnectionManager::new(url)?).await?)
}

impl Jobs for Sidekiq {
    const BULK: bool = false;

    async fn open(url: &str) -> Result<Self> {
        Ok(Self(pool(url, 64).await?))
    }

    async fn enqueue(&self, payload: String) -> Result<()> {
        Ok(sidekiq::opts().queue(QUEUE).perform_async(&self.0, Handler::class_name(), payload).await?)
    }

    async fn enqueue_many(&self, payloads: Vec<String>, delay: Option<Duration>) -> Result<()> {
        for some in payloads.chunks(64) {
            try_join_all(some.iter().map(async |payload| match delay {
                Some(delay) => {
                    let options = sidekiq::opts().queue(QUEUE);
                    Ok(options.perform_in(&self.0, Handler::class_name(), delay, payload.clone()).await?)
                }
                None => self.enqueue(payload.clone()).await,
            }))
            .await?;
        }
        Ok(())
    }

    async fn work(url: &str, handlers: usize, seen: Arc<Seen>) -> Result<Box<dyn Any>> {
        let connections = u32::try_from(2 * handlers)? + 8;
        let mut processor = Processor::new(pool(url, connections).await?, vec![QUEUE.to_owned()])
            .with_config(ProcessorConfig::default().num_workers(handlers));
        processor.register(Handler(seen));
        Ok(Box::new(tokio::spawn(processor.run())))
    }
}

struct Handler(Arc<Seen>);

impl Handler {
    fn class_name() -> String {
        <Self as sidekiq::Worker<String>>::class_name()
    }
}

#[async_trait]
impl sidekiq::Worker<String> for Handler {
    async fn perform(&self, payload: String) -> sidekiq::Result<()> {
        self.0.handle(&payload);
        Ok(())
    }
}

//! Queues on Redis: one script per trip, and trips that many callers share.

mod admin;
mod plan;
mod stored;
mod trip;

use std::sync::Arc;

use self::trip::Request;
use super::store::{Accepted, Change, Changes, Look, NewMessage, QueueStore, Settle, Settled, Take, Taken, View};
use crate::backend::redis::{Carrier, Home, Lanes, Object, Objects, Place, Series, Server, Wakeable};
use crate::bell::Bell;
use crate::error::Result;
use crate::name::Address;
use crate::runtime::BoxFuture;

/// The parts of a queue's keys, in the order of the scripts' KEYS.
const PARTS: [&str; 12] = [
    "record", "line", "messages", "ready", "lines", "delayed", "leased", "expiring", "kept", "dead", "dedup", "parked",
];

/// All queues on the server that this process uses.
#[derive(Debug)]
pub(crate) struct RedisQueue {
    queues: Objects<Address, Remote>,
}

/// This process's client of one queue on the server.
#[derive(Debug)]
struct Remote {
    home: Home,
    lanes: Lanes<Request>,
    changes: Series,
    bell: Arc<Bell>,
}

impl RedisQueue {
    pub(crate) fn new(server: &Arc<Server>) -> Self {
        Self { queues: Objects::new(server) }
    }

    /// The queue at `address`. Queues in use are swept.
    fn remote(&self, address: &Address) -> Arc<Remote> {
        self.queues.get(address, Remote::new)
    }
}

impl Remote {
    fn new(server: &Arc<Server>, address: &Address) -> Arc<Self> {
        let home = Home::new(server, Place::of("queue", address, None), &PARTS);
        let remote =
            Arc::new(Self { lanes: Lanes::new(&home), changes: Series::new(&home), bell: Arc::default(), home });
        remote.home.wake(&remote);
        remote
    }
}

impl Object for Remote {
    fn home(&self) -> &Home {
        &self.home
    }

    fn is_waited_for(&self) -> bool {
        Arc::strong_count(&self.bell) > 1
    }

    async fn sweep(self: Arc<Self>) -> Result<()> {
        self.sweep_once().await
    }
}

impl Wakeable for Remote {
    fn woken(&self, _detail: &[u8]) {
        self.bell.ring();
    }

    fn reset(&self) {
        self.bell.ring();
    }
}

impl QueueStore for RedisQueue {
    fn send(&self, queue: &Address, batch: Vec<NewMessage>) -> BoxFuture<'static, Result<Accepted>> {
        self.remote(queue).ask(|reply| Request::Send { batch, reply })
    }

    fn take(&self, queue: &Address, take: Take) -> BoxFuture<'static, Result<Taken>> {
        self.remote(queue).ask(|reply| Request::Take { take, reply })
    }

    fn settle(&self, queue: &Address, settles: Vec<Settle>) -> BoxFuture<'static, Result<Vec<Settled>>> {
        self.remote(queue).ask(|reply| Request::Settle { settles, reply: Some(reply) })
    }

    fn change(&self, queue: &Address, change: Change) -> BoxFuture<'static, Result<Changes>> {
        let remote = self.remote(queue);
        Box::pin(async move { remote.change(change).await })
    }

    fn look(&self, queue: &Address, look: Look) -> BoxFuture<'static, Result<View>> {
        let remote = self.remote(queue);
        Box::pin(async move { remote.look(look).await })
    }

    fn bell(&self, queue: &Address) -> Arc<Bell> {
        Arc::clone(&self.remote(queue).bell)
    }
}

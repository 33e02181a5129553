//! Jobs on Redis: one script per trip, and trips that many callers share.

mod change;
mod group;
mod look;
mod plan;
mod stored;
mod trip;

use std::sync::Arc;

use self::trip::Request;
use super::ears::{Ears, News};
use super::store::{
    Accepted, Change, Changes, Claim, Claimed, GroupSettle, GroupTake, GroupTaken, JobStore, Look, NewJob, Settle,
    Settled, View,
};
use crate::backend::redis::{Bytes, Carrier, Home, Lanes, Object, Objects, Place, Series, Server, Wakeable};
use crate::error::Result;
use crate::name::Address;
use crate::runtime::BoxFuture;

/// The parts of an object's keys, in the order of the scripts' KEYS.
pub(super) const PARTS: [&str; 22] = [
    "record",
    "line",
    "jobs",
    "inputs",
    "details",
    "ready",
    "lines",
    "delayed",
    "running",
    "expiring",
    "kept",
    "completed",
    "failed",
    "cancelled",
    "timed_out",
    "keys",
    "key_ends",
    "series",
    "series_ends",
    "active",
    "watchers",
    "parked",
];

/// All jobs on the server that this process uses.
#[derive(Debug)]
pub(crate) struct RedisJob {
    objects: Objects<Address, Remote>,
}

/// This process's client of the jobs of one name on the server.
#[derive(Debug)]
struct Remote {
    home: Home,
    lanes: Lanes<Request>,
    changes: Series,
    ears: Arc<Ears>,
}

impl RedisJob {
    pub(crate) fn new(server: &Arc<Server>) -> Self {
        Self { objects: Objects::new(server) }
    }

    /// The jobs at `address`. Objects in use are swept.
    fn remote(&self, address: &Address) -> Arc<Remote> {
        self.objects.get(address, Remote::new)
    }
}

impl Remote {
    fn new(server: &Arc<Server>, address: &Address) -> Arc<Self> {
        let home = Home::new(server, Place::of("job", address, None), &PARTS);
        let remote =
            Arc::new(Self { lanes: Lanes::new(&home), changes: Series::new(&home), ears: Arc::default(), home });
        remote.home.wake(&remote);
        remote
    }

    /// 0 means unknown: a remembered answer does not contain it, and the next sweep finds out.
    fn told_next(&self, next: u64) {
        if next > 0 {
            self.home.told_next(next);
        }
    }
}

impl Object for Remote {
    fn home(&self) -> &Home {
        &self.home
    }

    fn is_waited_for(&self) -> bool {
        Arc::strong_count(&self.ears) > 1 || self.ears.is_used()
    }

    async fn sweep(self: Arc<Self>) -> Result<()> {
        self.sweep_once().await
    }
}

impl Wakeable for Remote {
    /// Empty: there may be work. `c` and a fence: the run's job was cancelled. `w` and an id: something happened to
    /// that job.
    fn woken(&self, detail: &[u8]) {
        let mut detail = Bytes(detail);
        let news = match (detail.byte(), detail.number(8)) {
            (None, _) => News::Work,
            (Some(b'c'), Some(fence)) => News::Cancelled(fence),
            (Some(b'w'), Some(id)) => News::Happened(id),
            // From a later version. At worst somebody queries too late.
            _ => return,
        };
        self.ears.hear(news);
    }

    fn reset(&self) {
        self.ears.reset();
    }
}

impl JobStore for RedisJob {
    fn submit(&self, jobs: &Address, batch: Vec<NewJob>) -> BoxFuture<'static, Result<Accepted>> {
        self.remote(jobs).ask(|reply| Request::Submit { batch, reply })
    }

    fn claim(&self, jobs: &Address, claim: Claim) -> BoxFuture<'static, Result<Claimed>> {
        self.remote(jobs).ask(|reply| Request::Claim { claim, reply })
    }

    fn settle(&self, jobs: &Address, settles: Vec<Settle>) -> BoxFuture<'static, Result<Vec<Settled>>> {
        self.remote(jobs).ask(|reply| Request::Settle { settles, reply: Some(reply), before_claim: false })
    }

    fn settle_before_claim(&self, jobs: &Address, settles: Vec<Settle>) -> BoxFuture<'static, Result<Vec<Settled>>> {
        self.remote(jobs).ask(|reply| Request::Settle { settles, reply: Some(reply), before_claim: true })
    }

    fn depart(&self, jobs: &Address) {
        self.remote(jobs).depart();
    }

    fn change(&self, jobs: &Address, change: Change) -> BoxFuture<'static, Result<Changes>> {
        let remote = self.remote(jobs);
        Box::pin(async move { remote.change(change).await })
    }

    fn look(&self, jobs: &Address, look: Look) -> BoxFuture<'static, Result<View>> {
        let remote = self.remote(jobs);
        Box::pin(async move { remote.look(look).await })
    }

    fn take_events(&self, jobs: &Address, take: GroupTake) -> BoxFuture<'static, Result<GroupTaken>> {
        self.remote(jobs).ask(|reply| Request::Take { take, reply })
    }

    fn settle_events(&self, jobs: &Address, settles: Vec<GroupSettle>) -> BoxFuture<'static, Result<Vec<bool>>> {
        self.remote(jobs).ask(|reply| Request::SettleEvents { settles, reply: Some(reply) })
    }

    fn ears(&self, jobs: &Address) -> Arc<Ears> {
        Arc::clone(&self.remote(jobs).ears)
    }
}

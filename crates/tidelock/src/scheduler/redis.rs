//! Schedulers on Redis: one script call per request.

mod changes;
mod look;
mod stored;
#[cfg(test)]
mod tests;
mod write;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;

use super::store::{
    Beat, Beaten, Busy, Change, Changes, DueView, Look, Role, SchedulerStore, View, Wish, Write, Written,
};
use crate::backend::redis::{Answer, Arguments, Home, Lane, Object, Objects, Place, Script, Server, Wakeable, script};
use crate::bell::Bell;
use crate::error::Result;
use crate::name::Address;
use crate::runtime::BoxFuture;

static BEAT: Script = script!("scheduler.beat", "../lua/time.lua", "lua/store.lua", "lua/moves.lua", "lua/beat.lua");

/// The parts of an object's keys, in the order of the scripts' KEYS.
const PARTS: [&str; 25] = [
    "record",
    "states",
    "definitions",
    "names",
    "kinds",
    "due",
    "again",
    "behind",
    "ended",
    "plans",
    "snapshots",
    "history",
    "unserved",
    "awakening",
    "triggers",
    "waiting",
    "named",
    "named_ends",
    "letters",
    "numbers",
    "owned",
    "buried",
    "instances",
    "alive",
    "served",
];

/// How many requests of one process to one object may be in flight at once.
const UNDER_WAY: usize = 64;

/// All schedulers on the server that this process uses.
#[derive(Debug)]
pub(crate) struct RedisScheduler {
    objects: Objects<Address, Remote>,
}

/// This process's client of one scheduler on the server.
#[derive(Debug)]
struct Remote {
    home: Home,
    /// Lanes without a request in flight. The script remembers the last answer of each lane.
    idle: Mutex<Vec<Lane>>,
    room: Semaphore,
    bell: Arc<Bell>,
}

impl RedisScheduler {
    pub(crate) fn new(server: &Arc<Server>) -> Self {
        Self { objects: Objects::new(server) }
    }

    /// The scheduler at this address. Objects in use are swept.
    fn remote(&self, scheduler: &Address) -> Arc<Remote> {
        self.objects.get(scheduler, Remote::new)
    }
}

impl Remote {
    fn new(server: &Arc<Server>, scheduler: &Address) -> Arc<Self> {
        let remote = Arc::new(Self {
            home: Home::new(server, Place::of("scheduler", scheduler, None), &PARTS),
            idle: Mutex::default(),
            room: Semaphore::new(UNDER_WAY),
            bell: Arc::default(),
        });
        remote.home.wake(&remote);
        remote
    }

    /// Runs a script that remembers its answer, under the next number of a lane that nobody else uses meanwhile. If
    /// the request is dropped, its lane is dropped, too.
    async fn run_once(&self, script: &'static Script, push: impl FnOnce(&mut Arguments)) -> Result<Answer> {
        let _room = self.room.acquire().await;
        let idle = self.lock().pop();
        let mut lane = idle.unwrap_or_else(|| Lane::new(&self.home));
        lane.number += 1;
        let mut arguments = self.home.arguments(Some(&lane.answers));
        arguments.number(lane.number);
        push(&mut arguments);
        let mut answer = self.home.show("scheduler", script, &arguments).await?;
        self.lock().push(lane);
        self.home.told_next(answer.count()?);
        Ok(answer)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Lane>> {
        self.idle.lock().expect("no code panics while it holds this lock")
    }

    async fn beat(&self, beat: Beat) -> Result<Beaten> {
        let (wish, lease, epoch) = match beat.wish {
            Wish::Lead { lease } => ("lead", lease, 0),
            Wish::Renew { epoch, lease } => ("renew", lease, epoch),
            Wish::Announce => ("announce", 0, 0),
        };
        let mut answer = self.beat_as(wish, [lease, epoch], &beat).await?;
        let now = answer.count()?;
        let role = match answer.count()? {
            0 => Role::Free,
            1 => Role::Follower { left: answer.count()? },
            _ => {
                let (epoch, next) = (answer.count()?, answer.number()?);
                let zones = answer.text()?;
                let mut due = Vec::new();
                for _ in 0..answer.count()? {
                    let served = answer.flag()?;
                    due.push(DueView { schedule: stored::schedule(&mut answer)?, served });
                }
                let mut triggers = Vec::new();
                while !answer.is_over() {
                    // A trigger that cannot be read must not block the others.
                    triggers.extend(stored::trigger(&answer.bytes()?));
                }
                let zones = Some(zones).filter(|zones| !zones.is_empty());
                Role::Leader { epoch, due, triggers, next, zones }
            }
        };
        Ok(Beaten { now, role })
    }

    async fn beat_as(&self, wish: &str, [lease, epoch]: [u64; 2], beat: &Beat) -> Result<Answer> {
        // Shared by all schedulers of the process, because an instance never outlives its process.
        static BEATS: AtomicU64 = AtomicU64::new(1);
        let mut arguments = self.home.arguments(None);
        arguments.number(BEATS.fetch_add(1, Ordering::Relaxed));
        for part in [&*beat.instance, &self.home.server.channel, wish] {
            arguments.push(part.as_bytes());
        }
        for number in [lease, epoch, beat.batch as u64] {
            arguments.number(number);
        }
        for names in [&beat.handlers, &beat.busy.schedules] {
            arguments.number(names.len() as u64);
            for name in names {
                arguments.push(name.as_bytes());
            }
        }
        for (born, run) in &beat.busy.triggers {
            arguments.push(&[born.to_be_bytes(), run.to_be_bytes()].concat());
        }
        let mut answer = self.home.show("scheduler", &BEAT, &arguments).await?;
        self.home.told_next(answer.count()?);
        Ok(answer)
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
        // Wakes every instance of this process that waits, or the next one to wait if none does.
        self.bell.rung.notify_waiters();
        self.bell.ring();
    }

    fn reset(&self) {
        self.woken(&[]);
    }
}

impl SchedulerStore for RedisScheduler {
    fn beat(&self, scheduler: &Address, beat: Beat) -> BoxFuture<'static, Result<Beaten>> {
        let remote = self.remote(scheduler);
        Box::pin(async move { remote.beat(beat).await })
    }

    fn leave(&self, scheduler: &Address, instance: Arc<str>) -> BoxFuture<'static, Result<()>> {
        let remote = self.remote(scheduler);
        let last = Beat { instance, handlers: Vec::new(), wish: Wish::Announce, batch: 0, busy: Busy::default() };
        Box::pin(async move { remote.beat_as("leave", [0; 2], &last).await.map(drop) })
    }

    fn write(&self, scheduler: &Address, write: Write) -> BoxFuture<'static, Result<Written>> {
        let remote = self.remote(scheduler);
        Box::pin(async move { remote.write(write).await })
    }

    fn change(&self, scheduler: &Address, change: Change) -> BoxFuture<'static, Result<Changes>> {
        let remote = self.remote(scheduler);
        Box::pin(async move { remote.change(change).await })
    }

    fn look(&self, scheduler: &Address, look: Look) -> BoxFuture<'static, Result<View>> {
        let remote = self.remote(scheduler);
        Box::pin(async move { remote.look(look).await })
    }

    fn bell(&self, scheduler: &Address) -> Arc<Bell> {
        Arc::clone(&self.remote(scheduler).bell)
    }
}

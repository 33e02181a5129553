//! Topics on Redis. The publishes of a process share trips, and so do the takes and settles of a group.

mod change;
mod group;
mod look;
mod publish;
mod stored;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard};

use self::group::{GroupRequest, RemoteGroup};
use self::publish::Publish;
use super::store::{
    Appended, Change, Changes, Look, NewEvent, Read, Settings, Settle, Settled, Span, Take, Taken, TopicStore, View,
};
use crate::backend::redis::{Carrier, Home, Lanes, Object, Objects, Place, Series, Server, Wakeable};
use crate::bell::Bell;
use crate::error::Result;
use crate::hash::HashMap;
use crate::name::{self, Address};
use crate::runtime::BoxFuture;
use crate::time::{HOUR, Timestamp};

/// The key suffixes of a topic, in the order of the scripts' KEYS.
const PARTS: [&str; 5] = ["record", "log", "dedup", "groups", "parked"];
/// The key suffixes of a group; its keys follow those of its topic.
const GROUP_PARTS: [&str; 13] = [
    "open",
    "leased",
    "waiting",
    "ready",
    "freed",
    "aside",
    "idle",
    "busy",
    "letters",
    "moved",
    "kept",
    "copies",
    "returning",
];

/// All topics that this process uses on the server.
#[derive(Debug)]
pub(crate) struct RedisTopic {
    topics: Objects<Address, Remote>,
}

/// One topic on the server.
#[derive(Debug)]
struct Remote {
    home: Home,
    lanes: Lanes<Publish>,
    changes: Series,
    groups: Mutex<HashMap<Arc<str>, Arc<RemoteGroup>>>,
    /// Rings for the followers of the log.
    bell: Arc<Bell>,
}

impl RedisTopic {
    pub(crate) fn new(server: &Arc<Server>) -> Self {
        Self { topics: Objects::new(server) }
    }

    /// The topic at `address`. Using a topic keeps it in the regular sweep.
    fn remote(&self, address: &Address) -> Arc<Remote> {
        self.topics.get(address, Remote::new)
    }
}

impl Remote {
    fn new(server: &Arc<Server>, address: &Address) -> Arc<Self> {
        let home = Home::new(server, Place::of("topic", address, None), &PARTS);
        let remote = Arc::new(Self {
            lanes: Lanes::new(&home),
            changes: Series::new(&home),
            groups: Mutex::default(),
            bell: Arc::default(),
            home,
        });
        remote.home.wake(&remote);
        remote
    }

    fn group(&self, name: &Arc<str>) -> Arc<RemoteGroup> {
        let now = self.home.server.clock.tick();
        let mut groups = self.lock();
        let group = groups
            .entry(Arc::clone(name))
            .or_insert_with(|| Arc::new(RemoteGroup::new(&self.home, Arc::clone(name), now)));
        group.used(now);
        Arc::clone(group)
    }

    /// The keys of the group, without those of its topic.
    fn group_keys(topic: &Home, name: &str) -> impl Iterator<Item = String> {
        let name = name::escape(name).into_owned();
        GROUP_PARTS.iter().map(move |part| topic.server.key(&topic.place, &format!("{part}:{name}")))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<RemoteGroup>>> {
        self.groups.lock().expect("no code panics while it holds this lock")
    }
}

impl Wakeable for Remote {
    fn woken(&self, detail: &[u8]) {
        match detail.split_first() {
            Some((b'g', name)) => {
                let group = std::str::from_utf8(name).ok().and_then(|name| self.lock().get(name).cloned());
                if let Some(group) = group {
                    group.bell.ring();
                }
            }
            _ => self.bell.ring(),
        }
    }

    fn reset(&self) {
        self.bell.ring();
        self.lock().values().for_each(|group| group.bell.ring());
    }
}

impl Object for Remote {
    fn home(&self) -> &Home {
        &self.home
    }

    fn is_waited_for(&self) -> bool {
        Arc::strong_count(&self.bell) > 1 || self.lock().values().any(|group| group.is_waited_for())
    }

    fn next_deadline(&self) -> u64 {
        let groups = self.lock();
        let all = groups.values().map(|group| group.next_deadline()).chain([self.home.next_deadline()]);
        all.filter(|next| *next != 0).min().unwrap_or(0)
    }

    async fn sweep(self: Arc<Self>) -> Result<()> {
        let (now, tick) = (self.home.server.clock.now(), self.home.server.clock.tick());
        let overdue: Vec<_> = {
            let mut groups = self.lock();
            groups
                .retain(|_, group| group.is_waited_for() || Arc::strong_count(group) > 1 || group.unused(tick) < HOUR);
            groups.values().filter(|group| is_overdue(group.next_deadline(), now)).cloned().collect()
        };
        if is_overdue(self.home.next_deadline(), now) {
            self.sweep_log().await?;
        }
        for group in overdue {
            group.sweep().await?;
        }
        Ok(())
    }
}

fn is_overdue(next: u64, now: Timestamp) -> bool {
    next != 0 && next <= now.as_millis()
}

impl TopicStore for RedisTopic {
    fn publish(
        &self,
        topic: &Address,
        settings: Settings,
        batch: Vec<NewEvent>,
    ) -> BoxFuture<'static, Result<Appended>> {
        self.remote(topic).ask(|reply| Publish { settings, batch, reply })
    }

    fn take(&self, topic: &Address, group: &Arc<str>, take: Take) -> BoxFuture<'static, Result<Taken>> {
        self.remote(topic).group(group).ask(|reply| GroupRequest::Take { take, reply })
    }

    fn settle(
        &self,
        topic: &Address,
        group: &Arc<str>,
        settles: Vec<Settle>,
    ) -> BoxFuture<'static, Result<Vec<Settled>>> {
        self.remote(topic).group(group).ask(|reply| GroupRequest::Settle { settles, reply: Some(reply) })
    }

    fn change(&self, topic: &Address, change: Change) -> BoxFuture<'static, Result<Changes>> {
        let remote = self.remote(topic);
        Box::pin(async move { remote.change(change).await })
    }

    fn look(&self, topic: &Address, look: Look) -> BoxFuture<'static, Result<View>> {
        let remote = self.remote(topic);
        Box::pin(async move { remote.look(look).await })
    }

    fn read(&self, topic: &Address, read: Read) -> BoxFuture<'static, Result<Span>> {
        let remote = self.remote(topic);
        Box::pin(async move { remote.read(read).await })
    }

    fn bell(&self, topic: &Address, group: Option<&Arc<str>>) -> Arc<Bell> {
        let remote = self.remote(topic);
        match group {
            Some(group) => Arc::clone(&remote.group(group).bell),
            None => Arc::clone(&remote.bell),
        }
    }
}

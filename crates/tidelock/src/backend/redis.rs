//! The Redis backend: one script per operation, and the infrastructure that runs the scripts.
//!
//! Redis types stay within this module and the `redis` file of each primitive.

mod access;
mod answer;
mod bytes;
mod call;
mod content;
mod dial;
mod failure;
mod gate;
mod home;
mod lanes;
mod node;
mod objects;
mod observe;
mod overdue;
mod probe;
mod script;
mod sentinel;
mod series;
mod settles;
mod slots;
mod takes;
mod tls;
mod topology;
mod trips;
mod url;
mod wake;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub(crate) use access::{Access, Credentials};
pub(crate) use answer::{Answer, unexpected};
pub(crate) use bytes::{Bytes, Text, foreign};
pub(crate) use call::Repeat;
pub(crate) use content::{push_content, read_content};
pub(crate) use failure::Failure;
pub(crate) use home::Home;
pub(crate) use lanes::{Carrier, Lane, Lanes, MANY_ITEMS, Request, refuse};
#[cfg(test)]
pub(crate) use objects::UNSWEPT;
pub(crate) use objects::{Object, Objects};
pub(crate) use overdue::until_settled;
pub(crate) use script::{Arguments, Script, script};
pub(crate) use series::Series;
pub(crate) use settles::{Settles, Slot, reason_letter, reason_of};
pub(crate) use slots::slot;
pub(crate) use takes::Taker;
#[cfg(feature = "tls")]
pub(crate) use tls::Identity;
pub(crate) use trips::{Request as TripRequest, Trips};
pub(crate) use wake::{Wakeable, Wakes};

use self::call::Call;
use self::dial::NodeConfig;
use self::topology::Topology;
use self::url::Url;
use super::Backend;
use crate::error::Result;
use crate::job::redis::RedisJob;
use crate::job::store::JobStore;
use crate::keyed::redis::RedisKeyed;
use crate::keyed::store::KeyedStore;
use crate::lifecycle::Lifecycle;
use crate::mutex::redis::RedisMutex;
use crate::mutex::store::MutexStore;
use crate::name::{self, Address};
use crate::queue::redis::RedisQueue;
use crate::queue::store::QueueStore;
use crate::ratelimit::redis::RedisRatelimit;
use crate::ratelimit::store::RatelimitStore;
use crate::retry::redis::RedisBudget;
use crate::retry::store::BudgetStore;
use crate::runtime::{BoxFuture, Spawner};
use crate::scheduler::redis::RedisScheduler;
use crate::scheduler::store::SchedulerStore;
use crate::time::Clock;
use crate::topic::redis::RedisTopic;
use crate::topic::store::TopicStore;

/// Settings for opening the backend, collected by [`Connect`](crate::Connect).
pub(crate) struct Settings {
    /// May hold a password.
    pub(crate) url: String,
    pub(crate) prefix: String,
    pub(crate) request_timeout: Duration,
    pub(crate) access: Access,
    pub(crate) process: Arc<str>,
}

/// A deployment of servers, as the stores use it.
#[derive(Debug)]
pub(crate) struct Server {
    topology: Topology,
    prefix: String,
    /// The channel on which this process hears wake-ups. It also stands for this process in stored lists of waiters.
    pub(crate) channel: String,
    pub(crate) process: Arc<str>,
    pub(crate) clock: Clock,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) spawner: Arc<Spawner>,
    pub(crate) request_timeout: Duration,
    pub(crate) wakes: Arc<Wakes>,
}

/// The Redis backend.
#[derive(Debug)]
pub(crate) struct Redis {
    server: Arc<Server>,
    ratelimit: Arc<RedisRatelimit>,
    mutex: Arc<RedisMutex>,
    queue: Arc<RedisQueue>,
    topic: Arc<RedisTopic>,
    job: Arc<RedisJob>,
    scheduler: Arc<RedisScheduler>,
    keyed: Arc<RedisKeyed>,
    budget: Arc<RedisBudget>,
}

impl Redis {
    /// Connects, and checks that the server is reachable and recent enough, and that the data has our format.
    pub(crate) async fn connect(
        settings: Settings,
        clock: &Clock,
        lifecycle: &Lifecycle,
        spawner: &Arc<Spawner>,
    ) -> Result<Self> {
        let Settings { url, prefix, request_timeout, access, process } = settings;
        let url = Url::parse(&url)?;
        access.check(&url)?;
        let wakes = Arc::new(Wakes::default());
        let channel = format!("{prefix}:wake:{process}");
        let config = NodeConfig {
            url,
            access,
            format_key: format!("{prefix}:format"),
            channel: channel.clone(),
            wakes: Arc::clone(&wakes),
            spawner: Arc::clone(spawner),
        };
        let topology = Topology::connect(config, Instant::now() + request_timeout).await;
        let topology = topology.map_err(|failure| failure.into_error("connect"))?;
        let server = Arc::new(Server {
            topology,
            prefix,
            channel,
            process,
            clock: clock.clone(),
            lifecycle: lifecycle.clone(),
            spawner: Arc::clone(spawner),
            request_timeout,
            wakes,
        });
        Ok(Self {
            ratelimit: Arc::new(RedisRatelimit::new(&server)),
            mutex: Arc::new(RedisMutex::new(&server)),
            queue: Arc::new(RedisQueue::new(&server)),
            topic: Arc::new(RedisTopic::new(&server)),
            job: Arc::new(RedisJob::new(&server)),
            scheduler: Arc::new(RedisScheduler::new(&server)),
            keyed: Arc::new(RedisKeyed::new(&server)),
            budget: Arc::new(RedisBudget::new(&server)),
            server,
        })
    }
}

#[cfg(test)]
impl Redis {
    /// The servers, for tests that make their own calls.
    pub(crate) fn server(&self) -> Arc<Server> {
        Arc::clone(&self.server)
    }
}

/// The location of one object in the key space: its hash tag and the resulting slot.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The text between the braces of all its keys. Wake-ups identify the object by it, too.
    pub(crate) tag: Arc<str>,
    pub(crate) slot: u16,
}

impl Place {
    /// The place of the object `address` of a primitive; `part` distinguishes several places within one object.
    pub(crate) fn of(primitive: &str, address: &Address, part: Option<&str>) -> Self {
        let (tenant, id) = (name::escape(&address.tenant), name::escape(&address.id));
        let tag: Arc<str> = match part {
            None => [primitive, "/", &tenant, "/", &id].concat().into(),
            Some(part) => [primitive, "/", &tenant, "/", &id, "/", part].concat().into(),
        };
        Self { slot: slot(&tag), tag }
    }
}

impl Server {
    /// The key of one part of an object: `prefix:{tag}:part`.
    pub(crate) fn key(&self, place: &Place, part: &str) -> String {
        // Built with a single allocation, because this runs several times per request.
        [&self.prefix, ":{", &place.tag, "}:", part].concat()
    }

    /// The pinned time as scripts take it: milliseconds, or empty to use the server's clock.
    pub(crate) fn push_now(&self, arguments: &mut Arguments) {
        match self.clock.pinned() {
            Some(now) => arguments.number(now.as_millis()),
            None => arguments.push(b""),
        }
    }

    /// Whether keys live in the slots of a cluster, so that all keys of a script must share a slot.
    pub(crate) fn is_cluster(&self) -> bool {
        self.topology.is_cluster()
    }

    /// Fails if a request for `slot` would find no connection now.
    pub(crate) fn reachable(&self, slot: u16) -> Result<(), Failure> {
        self.topology.owner(slot).connected()
    }

    /// Runs a script for at most `within`, in real time even if a clock is pinned.
    pub(crate) async fn run(
        &self,
        script: &'static Script,
        slot: u16,
        arguments: &Arguments,
        repeat: Repeat<'_>,
        within: Duration,
    ) -> Result<redis::Value, Failure> {
        let begun = Instant::now();
        let call = Call { script, slot, arguments, repeat, deadline: begun + within };
        let answer = self.topology.run(&call).await;
        script.calls.over(script.name, &answer, begun);
        answer
    }
}

impl Backend for Redis {
    fn ping(&self) -> BoxFuture<'_, Result<Duration>> {
        Box::pin(async {
            static PING: Script = script!("ping", "../lua/ping.lua");
            let mut arguments = Arguments::default();
            let place = Place::of("ping", &Address::new(&"default".into(), "ping"), None);
            arguments.key(&self.server.key(&place, "none"));
            let start = Instant::now();
            let answer =
                self.server.run(&PING, place.slot, &arguments, Repeat::Safe, self.server.request_timeout).await;
            answer.map_err(|failure| failure.into_error("ping"))?;
            Ok(start.elapsed())
        })
    }

    fn close(&self) {
        self.server.topology.close();
    }

    fn ratelimit(&self) -> Arc<dyn RatelimitStore> {
        Arc::clone(&self.ratelimit) as _
    }

    fn mutex(&self) -> Arc<dyn MutexStore> {
        Arc::clone(&self.mutex) as _
    }

    fn queue(&self) -> Arc<dyn QueueStore> {
        Arc::clone(&self.queue) as _
    }

    fn topic(&self) -> Arc<dyn TopicStore> {
        Arc::clone(&self.topic) as _
    }

    fn job(&self) -> Arc<dyn JobStore> {
        Arc::clone(&self.job) as _
    }

    fn scheduler(&self) -> Arc<dyn SchedulerStore> {
        Arc::clone(&self.scheduler) as _
    }

    fn keyed(&self) -> Arc<dyn KeyedStore> {
        Arc::clone(&self.keyed) as _
    }

    fn retry_budget(&self) -> Arc<dyn BudgetStore> {
        Arc::clone(&self.budget) as _
    }
}

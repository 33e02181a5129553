//! What is only visible from inside or on the server: keys and their lifetimes, remembered answers, unreadable data.

use std::time::Duration;

use tidelock_testkit::{Binary, Connection, Flavour, Reply, Server};

use super::*;
use crate::backend::redis::{Access, Redis, Settings, UNSWEPT};
use crate::lifecycle::Lifecycle;
use crate::runtime::Spawner;
use crate::scheduler::store::{Definition, Dispatched, Guess, Next, PlannedSlot, StateView, Step};
use crate::time::{Clock, ManualClock, Timestamp};

const START: u64 = 1_767_225_600_000;
const HOUR: i64 = 3_600_000;

/// A server, a namespace on it, and a pinned clock.
struct Stage {
    url: String,
    prefix: String,
    clock: ManualClock,
    remote: Arc<Remote>,
}

fn items(mut answer: Answer) -> Vec<redis::Value> {
    (0..answer.left()).map(|_| answer.item()).collect()
}

impl Stage {
    /// One stage per server.
    async fn all() -> Vec<Self> {
        let mut stages = Vec::new();
        for (_, url) in tidelock_testkit::shared_servers() {
            stages.push(Self::on(url).await);
        }
        stages
    }

    async fn on(url: String) -> Self {
        let unique: String = std::iter::repeat_with(fastrand::alphanumeric).take(12).collect();
        let prefix = format!("{UNSWEPT}.{unique}");
        let clock = ManualClock::at(Timestamp::from_millis(START));
        let settings = Settings {
            url: url.clone(),
            prefix: prefix.clone(),
            request_timeout: Duration::from_secs(5),
            access: Access::default(),
            process: "process".into(),
        };
        let pinned = Clock::Manual(clock.clone());
        let spawner = Arc::new(Spawner::default());
        let redis = Redis::connect(settings, &pinned, &Lifecycle::new(pinned.clone()), &spawner).await.unwrap();
        let remote = Remote::new(&redis.server(), &Address::new(&"default".into(), "o"));
        Self { url, prefix, clock, remote }
    }

    async fn change(&self, change: Change) -> Changes {
        self.remote.change(change).await.unwrap()
    }

    async fn register(&self, id: &str) -> Changes {
        let definition = Definition { timing: b"t".to_vec(), content: b"c".to_vec(), handler: Some("h".into()) };
        let next = Some(Next { slot: START + 1_000, due: START + 1_000 });
        let guess = Guess { from: 0, until: u64::MAX, next };
        self.change(Change::Register { id: id.into(), definition, guess, max_schedules: 100 }).await
    }

    async fn trigger(&self, key: &str) -> Changes {
        let key = Some(key.into());
        self.change(Change::Trigger { id: "a".into(), key, strict: true, memory: 60_000 }).await
    }

    async fn lead(&self) -> u64 {
        let wish = Wish::Lead { lease: 5_000 };
        let beat = Beat { instance: "one".into(), handlers: vec!["h".into()], wish, batch: 10, busy: Busy::default() };
        match self.remote.beat(beat).await.unwrap().role {
            Role::Leader { epoch, .. } => epoch,
            other => panic!("{other:?}"),
        }
    }

    async fn get(&self) -> crate::scheduler::store::ScheduleView {
        match self.remote.look(Look::Get { id: "a".into() }).await.unwrap() {
            View::Schedule(Some(found)) => *found,
            other => panic!("{other:?}"),
        }
    }

    async fn write(&self, epoch: u64, step: Step) -> Written {
        let write = Write { instance: "one".into(), epoch, steps: vec![step], history: 20, max_letters: 9 };
        self.remote.write(write).await.unwrap()
    }

    /// Decides one slot of `a`, which is then in the plan.
    async fn decide(&self, epoch: u64) {
        let view = self.get().await;
        let slot = view.next.unwrap().slot;
        let next = Some(Next { slot: slot + 1_000, due: slot + 1_000 });
        let slots = vec![PlannedSlot { slot, due: slot, on_time: true }];
        let (id, revision) = (view.id, view.revision);
        let step =
            Step::Decide { id, revision, expected: slot, as_of: slot, next, slots, missed: 1, missing_handler: 0 };
        assert_eq!(self.write(epoch, step).await, Written::Each(vec![true]));
    }

    /// The object's keys, each with a connection to its node, the last part of its name, and its lifetime. Excludes
    /// answers.
    fn keys(&self) -> Vec<(Connection, String, String, i64)> {
        let hosts = self.url.split_once("://").map_or(&*self.url, |(_, hosts)| hosts);
        let mut found = Vec::new();
        for host in hosts.split(',') {
            let port = host.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port");
            let keys = Connection::open(port).unwrap().command(&["KEYS", &format!("{}:{{*", self.prefix)]).unwrap();
            for key in keys.items().iter().filter_map(Reply::text).filter(|key| !key.contains(":answers:")) {
                let mut connection = Connection::open(port).unwrap();
                let life = connection.command(&["PTTL", key]).unwrap().int().expect("a number");
                let part = key.rsplit(':').next().unwrap_or_default().to_owned();
                found.push((connection, key.to_owned(), part, life));
            }
        }
        found.sort_by(|one, other| one.2.cmp(&other.2));
        found
    }

    fn parts(&self) -> Vec<String> {
        self.keys().into_iter().map(|(_, _, part, _)| part).collect()
    }
}

#[tokio::test]
async fn definitions_are_permanent_and_unregistering_leaves_only_numbers() {
    for stage in Stage::all().await {
        assert_eq!(stage.register("a").await, Changes::Created);
        let epoch = stage.lead().await;
        stage.decide(epoch).await;
        let view = stage.get().await;
        let outcome = Dispatched::GivenUp { error: "broke".into() };
        let step = Step::Confirm { id: view.id, born: view.born, run: 1, outcome };
        assert_eq!(stage.write(epoch, step).await, Written::Each(vec![true]));
        for key in 0..450 {
            assert!(matches!(stage.trigger(&format!("{key}")).await, Changes::Accepted(_)));
        }
        assert!(stage.keys().iter().all(|(_, _, _, life)| *life == -1), "{:?}", stage.parts());
        assert_eq!(stage.change(Change::Unregister { id: "a".into() }).await, Changes::Done);
        assert!(stage.parts().contains(&"buried".to_owned()), "it goes in steps");
        stage.remote.look(Look::Now).await.unwrap();
        assert_eq!(stage.parts(), ["alive", "instances", "record", "served"]);
        assert!(stage.keys().iter().all(|(_, _, _, life)| (HOUR..=HOUR + 30_000).contains(life)));
        stage.clock.advance(Duration::from_mins(1));
        stage.remote.look(Look::Now).await.unwrap();
        assert_eq!(stage.parts(), ["record"]);
        assert_eq!(stage.register("a").await, Changes::Created);
        assert!(stage.keys().iter().all(|(_, _, _, life)| *life == -1));
        assert_eq!(stage.change(Change::Delete).await, Changes::Done);
        assert_eq!(stage.parts(), ["record"]);
        assert!((1..=HOUR).contains(&stage.keys()[0].3));
        assert!(stage.lead().await > epoch, "epochs are not forgotten");
    }
}

#[tokio::test]
async fn a_repeated_request_is_answered_from_memory() {
    for stage in Stage::all().await {
        stage.register("a").await;
        let remote = &stage.remote;
        let answers = remote.home.answers_key();
        let ask = |number: u64| {
            let mut arguments = remote.home.arguments(Some(&answers));
            arguments.number(number);
            for part in ["trigger", "a", "0", "", "1", "60000"] {
                arguments.push(part.as_bytes());
            }
            async move { remote.home.show("scheduler", &changes::CHANGE, &arguments).await.map(items) }
        };
        let first = ask(1).await.unwrap();
        assert_eq!(first, ask(1).await.unwrap());
        assert_eq!(stage.get().await.run, 1);
        assert_ne!(first, ask(2).await.unwrap());
        assert!(ask(1).await.is_err(), "a later one was answered");
        assert_eq!(stage.get().await.run, 2);
    }
}

#[tokio::test]
async fn a_repeated_beat_takes_leadership_once() {
    for stage in Stage::all().await {
        let remote = &stage.remote;
        let lead = |number: u64| {
            let mut arguments = remote.home.arguments(None);
            arguments.number(number);
            for part in ["one", "channel", "lead", "5000", "0", "10", "0", "0"] {
                arguments.push(part.as_bytes());
            }
            async move { items(remote.home.show("scheduler", &BEAT, &arguments).await.unwrap())[3].clone() }
        };
        let first = lead(5).await;
        assert_eq!(first, lead(5).await);
        assert_ne!(first, lead(6).await);
    }
}

#[tokio::test]
async fn a_state_that_is_not_understood_is_quarantined_and_cured_by_register() {
    for stage in Stage::all().await {
        stage.register("a").await;
        stage.register("b").await;
        let mut keys = stage.keys();
        let (connection, key, ..) = keys.iter_mut().find(|(_, _, part, _)| part == "states").unwrap();
        connection.command(&["HSET", key, "a", "odd"]).unwrap();
        stage.clock.advance(Duration::from_secs(2));
        let wish = Wish::Lead { lease: 5_000 };
        let beat = Beat { instance: "one".into(), handlers: Vec::new(), wish, batch: 10, busy: Busy::default() };
        let Role::Leader { due, .. } = stage.remote.beat(beat).await.unwrap().role else { panic!("it leads") };
        assert_eq!(due.iter().map(|due| &*due.schedule.id).collect::<Vec<_>>(), ["b"], "the other is not held up");
        assert!(matches!(stage.get().await.state, StateView::Quarantined { .. }));
        let View::Stats(stats) = stage.remote.look(Look::Stats).await.unwrap() else { panic!("stats") };
        assert_eq!((stats.active, stats.quarantined), (1, 1));
        // Its next slot is lost, so it gets the first one after now.
        assert_eq!(stage.register("a").await, Changes::Updated);
        let cured = stage.get().await;
        assert_eq!((cured.state, cured.next.map(|next| next.slot)), (StateView::Active, Some(START + 1_000)));

        let mut keys = stage.keys();
        let (connection, key, ..) = keys.iter_mut().find(|(_, _, part, _)| part == "states").unwrap();
        connection.command(&["HSET", key, "a", "odd"]).unwrap();
        let next = Some(Next { slot: START + 9_000, due: START + 9_000 });
        let guess = Guess { from: 0, until: u64::MAX, next };
        let definition = Definition { timing: b"t2".to_vec(), content: b"c".to_vec(), handler: None };
        let register = Change::Register { id: "a".into(), definition, guess, max_schedules: 100 };
        assert_eq!(stage.change(register).await, Changes::Updated);
        assert_eq!((stage.get().await.state, stage.get().await.next), (StateView::Active, next));
    }
}

#[tokio::test]
async fn instances_that_are_forgotten_together_cost_one_look_at_the_others() {
    // The test counts commands, so it needs a server of its own.
    let Some(binary) = Binary::or_skip(Flavour::Redis70) else { return };
    let server = Server::start(&binary).unwrap();
    let stage = Stage::on(server.url()).await;
    let announce = |instance: String, handlers: &[&str]| {
        let handlers = handlers.iter().map(|handler| Arc::from(*handler)).collect();
        let wish = Wish::Announce;
        stage.remote.beat(Beat { instance: instance.into(), handlers, wish, batch: 10, busy: Busy::default() })
    };
    for number in 0..50 {
        announce(format!("early {number}"), &["h", "i"]).await.unwrap();
    }
    stage.clock.advance(Duration::from_secs(14));
    announce("late".to_owned(), &["i"]).await.unwrap();
    stage.clock.advance(Duration::from_secs(1));
    let looks = || {
        let commands = server.command(&["INFO", "commandstats"]).unwrap();
        let calls = commands.field("cmdstat_hvals").and_then(|calls| calls.strip_prefix("calls=")?.split(',').next());
        calls.map_or(0, |calls| calls.parse::<u64>().expect("a number"))
    };
    let before = looks();
    stage.remote.look(Look::Now).await.unwrap();
    assert_eq!(looks() - before, 1);
    let View::Stats(stats) = stage.remote.look(Look::Stats).await.unwrap() else { panic!("stats") };
    assert_eq!(stats.handlers, [Arc::from("i")]);
}

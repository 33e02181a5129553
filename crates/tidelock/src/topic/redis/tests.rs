//! What can be seen only from inside or on the server: the contents and lifetimes of keys, who is parked, and what a
//! process is told.

use std::time::Duration;

use futures_util::FutureExt;
use tidelock_testkit::{Connection, Reply};

use super::*;
use crate::Tidelock;
use crate::backend::redis::{Access, Redis, Settings as Connecting, UNSWEPT};
use crate::lifecycle::Lifecycle;
use crate::runtime::Spawner;
use crate::time::{Clock, DAY, ManualClock, SECOND};
use crate::topic::store::{
    Action, Begin, Content, DeadFilter, DeadReason, Dedup, Handed, MAX_ASIDE, Position, ReaderTerms,
};

const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);
const ENDLESS: Settings = Settings { retention: None, max_len: None };
const TERMS: ReaderTerms =
    ReaderTerms { begin: Begin::Earliest, max_in_flight: 10_000, ordered: true, dead_retention: None };

/// A server, a namespace on it, and its time. Only the test sweeps this namespace.
pub(super) struct Stage {
    url: String,
    prefix: String,
    pub(super) clock: ManualClock,
    tide: Tidelock,
    address: Address,
}

impl Stage {
    /// One stage on each server.
    pub(super) async fn all() -> Vec<Self> {
        let mut stages = Vec::new();
        for (_, url) in tidelock_testkit::shared_servers() {
            let unique: String = std::iter::repeat_with(fastrand::alphanumeric).take(12).collect();
            let prefix = format!("{UNSWEPT}.{unique}");
            let clock = ManualClock::at(START);
            let tide = Tidelock::connect(&url).prefix(&prefix).clock(&clock).await.unwrap();
            let address = Address::new(&"default".into(), "t");
            stages.push(Self { url, prefix, clock, tide, address });
        }
        stages
    }

    fn store(&self) -> Arc<dyn TopicStore> {
        self.tide.world.backend.topic()
    }

    /// The topic as seen by another process.
    pub(super) async fn remote(&self) -> Arc<Remote> {
        let connecting = Connecting {
            url: self.url.clone(),
            prefix: self.prefix.clone(),
            request_timeout: Duration::from_secs(5),
            access: Access::default(),
            process: "another".into(),
        };
        let clock = Clock::Manual(self.clock.clone());
        let spawner = Arc::new(Spawner::default());
        let redis = Redis::connect(connecting, &clock, &Lifecycle::new(clock.clone()), &spawner).await.unwrap();
        Remote::new(&redis.server(), &self.address)
    }

    pub(super) async fn publish(&self, settings: Settings, batch: Vec<NewEvent>) -> Vec<Position> {
        let appended = self.store().publish(&self.address, settings, batch).await.unwrap();
        appended.events.into_iter().map(|(place, _)| place).collect()
    }

    async fn take(&self, max: usize, max_in_flight: u64, park: bool) -> Vec<Handed> {
        let take = Take {
            max,
            lease: 60_000,
            consumer: "c".into(),
            max_deliveries: None,
            park,
            reader: Arc::new(ReaderTerms { max_in_flight, ..TERMS }),
            seen: None,
        };
        self.store().take(&self.address, &group(), take).await.unwrap().events
    }

    async fn settle(&self, handed: &Handed, action: Action) {
        let settle = Settle { id: handed.place.at, fence: handed.fence, action };
        let settled = self.store().settle(&self.address, &group(), vec![settle]).await.unwrap();
        assert_eq!(settled, [Settled::Done]);
    }

    pub(super) async fn bury(&self, max: usize) {
        for handed in self.take(max, 10_000, false).await {
            self.settle(&handed, Action::Bury { reason: DeadReason::Rejected, note: None, error: None }).await;
        }
    }

    async fn change(&self, change: Change) -> Changes {
        self.store().change(&self.address, change).await.unwrap()
    }

    async fn look(&self, look: Look) -> View {
        self.store().look(&self.address, look).await.unwrap()
    }

    /// The topic's keys by the part after the hash tag, each with a connection to its node. Remembered answers are left
    /// out.
    fn keys(&self) -> Vec<(Connection, String, String)> {
        let hosts = self.url.split_once("://").map_or(&*self.url, |(_, hosts)| hosts);
        let mut found = Vec::new();
        for host in hosts.split(',') {
            let port = host.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port");
            let keys = Connection::open(port).unwrap().command(&["KEYS", &format!("{}:{{*", self.prefix)]).unwrap();
            for key in keys.items().iter().filter_map(Reply::text).filter(|key| !key.contains(":answers:")) {
                let part = key.rsplit_once("}:").expect("a tag").1.to_owned();
                found.push((Connection::open(port).unwrap(), key.to_owned(), part));
            }
        }
        found
    }

    fn parts(&self) -> Vec<String> {
        self.keys().into_iter().map(|(_, _, part)| part).collect()
    }

    /// The reply to a command on one of the keys; `None` if the key does not exist.
    fn ask(&self, part: &str, command: &str, arguments: &[&str]) -> Option<Reply> {
        let (mut connection, key, _) = self.keys().into_iter().find(|(_, _, other)| other == part)?;
        Some(connection.command(&[&[command, &key], arguments].concat()).unwrap())
    }

    fn count(&self, part: &str, command: &str) -> i64 {
        self.ask(part, command, &[]).map_or(0, |reply| reply.int().expect("a number"))
    }

    fn advance(&self, millis: u64) {
        self.clock.advance(Duration::from_millis(millis));
    }
}

pub(super) fn group() -> Arc<str> {
    "g".into()
}

pub(super) fn event(payload: &[u8]) -> NewEvent {
    NewEvent { content: Content { payload: payload.to_vec(), ..Content::default() }, dedup: None }
}

fn ordered(key: &str) -> NewEvent {
    NewEvent { content: Content { ordering_key: Some(key.into()), ..Content::default() }, dedup: None }
}

fn deduped(key: usize, window: u64) -> NewEvent {
    NewEvent { dedup: Some(Dedup { key: key.to_string().into(), window }), ..event(b"") }
}

#[tokio::test]
async fn dedup_records_stay_about_as_few_as_those_that_count() {
    for stage in Stage::all().await {
        for round in 0..60 {
            let batch = (0..100).map(|key| deduped(round * 100 + key, 1_000));
            stage.publish(ENDLESS, batch.collect()).await;
            stage.advance(500);
        }
        // Each record counts for two seconds, including one second of grace: those of the last four rounds remain.
        let kept = stage.count("dedup", "HLEN");
        assert!((400..2_000).contains(&kept), "{kept} of 6,000");

        stage.advance(2_000);
        stage.publish(ENDLESS, vec![deduped(6_000, 60_000)]).await;
        for _ in 0..kept {
            stage.publish(ENDLESS, vec![event(b"plain")]).await;
        }
        let left = stage.count("dedup", "HLEN");
        assert!((1..kept / 2).contains(&left), "{left} of {kept} after as many plain publishes");

        let remote = stage.remote().await;
        remote.sweep_log().await.unwrap();
        let end = stage.clock.now().as_millis() + 61_000;
        assert_eq!(remote.next_deadline(), end, "one by one they go with publishes, the last ones by time");
        stage.advance(61_000);
        remote.sweep_log().await.unwrap();
        assert_eq!((stage.count("dedup", "HLEN"), remote.next_deadline()), (0, 0));
    }
}

#[tokio::test]
async fn dedup_records_go_with_the_last_event() {
    for stage in Stage::all().await {
        let brief = Settings { retention: Some(1_000), max_len: None };
        stage.publish(brief, (0..10).map(|key| deduped(key, 3_600_000)).collect()).await;
        assert_eq!(stage.count("dedup", "HLEN"), 10);
        stage.advance(1_000);
        stage.remote().await.sweep_log().await.unwrap();
        assert_eq!(stage.parts(), ["record"]);
    }
}

#[tokio::test]
async fn what_is_not_retained_is_freed_as_fast_as_the_log_grows() {
    for stage in Stage::all().await {
        let few = Settings { retention: None, max_len: Some(10) };
        for _ in 0..5 {
            stage.publish(few, vec![event(b""); 1_000]).await;
            assert_eq!(stage.count("log", "LLEN"), 10);
        }
        let brief = Settings { retention: Some(1_000), max_len: None };
        for _ in 0..5 {
            stage.publish(brief, vec![event(b""); 1_000]).await;
        }
        stage.advance(500);
        stage.publish(brief, vec![event(b"")]).await;
        // Positions are consecutive: 10,000 of one instant end ten milliseconds later.
        stage.advance(510);
        let remote = stage.remote().await;
        remote.sweep_log().await.unwrap();
        assert_eq!((stage.count("log", "LLEN"), remote.next_deadline()), (1, START.as_millis() + 1_500));
    }
}

#[tokio::test]
async fn who_only_follows_keeps_the_topic_and_knows_its_next_deadline() {
    for stage in Stage::all().await {
        let retention = 3 * DAY;
        let settings = Settings { retention: Some(retention.as_millis().try_into().unwrap()), max_len: None };
        let newest = *stage.publish(settings, vec![event(b"")]).await.last().unwrap();
        let remote = stage.remote().await;
        let follow = Read { after: newest, max: 10, park: true };
        let applied = || stage.ask("record", "HGET", &["applied"]).unwrap().text().unwrap().parse::<u64>().unwrap();
        assert!(remote.read(follow).await.unwrap().events.is_empty());
        assert_eq!(remote.next_deadline(), (START + retention).as_millis());
        assert_eq!(applied(), (START + retention).as_millis());

        stage.clock.advance(retention);
        remote.sweep_log().await.unwrap();
        for _ in 0..3 {
            stage.clock.advance(DAY.saturating_sub(SECOND));
            assert!(remote.read(follow).await.unwrap().events.is_empty());
            assert_eq!(applied(), (stage.clock.now() + DAY).as_millis());
        }
        let span = remote.read(Read { park: false, ..follow }).await.unwrap();
        assert_eq!(span.gap, None);
    }
}

#[tokio::test]
async fn a_reader_at_its_limit_hides_nothing_from_another_of_its_process() {
    for stage in Stage::all().await {
        let bell = stage.store().bell(&stage.address, Some(&group()));
        stage.publish(ENDLESS, vec![event(b"")]).await;
        assert_eq!(stage.take(1, 10, false).await.len(), 1);
        for max_in_flight in [10, 1] {
            assert!(stage.take(1, max_in_flight, true).await.is_empty());
        }
        assert_eq!(bell.rung.notified().now_or_never(), None, "nothing has happened");
        stage.publish(ENDLESS, vec![event(b"")]).await;
        let rung = tokio::time::timeout(Duration::from_mins(1), bell.rung.notified());
        rung.await.expect("the other one can take it");
        assert_eq!(stage.take(1, 10, true).await.len(), 1);
    }
}

/// A group that has set aside the maximum, with a requeued copy that is due and another whose key is free. The group
/// has not reached their events again.
async fn full_group(stage: &Stage) -> [u64; 2] {
    stage.publish(ENDLESS, vec![ordered("j")]).await;
    let mut last = Position::default();
    for _ in 0..MAX_ASIDE / 1_000 {
        last = *stage.publish(ENDLESS, vec![ordered("k"); 1_000]).await.last().unwrap();
    }
    let places = stage.publish(ENDLESS, vec![event(b"x"), ordered("j")]).await;
    stage.change(Change::CreateGroup { group: group(), begin: Begin::After(last) }).await;
    stage.bury(2).await;
    stage.change(Change::Seek { group: group(), begin: Begin::Earliest }).await;
    let busy = stage.take(2, 10_000, false).await;
    for (place, delay) in places.iter().zip([1_000, 0]) {
        let requeue = Change::Requeue { group: group(), at: place.at, delay };
        assert_eq!(stage.change(requeue).await, Changes::Count(1));
    }
    assert!(stage.take(10, 10_000, false).await.is_empty());
    stage.settle(&busy[0], Action::Ack).await;
    let View::Group(Some(view)) = stage.look(Look::Group { group: group() }).await else { panic!("it is there") };
    assert_eq!((view.set_aside, view.in_flight, view.waiting), (MAX_ASIDE, 1, 1));
    stage.advance(1_000);
    [places[0].at, places[1].at]
}

#[tokio::test]
async fn a_take_hands_out_a_requeued_event_once() {
    for stage in Stage::all().await {
        let copies = full_group(&stage).await;
        let handed = stage.take(10, 10_000, false).await;
        assert_eq!(handed.iter().map(|handed| handed.place.at).collect::<Vec<_>>(), copies);
        for handed in &handed {
            stage.settle(handed, Action::Ack).await;
        }
        let View::Group(Some(view)) = stage.look(Look::Group { group: group() }).await else { panic!("it is there") };
        assert_eq!((view.set_aside, view.in_flight, view.waiting, view.unread), (MAX_ASIDE - 1, 1, 0, 0));
    }
}

#[tokio::test]
async fn copies_return_after_a_seek_in_bounded_steps() {
    /// As many bytes as end a step, so each step opens one copy.
    const LARGE: usize = 256 * 1_024;
    /// A change waits for 50 steps: more than three changes wait for.
    const MANY: usize = 160;
    for stage in Stage::all().await {
        let mut places = Vec::new();
        for _ in 0..MANY / 40 {
            places.extend(stage.publish(ENDLESS, vec![event(&vec![7; LARGE]); 40]).await);
        }
        let [again] = stage.publish(ENDLESS, vec![event(b"again")]).await[..] else { panic!("one was published") };
        for _ in 0..=MANY / 40 {
            stage.bury(40).await;
        }
        let seek = |begin| Change::Seek { group: group(), begin };
        stage.change(seek(Begin::After(places[MANY - 1]))).await;
        assert_eq!(stage.take(1, 10_000, false).await[0].place, again, "it is open, and it is a dead letter");
        let requeue_all = Change::RequeueAll { group: group(), filter: DeadFilter::default(), limit: None, delay: 0 };
        assert_eq!(stage.change(requeue_all).await, Changes::Count(MANY as u64));

        let opened = || (stage.count("open:g", "HLEN"), stage.count("returning:g", "HLEN"));
        let all = 1 + i64::try_from(MANY).unwrap();
        stage.change(seek(Begin::Latest)).await;
        assert_eq!(opened(), (1, all));
        stage.change(seek(Begin::Earliest)).await;
        assert_eq!(opened(), (1 + 50 + 1, all));
        let requeue = Change::Requeue { group: group(), at: again.at, delay: 0 };
        assert_eq!(stage.change(requeue.clone()).await, Changes::Count(1), "no longer open");
        assert_eq!(opened(), (52 + 50 + 1, all));
        assert_eq!(stage.change(requeue).await, Changes::Count(0));
        let View::Group(Some(view)) = stage.look(Look::Group { group: group() }).await else { panic!("it is there") };
        assert_eq!((view.waiting, view.in_flight, view.dead, view.settling), (MANY as u64 + 1, 0, 0, false));
        assert_eq!(opened(), (all, 0));
        let mut handed = Vec::new();
        while let [first, rest @ ..] = &stage.take(40, 10_000, false).await[..] {
            handed.extend([first].into_iter().chain(rest).map(|handed| (handed.place, handed.attempt)));
        }
        let expected: Vec<_> = places.iter().chain([&again]).map(|place| (*place, 1)).collect();
        assert_eq!(handed, expected);

        stage.publish(ENDLESS, vec![event(b"unread")]).await;
        stage.change(seek(Begin::After(again))).await;
        let handed: Vec<_> = stage.take(3, 10_000, false).await.iter().map(|handed| handed.place).collect();
        assert_eq!(handed, places[..3], "what is unread comes after all copies");
    }
}

#[tokio::test]
async fn a_lease_of_nothing_does_not_stop_its_group() {
    for stage in Stage::all().await {
        stage.publish(ENDLESS, vec![event(b""), event(b"")]).await;
        assert_eq!(stage.take(1, 10, false).await.len(), 1);
        assert_eq!(stage.ask("open:g", "DEL", &[]).unwrap().int(), Some(1));
        stage.advance(60_000);
        assert_eq!(stage.take(10, 10, false).await.len(), 1);
        let View::Group(Some(view)) = stage.look(Look::Group { group: group() }).await else { panic!("it is there") };
        assert_eq!((view.in_flight, view.waiting), (1, 0));
    }
}

#[tokio::test]
async fn a_topic_never_written_to_is_not_made_by_waiting_or_looking() {
    for stage in Stage::all().await {
        assert!(stage.take(1, 10, true).await.is_empty());
        let read = Read { after: Position::default(), max: 1, park: true };
        assert!(stage.store().read(&stage.address, read).await.unwrap().events.is_empty());
        let filter = DeadFilter::default();
        for look in [
            Look::Stats,
            Look::Latest,
            Look::Groups,
            Look::Group { group: group() },
            Look::ListDead { group: group(), filter, limit: 1, after: None },
        ] {
            stage.look(look).await;
        }
        for change in [
            Change::Seek { group: group(), begin: Begin::Latest },
            Change::RemoveGroup { group: group() },
            Change::Resume { group: group() },
            Change::PurgeDead { group: group(), filter, limit: None },
            Change::Delete,
        ] {
            stage.change(change).await;
        }
        let remote = stage.remote().await;
        remote.sweep_log().await.unwrap();
        remote.group(&group()).sweep().await.unwrap();
        assert_eq!(stage.parts(), ["parked"]);
    }
}

#[tokio::test]
async fn a_publish_wakes_nobody_of_a_paused_group() {
    for stage in Stage::all().await {
        stage.publish(ENDLESS, vec![event(b"")]).await;
        assert_eq!(stage.take(1, 10, false).await.len(), 1);
        stage.change(Change::Pause { group: group(), for_at_most: None, reason: None }).await;
        assert!(stage.take(1, 10, true).await.is_empty());
        stage.publish(ENDLESS, vec![event(b"")]).await;
        assert_eq!(stage.count("parked", "HLEN"), 1, "it would look in vain");
        stage.change(Change::Resume { group: group() }).await;
        assert_eq!(stage.count("parked", "HLEN"), 0);
    }
}

#[tokio::test]
async fn a_log_that_was_thrown_away_is_over_as_if_its_retention_was() {
    for stage in Stage::all().await {
        let before = stage.publish(ENDLESS, vec![event(b"1"), event(b"2")]).await;
        assert_eq!(stage.ask("log", "DEL", &[]).unwrap().int(), Some(1));
        for after in [Position::default(), before[0], before[1]] {
            let read = Read { after, max: 10, park: false };
            let span = stage.store().read(&stage.address, read).await.unwrap();
            assert_eq!((span.gap, span.events.len()), (None, 0), "nothing is left, and nothing came after it");
        }
        stage.look(Look::Page { after: None, limit: 10 }).await;
        stage.look(Look::PageBack { before: None, limit: 10 }).await;
        assert!(stage.take(10, 10, false).await.is_empty());
        let View::Stats(stats) = stage.look(Look::Stats).await else { panic!("it is there") };
        assert_eq!(stats.events, 0);
        let [third] = stage.publish(ENDLESS, vec![event(b"3")]).await[..] else { panic!("one was published") };
        let read = Read { after: before[0], max: 10, park: false };
        let span = stage.store().read(&stage.address, read).await.unwrap();
        assert_eq!(span.gap.map(|gap| gap.missed), Some(Some(1)), "the second one");
        assert_eq!(span.events.iter().map(|event| event.place).collect::<Vec<_>>(), [third]);
        let [taken] = &stage.take(10, 10, false).await[..] else { panic!("one is there") };
        assert_eq!(taken.place, third);
    }
}

//! Which of several processes on one server keeps the next deadline of a group, step by step.

use std::sync::Arc;

use super::store::{Action, Begin, Content, NewEvent, ReaderTerms, Settings, Settle, Take, Taken, TopicStore};
use crate::Tidelock;
use crate::backend::redis::UNSWEPT;
use crate::differential::on_every_server;
use crate::name::Address;
use crate::time::{ManualClock, SECOND, Timestamp};

const T: u64 = 1_767_225_600_000;
const LEASE: u64 = 30_000;

/// One of the processes.
struct Process {
    store: Arc<dyn TopicStore>,
    topic: Address,
    group: Arc<str>,
    bell: Arc<crate::bell::Bell>,
    _tide: Tidelock,
}

impl Process {
    async fn open(url: &str, prefix: &str, clock: &ManualClock) -> Self {
        let tide = Tidelock::connect(url).prefix(prefix).clock(clock).await.unwrap();
        let (store, topic) = (tide.world.backend.topic(), Address::new(&"default".into(), "t"));
        let group: Arc<str> = "g".into();
        Self { bell: store.bell(&topic, Some(&group)), store, topic, group, _tide: tide }
    }

    async fn publish(&self) {
        let event = NewEvent { content: Content::default(), dedup: None };
        self.store.publish(&self.topic, Settings { retention: None, max_len: None }, vec![event]).await.unwrap();
    }

    /// Takes one, and parks if there is none.
    async fn take(&self) -> Taken {
        self.take_up_to(1).await
    }

    /// Stops waiting and passes the wake-up on to another process.
    async fn pass_on(&self) {
        assert!(self.take_up_to(0).await.events.is_empty());
    }

    async fn take_up_to(&self, max: usize) -> Taken {
        let reader = ReaderTerms { begin: Begin::Earliest, max_in_flight: 100, ordered: true, dead_retention: None };
        let take = Take {
            max,
            lease: LEASE,
            consumer: "c".into(),
            max_deliveries: None,
            park: max > 0,
            reader: Arc::new(reader),
            seen: None,
        };
        self.store.take(&self.topic, &self.group, take).await.unwrap()
    }

    /// Takes an event and returns it for later.
    async fn take_and_return(&self, delay: u64) {
        let taken = self.take().await;
        let handed = &taken.events[0];
        let action = Action::Nack { delay, note: None, error: None };
        let settle = Settle { id: handed.place.at, fence: handed.fence, action };
        self.store.settle(&self.topic, &self.group, vec![settle]).await.unwrap();
    }

    async fn rung(&self) {
        tokio::time::timeout(30 * SECOND, self.bell.rung.notified()).await.expect("it is woken");
    }
}

async fn two(url: &str, seed: u64) -> (ManualClock, Process, Process) {
    let clock = ManualClock::at(Timestamp::from_millis(T));
    let prefix = format!("{UNSWEPT}.readers.{seed}.{}", fastrand::u32(..));
    let one = Process::open(url, &prefix, &clock).await;
    let other = Process::open(url, &prefix, &clock).await;
    one.publish().await;
    (clock, one, other)
}

#[tokio::test]
async fn a_deadline_that_has_passed_is_kept_by_nobody() {
    on_every_server(0, |url, _, seed| async move {
        let (clock, one, other) = two(&url, seed).await;
        one.take_and_return(1_000).await;
        assert_eq!(one.take().await.next, Some(T + 1_000));
        assert_eq!(other.take().await.next, None);
        clock.advance(SECOND);
        // It finds enough events, and so does not park again.
        assert_eq!(one.take().await.events.len(), 1);
        one.rung().await;
        one.pass_on().await;
        other.rung().await;
        assert_eq!(other.take().await.next, Some(T + 1_000 + LEASE));
    })
    .await;
}

#[tokio::test]
async fn who_waits_no_more_hands_the_next_deadline_on() {
    on_every_server(0, |url, _, seed| async move {
        let (clock, one, other) = two(&url, seed).await;
        one.take_and_return(10_000).await;
        assert_eq!(one.take().await.next, Some(T + 10_000));
        assert_eq!(other.take().await.next, None);
        one.pass_on().await;
        other.rung().await;
        assert_eq!(other.take().await.next, Some(T + 10_000));
        clock.advance(10 * SECOND);
        assert_eq!(other.take().await.events.len(), 1);
    })
    .await;
}

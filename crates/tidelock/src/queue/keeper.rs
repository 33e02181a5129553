//! Which of several processes on one server keeps the next deadline, step by step.

use std::sync::Arc;
use std::time::Duration;

use super::store::{Change, Content, Due, NewMessage, Place, QueueStore, Rate, Take, Taken};
use crate::Tidelock;
use crate::backend::redis::UNSWEPT;
use crate::differential::on_every_server;
use crate::name::Address;
use crate::time::{ManualClock, SECOND, Timestamp};

const T: u64 = 1_767_225_600_000;

/// One of the processes.
struct Process {
    store: Arc<dyn QueueStore>,
    queue: Address,
    bell: Arc<crate::bell::Bell>,
    _tide: Tidelock,
}

impl Process {
    async fn open(url: &str, prefix: &str, clock: &ManualClock) -> Self {
        let tide = Tidelock::connect(url).prefix(prefix).clock(clock).await.unwrap();
        let (store, queue) = (tide.world.backend.queue(), Address::new(&"default".into(), "q"));
        Self { bell: store.bell(&queue), store, queue, _tide: tide }
    }

    async fn send_after(&self, delay: u64) {
        let message = NewMessage {
            content: Content::default(),
            due: Due::After(delay),
            priority: 0,
            dedup: None,
            max_age: None,
            retention: None,
            max_depth: None,
        };
        self.store.send(&self.queue, vec![message]).await.unwrap();
    }

    /// Takes one message, and parks if there is none.
    async fn take(&self) -> Taken {
        self.take_up_to(1).await
    }

    /// Lets another process take, because nobody waits here any more.
    async fn pass_on(&self) {
        assert!(self.take_up_to(0).await.messages.is_empty());
    }

    async fn take_up_to(&self, max: usize) -> Taken {
        let (consumer, place, park) = ("c".into(), Place::Original, max > 0);
        let take = Take { max, lease: 30_000, consumer, max_deliveries: None, place, park };
        self.store.take(&self.queue, take).await.unwrap()
    }

    async fn rung(&self) {
        tokio::time::timeout(30 * SECOND, self.bell.rung.notified()).await.expect("it is woken");
    }
}

async fn two(url: &str, seed: u64) -> (ManualClock, Process, Process) {
    let clock = ManualClock::at(Timestamp::from_millis(T));
    let prefix = format!("{UNSWEPT}.keeper.{seed}.{}", fastrand::u32(..));
    let one = Process::open(url, &prefix, &clock).await;
    let other = Process::open(url, &prefix, &clock).await;
    (clock, one, other)
}

#[tokio::test]
async fn a_deadline_that_has_passed_is_kept_by_nobody() {
    on_every_server(0, |url, _, seed| async move {
        let (clock, one, other) = two(&url, seed).await;
        one.send_after(1_000).await;
        assert_eq!(one.take().await.next, Some(T + 1_000));
        assert_eq!(other.take().await.next, None);
        clock.advance(Duration::from_secs(1));
        // The process finds enough, and so does not park again.
        assert_eq!(one.take().await.messages.len(), 1);
        one.rung().await;
        one.pass_on().await;
        other.rung().await;
        assert_eq!(other.take().await.next, Some(T + 31_000));
        one.send_after(5_000).await;
        other.rung().await;
        assert_eq!(other.take().await.next, Some(T + 6_000));
    })
    .await;
}

#[tokio::test]
async fn who_waits_no_more_hands_the_next_deadline_on() {
    on_every_server(0, |url, _, seed| async move {
        let (clock, one, other) = two(&url, seed).await;
        one.send_after(10_000).await;
        assert_eq!(one.take().await.next, Some(T + 10_000));
        assert_eq!(other.take().await.next, None);
        one.send_after(1_000).await;
        one.rung().await;
        one.pass_on().await;
        other.rung().await;
        assert_eq!(other.take().await.next, Some(T + 1_000));
        // This also holds for a process that was not woken, at the deadline of another one.
        assert_eq!(one.take().await.next, None);
        other.pass_on().await;
        one.rung().await;
        assert_eq!(one.take().await.next, Some(T + 1_000));
        clock.advance(Duration::from_secs(1));
        assert_eq!(one.take().await.messages.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn the_end_of_a_pause_leaves_the_end_of_a_window_to_keep() {
    on_every_server(0, |url, _, seed| async move {
        let (clock, one, other) = two(&url, seed).await;
        let change = async |change| other.store.change(&other.queue, change).await.unwrap();
        change(Change::LimitRate(Some(Rate { limit: 1, per: 5_000 }))).await;
        one.send_after(0).await;
        one.send_after(1_000).await;
        assert_eq!(one.take().await.messages.len(), 1);
        change(Change::Pause { for_at_most: Some(60_000), reason: None }).await;
        clock.advance(Duration::from_secs(1));
        assert_eq!(one.take().await.next, Some(T + 30_000), "the end of the lease is before that of the pause");
        change(Change::Resume).await;
        one.rung().await;
        assert_eq!(one.take().await.next, Some(T + 5_000));
    })
    .await;
}

//! The queue, on every backend.

mod arguments;
mod dead;
mod leases;
mod options;
mod order;
mod receiving;
mod sending;
mod stopping;
mod stream;
mod worker;

use std::future::{Future, IntoFuture};
use std::time::Duration;

use tidelock::{Delivery, ManualClock, Queue, QueueStats, Result, SECOND, State, Tidelock};

pub(crate) use crate::conformance;
pub(crate) use crate::harness::World;
pub(crate) use crate::in_process;

pub(crate) const MS: Duration = Duration::from_millis(1);

/// A queue of texts with default options.
pub(crate) fn texts(tide: &Tidelock) -> Queue<String> {
    tide.queue("texts").build().expect("the defaults are in range")
}

pub(crate) async fn send(queue: &Queue<String>, text: &str) -> tidelock::MessageId {
    queue.send(&text.to_owned()).await.expect("a plain send").id
}

pub(crate) async fn take(queue: &Queue<String>) -> Delivery<String> {
    queue.try_recv().await.expect("the backend answers").expect("something is deliverable")
}

pub(crate) async fn nothing(queue: &Queue<String>) {
    let found = queue.try_recv().await.expect("the backend answers");
    assert!(found.is_none(), "nothing should be deliverable, but there is {found:?}");
}

/// Takes and acks until nothing is deliverable.
pub(crate) async fn drain(queue: &Queue<String>) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some(delivery) = queue.try_recv().await.expect("the backend answers") {
        texts.push(delivery.data().clone());
        assert!(delivery.ack().await.expect("the backend answers"), "it was just taken");
    }
    texts
}

/// The statistics of the queue, which must add up.
pub(crate) async fn stats(queue: &Queue<String>) -> QueueStats {
    let stats = queue.stats().await.expect("the backend answers");
    let there = stats.ready + stats.delayed + stats.leased + stats.dead;
    assert_eq!(
        there,
        stats.accepted - stats.settled,
        "ready + delayed + leased + dead = accepted - settled: {stats:?}"
    );
    stats
}

/// Advances the pinned time repeatedly until `future` is done: for what needs several deadlines.
pub(crate) async fn advancing<F: IntoFuture>(clock: &ManualClock, step: Duration, future: F) -> F::Output {
    let mut future = std::pin::pin!(future.into_future());
    loop {
        // Real time only paces the clock; nothing is concluded from it.
        match tokio::time::timeout(5 * MS, &mut future).await {
            Ok(output) => return output,
            Err(_) => clock.advance(step),
        }
    }
}

/// Waits for a future, as long as a hung test may take.
pub(crate) async fn within<F: IntoFuture>(future: F) -> F::Output {
    tokio::time::timeout(120 * SECOND, future).await.expect("it comes to its end")
}

/// Repeats `test` until it holds.
pub(crate) async fn until<F: Future<Output = bool>>(mut test: impl FnMut() -> F) {
    within(async {
        while !test().await {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Waits until `count` messages of the queue are leased.
pub(crate) async fn until_leased(queue: &Queue<String>, count: u64) {
    until(async || stats(queue).await.leased == count).await;
}

pub(crate) fn data(delivery: &Delivery<String>) -> &str {
    delivery.data()
}

/// Everything that queries show, to compare before and after.
pub(crate) async fn picture(queue: &Queue<String>) -> Result<String> {
    let (stats, dead) = (queue.stats().await?, queue.dead_letters().list().await?);
    let mut lists = Vec::new();
    for state in [State::Ready, State::Delayed, State::Leased] {
        lists.push(queue.list(state).await?);
    }
    Ok(format!("{stats:?} {lists:?} {dead:?}"))
}

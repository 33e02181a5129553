//! The topic, on every backend.

mod arguments;
mod dead;
mod follow;
mod gaps;
mod groups;
mod leases;
mod options;
mod order;
mod publish;
mod reading;
mod retention;
mod stopping;
mod undecodable;
mod worker;

use std::fmt::Debug;
use std::future::{Future, IntoFuture};
use std::time::Duration;

use futures_util::StreamExt;
use tidelock::topic::{Follower, Published};
use tidelock::{
    Event, EventDelivery, Gap, GapCause, GroupInfo, Item, ManualClock, Reader, Result, SECOND, Start, Tidelock, Topic,
};

pub(crate) use crate::conformance;
pub(crate) use crate::harness::World;

pub(crate) const MS: Duration = Duration::from_millis(1);

/// A topic of texts with default options.
pub(crate) fn texts(tide: &Tidelock) -> Topic<String> {
    tide.topic("texts").build().expect("the defaults are in range")
}

/// A reader with default options.
pub(crate) fn reader(topic: &Topic<String>, group: &str) -> Reader<String> {
    topic.reader(group).build().expect("the defaults are in range")
}

pub(crate) async fn publish(topic: &Topic<String>, text: &str) -> Published {
    topic.publish(&text.to_owned()).await.expect("a plain publish")
}

/// Publishes numbers as texts.
pub(crate) async fn publish_all(topic: &Topic<String>, numbers: std::ops::Range<u32>) -> Vec<Published> {
    let items: Vec<_> = numbers.map(|number| topic.publish(&number.to_string())).collect();
    topic.publish_many(items).await.expect("a plain batch")
}

pub(crate) async fn try_take(reader: &Reader<String>) -> Option<Item<EventDelivery<String>>> {
    reader.try_recv().await.expect("the backend answers")
}

/// The next event, which must be there.
pub(crate) async fn take(reader: &Reader<String>) -> EventDelivery<String> {
    match try_take(reader).await.expect("something is deliverable") {
        Item::Event(event) => event,
        other => panic!("an event should be next, but it is {other:?}"),
    }
}

/// The next item, which must be a gap.
pub(crate) async fn take_gap(reader: &Reader<String>) -> Gap {
    gap_of(try_take(reader).await.expect("something is deliverable"))
}

pub(crate) fn gap_of<E: Debug>(item: Item<E>) -> Gap {
    match item {
        Item::Gap(gap) => gap,
        other => panic!("a gap should be next, but it is {other:?}"),
    }
}

pub(crate) async fn nothing(reader: &Reader<String>) {
    let found = try_take(reader).await;
    assert!(found.is_none(), "nothing should be deliverable, but there is {found:?}");
}

/// Takes and commits until nothing is deliverable; everything must be an event.
pub(crate) async fn drain(reader: &Reader<String>) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some(item) = try_take(reader).await {
        let Item::Event(event) = item else { panic!("an event should be next, but it is {item:?}") };
        texts.push(event.data().clone());
        assert!(event.commit().await.expect("the backend answers"), "it was just taken");
    }
    texts
}

/// The next item of a follower.
pub(crate) async fn next(follower: &mut Follower<String>) -> Item<Event<String>> {
    within(follower.next()).await.expect("a follower goes on").expect("the backend answers")
}

/// The text of the next event of a follower.
pub(crate) async fn next_text(follower: &mut Follower<String>) -> String {
    text_of(next(follower).await)
}

pub(crate) fn text_of(item: Item<Event<String>>) -> String {
    item.event().expect("an event should be next").into_data()
}

/// The retained events, oldest first; none may be a gap or undecodable.
pub(crate) async fn page_texts(topic: &Topic<String>) -> Vec<String> {
    let page = topic.read().limit(1_000).await.expect("the backend answers");
    page.items.into_iter().map(text_of).collect()
}

/// The statistics of a group, which must add up.
pub(crate) async fn info(topic: &Topic<String>, group: &str) -> GroupInfo {
    let info = topic.groups().get(group).await.expect("the backend answers").expect("the group exists");
    assert_eq!(info.lag, info.unread + info.in_flight + info.waiting + info.set_aside, "{info:?}");
    info
}

/// unread, in flight, waiting, set aside, dead, missed.
pub(crate) async fn counts(topic: &Topic<String>, group: &str) -> [u64; 6] {
    let GroupInfo { unread, in_flight, waiting, set_aside, dead, missed, .. } = info(topic, group).await;
    [unread, in_flight, waiting, set_aside, dead, missed]
}

/// Numbers as texts.
pub(crate) fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
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

/// Everything that queries show, to compare before and after.
pub(crate) async fn picture(topic: &Topic<String>, group: &str) -> Result<String> {
    let (stats, groups, page) = (topic.stats().await?, topic.groups().list().await?, topic.read().limit(1_000).await?);
    let dead = reader(topic, group).dead_letters().list().await?;
    Ok(format!("{stats:?} {groups:?} {page:?} {dead:?}"))
}

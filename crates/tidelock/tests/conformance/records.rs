//! Shared by the tests of registry and ephemeral store: views, and the events that a follower got.

use std::collections::BTreeMap;
use std::future::{Future, IntoFuture};
use std::time::Duration;

use tidelock::registry::{Event, EventKind, Follower, Listed, Version};
use tidelock::{Result, SECOND, Value};

pub const MS: Duration = Duration::from_millis(1);
pub const TEN_YEARS: Duration = Duration::from_hours(3_650 * 24);

/// A millisecond less.
pub fn just_before(time: Duration) -> Duration {
    time.checked_sub(MS).expect("it is longer than a millisecond")
}

/// Waits for a future, as long as a hung test may take.
pub async fn within<F: IntoFuture>(future: F) -> F::Output {
    tokio::time::timeout(120 * SECOND, future).await.expect("it comes to its end")
}

/// Repeats `test` until it holds.
pub async fn until<F: Future<Output = bool>>(mut test: impl FnMut() -> F) {
    within(async {
        while !test().await {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// A short form of an event.
pub fn told<T: std::fmt::Display>(event: &Event<T>) -> String {
    match &event.kind {
        EventKind::Upsert(entry) => format!("upsert {} {}", entry.key, entry.value),
        EventKind::Undecodable { key, raw, .. } => format!("undecodable {key} {}", String::from_utf8_lossy(raw)),
        EventKind::Touch { key, .. } => format!("touch {key}"),
        EventKind::Delete { key, reason: None, .. } => format!("delete {key}"),
        EventKind::Delete { key, reason: Some(reason), .. } => format!("delete {key} {reason}"),
        EventKind::Expire { key, .. } => format!("expire {key}"),
        EventKind::Overflow { .. } => "overflow".to_owned(),
    }
}

/// Everything that a follower returns now.
pub async fn drain<T: Value>(follower: &mut Follower<T>) -> Vec<Event<T>> {
    let mut events = Vec::new();
    while let Some(event) = within(follower.try_recv()).await.expect("the backend answers") {
        events.push(event);
    }
    let revisions: Vec<_> = events.iter().map(|event| event.revision).collect();
    assert!(revisions.is_sorted_by(|a, b| a < b), "revisions only grow: {revisions:?}");
    events
}

/// As `drain`, in short form.
pub async fn drain_told<T: Value + std::fmt::Display>(follower: &mut Follower<T>) -> Vec<String> {
    drain(follower).await.iter().map(told).collect()
}

/// The next event, which must come.
pub async fn next<T: Value>(follower: &mut Follower<T>) -> Event<T> {
    within(follower.recv().forever()).await.expect("the backend answers").expect("it does not stop")
}

pub fn keys<T>(items: &[Listed<T>]) -> Vec<&str> {
    items.iter().map(Listed::key).collect()
}

/// A client's view of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View<T> {
    pub records: BTreeMap<String, (Version, T)>,
}

impl<T: Clone + std::fmt::Debug> View<T> {
    pub fn of(items: &[Listed<T>]) -> Self {
        let record = |item: &Listed<T>| {
            let entry = item.entry().expect("all decode");
            (entry.key.clone(), (entry.version, entry.value.clone()))
        };
        Self { records: items.iter().map(record).collect() }
    }

    /// Applies an event. Returns whether the view must be replaced.
    pub fn apply(&mut self, event: Event<T>) -> bool {
        match event.kind {
            EventKind::Upsert(entry) => {
                self.records.insert(entry.key, (entry.version, entry.value));
            }
            EventKind::Touch { key, version, .. } => {
                if let Some(record) = self.records.get_mut(&key) {
                    record.0 = version;
                }
            }
            EventKind::Delete { key, .. } | EventKind::Expire { key, .. } => {
                self.records.remove(&key);
            }
            EventKind::Undecodable { .. } => panic!("all decode"),
            EventKind::Overflow { .. } => return true,
        }
        false
    }
}

/// Runs all requests concurrently; returns their outputs in order.
pub async fn all<F: IntoFuture>(requests: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    within(futures_util::future::join_all(requests.into_iter().map(IntoFuture::into_future))).await
}

/// The kind and text of the error of a rejected request.
pub async fn refusal<T: std::fmt::Debug>(
    request: impl IntoFuture<Output = Result<T>>,
    what: &str,
) -> (tidelock::ErrorKind, String) {
    let error = within(request).await.expect_err(what);
    (error.kind(), error.to_string())
}

/// Polls once; returns whether it is still pending.
pub async fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
    std::future::poll_fn(|context| std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending()))
        .await
}

//! The ephemeral store, on every backend.

mod arguments;
mod following;
mod life;
mod many;

use tidelock::ephemeral::{Entry, StoreStats};
use tidelock::{Ephemeral, SECOND, Tidelock};

pub(crate) use crate::conformance;
pub(crate) use crate::harness::World;
pub(crate) use crate::records::*;

/// A store of texts that live for 30 s, with otherwise default options.
pub(crate) fn texts(tide: &Tidelock) -> Ephemeral<String> {
    tide.ephemeral("texts").ttl(30 * SECOND).build().expect("the options are in range")
}

pub(crate) async fn put(store: &Ephemeral<String>, key: &str, text: &str) -> Entry<String> {
    store.upsert(key, &text.to_owned()).await.expect("a plain upsert")
}

pub(crate) async fn stats(store: &Ephemeral<String>) -> StoreStats {
    store.stats().await.expect("the backend answers")
}

/// Everything that queries show, to compare before and after.
pub(crate) async fn picture(store: &Ephemeral<String>) -> String {
    let (stats, snapshot) = (stats(store).await, store.snapshot().await.expect("the backend answers"));
    let mut follower = store.follow().from_start().await.expect("the backend answers");
    let events = drain(&mut follower).await;
    format!("{stats:?} {snapshot:?} {events:?}")
}

//! The registry, on every backend.

mod arguments;
mod changes;
mod following;
mod life;
mod listing;
mod members;
mod overflow;
mod races;

use tidelock::registry::{Entry, StoreStats};
use tidelock::{Registry, Tidelock};

pub(crate) use crate::conformance;
pub(crate) use crate::harness::World;
pub(crate) use crate::records::*;

/// A registry of texts with default options.
pub(crate) fn texts(tide: &Tidelock) -> Registry<String> {
    tide.registry("texts").build().expect("the defaults are in range")
}

pub(crate) async fn put(registry: &Registry<String>, key: &str, text: &str) -> Entry<String> {
    registry.upsert(key, &text.to_owned()).await.expect("a plain upsert")
}

pub(crate) async fn stats(registry: &Registry<String>) -> StoreStats {
    registry.stats().await.expect("the backend answers")
}

/// Everything that queries show, to compare before and after.
pub(crate) async fn picture(registry: &Registry<String>) -> String {
    let stats = stats(registry).await;
    let active = registry.list().limit(1_000).await.expect("the backend answers");
    let expired = registry.list().expired().limit(1_000).await.expect("the backend answers");
    let mut follower = registry.follow().from_start().await.expect("the backend answers");
    let events = drain(&mut follower).await;
    format!("{stats:?} {active:?} {expired:?} {events:?}")
}

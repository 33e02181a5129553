//! Presence: who is in the room. Runs in this process; give it a URL to run it on a server:
//! `cargo run --example ephemeral -- redis://127.0.0.1`.

use std::collections::BTreeMap;
use std::time::Duration;

use tidelock::ephemeral::{EventKind, Touch};
use tidelock::{Ephemeral, SECOND, Tidelock};

#[tokio::main]
async fn main() -> tidelock::Result<()> {
    let tide = open().await?;
    let presence: Ephemeral<String> = tide.ephemeral("example.presence").ttl(Duration::from_millis(500)).build()?;
    presence.delete().await?;

    // A view: a snapshot, and then every change since that instant.
    let room = presence.snapshot().prefix("room-1/").await?;
    let mut changes = presence.follow().prefix("room-1/").after(&room.cursor).await?;
    let mut view: BTreeMap<_, _> = room.into_entries().map(|entry| (entry.key, entry.value)).collect();

    presence.upsert("room-1/alice", &"here".to_owned()).await?;
    presence.upsert("room-1/bob", &"typing".to_owned()).await?;
    presence.upsert("room-2/carol", &"elsewhere".to_owned()).await?;

    // A heartbeat; a user who was silent for too long has to enter again.
    if let Touch::Absent = presence.touch("room-1/alice").ttl(SECOND).await? {
        presence.upsert("room-1/alice", &"back".to_owned()).await?;
    }
    presence.remove("room-1/bob").reason("closed the tab").await?;

    while let Some(event) = changes.recv().wait(3 * SECOND).await? {
        match event.kind {
            EventKind::Upsert(entry) => drop(view.insert(entry.key, entry.value)),
            EventKind::Touch { key, expires_at, .. } => println!("{key} is alive until {expires_at}"),
            EventKind::Delete { key, reason, .. } => {
                println!("{key} left: {}", reason.unwrap_or_default());
                view.remove(&key);
            }
            EventKind::Expire { key, .. } => {
                println!("{key} fell silent");
                view.remove(&key);
            }
            EventKind::Undecodable { key, error, .. } => println!("{key} is of another version: {error}"),
            EventKind::Overflow { .. } => {
                let room = presence.snapshot().prefix("room-1/").await?;
                view = room.into_entries().map(|entry| (entry.key, entry.value)).collect();
            }
        }
        println!("in the room: {:?}", view.keys().collect::<Vec<_>>());
        if view.is_empty() {
            break;
        }
    }
    tide.shutdown(SECOND).await;
    Ok(())
}

#[cfg(feature = "redis")]
async fn open() -> tidelock::Result<Tidelock> {
    match std::env::args().nth(1) {
        Some(url) => Tidelock::connect(&url).await,
        None => Ok(Tidelock::in_process()),
    }
}

#[cfg(not(feature = "redis"))]
async fn open() -> tidelock::Result<Tidelock> {
    Ok(Tidelock::in_process())
}

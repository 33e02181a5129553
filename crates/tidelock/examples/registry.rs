//! Settings, memberships, and a follower of their changes. Runs in this process; give it a URL to run it on a server:
//! `cargo run --example registry -- redis://127.0.0.1`.

use tidelock::registry::{Cas, EventKind};
use tidelock::{Registry, SECOND, Tidelock};

#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Service {
    address: String,
    load: u8,
}

#[tokio::main]
async fn main() -> tidelock::Result<()> {
    let tide = open().await?;
    let services: Registry<Service> = tide.registry("example.services").build()?;
    services.delete().await?;

    // A membership renews itself, and ends with its process.
    let first = Service { address: "10.0.0.1:80".into(), load: 10 };
    let me = services.register("apps/mail/i-1", &first).ttl(15 * SECOND).await?;
    println!("registered {} for the next {:?}", me.key(), me.valid_for());

    // A listing, and every change since that instant.
    let listing = services.list().prefix("apps/mail/").await?;
    for entry in listing.entries() {
        println!("{} is at {}", entry.key, entry.value.address);
    }
    let mut changes = services.follow().prefix("apps/mail/").after(&listing.cursor).await?;

    me.update(&Service { load: 80, ..first }).await?;
    let other = Service { address: "10.0.0.2:80".into(), load: 0 };
    let entry = services.upsert("apps/mail/i-2", &other).ttl(SECOND).await?;
    match services.cas("apps/mail/i-2", entry.version, &Service { load: 5, ..other }).await? {
        Cas::Swapped(entry) => println!("{} is now {:?}", entry.key, entry.value),
        Cas::Conflict(now) => println!("somebody was quicker: {now:?}"),
    }
    me.leave().await?;

    // Nobody removes the second one: it expires.
    while let Some(event) = changes.recv().wait(5 * SECOND).await? {
        match event.kind {
            EventKind::Upsert(entry) => println!("event: {} has load {}", entry.key, entry.value.load),
            EventKind::Delete { key, .. } => println!("event: {key} left"),
            EventKind::Expire { key, .. } => {
                println!("event: {key} was not heard of any more");
                break;
            }
            other => println!("event: {other:?}"),
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

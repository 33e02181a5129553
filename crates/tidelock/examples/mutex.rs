//! Three workers share one resource: the holder writes under its fence, and a stale holder is refused.
//!
//! `cargo run --example mutex`, or with a server: `cargo run --example mutex -- redis://127.0.0.1`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidelock::Tidelock;
use tidelock::mutex::Mutex;

/// What the lock protects: it keeps the greatest fence that it has seen, as a table would in a column.
#[derive(Debug, Default)]
struct Ledger {
    fence: AtomicU64,
}

impl Ledger {
    fn write(&self, fence: u64) -> bool {
        self.fence.fetch_max(fence, Ordering::SeqCst) <= fence
    }
}

async fn work(name: &str, accounts: Mutex, ledger: &Ledger) -> tidelock::Result<()> {
    let guard = accounts.lock_or_err("account:7").timeout(Duration::from_secs(5)).await?;
    println!("{name} has the lock, provably for {:?}", guard.valid_for());
    assert!(ledger.write(guard.fence()), "nobody can have written under a greater fence");
    println!("{name} lets go: {:?}", guard.release().await?);
    Ok(())
}

#[tokio::main]
async fn main() -> tidelock::Result<()> {
    let tide = match std::env::args().nth(1) {
        Some(url) => Tidelock::connect(&url).await?,
        None => Tidelock::in_process(),
    };
    let ledger = Arc::new(Ledger::default());
    let mut workers = Vec::new();
    for name in ["Ada", "Grace", "Barbara"] {
        let (accounts, ledger) = (tide.mutex("accounts").owner(name).build()?, Arc::clone(&ledger));
        workers.push(tokio::spawn(async move { work(name, accounts, &ledger).await }));
    }
    for worker in workers {
        worker.await.expect("a worker does not panic")?;
    }
    let stale = ledger.fence.load(Ordering::SeqCst) - 1;
    println!("a stale holder is refused: {}", !ledger.write(stale));
    tide.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

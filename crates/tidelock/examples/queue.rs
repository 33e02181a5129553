//! A queue with a worker, a failure and dead letters. Runs in this process; give it a URL to run it on a server:
//! `cargo run --example queue -- redis://127.0.0.1`.

use std::time::Duration;

use tidelock::{Backoff, HandlerError, Queue, SECOND, Tidelock};

#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Order {
    number: u32,
    amount: i64,
}

#[tokio::main]
async fn main() -> tidelock::Result<()> {
    let tide = open().await?;
    let orders: Queue<Order> = tide.queue::<Order>("example.orders").max_deliveries(3).build()?;
    orders.delete().await?;
    let settled_before = orders.stats().await?.settled;

    let batch = (1..=10).map(|number| orders.send(&Order { number, amount: i64::from(number) * 10 - 50 }));
    let sent = orders.send_many(batch).await?;
    println!("sent {} orders, the last one is {}", sent.len(), sent[9].id);

    let worker = orders.process(async |order| {
        if order.amount < 0 {
            return Err(HandlerError::fatal("a negative amount"));
        }
        if order.number == 7 && order.attempt() == 1 {
            return Err(HandlerError::from("the shop is busy"));
        }
        println!("order {} done at attempt {}", order.number, order.attempt());
        Ok(())
    });
    let worker = worker.concurrency(4).backoff(Backoff::fixed(Duration::from_millis(100))).spawn();
    while orders.stats().await?.settled < settled_before + 6 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("{:?}", worker.shutdown(5 * SECOND).await);

    for letter in orders.dead_letters().list().await?.items {
        println!("order {} is dead: {}", letter.decode()?.number, letter.last_error.as_deref().unwrap_or_default());
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

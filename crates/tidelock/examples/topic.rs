//! A topic with a group of workers, a follower and a replay. Runs in this process; give it a URL to run it on a server:
//! `cargo run --example topic -- redis://127.0.0.1`.

use futures_util::StreamExt;
use tidelock::topic::{Item, Start};
use tidelock::{HOUR, HandlerError, SECOND, Tidelock, Topic};

#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Payment {
    account: u32,
    cents: i64,
}

#[tokio::main]
async fn main() -> tidelock::Result<()> {
    let tide = open().await?;
    let payments: Topic<Payment> = tide.topic::<Payment>("example.payments").retention(HOUR).build()?;
    payments.delete().await?;
    let mut live = payments.follow().await?;

    for number in 0..6_u32 {
        let payment = Payment { account: number % 2, cents: i64::from(number) * 100 - 200 };
        let key = format!("account:{}", payment.account);
        let request = payments.publish(&payment).ordering_key(&key).dedup_key(&format!("payment:{number}"));
        let published = request.await?;
        println!("payment {number} is event {}", published.event_id);
    }

    // Each group gets every event; its readers share them. Payments of one account are handled in turn.
    let ledger = payments.reader("ledger").build()?;
    let worker = ledger.process(async |payment| {
        if payment.cents < 0 {
            return Err(HandlerError::fatal("a negative payment"));
        }
        println!("account {} is paid {}", payment.account, payment.cents);
        Ok(())
    });
    let worker = worker.concurrency(4).on_gap(|gap| println!("missed {:?} payments", gap.missed)).spawn();

    // A follower sees all of them in order, commits nothing, and reports a gap for events it can no longer get.
    let mut third = None;
    for number in 1..=6 {
        match live.next().await.transpose()? {
            Some(Item::Event(payment)) => {
                println!("seen: {:?}", payment.data());
                if number == 3 {
                    third = Some(payment.cursor());
                }
            }
            other => println!("seen: {other:?}"),
        }
    }
    while payments.groups().get("ledger").await?.is_none_or(|group| group.lag > 0) {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    println!("{:?}", worker.shutdown(5 * SECOND).await);
    for letter in ledger.dead_letters().list().await?.items {
        println!("{:?} is dead: {}", letter.decode()?, letter.last_error.as_deref().unwrap_or_default());
    }

    // A cursor is a position to continue from: for a page, a follower, or a group that is moved.
    if let Some(cursor) = third {
        println!("{} events stand behind the third one", payments.read().after(cursor).await?.items.len());
        payments.groups().seek("ledger", Start::After(cursor)).await?;
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

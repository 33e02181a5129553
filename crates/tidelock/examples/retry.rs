//! A client of a flaky service: a policy, a budget, and the details of a call that gave up.
//!
//! `cargo run -p tidelock --example retry`

use std::io;
use std::time::Duration;

use tidelock::{GaveUp, RetryBudget, RetryPolicy, SECOND, retry};

/// A service that refuses connections until its third call.
async fn fetch(call: u32) -> io::Result<&'static str> {
    tokio::time::sleep(Duration::from_millis(5)).await;
    if call < 3 { Err(io::ErrorKind::ConnectionRefused.into()) } else { Ok("Ada") }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let policy = RetryPolicy::builder()
        .attempts(5)
        .min_delay(Duration::from_millis(20))
        .attempt_timeout(SECOND)
        .deadline(5 * SECOND)
        .build()?;
    let budget = RetryBudget::builder().capacity(4).per_second(0.0).build()?;

    let user = retry(async |attempt| fetch(attempt.number()).await)
        .policy(policy)
        .budget(&budget)
        .on_retry(|retrying| println!("attempt {} failed, next in {:?}", retrying.attempt, retrying.delay))
        .await?;
    println!("got {user}");

    // The service goes down for good; two tokens are left for all calls that share the budget.
    let failed = retry(async |_| fetch(0).await).policy(policy).budget(&budget).await.unwrap_err();
    println!("{failed}");
    assert_eq!((failed.reason, failed.attempts), (GaveUp::Budget, 3));
    Ok(())
}

//! A limiter in front of a service: what a server would answer to a burst of requests.
//!
//! Runs in this process; with `REDIS_URL` set, on that server.

use tidelock::ratelimit::{DecidedBy, Limit, Limits, OnUnavailable, RateLimiter};
use tidelock::{Result, Tidelock};

#[tokio::main]
async fn main() -> Result<()> {
    let tide = match std::env::var("REDIS_URL") {
        Ok(url) => Tidelock::connect(&url).await?,
        Err(_) => Tidelock::in_process(),
    };
    let api = tide
        .ratelimit("example-api")
        .limit(Limit::per_second(3).token_bucket().name("burst"))
        .limit(Limit::per_day(1_000).fixed().name("daily"))
        .on_unavailable(OnUnavailable::Local { share: 0.5 })
        .build()?;
    api.reset("ada").await?;

    for request in 1..=5 {
        println!("request {request}: {}", answer(&api, "ada").await?);
    }

    let pro = Limits::new([Limit::per_second(50).token_bucket(), Limit::per_day(100_000).fixed()])?;
    let verdict = api.check("ada").limits(&pro).await?;
    println!("with a better plan: limited {}, {} remaining", verdict.limited, verdict.remaining);

    let verdict = api.acquire("ada").await?;
    println!("after waiting for a token: limited {}", verdict.limited);
    Ok(())
}

/// The status line and the header fields of the answer.
async fn answer(api: &RateLimiter, user: &str) -> Result<String> {
    let verdict = api.check(user).await?;
    let status = if verdict.limited { "429 Too Many Requests" } else { "200 OK" };
    let fields = verdict.http_fields().map(|(name, value)| format!("\n  {name}: {value}"));
    let note = if verdict.decided_by == DecidedBy::Backend { "" } else { " (decided here)" };
    Ok(format!("{status}{note}{}", fields.collect::<String>()))
}

//! Schedules with a job and a handler, a manual trigger, and statistics. Runs in this process; give it a URL to run it
//! on a server: `cargo run --example scheduler -- redis://127.0.0.1`. Start it several times on one server: one of them
//! leads.

use tidelock::scheduler::Happening;
use tidelock::{HOUR, Overlap, SECOND, Schedule, Tidelock, Triggered};

#[tokio::main]
async fn main() -> tidelock::Result<()> {
    let tide = open().await?;
    let mail = tide.job::<String, ()>("example.mail").attempts(3).build()?;
    let platform = tide
        .scheduler("example.platform")
        .handler("purge", async |run, days: u32| {
            println!("purging what is older than {days} days: {:?}", run.slot());
            Ok(())
        })
        .on_event(|event| match &event.what {
            Happening::LeaderAcquired { epoch } => println!("this process leads, epoch {epoch}"),
            Happening::DispatchSubmitted { schedule, slot, lateness, .. } => {
                println!("{schedule}: slot {slot} was submitted {lateness} ms after it was due");
            }
            _ => {}
        })
        .build()?;

    let tick = Schedule::cron("* * * * * *").overlap(Overlap::Skip).job(&mail, &"tick".to_owned());
    println!("tick: {:?}", platform.register("tick", tick).await?);
    println!("purge: {:?}", platform.register("purge", Schedule::every(HOUR).handler("purge", &30)).await?);
    let digest = Schedule::cron("0 7 * * MON-FRI").tz("Europe/Berlin").job(&mail, &"digest".to_owned());
    println!("digest: {:?}", platform.register("digest", digest).await?);
    println!("the next digests: {:?}", platform.upcoming("digest").count(3).await?);

    let worker = mail
        .process(async |run, text| {
            println!("{text}, run {:?}", run.slot().map(|slot| slot.run));
            Ok(())
        })
        .spawn();
    platform.start().await?;
    match platform.trigger_now("purge").await? {
        Triggered::Submitted { id, .. } => println!("{:?}", platform.runs("purge").join(id).await?),
        other => println!("{other:?}"),
    }
    tokio::time::sleep(5 * SECOND).await;

    println!("{:?}", platform.stats().await?);
    for entry in platform.history("tick").await? {
        println!("{:?}", entry.event);
    }
    platform.unregister("tick").await?;
    println!("{:?}", platform.stop().await?);
    println!("{:?}", worker.shutdown(SECOND).await);
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

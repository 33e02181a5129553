//! Metrics of schedulers.

use tidelock::scheduler::{Misfire, Schedule};
use tidelock::{HOUR, JobContext, MINUTE, ManualClock, Tidelock};

use super::{Heard, measured, until, within};

measured!(a_scheduler, async |tide: Tidelock, clock: ManualClock, heard: Heard| {
    let scheduler = tide.scheduler("platform").handler("note", async |_: JobContext, (): ()| Ok(())).build().unwrap();
    let schedule = Schedule::every(MINUTE).handler("note", &()).misfire(Misfire::Skip);
    scheduler.register("tick", schedule).await.unwrap();
    scheduler.start().await.unwrap();
    until(|| scheduler.metrics().is_leader).await;
    heard.shows(&[
        ("tidelock.scheduler.leading{scheduler=platform}", 1.0),
        ("tidelock.scheduler.leader_changes{scheduler=platform}", 1.0),
    ]);
    clock.advance(MINUTE);
    until(|| scheduler.metrics().dispatch_submitted == 1).await;
    within(scheduler.stop()).await.unwrap();
    clock.advance(HOUR);
    scheduler.start().await.unwrap();
    until(|| scheduler.metrics().missed > 0).await;
    within(scheduler.stop()).await.unwrap();
    let counted = scheduler.metrics();
    let number = |count: u64| f64::from(u32::try_from(count).unwrap());
    heard.shows(&[
        ("tidelock.scheduler.leading{scheduler=platform}", 0.0),
        ("tidelock.scheduler.leader_changes{scheduler=platform}", number(counted.leader_changes)),
        ("tidelock.scheduler.dispatch.submitted{scheduler=platform}", number(counted.dispatch_submitted)),
        ("tidelock.scheduler.dispatch.skipped{scheduler=platform,reason=missed}", number(counted.missed)),
    ]);
    let lateness = heard.all("tidelock.scheduler.dispatch.lateness{scheduler=platform}");
    assert_eq!(lateness.len(), usize::try_from(counted.dispatch_submitted).unwrap());
});

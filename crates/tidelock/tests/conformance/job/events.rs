//! The events of a job, as followers see them.

use super::*;
use futures_util::StreamExt;
use tidelock::job::{Item, JobEventKind, Start};

conformance!(a_follower_sees_all_from_the_first_to_the_last, async |world: World| {
    let (job, other) = (texts(&world.open().await), texts(&world.open().await));
    let id = submit(&job, "text").await;
    let follower = job.events(id).follow().await.unwrap();
    let worker = other.process(async |ctx, text| {
        ctx.heartbeat().await?;
        ctx.step("charge", async || Ok(1)).await?;
        ctx.progress(&"half")?;
        Ok(text)
    });
    let worker = worker.worker_name("w").spawn();
    let items: Vec<_> = within(follower.collect::<Vec<_>>()).await;
    let events: Vec<_> = items
        .into_iter()
        .map(|item| match item.unwrap() {
            Item::Event(event) => event,
            gap @ Item::Gap(_) => panic!("{gap:?}"),
        })
        .collect();
    let kinds: Vec<_> = events.iter().map(|event| &event.kind).collect();
    match kinds.as_slice() {
        [
            JobEventKind::Submitted,
            JobEventKind::Started { attempt: 1, worker, .. },
            JobEventKind::Heartbeat { attempt: 1 },
            JobEventKind::Step { id },
            JobEventKind::Progress { value },
            JobEventKind::Completed,
        ] => {
            assert_eq!(
                (worker.as_str(), id.as_str(), value.decode::<String>().unwrap()),
                ("w", "charge", "half".into())
            );
        }
        other => panic!("{other:?}"),
    }
    assert!(events.windows(2).all(|two| two[0].at <= two[1].at && two[0].cursor != two[1].cursor));
    assert!(events.iter().all(|event| event.job == id));
    within(worker.shutdown(SECOND)).await;
});

conformance!(a_follower_goes_on_behind_a_cursor, async |world: World| {
    let job = texts(&world.open().await);
    let id = submit(&job, "text").await;
    let first = events(&job, &id).await;
    assert_eq!(first.len(), 1);
    let follower = job.events(id).follow().after(&first[0].cursor).await.unwrap();
    job.cancel(id).reason("why").await.unwrap();
    let items: Vec<_> = within(follower.collect::<Vec<_>>()).await;
    assert_eq!(items.len(), 1);
    match items.into_iter().next().unwrap().unwrap() {
        Item::Event(event) => {
            assert!(matches!(event.kind, JobEventKind::Cancelled { reason } if reason.as_deref() == Some("why")));
        }
        gap @ Item::Gap(_) => panic!("{gap:?}"),
    }
});

conformance!(a_follower_from_latest_sees_what_comes, async |world: World| {
    let (job, other) = (texts(&world.open().await), texts(&world.open().await));
    let id = submit(&job, "text").await;
    let follower = job.events(id).follow().start(Start::Latest).await.unwrap();
    other.cancel(id).await.unwrap();
    let items: Vec<_> = within(follower.collect::<Vec<_>>()).await;
    assert_eq!(items.len(), 1);
});

conformance!(what_the_log_has_lost_is_told_once, async |world: World| {
    let job = texts(&world.open().await);
    let id = submit(&job, "text").await;
    let start = job.events(id).read().await.unwrap().items.remove(0).event().unwrap().cursor;
    let worker = job.process(async |ctx, text| {
        for _ in 0..1_100 {
            ctx.heartbeat().await?;
        }
        Ok(text)
    });
    let worker = worker.spawn();
    result(&job, &id).await;
    let early = job.events(id).follow().after(&start).await.unwrap();
    // There are 1,103 events at the end; for an earlier position, the first of them are gone.
    let items: Vec<_> = within(early.collect::<Vec<_>>()).await.into_iter().map(Result::unwrap).collect();
    match &items[0] {
        Item::Gap(gap) => assert_eq!(gap.missed, 102),
        event @ Item::Event(_) => panic!("{event:?}"),
    }
    assert_eq!(items.len(), 1_001);
    within(worker.shutdown(SECOND)).await;
});

conformance!(followers_of_a_job_that_is_removed_end, async |world: World| {
    let (job, other) = (texts(&world.open().await), texts(&world.open().await));
    let id = submit(&job, "text").await;
    let follower = job.events(id).follow().start(Start::Latest).await.unwrap();
    let all = tokio::spawn(follower.collect::<Vec<_>>());
    tokio::task::yield_now().await;
    other.remove(id).await.unwrap();
    assert!(within(all).await.unwrap().is_empty());
});

//! Groups of readers on the events of a job.

use super::*;
use futures_util::{FutureExt, StreamExt};
use tidelock::job::{EventDelivery, Item, JobEventKind, Reader};
use tidelock::{DAY, ErrorKind, MINUTE};

fn reader(job: &Job<String, String>, id: JobId, group: &str) -> Reader {
    job.events(id).reader(group).build().expect("the defaults are in range")
}

/// The next event, which must be there.
async fn take(reader: &Reader) -> EventDelivery {
    reader.try_recv().await.expect("the backend answers").expect("there is one").event().expect("nothing is lost")
}

async fn nothing(reader: &Reader) {
    assert!(reader.try_recv().await.unwrap().is_none());
}

/// Takes and commits everything.
async fn drain(reader: &Reader) -> Vec<JobEventKind> {
    let mut kinds = Vec::new();
    while let Some(item) = reader.try_recv().await.unwrap() {
        let event = item.event().expect("nothing is lost");
        kinds.push(event.kind.clone());
        assert!(event.commit().await.unwrap());
    }
    kinds
}

/// A worker whose handler sends `beats` heartbeats, each of which is an event.
fn beating(job: &Job<String, String>, beats: usize) -> tidelock::job::RunningJobWorker {
    let worker = job.process(move |ctx: JobContext, text| async move {
        for _ in 0..beats {
            ctx.heartbeat().await?;
        }
        Ok(text)
    });
    worker.spawn()
}

conformance!(the_readers_of_a_group_share_the_events, async |world: World| {
    let (job, other) = (texts(&world.open().await), texts(&world.open().await));
    let id = submit(&job, "text").await;
    job.cancel(id).await.unwrap();
    let (one, two) = (reader(&job, id, "audit"), reader(&other, id, "audit"));
    let (first, second) = (take(&one).await, take(&two).await);
    assert_eq!((&first.kind, first.attempt()), (&JobEventKind::Submitted, 1));
    assert_eq!(second.kind, JobEventKind::Cancelled { reason: None });
    assert!(second.fence() > first.fence());
    nothing(&one).await;
    nothing(&two).await;
    assert!(second.commit().await.unwrap(), "in any order");
    assert!(first.commit().await.unwrap());
    nothing(&two).await;
});

conformance!(every_group_gets_all_from_the_first_event_on, async |world: World| {
    let job = texts(&world.open().await);
    let id = submit(&job, "text").await;
    assert_eq!(drain(&reader(&job, id, "early")).await, [JobEventKind::Submitted]);
    job.cancel(id).await.unwrap();
    let all = [JobEventKind::Submitted, JobEventKind::Cancelled { reason: None }];
    assert_eq!(drain(&reader(&job, id, "early")).await, all[1..]);
    assert_eq!(drain(&reader(&job, id, "late")).await, all);
});

conformance!(what_is_not_committed_comes_again_when_its_lease_is_over, async |mut world: World| {
    let clock = world.pin();
    let (job, other) = (texts(&world.open().await), texts(&world.open().await));
    let id = submit(&job, "text").await;
    job.cancel(id).await.unwrap();
    let (group, elsewhere) = (reader(&job, id, "audit"), reader(&other, id, "audit"));
    let stalls = take(&group).await;
    drop(take(&group).await);
    clock.advance(59_999 * MS);
    nothing(&elsewhere).await;
    assert!(stalls.touch().await.unwrap(), "held until the last millisecond");
    clock.advance(MS);
    let again = take(&elsewhere).await;
    assert_eq!((again.attempt(), again.kind.is_terminal()), (2, true), "the dropped one; the other was touched");
    clock.advance(59_999 * MS);
    let first = take(&elsewhere).await;
    assert_eq!((first.attempt(), &first.kind), (2, &JobEventKind::Submitted));
    assert!(!stalls.touch().await.unwrap());
    assert!(!stalls.commit().await.unwrap(), "its lease was over");
    assert!(first.commit().await.unwrap());
    for attempt in 3..30 {
        clock.advance(MINUTE);
        assert_eq!(take(&group).await.attempt(), attempt, "there is no last delivery");
    }
});

conformance!(a_commit_counts_once, async |mut world: World| {
    let clock = world.pin();
    let job = texts(&world.open().await);
    let id = submit(&job, "text").await;
    let group = reader(&job, id, "audit");
    let held = take(&group).await;
    // A touch that has not been sent yet uses the same lease.
    let touch = held.touch();
    assert!(held.commit().await.unwrap());
    assert!(!touch.await.unwrap(), "it was committed before");
    clock.advance(DAY);
    nothing(&group).await;
});

conformance!(leases_are_the_readers_or_the_receives, async |mut world: World| {
    let clock = world.pin();
    let job = texts(&world.open().await);
    let id = submit(&job, "text").await;
    let group = job.events(id).reader("audit").lease(20 * SECOND).build().unwrap();
    let held = take(&group).await;
    assert_eq!(held.lease_left(), 19_800 * MS);
    clock.advance(19_999 * MS);
    nothing(&group).await;
    assert!(held.touch().lease(SECOND).await.unwrap());
    clock.advance(SECOND);
    within(held.lost()).await;
    let again = group.try_recv().lease(5 * SECOND).await.unwrap().unwrap().event().unwrap();
    assert_eq!(again.attempt(), 2);
    clock.advance(5 * SECOND);
    let again = within(group.recv().lease(MS).into_future()).await.unwrap().unwrap().event().unwrap();
    assert_eq!(again.attempt(), 3);
    clock.advance(MS);
    let mut stream = group.stream().lease(2 * MS);
    assert_eq!(within(stream.next()).await.unwrap().unwrap().event().unwrap().attempt(), 4);
    clock.advance(2 * MS);
    assert_eq!(take(&group).await.attempt(), 5);
});

conformance!(what_is_returned_comes_again, async |mut world: World| {
    let clock = world.pin();
    let job = texts(&world.open().await);
    let id = submit(&job, "text").await;
    let group = reader(&job, id, "audit");
    assert!(take(&group).await.give_back().await.unwrap());
    let unused = take(&group).await;
    assert_eq!(unused.attempt(), 1, "given back unused");
    assert!(unused.nack().delay(SECOND).await.unwrap());
    nothing(&group).await;
    clock.advance(SECOND);
    let failed = take(&group).await;
    assert_eq!(failed.attempt(), 2);
    clock.advance(MINUTE);
    assert!(!failed.nack().await.unwrap());
    let failed = take(&group).await;
    assert_eq!(failed.nack().delay(7 * DAY + MS).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
});

conformance!(a_waiting_reader_gets_what_happens, async |world: World| {
    let (job, other) = (texts(&world.open().await), texts(&world.open().await));
    let id = submit(&job, "text").await;
    let group = reader(&job, id, "audit");
    assert!(take(&group).await.commit().await.unwrap());
    let waits = tokio::spawn(group.recv().forever().into_future());
    tokio::task::yield_now().await;
    other.cancel(id).await.unwrap();
    let event = within(waits).await.unwrap().unwrap().unwrap().event().unwrap();
    assert!(event.kind.is_terminal());
});

conformance!(a_waiting_reader_gets_what_another_returns_or_leaves, async |world: World| {
    let (job, other) = (texts(&world.open().await), texts(&world.open().await));
    let id = submit(&job, "text").await;
    let (group, elsewhere) = (reader(&job, id, "audit"), reader(&other, id, "audit"));
    let held = take(&group).await;
    let waits = tokio::spawn(elsewhere.recv().forever().into_future());
    tokio::task::yield_now().await;
    held.give_back().await.unwrap();
    let held = within(waits).await.unwrap().unwrap().unwrap().event().unwrap();
    assert!(held.touch().lease(300 * MS).await.unwrap());
    let again = within(group.recv().forever().into_future()).await.unwrap().unwrap().event().unwrap();
    assert_eq!(again.attempt(), 2, "the lease of the first was over");
});

conformance!(a_receive_waits_no_longer_than_it_was_told, async |world: World| {
    let job = texts(&world.open().await);
    let id = submit(&job, "text").await;
    let group = reader(&job, id, "audit");
    let _held = take(&group).await;
    assert!(within(group.recv().wait(20 * MS).into_future()).await.unwrap().is_none());
    assert!(group.recv().wait(Duration::ZERO).await.unwrap().is_none());
});

conformance!(a_stream_ends_behind_the_last_event, async |world: World| {
    let (job, other) = (texts(&world.open().await), texts(&world.open().await));
    let id = submit(&job, "text").await;
    let all = tokio::spawn(reader(&job, id, "audit").stream().collect::<Vec<_>>());
    let worker = beating(&other, 3);
    // Nothing is committed; the stream ends all the same.
    let events: Vec<_> = within(all).await.unwrap().into_iter().map(|item| item.unwrap().event().unwrap()).collect();
    assert_eq!(events.len(), 6);
    assert_eq!(events[5].kind, JobEventKind::Completed);
    assert!(events.windows(2).all(|two| two[0].fence() < two[1].fence() && two[0].at <= two[1].at));
    within(worker.shutdown(SECOND)).await;
});

conformance!(a_stream_beside_another_ends_when_the_group_has_committed_all, async |world: World| {
    let (job, other) = (texts(&world.open().await), texts(&world.open().await));
    let id = submit(&job, "text").await;
    job.cancel(id).await.unwrap();
    let (group, elsewhere) = (reader(&job, id, "audit"), reader(&other, id, "audit"));
    let (first, last) = (take(&group).await, take(&group).await);
    let mut stream = elsewhere.stream();
    assert!(stream.next().now_or_never().is_none(), "what is held may come back");
    let rest = tokio::spawn(stream.collect::<Vec<_>>());
    assert!(last.commit().await.unwrap());
    assert!(first.commit().await.unwrap());
    assert!(within(rest).await.unwrap().is_empty());
    assert!(within(elsewhere.recv().forever().into_future()).await.unwrap().is_none(), "nothing comes any more");
});

conformance!(streams_end_when_told_or_drained, async |world: World| {
    let job = texts(&world.open().await);
    let id = submit(&job, "text").await;
    let group = reader(&job, id, "audit");
    assert_eq!(within(group.stream().drain().collect::<Vec<_>>()).await.len(), 1);
    let stop = Arc::new(Notify::new());
    let told = Arc::clone(&stop);
    let rest = tokio::spawn(group.stream().until(async move { told.notified().await }).collect::<Vec<_>>());
    stop.notify_one();
    assert!(within(rest).await.unwrap().is_empty());
});

conformance!(a_retry_of_the_job_goes_on_for_its_groups, async |world: World| {
    let job = texts(&world.open().await);
    let id = submit(&job, "text").await;
    job.cancel(id).await.unwrap();
    let group = reader(&job, id, "audit");
    assert_eq!(drain(&group).await.len(), 2);
    assert!(within(group.stream().collect::<Vec<_>>()).await.is_empty());
    job.retry(id).await.unwrap();
    assert_eq!(drain(&group).await, [JobEventKind::Submitted]);
    let waits = tokio::spawn(group.stream().collect::<Vec<_>>());
    tokio::task::yield_now().await;
    job.cancel(id).await.unwrap();
    assert_eq!(within(waits).await.unwrap().len(), 1);
});

conformance!(readers_of_a_job_that_is_removed_end, async |world: World| {
    let (job, other) = (texts(&world.open().await), texts(&world.open().await));
    for deletes in [false, true] {
        let id = submit(&job, "text").await;
        let group = reader(&job, id, "audit");
        let held = take(&group).await;
        let stream = tokio::spawn(group.stream().collect::<Vec<_>>());
        let waits = tokio::spawn(group.recv().forever().into_future());
        tokio::task::yield_now().await;
        if deletes {
            assert!(other.delete().await.unwrap());
        } else {
            assert_eq!(other.remove(id).await.unwrap(), tidelock::Removed::Removed);
        }
        assert!(within(stream).await.unwrap().is_empty());
        assert!(within(waits).await.unwrap().unwrap().is_none());
        assert!(!held.commit().await.unwrap());
        nothing(&group).await;
    }
});

conformance!(what_went_unread_is_told_by_one_gap, async |mut world: World| {
    let _pinned = world.pin();
    let (job, other) = (texts(&world.open().await), texts(&world.open().await));
    let id = submit(&job, "text").await;
    // One group has committed the first event, one holds it, one has returned it, and one comes late.
    let [done, holds, returned, late] = ["done", "holds", "returned", "late"].map(|group| reader(&job, id, group));
    assert!(take(&done).await.commit().await.unwrap());
    let held = take(&holds).await;
    let begin = held.cursor;
    assert!(take(&returned).await.nack().await.unwrap());
    let worker = beating(&other, 1_100);
    result(&job, &id).await;
    within(worker.shutdown(SECOND)).await;
    // 1,103 events, of which the last 1,000 are kept.
    let mut ends = Vec::new();
    for (group, missed) in [(&done, 102), (&holds, 102), (&returned, 103)] {
        match within(group.stream().next()).await.unwrap().unwrap() {
            Item::Gap(gap) => {
                assert_eq!((gap.missed, gap.from == begin), (missed, missed == 102));
                ends.push(gap.to);
            }
            event @ Item::Event(_) => panic!("{event:?}"),
        }
        assert_eq!(take(group).await.kind, JobEventKind::Heartbeat { attempt: 1 });
    }
    assert!(ends.iter().all(|end| *end == ends[0]));
    let kept = job.events(id).read().after(ends[0]).limit(1_000).await.unwrap().items;
    assert_eq!(kept.len(), 1_000);
    assert!(held.commit().await.unwrap(), "what is held can be committed although it went");
    let first = take(&late).await;
    assert_eq!(Some(first.event()), kept[0].clone().event().as_ref(), "a new group begins at the first that is kept");
    assert!(first.commit().await.unwrap());
    assert_eq!(drain(&late).await.len(), 999, "no gap");
});

conformance!(a_receive_that_is_dropped_loses_nothing, async |world: World| {
    let job = texts(&world.open().await);
    let id = submit(&job, "text").await;
    let group = reader(&job, id, "audit");
    for _ in 0..20 {
        // In process it is available at once. From a server, its take is in flight, or nothing is there while an
        // earlier take's events are being returned.
        if let Some(item) = group.try_recv().into_future().now_or_never()
            && let Some(item) = item.unwrap()
        {
            assert!(item.event().unwrap().give_back().await.unwrap());
        }
    }
    let event = within(group.recv().forever().into_future()).await.unwrap().unwrap().event().unwrap();
    assert_eq!(event.attempt(), 1);
});

conformance!(a_job_has_room_for_a_hundred_groups, async |world: World| {
    let job = texts(&world.open().await);
    let (id, other) = (submit(&job, "text").await, submit(&job, "other").await);
    for group in 0..100 {
        assert!(take(&reader(&job, id, &format!("group {group}"))).await.commit().await.unwrap());
    }
    let beyond = reader(&job, id, "one more");
    for error in [beyond.try_recv().await.unwrap_err(), within(beyond.recv().into_future()).await.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::CapacityReached, "{error}");
    }
    nothing(&reader(&job, id, "group 7")).await;
    assert_eq!(drain(&reader(&job, other, "one more")).await.len(), 1, "each job has its own");
});

conformance!(readers_refuse_what_is_out_of_range, async |world: World| {
    let job = texts(&world.open().await);
    let id = submit(&job, "text").await;
    for name in ["", "a\0b", &"x".repeat(257)] {
        let error = job.events(id).reader(name).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfiguration, "{error}");
    }
    for lease in [Duration::ZERO, 3_651 * DAY] {
        let error = job.events(id).reader("audit").lease(lease).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfiguration, "{error}");
        let group = reader(&job, id, "audit");
        assert_eq!(group.try_recv().lease(lease).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(group.recv().lease(lease).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(group.recv().wait(3_651 * DAY).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
        let first = group.stream().lease(lease).next().await.unwrap();
        assert_eq!(first.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    let longest = reader(&job, id, &"x".repeat(256));
    assert_eq!(longest.group().len(), 256);
    assert_eq!(drain(&longest).await.len(), 1);
    nothing(&reader(&job, "1".parse().unwrap(), "audit")).await;
});

//! Waiting for the end of a job.

use super::*;
use tidelock::ErrorKind;

conformance!(an_unknown_job_is_answered_at_once, async |world: World| {
    let job = texts(&world.open().await);
    let absent: JobId = "17".parse().unwrap();
    assert!(matches!(within(job.join(absent).forever()).await.unwrap(), Joined::NotFound));
    assert!(job.get(absent).await.unwrap().is_none());
});

conformance!(a_join_ends_with_its_wait, async |mut world: World| {
    let clock = world.pin();
    let job = texts(&world.open().await);
    let id = submit(&job, "text").await;
    let looked = job.join(id).wait(Duration::ZERO).await.unwrap();
    assert!(matches!(looked, Joined::StillRunning(JobState::Submitted)), "{looked:?}");
    let waiting = tokio::spawn(job.join(id).wait(20 * SECOND).into_future());
    let joined = advancing(&clock, SECOND, waiting).await.unwrap().unwrap();
    assert!(matches!(joined, Joined::StillRunning(JobState::Submitted)), "{joined:?}");
});

conformance!(a_thousand_joiners_get_one_answer, async |world: World| {
    let (job, other) = (texts(&world.open().await), texts(&world.open().await));
    let id = submit(&job, "text").await;
    let joiners: Vec<_> = (0..1_000).map(|_| tokio::spawn(job.join(id).forever().into_future())).collect();
    tokio::task::yield_now().await;
    let worker = other.process(echo).spawn();
    for joiner in joiners {
        match within(joiner).await.unwrap().unwrap() {
            Joined::Completed(text) => assert_eq!(text, "text"),
            other => panic!("{other:?}"),
        }
    }
    within(worker.shutdown(SECOND)).await;
});

conformance!(a_join_wakes_when_the_job_ends_without_a_run, async |world: World| {
    let (job, other) = (texts(&world.open().await), texts(&world.open().await));
    for end in 0..2 {
        let id = submit(&job, "text").await;
        let waiting = tokio::spawn(job.join(id).forever().into_future());
        for _ in 0..fastrand::usize(..50) {
            tokio::task::yield_now().await;
        }
        if end == 0 {
            other.cancel(id).await.unwrap();
            assert!(matches!(within(waiting).await.unwrap().unwrap(), Joined::Cancelled { .. }));
        } else {
            other.remove(id).await.unwrap();
            assert!(matches!(within(waiting).await.unwrap().unwrap(), Joined::NotFound));
        }
    }
});

conformance!(a_result_of_another_type_is_a_decode_error, async |world: World| {
    let tide = world.open().await;
    let job = texts(&tide);
    let id = submit(&job, "text").await;
    let worker = job.process(echo).spawn();
    result(&job, &id).await;
    let numbers: Job<String, u64> = tide.job("texts").build().unwrap();
    assert_eq!(numbers.join(id).await.unwrap_err().kind(), ErrorKind::Decode);
    within(worker.shutdown(SECOND)).await;
});

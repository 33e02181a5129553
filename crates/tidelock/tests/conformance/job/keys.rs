//! Idempotency keys.

use super::*;
use tidelock::Timestamp;
use tidelock::job::{CancelOutcome, RetryOutcome};

async fn keyed(job: &Job<String, String>, key: &str) -> tidelock::job::Submitted {
    job.submit(&"text".to_owned()).dedup_key(key).await.expect("the backend answers")
}

conformance!(of_concurrent_submits_with_one_key_one_is_accepted, async |world: World| {
    let mut tasks = Vec::new();
    let tides = [world.open().await, world.open().await];
    for number in 0..50 {
        let job = texts(&tides[number % 2]);
        tasks.push(tokio::spawn(async move { keyed(&job, "k").await }));
    }
    let mut submitted = Vec::new();
    for task in tasks {
        submitted.push(task.await.unwrap());
    }
    assert_eq!(submitted.iter().filter(|one| !one.duplicate).count(), 1);
    assert!(submitted.iter().all(|one| one.id == submitted[0].id));
    assert_eq!(stats(&texts(&tides[0])).await.totals.submitted, 1);
});

conformance!(a_key_holds_while_the_record_exists, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let job: Job<String, String> = tide.job("texts").dedup_for(SECOND).retention(100 * SECOND).build().unwrap();
    let first = job.submit(&"text".to_owned()).dedup_key("k").delay(3 * SECOND).await.unwrap();
    let runs = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let worker = job.process_with(Arc::clone(&runs), async |runs, _, text| {
        if runs.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 5 {
            return Err(JobError::reschedule(SECOND));
        }
        Ok(text)
    });
    let worker = worker.spawn();
    let mut ended = std::pin::pin!(job.join(first.id).forever().into_future());
    loop {
        let again = keyed(&job, "k").await;
        assert!(again.duplicate && again.id == first.id);
        match tokio::time::timeout(5 * MS, &mut ended).await {
            Ok(joined) => break assert!(matches!(joined.unwrap(), Joined::Completed(_))),
            Err(_) => clock.advance(500 * MS),
        }
    }
    let ended = info(&job, &first.id).await;
    assert_eq!(ended.reschedules, 5);
    let kept_until = ended.kept_until.unwrap();
    clock.set(Timestamp::from_millis(kept_until.as_millis() - 1));
    assert!(keyed(&job, "k").await.duplicate);
    clock.set(kept_until);
    assert!(!keyed(&job, "k").await.duplicate);
    within(worker.shutdown(SECOND)).await;
});

conformance!(a_key_outlives_its_record_for_its_shortest_life, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let job: Job<String, String> = tide.job("texts").retention(SECOND).dedup_for(60 * SECOND).build().unwrap();
    let first = keyed(&job, "k").await;
    assert_eq!(job.cancel(first.id).await.unwrap(), CancelOutcome::Cancelled);
    clock.advance(30 * SECOND);
    assert!(job.get(first.id).await.unwrap().is_none());
    let again = keyed(&job, "k").await;
    assert!(again.duplicate && again.id == first.id, "after the record: the old id");
    clock.advance(30 * SECOND);
    assert!(!keyed(&job, "k").await.duplicate);
});

conformance!(a_key_while_active_ends_with_the_job, async |world: World| {
    let job = texts(&world.open().await);
    let active = async || job.submit(&"text".to_owned()).dedup_key("k").dedup_while_active().await.unwrap();
    let first = active().await;
    assert!(active().await.duplicate);
    job.cancel(first.id).await.unwrap();
    let second = active().await;
    assert!(!second.duplicate);
    assert_eq!(job.retry(first.id).await.unwrap(), RetryOutcome::KeyTaken(second.id));
    assert_eq!(state(&job, &first.id).await, JobState::Cancelled, "nothing changed");
    job.cancel(second.id).await.unwrap();
    assert_eq!(job.retry(first.id).await.unwrap(), RetryOutcome::Submitted);
    let again = active().await;
    assert!(again.duplicate && again.id == first.id, "the key is bound again");
});

conformance!(one_key_twice_in_a_batch_is_one_job, async |world: World| {
    let job = texts(&world.open().await);
    let (a, b) = ("a".to_owned(), "b".to_owned());
    let sent = job.submit_many([job.submit(&a).dedup_key("k"), job.submit(&b).dedup_key("k")]).await.unwrap();
    assert_eq!((sent[0].id, sent[0].duplicate, sent[1].duplicate), (sent[1].id, false, true));
    assert_eq!(info(&job, &sent[0].id).await.input.decode::<String>().unwrap(), "a", "the first one's input runs");
});

conformance!(a_removal_frees_the_key, async |world: World| {
    let job = texts(&world.open().await);
    let first = keyed(&job, "k").await;
    assert_eq!(job.remove(first.id).await.unwrap(), tidelock::Removed::Removed);
    assert!(!keyed(&job, "k").await.duplicate);
});

conformance!(no_id_that_was_answered_is_swallowed_at_the_end_of_a_key, async |world: World| {
    let tide = world.open().await;
    let job = texts(&tide);
    let worker = job.process(echo).concurrency(8).spawn();
    let mut ids = std::collections::HashSet::new();
    for _ in 0..crate::harness::scale(10_000) {
        let submitted = job.submit(&"text".to_owned()).dedup_key("k").dedup_while_active().await.unwrap();
        ids.insert(submitted.id);
    }
    for id in &ids {
        result(&job, id).await;
    }
    assert_eq!(stats(&job).await.totals.completed, ids.len() as u64);
    within(worker.shutdown(SECOND)).await;
});

//! The order in which jobs start.

use super::*;
use std::collections::{HashMap, HashSet};
use tidelock::{Backoff, Raw};

/// Runs the waiting jobs one at a time; returns their inputs in the order of their starts.
async fn order_of_starts(job: &Job<String, String>, count: usize) -> Vec<String> {
    let seen = Seen::default();
    let worker = job.process_with(seen.clone(), async |seen, _, text| {
        seen.add(&text);
        Ok(text)
    });
    let worker = worker.concurrency(1).spawn();
    until(async || worker.stats().completed == count as u64).await;
    within(worker.shutdown(SECOND)).await;
    seen.all()
}

conformance!(plain_jobs_go_in_submit_order, async |world: World| {
    let job = texts(&world.open().await);
    let texts: Vec<String> = (0..30).map(|number| number.to_string()).collect();
    for text in &texts {
        submit(&job, text).await;
    }
    assert_eq!(order_of_starts(&job, 30).await, texts);
});

conformance!(higher_priority_goes_first, async |world: World| {
    let job = texts(&world.open().await);
    for (text, priority) in [("a", 0), ("b", 5), ("c", 5), ("d", 9), ("e", 0)] {
        job.submit(&text.to_owned()).priority(priority).await.unwrap();
    }
    assert_eq!(order_of_starts(&job, 5).await, ["d", "b", "c", "a", "e"]);
});

conformance!(a_delayed_job_stands_behind_what_became_due_before_it, async |mut world: World| {
    let clock = world.pin();
    let job = texts(&world.open().await);
    job.submit(&"delayed".to_owned()).delay(SECOND).await.unwrap();
    submit(&job, "first").await;
    clock.advance(SECOND);
    clock.advance(MS);
    submit(&job, "last").await;
    assert_eq!(order_of_starts(&job, 3).await, ["first", "delayed", "last"]);
});

conformance!(one_job_of_an_ordering_key_runs_at_a_time, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let job: Job<String, String> =
        tide.job("texts").attempts(2).backoff(Backoff::fixed(SECOND).jitter(0.0)).build().unwrap();
    for (text, key) in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("plain", "")] {
        let text = text.to_owned();
        let request = job.submit(&text).priority(u8::from(text == "a2") * 9);
        if key.is_empty() { request.await } else { request.ordering_key(key).await }.unwrap();
    }
    assert_eq!(stats(&job).await.blocked, 1);
    let seen = Seen::default();
    let worker = job.process_with(seen.clone(), async |seen, ctx, text| {
        seen.add(&text);
        if text == "a1" && ctx.attempt() == 1 { Err("again".into()) } else { Ok(text) }
    });
    let worker = worker.concurrency(1).spawn();
    until(async || seen.len() == 3).await;
    assert_eq!(seen.all(), ["a1", "b1", "plain"], "a1 backs off and its key waits");
    until(async || worker.stats().retried == 1).await;
    clock.advance(SECOND);
    until(async || worker.stats().completed == 4).await;
    assert_eq!(seen.all()[3..], ["a1", "a2"]);
    within(worker.shutdown(SECOND)).await;
});

conformance!(keys_stay_in_order_over_workers_and_failures, async |world: World| {
    let tide = world.open().await;
    let job: Job<String, String> = tide.job("texts").attempts(50).build().unwrap();
    let count = crate::harness::scale(400);
    for number in 0..count {
        let key = format!("k{}", number % 8);
        job.submit(&number.to_string()).ordering_key(&key).meta("key", &key).await.unwrap();
    }
    let log = Arc::new(Mutex::new(HashMap::<String, Vec<usize>>::new()));
    let running = Arc::new(Mutex::new(HashSet::new()));
    let mut workers = Vec::new();
    for _ in 0..3 {
        let job = texts(&world.open().await);
        let worker = job.process_with((Arc::clone(&log), Arc::clone(&running)), async |(log, running), ctx, text| {
            let key = ctx.meta().get("key").unwrap().as_str().unwrap().to_owned();
            assert!(running.lock().unwrap().insert(key.clone()), "two of one key at once");
            tokio::task::yield_now().await;
            let failed = fastrand::u8(..10) == 0;
            if !failed {
                log.lock().unwrap().entry(key.clone()).or_default().push(text.parse().unwrap());
            }
            running.lock().unwrap().remove(&key);
            if failed { Err("again".into()) } else { Ok(text) }
        });
        workers.push(worker.concurrency(4).spawn());
    }
    until(async || stats(&job).await.completed == count as u64).await;
    let log = log.lock().unwrap();
    assert!(log.values().all(|numbers| numbers.is_sorted()), "{log:?}");
    assert_eq!(log.values().map(Vec::len).sum::<usize>(), count);
});

conformance!(lists_page_to_their_end_in_order, async |mut world: World| {
    let clock = world.pin();
    let job = texts(&world.open().await);
    let mut ids = Vec::new();
    for number in 0..25 {
        ids.push(submit(&job, &number.to_string()).await);
        clock.advance(MS);
    }
    let all = async |filter, limit| {
        let (mut found, mut page) = (Vec::new(), job.list(filter).limit(limit).await.unwrap());
        loop {
            found.extend(page.items.iter().map(|item| item.id));
            let Some(next) = page.next else { return found };
            page = job.list(filter).limit(limit).after(&next).await.unwrap();
        }
    };
    assert_eq!(all(JobFilter::Ready, 7).await, ids);
    for id in &ids {
        job.cancel(id).await.unwrap();
        clock.advance(MS);
    }
    let newest_first: Vec<_> = ids.iter().rev().copied().collect();
    assert_eq!(all(JobFilter::Cancelled, 10).await, newest_first);
    assert!(all(JobFilter::Ready, 7).await.is_empty());
    let delayed: Vec<_> =
        [3_u32, 1, 2].map(|seconds| (seconds, job.submit(&"x".to_owned()).delay(seconds * SECOND))).into();
    let mut by_due = Vec::new();
    for (seconds, request) in delayed {
        by_due.push((seconds, request.await.unwrap().id));
    }
    by_due.sort_unstable();
    assert_eq!(all(JobFilter::Delayed, 1).await, by_due.iter().map(|(_, id)| *id).collect::<Vec<_>>());
});

// A server's step reads at most 16 MiB for a list.
conformance!(lists_of_large_jobs_are_whole, async |world: World| {
    let job: Job<Raw, Raw> = world.open().await.job("large").payload_limit(16 << 20).build().unwrap();
    let mut ids = Vec::new();
    for priority in [0, 5, 0] {
        ids.push(job.submit(&Raw(vec![1; 9 << 20])).priority(priority).await.unwrap().id);
    }
    let listed = async |filter, limit| {
        let page = job.list(filter).limit(limit).await.unwrap();
        (page.items.iter().map(|item| item.id).collect::<Vec<_>>(), page.next.is_some())
    };
    assert_eq!(listed(JobFilter::Ready, 10).await, (vec![ids[1], ids[0], ids[2]], false));
    assert_eq!(listed(JobFilter::Ready, 2).await, (vec![ids[1], ids[0]], true));
    for id in &ids {
        job.cancel(id).await.unwrap();
    }
    let (cancelled, more) = listed(JobFilter::Cancelled, 10).await;
    assert_eq!((cancelled.len(), more), (3, false));
    let line = [0, 1, 2].map(|_| job.submit(&Raw(vec![1; 9 << 20])).ordering_key("line"));
    let mut ids = Vec::new();
    for submit in line {
        ids.push(submit.await.unwrap().id);
    }
    assert_eq!(listed(JobFilter::Ready, 10).await, (ids.clone(), false));
    assert_eq!(listed(JobFilter::Ready, 2).await, (ids[..2].to_vec(), true));
});

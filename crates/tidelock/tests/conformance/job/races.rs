//! Cancels that meet the start or the end of a run: state, answers, events and what handlers did must agree.

use super::*;
use crate::harness::scale;
use std::collections::HashMap;
use tidelock::job::{CancelOutcome, JobEventKind, RetryReason, StopReason};

/// Number of concurrent races.
const RACERS: usize = 8;

/// Yields a random number of times, so that either side may win the race.
async fn dawdle() {
    for _ in 0..fastrand::usize(..40) {
        tokio::task::yield_now().await;
    }
}

/// The outcome of a race.
struct Ended {
    text: String,
    /// A run was started before the job ended.
    started: bool,
    cancelled: bool,
}

/// Checks that everything reported about the job agrees with the answer to its cancel.
async fn ended(job: &Job<String, String>, id: &JobId, text: String, outcome: CancelOutcome) -> Ended {
    let (info, joined, events) = (info(job, id).await, within(job.join(id)).await.unwrap(), events(job, id).await);
    let kinds: Vec<_> = events.iter().map(|event| &event.kind).collect();
    let [JobEventKind::Submitted, between @ .., end] = kinds.as_slice() else { panic!("{text}: {kinds:?}") };
    assert!(end.is_terminal(), "{text}: {kinds:?}");
    let (mut started, mut runs) = (false, 0);
    for kind in between {
        match kind {
            JobEventKind::Started { attempt, .. } if !started && *attempt == runs + 1 => {
                (started, runs) = (true, *attempt);
            }
            // A worker that no longer needs a claim gives it back before any handler sees it.
            JobEventKind::Retry { reason: RetryReason::Released, .. } if started => started = false,
            _ => panic!("{text}: {kinds:?}"),
        }
    }
    assert_eq!((info.attempt, info.failures, info.crashes), (runs, 0, 0), "{info:?}");
    let cancelled = match (outcome, info.state, joined, end) {
        (CancelOutcome::Cancelled, JobState::Cancelled, Joined::Cancelled { .. }, JobEventKind::Cancelled { .. }) => {
            assert!(info.result.is_none(), "{info:?}");
            true
        }
        (
            CancelOutcome::AlreadyFinished(JobState::Completed),
            JobState::Completed,
            Joined::Completed(result),
            JobEventKind::Completed,
        ) => {
            assert!(started && result == text && info.result.is_some(), "{info:?}");
            false
        }
        other => panic!("{text}: {other:?}"),
    };
    Ended { text, started, cancelled }
}

/// Runs `race` for `count` jobs, several concurrently.
async fn races<F>(count: usize, race: impl Fn(usize, String) -> F) -> Vec<Ended>
where
    F: Future<Output = Ended> + Send + 'static,
{
    let mut racers = Vec::new();
    for racer in 0..RACERS {
        let races: Vec<_> = (racer..count).step_by(RACERS).map(|number| race(racer, number.to_string())).collect();
        racers.push(tokio::spawn(async move {
            let mut ends = Vec::new();
            for race in races {
                ends.push(race.await);
            }
            ends
        }));
    }
    let mut ends = Vec::new();
    for racer in racers {
        ends.extend(racer.await.unwrap());
    }
    assert_eq!(ends.len(), count);
    ends
}

/// How often handlers recorded each text.
fn counts(seen: &Seen) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for text in seen.all() {
        *counts.entry(text).or_default() += 1;
    }
    counts
}

conformance!(a_cancel_that_meets_the_start_of_a_run_has_one_outcome, async |world: World| {
    let (job, other) = (texts(&world.open().await), texts(&world.open().await));
    let (begun, told) = (Seen::default(), Seen::default());
    let worker = other.process_with((begun.clone(), told.clone()), async |(begun, told), ctx, text| {
        begun.add(&text);
        assert_eq!(ctx.cancelled().await, StopReason::Cancelled);
        told.add(&text);
        Ok(text)
    });
    // If a slot is free, a submit starts a job in its own step; otherwise the end of another run does.
    let worker = worker.concurrency(1).spawn();
    let ends = races(scale(10_000), |_, text| {
        let job = job.clone();
        async move {
            let id = submit(&job, &text).await;
            dawdle().await;
            let outcome = job.cancel(id).await.unwrap();
            ended(&job, &id, text, outcome).await
        }
    });
    let ends = ends.await;
    until(async || worker.stats().running == 0).await;
    let report = within(worker.shutdown(SECOND)).await;
    assert_eq!((report.completed, report.failed), (0, 0), "{report:?}");
    let (begun, told) = (counts(&begun), counts(&told));
    assert_eq!(begun, told, "whoever began was told");
    for Ended { text, started, cancelled } in &ends {
        assert!(*cancelled, "{text}: its handler waits for that");
        assert!(begun.get(text).copied().unwrap_or(0) <= usize::from(*started), "{text} began without a run");
    }
    let started = ends.iter().filter(|end| end.started).count();
    assert!(started > 0 && started < ends.len(), "{started} of {} were started", ends.len());
    let totals = stats(&job).await.totals;
    assert_eq!((totals.cancelled, totals.completed, totals.crashes), (ends.len() as u64, 0, 0), "{totals:?}");
    eprintln!("{} races, {started} were started, {} handlers began", ends.len(), begun.len());
});

conformance!(a_cancel_that_meets_the_end_of_a_run_has_one_outcome, async |world: World| {
    let (job, other) = (texts(&world.open().await), texts(&world.open().await));
    let (gates, done): (Arc<[Gate; RACERS]>, _) = (Arc::default(), Seen::default());
    let worker = other.process_with((Arc::clone(&gates), done.clone()), async |(gates, done), _, text: String| {
        gates[text.parse::<usize>()? % RACERS].pass().await;
        done.add(&text);
        Ok(text)
    });
    let worker = worker.concurrency(RACERS).spawn();
    let ends = races(scale(10_000), |racer, text| {
        let (job, gates) = (job.clone(), Arc::clone(&gates));
        async move {
            let id = submit(&job, &text).await;
            within(gates[racer].entered.notified()).await;
            let end = async {
                for _ in 0..fastrand::usize(..4) {
                    dawdle().await;
                }
                gates[racer].open.notify_one();
            };
            let cancel = async {
                dawdle().await;
                job.cancel(id).await.unwrap()
            };
            let ((), outcome) = tokio::join!(end, cancel);
            ended(&job, &id, text, outcome).await
        }
    });
    let ends = ends.await;
    until(async || worker.stats().running == 0).await;
    let report = within(worker.shutdown(SECOND)).await;
    let done = counts(&done);
    for Ended { text, started, .. } in &ends {
        assert!(*started && done.get(text) == Some(&1), "{text} was run to its end, once");
    }
    let cancelled = ends.iter().filter(|end| end.cancelled).count();
    assert!(cancelled > 0 && cancelled < ends.len(), "{cancelled} of {} were cancelled", ends.len());
    let (totals, completed) = (stats(&job).await.totals, (ends.len() - cancelled) as u64);
    assert_eq!((report.completed, report.failed), (completed, 0), "{report:?}");
    assert_eq!((totals.completed, totals.cancelled), (completed, cancelled as u64), "{totals:?}");
    assert_eq!(totals.crashes, 0, "{totals:?}");
    eprintln!("{} races, {cancelled} were cancelled, {} settles were stale", ends.len(), totals.stale);
});

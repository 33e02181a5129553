//! The states and their transitions, on the model alone.

mod accepting;

use std::sync::Arc;
use std::time::Duration;

use super::super::ears::News;
use super::super::policy::Policy;
use super::super::store::*;
use super::{Model, Now, WATCHED};
use crate::backoff::Backoff;

/// The time at which every test begins.
const T: u64 = 1_000_000;

struct Bench {
    model: Model,
    now: u64,
}

impl Bench {
    fn new() -> Self {
        Self { model: Model::default(), now: T }
    }

    fn step<R>(&mut self, operation: impl FnOnce(&mut Model, Now) -> R) -> R {
        let now = Now::from_millis(self.now);
        self.model.advance(now);
        let outcome = operation(&mut self.model, now);
        self.model.wake(now, |_| true);
        outcome
    }

    fn submit(&mut self, job: NewJob) -> Acceptance {
        match self.step(|model, now| model.submit(now, vec![job])) {
            Accepted::All(all) => all[0],
            full @ Accepted::Full { .. } => panic!("{full:?}"),
        }
    }

    fn new_id(&mut self, job: NewJob) -> u64 {
        match self.submit(job) {
            Acceptance::New { id } => id,
            other => panic!("{other:?}"),
        }
    }

    fn claim(&mut self, max: usize) -> Vec<Run> {
        let claim = Claim { max, worker: "w".into(), park: false };
        self.step(|model, now| model.claim(now, &"p".into(), &claim)).runs
    }

    fn claim_one(&mut self) -> Run {
        self.claim(1).pop().expect("something can be started")
    }

    fn settle(&mut self, run: &Run, action: Action) -> Settled {
        let settle = Settle { id: run.id, fence: run.fence, progress: None, action };
        self.step(|model, now| model.settle(now, vec![settle]))[0]
    }

    fn change(&mut self, change: Change) -> Changes {
        self.step(|model, now| model.change(now, change))
    }

    fn cancel(&mut self, id: u64) -> Changes {
        self.change(Change::Cancel { id, reason: Some("why".into()) })
    }

    fn look(&mut self, look: &Look) -> View {
        self.step(|model, now| model.look(now, &"p".into(), look, None))
    }

    fn view(&mut self, id: u64) -> JobView {
        match self.look(&Look::Get { id }) {
            View::Job(Some(job)) => *job,
            other => panic!("{other:?}"),
        }
    }

    fn is_gone(&mut self, id: u64) -> bool {
        self.look(&Look::Get { id }) == View::Job(None)
    }

    fn stats(&mut self) -> StatsView {
        match self.look(&Look::Stats) {
            View::Stats(stats) => *stats,
            other => panic!("{other:?}"),
        }
    }

    fn events(&mut self, id: u64) -> Vec<Happened> {
        match self.look(&Look::Events { id, after: 0, max: 1_000, park: false }) {
            View::Events(view) => view.events.into_iter().map(|(_, event)| event.happened).collect(),
            other => panic!("{other:?}"),
        }
    }
}

fn rules() -> Rules {
    Rules {
        attempts: 1,
        max_crashes: 5,
        lease: 1_000,
        timeout: None,
        stop_grace: 100,
        max_wait: Some(60_000),
        retention: 10_000,
        policy: Vec::new(),
    }
}

fn job() -> NewJob {
    let content = Content { payload: b"input".to_vec(), ..Content::default() };
    NewJob { content, due: Due::Now, priority: 0, key: None, rules: rules(), origin: None, max_depth: None }
}

fn keyed(text: &str, life: KeyLife) -> NewJob {
    NewJob { key: Some(Key { kind: KeyKind::Caller, text: text.into(), life }), ..job() }
}

fn scheduled(slot: u64, overlap: Overlapping) -> NewJob {
    let slot = Some(SlotNumber { revision: 1, slot });
    NewJob { origin: Some(Origin { series: "s".into(), slot, overlap, memory: 5_000, told: vec![7] }), ..job() }
}

fn failed() -> Action {
    Action::Fail { code: FailureCode::Error, message: "broke".into(), delay: 0 }
}

fn completed() -> Action {
    Action::Complete { result: b"42".to_vec() }
}

#[test]
fn a_job_runs_and_completes() {
    let mut bench = Bench::new();
    let id = bench.new_id(job());
    let run = bench.claim_one();
    assert_eq!((run.id, run.attempt), (id, 1));
    bench.now += 10;
    assert_eq!(bench.settle(&run, completed()), Settled::Ended(JobState::Completed));
    let view = bench.view(id);
    assert_eq!((view.state, view.result.as_deref()), (JobState::Completed, Some(&b"42"[..])));
    assert_eq!((view.started_at, view.finished_at, view.kept_until), (Some(T), Some(T + 10), Some(T + 10_010)));
    let expected = [
        Happened::Submitted,
        Happened::Started { attempt: 1, fence: run.fence, worker: "w".into() },
        Happened::Completed,
    ];
    assert_eq!(bench.events(id), expected);
}

#[test]
fn only_failures_are_compared_with_attempts() {
    let mut bench = Bench::new();
    let id = bench.new_id(NewJob { rules: Rules { attempts: 2, ..rules() }, ..job() });
    let run = bench.claim_one();
    assert_eq!(bench.settle(&run, Action::Release), Settled::Returned { due: T });
    let _ = bench.claim_one();
    bench.now += 1_000;
    let run = bench.claim_one();
    assert_eq!((run.attempt, run.failures, run.crashes), (3, 0, 1));
    let Settled::Returned { due } =
        bench.settle(&run, Action::Fail { code: FailureCode::Error, message: "a".into(), delay: 50 })
    else {
        panic!("the first failure is not the last")
    };
    assert_eq!(due, bench.now + 50);
    assert!(bench.claim(1).is_empty(), "it backs off");
    bench.now += 50;
    let run = bench.claim_one();
    assert_eq!(bench.settle(&run, failed()), Settled::Ended(JobState::Failed));
    let view = bench.view(id);
    assert_eq!((view.failures, view.crashes, view.attempt), (2, 1, 4));
    assert_eq!(view.last_failures.len(), 3);
}

#[test]
fn a_reschedule_begins_anew() {
    let mut bench = Bench::new();
    let id = bench.new_id(NewJob { rules: Rules { attempts: 2, ..rules() }, ..job() });
    let run = bench.claim_one();
    bench.settle(&run, failed());
    let run = bench.claim_one();
    assert_eq!(bench.settle(&run, Action::Reschedule { delay: 5 }), Settled::Returned { due: T + 5 });
    let view = bench.view(id);
    assert_eq!((view.failures, view.crashes, view.reschedules), (0, 0, 1));
}

#[test]
fn the_last_timeout_ends_timed_out_and_a_fatal_error_at_once() {
    let mut bench = Bench::new();
    bench.new_id(job());
    let run = bench.claim_one();
    let timeout = Action::Fail { code: FailureCode::Timeout, message: "slow".into(), delay: 0 };
    assert_eq!(bench.settle(&run, timeout), Settled::Ended(JobState::TimedOut));
    bench.new_id(NewJob { rules: Rules { attempts: 9, ..rules() }, ..job() });
    let run = bench.claim_one();
    let fatal = Action::Fail { code: FailureCode::Fatal, message: "no".into(), delay: 0 };
    assert_eq!(bench.settle(&run, fatal), Settled::Ended(JobState::Failed));
}

#[test]
fn a_lapsed_lease_is_a_crash_of_its_own_instant() {
    let mut bench = Bench::new();
    let id = bench.new_id(NewJob { rules: Rules { max_crashes: 2, ..rules() }, ..job() });
    let first = bench.claim_one();
    bench.now += 5_000;
    let view = bench.view(id);
    assert_eq!((view.state, view.due, view.crashes), (JobState::Submitted, T + 1_000, 1));
    assert_eq!(bench.settle(&first, completed()), Settled::Stale);
    let second = bench.claim_one();
    assert!(second.fence > first.fence);
    bench.now += 1_000;
    let view = bench.view(id);
    assert_eq!((view.state, view.last_failures[1].code), (JobState::Failed, FailureCode::Crashed));
    assert_eq!(view.finished_at, Some(T + 6_000));
    assert_eq!(bench.stats().totals.stale, 1);
}

#[test]
fn the_end_of_a_lease_that_is_the_limit_is_a_timeout_of_its_own_instant() {
    let backoff = Backoff::fixed(Duration::from_millis(50)).jitter(0.0);
    let policy = Policy { backoff: Some(backoff), manual_heartbeat: true, lease_is_limit: true };
    let rules = Rules { attempts: 2, max_crashes: 1, policy: policy.encode(), ..rules() };
    let mut bench = Bench::new();
    let id = bench.new_id(NewJob { rules, ..job() });
    let run = bench.claim_one();
    bench.now += 900;
    assert_eq!(bench.settle(&run, Action::Heartbeat { lease: None }), Settled::Renewed { left: 1_000 });
    bench.model.take_news();
    bench.now += 1_049;
    let view = bench.view(id);
    assert_eq!((view.state, view.due, view.failures), (JobState::Submitted, T + 1_950, 1));
    assert_eq!(bench.model.take_news(), [(Arc::from("p"), News::Lapsed(run.fence))]);
    assert_eq!(bench.settle(&run, completed()), Settled::Stale);
    assert!(bench.claim(1).is_empty(), "it backs off");
    bench.now += 1;
    let last = bench.claim_one();
    bench.now += 5_000;
    let view = bench.view(id);
    assert_eq!((view.state, view.finished_at), (JobState::TimedOut, Some(T + 2_950)));
    let retry = Happened::Retry {
        attempt: 1,
        reason: RetryReason::TimedOut,
        message: "job execution timed out".into(),
        next_at: T + 1_950,
    };
    let failed = Happened::Failed {
        code: FailureCode::Timeout,
        message: "job execution timed out".into(),
        attempt: last.attempt,
    };
    let events = bench.events(id);
    assert!(events.contains(&retry), "{events:?}");
    assert_eq!(events.last(), Some(&failed));
}

#[test]
fn beyond_timeout_and_grace_no_lease_is_renewed() {
    let mut bench = Bench::new();
    let rules = Rules { timeout: Some(1_500), ..rules() };
    bench.new_id(NewJob { rules, ..job() });
    let run = bench.claim_one();
    bench.now += 300;
    assert_eq!(bench.settle(&run, Action::Renew), Settled::Renewed { left: 1_000 });
    bench.now += 999;
    assert_eq!(bench.settle(&run, Action::Renew), Settled::Renewed { left: 1_000 });
    bench.now += 300;
    assert_eq!(bench.settle(&run, Action::Renew), Settled::Renewed { left: 1_000 });
    bench.now += 1;
    assert_eq!(bench.settle(&run, Action::Renew), Settled::Renewed { left: 999 });
    assert_eq!(bench.settle(&run, Action::Heartbeat { lease: Some(9_000) }), Settled::Renewed { left: 999 });
    bench.now += 999;
    assert_eq!(bench.settle(&run, Action::Renew), Settled::Stale);
}

#[test]
fn a_lease_lasts_beyond_timeout_and_grace_for_long_enough_to_settle() {
    // The lease, and how long it lasts beyond timeout and grace.
    for (lease, beyond) in [(200, 200), (5_000, 5_000), (600_000, 120_000)] {
        let mut bench = Bench::new();
        let rules = Rules { timeout: Some(lease * 3), lease, ..rules() };
        bench.new_id(NewJob { rules, ..job() });
        let run = bench.claim_one();
        let limit = T + lease * 3 + 100;
        while bench.now + lease / 2 < limit {
            bench.now += lease / 2;
            let left = lease.min(limit + beyond - bench.now);
            assert_eq!(bench.settle(&run, Action::Renew), Settled::Renewed { left });
        }
        bench.now = limit - 1;
        let left = lease.min(beyond + 1);
        assert_eq!(bench.settle(&run, Action::Heartbeat { lease: None }), Settled::Renewed { left });
        bench.now = limit;
        assert_eq!(
            bench.settle(&run, Action::Renew),
            Settled::Renewed { left: left - 1 },
            "it is not renewed any more"
        );
        bench.now = limit + left - 1;
        assert_eq!(bench.settle(&run, Action::Renew), Settled::Stale);
    }
}

#[test]
fn a_heartbeat_may_set_the_lease_from_then_on() {
    let mut bench = Bench::new();
    bench.new_id(job());
    let run = bench.claim_one();
    assert_eq!(bench.settle(&run, Action::Heartbeat { lease: Some(9_000) }), Settled::Renewed { left: 9_000 });
    bench.now += 8_000;
    assert_eq!(bench.settle(&run, Action::Renew), Settled::Renewed { left: 9_000 });
}

#[test]
fn a_repeated_settle_of_the_run_that_settled_is_answered_as_done() {
    let mut bench = Bench::new();
    bench.new_id(NewJob { rules: Rules { attempts: 2, ..rules() }, ..job() });
    let run = bench.claim_one();
    bench.settle(&run, failed());
    assert_eq!(bench.settle(&run, failed()), Settled::Returned { due: T });
    let run = bench.claim_one();
    bench.settle(&run, completed());
    assert_eq!(bench.settle(&run, completed()), Settled::Ended(JobState::Completed));
    assert_eq!(bench.stats().totals.stale, 0);
}

#[test]
fn a_cancel_is_final_and_pushed_to_the_run() {
    let mut bench = Bench::new();
    let id = bench.new_id(job());
    let run = bench.claim_one();
    bench.model.take_news();
    assert_eq!(bench.cancel(id), Changes::Done);
    assert_eq!(bench.model.take_news(), [(Arc::from("p"), News::Cancelled(run.fence))]);
    assert_eq!(bench.settle(&run, completed()), Settled::Cancelled);
    assert_eq!(bench.cancel(id), Changes::Refused(JobState::Cancelled));
    assert_eq!(bench.view(id).reason.as_deref(), Some("why"));
    let waiting = bench.new_id(job());
    assert_eq!(bench.cancel(waiting), Changes::Done);
    assert!(bench.claim(1).is_empty());
    assert_eq!(bench.stats().ready, 0);
}

#[test]
fn max_wait_counts_from_the_present_due_time() {
    let mut bench = Bench::new();
    let rules = Rules { max_wait: Some(100), attempts: 5, ..rules() };
    let delayed = bench.new_id(NewJob { rules: rules.clone(), due: Due::After(500), ..job() });
    bench.now += 500;
    let run = bench.claim_one();
    bench.settle(&run, Action::Fail { code: FailureCode::Error, message: "x".into(), delay: 300 });
    bench.now += 399;
    assert_eq!(bench.view(delayed).state, JobState::Submitted);
    bench.now += 1;
    let view = bench.view(delayed);
    assert_eq!((view.state, view.last_failures[1].code), (JobState::Failed, FailureCode::Expired));
}

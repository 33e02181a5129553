//! Inspection and administration of jobs.

use js_sys::Array;
use tidelock::job::{
    JobFailure, JobFilter, JobId, JobInfo, JobStats, JobSummary, List, Pause, Removed, RetryOutcome, RunLease, Totals,
};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use super::{RawJob, code_text, end_left};
use crate::call::{Answer, call};
use crate::listed::{changed, instant, instant_or_null, limited, list, page, paused, place, removed};
use crate::number::{count, js, js_millis, millis};
use crate::optional::{Optional as _, or_null};
use crate::text;

#[wasm_bindgen]
impl RawJob {
    /// Returns `[summary, input, result, [failure, ..]]`, or `null`.
    pub fn get(&self, id: &str) -> Answer {
        let Ok(id) = id.parse::<JobId>() else { return Ok(JsValue::NULL) };
        call(self.job.get(id), |found| found.map_or(JsValue::NULL, info))
    }

    /// Returns `[[summary, ..], next]`.
    pub fn list(&self, filter: &str, limit: usize, after: Option<String>) -> Answer {
        let filter = match filter {
            "ready" => JobFilter::Ready,
            "delayed" => JobFilter::Delayed,
            "running" => JobFilter::Running,
            "completed" => JobFilter::Completed,
            "cancelled" => JobFilter::Cancelled,
            "timed_out" => JobFilter::TimedOut,
            _ => JobFilter::Failed,
        };
        let request = self.job.list(filter).limit(limit);
        call(request.with(after, |request: List, after| request.after(&place(&after))), |found| page(found, summary))
    }

    /// Returns `[[ready, delayed, running, completed, failed, cancelled, timed out], oldest ready age, next due,
    /// [until, reason], [limit, per, used, window end], settling, [submitted, completed, failed, cancelled, timed out,
    /// retries, stale]]`.
    pub fn stats(&self) -> Answer {
        call(self.job.stats(), |stats| {
            let JobStats { ready, delayed, running, completed, failed, cancelled, timed_out, .. } = stats;
            let counts = numbers([ready, delayed, running, completed, failed, cancelled, timed_out]);
            let Totals { submitted, completed, failed, cancelled, timed_out, retries, stale, .. } = stats.totals;
            list([
                counts,
                or_null(stats.oldest_ready_age.map(js_millis)),
                instant_or_null(stats.next_due),
                paused(stats.paused),
                limited(stats.rate_limit),
                stats.settling.into(),
                numbers([submitted, completed, failed, cancelled, timed_out, retries, stale]),
            ])
        })
    }

    /// Returns `[outcome, state]`.
    pub fn retry(&self, id: &str) -> Answer {
        let Ok(id) = id.parse::<JobId>() else { return Ok(retried(&RetryOutcome::NotFound)) };
        call(self.job.retry(id), |outcome| retried(&outcome))
    }

    /// Returns the outcome.
    pub fn remove(&self, id: &str) -> Answer {
        let Ok(id) = id.parse::<JobId>() else { return Ok(removed(Removed::Absent)) };
        let job = self.job.clone();
        call(self.job.remove(id), move |outcome| {
            end_left(&job);
            removed(outcome)
        })
    }

    /// Returns whether this changed anything.
    pub fn pause(&self, for_at_most: f64, reason: Option<String>) -> Answer {
        let request = self.job.pause().with(millis(for_at_most), Pause::for_at_most);
        call(request.with(reason, |request, reason| request.reason(&reason)), changed)
    }

    /// Returns whether this changed anything.
    pub fn resume(&self) -> Answer {
        call(self.job.resume(), changed)
    }

    /// Returns whether this changed anything.
    pub fn set_rate_limit(&self, limit: f64, per: f64) -> Answer {
        call(self.job.set_rate_limit(count(limit).unwrap_or(0), millis(per).unwrap_or_default()), changed)
    }

    /// Returns whether this changed anything.
    pub fn remove_rate_limit(&self) -> Answer {
        call(self.job.remove_rate_limit(), changed)
    }
}

fn numbers<const N: usize>(numbers: [u64; N]) -> JsValue {
    numbers.into_iter().map(|number| JsValue::from(js(number))).collect::<Array>().into()
}

fn retried(outcome: &RetryOutcome) -> JsValue {
    match outcome {
        RetryOutcome::Submitted => list(["submitted".into()]),
        RetryOutcome::NotRetryable(state) => list(["not_retryable".into(), state.to_string().into()]),
        // Not found. The key cannot be taken: a job of a page keeps its key as long as it exists.
        _ => list(["not_found".into()]),
    }
}

/// `[id, state, attempt, failures, attempts, submitted at, due, started at, finished at, expires at, kept until, key,
/// [worker, end], fence, steps, progress, failure, cancel reason]`.
fn summary(summary: JobSummary) -> JsValue {
    let lease = |RunLease { worker, end, .. }: RunLease| list([worker.into(), instant(end)]);
    list([
        summary.id.to_string().into(),
        summary.state.to_string().into(),
        js(summary.attempt).into(),
        summary.failures.into(),
        summary.attempts.into(),
        instant(summary.submitted_at),
        instant(summary.due),
        instant_or_null(summary.started_at),
        instant_or_null(summary.finished_at),
        instant_or_null(summary.expires_at),
        instant_or_null(summary.kept_until),
        or_null(summary.dedup_key),
        summary.lease.map_or(JsValue::NULL, lease),
        js(summary.fence).into(),
        js(summary.steps).into(),
        or_null(summary.progress.map(|progress| text(progress.as_bytes()))),
        summary.last_failure.map_or(JsValue::NULL, failure),
        or_null(summary.cancel_reason),
    ])
}

fn info(info: JobInfo) -> JsValue {
    let failures: Array = info.last_failures.into_iter().map(failure).collect();
    let result = or_null(info.result.map(|result| text(result.as_bytes())));
    list([summary(info.summary), text(info.input.as_bytes()), result, failures.into()])
}

/// `[message, code, attempt, at]`.
fn failure(JobFailure { code, message, attempt, at, .. }: JobFailure) -> JsValue {
    list([message.into(), code_text(code).into(), js(attempt).into(), instant(at)])
}

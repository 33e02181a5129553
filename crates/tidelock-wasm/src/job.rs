//! Jobs of the page, as seen by one handle.

mod events;
mod look;
mod reader;
mod run;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use js_sys::{Array, Function};
use send_wrapper::SendWrapper;
use tidelock::job::{FailureCode, JobFailure, JobId, JobInfo, JobState, Joined, RunningJobWorker, Submit};
use tidelock::web::{self, Begun, begin};
use tidelock::{Backoff, Job, Raw, Timestamp};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

pub use self::events::RawJobEvents;
pub use self::reader::{RawJobDelivery, RawJobReader};
pub use self::run::RawRun;

use crate::call::{Answer, begun, call};
use crate::error::thrown;
use crate::given::settle_down;
use crate::number::{count, js, millis};
use crate::optional::Optional as _;
use crate::page;
use crate::tenants::name;
use crate::{PAYLOAD_LIMIT, text};

/// The jobs of one name, and the worker of one handle.
#[wasm_bindgen]
#[derive(Debug)]
pub struct RawJob {
    job: Job<Raw, Raw>,
    worker: Rc<Worker>,
}

/// The worker of a handle.
#[derive(Debug, Default)]
struct Worker {
    /// The handler holds the worker too, so nothing of it may be dropped while a handler runs.
    running: RefCell<Option<RunningJobWorker>>,
    /// It ends after its current run.
    ending: Cell<bool>,
}

impl Worker {
    /// Ends the worker, which must be idle.
    fn end(&self) {
        // Not under the borrow: dropping the worker may access this cell.
        let running = self.running.take();
        drop(running);
    }
}

/// A worker whose handle has been dropped, with its jobs: it continues while there is work.
type Left = (Job<Raw, Raw>, Rc<Worker>);

std::thread_local! {
    static LEFT: RefCell<Vec<Left>> = RefCell::default();
}

fn is_left(job: &Job<Raw, Raw>) -> bool {
    LEFT.with_borrow(|left| left.iter().any(|(other, _)| other.id() == job.id()))
}

fn is_done(job: &Job<Raw, Raw>) -> bool {
    let stats = begin(Box::pin(job.stats().into_future()));
    matches!(stats, Begun::Ready(Ok(stats)) if stats.ready + stats.delayed + stats.running == 0)
}

/// Ends the dropped handles' workers of this name, if they have nothing to do.
fn end_left(job: &Job<Raw, Raw>) {
    if !is_left(job) || !is_done(job) {
        return;
    }
    let (ended, left): (Vec<Left>, _) = LEFT.take().into_iter().partition(|(other, _)| other.id() == job.id());
    LEFT.set(left);
    for (_, worker) in ended {
        worker.end();
    }
    settle_down();
}

/// As [`end_left`], after the current run has ended.
fn end_left_later(job: &Job<Raw, Raw>) {
    if is_left(job) {
        let job = job.clone();
        // It does not throw, and it runs although nobody waits.
        let _ = begun(async move {
            web::pause(Duration::ZERO).await;
            end_left(&job);
            Ok(JsValue::UNDEFINED)
        });
    }
}

impl Drop for RawJob {
    fn drop(&mut self) {
        if self.worker.running.borrow().is_some() {
            LEFT.with_borrow_mut(|left| left.push((self.job.clone(), Rc::clone(&self.worker))));
            end_left(&self.job);
        }
    }
}

#[wasm_bindgen]
impl RawJob {
    /// The jobs of this name in the page.
    #[wasm_bindgen(constructor)]
    pub fn new(id: &str) -> Result<RawJob, JsValue> {
        let job = page::world().job::<Raw, Raw>(&name(id)).payload_limit(PAYLOAD_LIMIT);
        let job = web::lease_is_limit(job).build().map_err(|error| thrown(&error))?;
        Ok(Self { job, worker: Rc::default() })
    }

    /// Returns the id. `rules` are: key lifetime, delay, instant, attempts, lease; and of the backoff base, maximum,
    /// factor and jitter.
    pub fn submit(&self, value: String, key: Option<String>, rules: &[f64]) -> Answer {
        let request = with_rules(self.job.submit(&Raw(value.into_bytes())), rules)
            .with(key, |request, key| request.dedup_key(&name(&key)));
        call(request, |submitted| submitted.id.to_string().into())
    }

    /// Starts the worker. `handler` is called with a [`RawRun`], the value, and a function that takes the outcome of
    /// the run: the result, or `[message, code]`. It returns a function to be called if the run ends before that: with
    /// true if it took too long, with false if it was cancelled.
    pub fn work(&self, handler: Function) {
        self.worker.ending.set(false);
        if self.worker.running.borrow().is_some() {
            return;
        }
        let (handler, worker) = (SendWrapper::new(handler), SendWrapper::new(Rc::clone(&self.worker)));
        let job = self.job.clone();
        let spawned = self.job.process(move |context, input: Raw| {
            let (run, worker, job) = (run::run(&handler, context, input), Rc::clone(&worker), job.clone());
            SendWrapper::new(async move {
                let outcome = run.await;
                if worker.ending.get() {
                    worker.end();
                }
                end_left_later(&job);
                outcome
            })
        });
        *self.worker.running.borrow_mut() = Some(spawned.spawn());
        settle_down();
    }

    /// Stops the worker after its current run.
    pub fn stop(&self) {
        let runs = self.worker.running.borrow().as_ref().is_some_and(|worker| worker.stats().running > 0);
        self.worker.ending.set(runs);
        if !runs {
            self.worker.end();
            settle_down();
        }
    }

    /// Returns `[status, finished at, result, message, code]` of a job that has ended, `false` if it has not, `null` if
    /// there is no such job. Without `wait` there is no limit.
    pub fn join(&self, id: &str, wait: f64) -> Answer {
        let Ok(id) = id.parse::<JobId>() else { return Ok(JsValue::NULL) };
        let job = self.job.clone();
        begun(async move {
            let join = job.join(id);
            let join = match millis(wait) {
                Some(wait) => join.wait(wait),
                None => join.forever(),
            };
            match join.await.map_err(|error| thrown(&error))? {
                Joined::StillRunning(_) => Ok(JsValue::FALSE),
                Joined::NotFound => Ok(JsValue::NULL),
                // Only the record tells when the job ended.
                _ => Ok(job.get(id).await.map_err(|error| thrown(&error))?.map_or(JsValue::NULL, shown)),
            }
        })
    }

    /// Cancels a job that has not ended.
    pub fn cancel(&self, id: &str, reason: Option<String>) -> Answer {
        let Ok(id) = id.parse::<JobId>() else { return Ok(JsValue::UNDEFINED) };
        let request = self.job.cancel(id).with(reason, |request, reason| request.reason(&reason));
        let job = self.job.clone();
        call(request, move |_| {
            end_left(&job);
            JsValue::UNDEFINED
        })
    }

    /// A reader of a group on the events of a job.
    pub fn reader(&self, id: &str, group: &str) -> Result<RawJobReader, JsValue> {
        RawJobReader::new(&self.job, id, group)
    }

    /// Returns a [`RawJobEvents`] after this position.
    pub fn follow(&self, id: &str, after: Option<String>) -> Answer {
        events::follow(&self.job, id, after)
    }
}

fn with_rules(request: Submit<Raw>, rules: &[f64]) -> Submit<Raw> {
    let &[key_for, delay, at, attempts, lease, base, max, factor, jitter] = rules else { return request };
    let attempts = count(attempts).map(|attempts| u32::try_from(attempts).unwrap_or(u32::MAX));
    let max = millis(max).unwrap_or(Duration::MAX);
    let backoff = millis(base).map(|base| Backoff::exponential(base).factor(factor).max(max).jitter(jitter));
    request
        .with(millis(key_for), Submit::dedup_for)
        .with(millis(delay), Submit::delay)
        .with(count(at).map(Timestamp::from_millis), Submit::at)
        .with(attempts, Submit::attempts)
        .with(millis(lease), Submit::lease)
        .with(backoff, Submit::backoff)
}

fn shown(info: JobInfo) -> JsValue {
    let JobInfo { summary, result, .. } = info;
    let finished = summary.finished_at.map_or(f64::NAN, |at| js(at.as_millis()));
    let shown = Array::of2(&summary.state.to_string().into(), &finished.into());
    let failure = match summary.state {
        JobState::Completed => {
            let result = result.map_or(JsValue::UNDEFINED, |result| text(result.as_bytes()));
            shown.push(&result);
            return shown.into();
        }
        JobState::Cancelled => summary.cancel_reason.map(|reason| (reason, "CANCELLED")),
        _ => summary.last_failure.map(|JobFailure { message, code, .. }| (message, code_text(code))),
    };
    if let Some((message, code)) = failure {
        shown.push(&JsValue::UNDEFINED);
        shown.push(&message.into());
        shown.push(&code.into());
    }
    shown.into()
}

/// The text of a code; empty for an ordinary error.
fn code_text(code: FailureCode) -> &'static str {
    match code {
        FailureCode::Fatal => "FATAL",
        FailureCode::Timeout => "TIMEOUT",
        FailureCode::Crashed => "CRASHED",
        FailureCode::Expired => "EXPIRED",
        FailureCode::Undecodable => "UNDECODABLE",
        FailureCode::Unencodable => "UNENCODABLE",
        _ => "",
    }
}

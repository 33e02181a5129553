//! One run: its handler in a separate task, and what follows from its outcome.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tracing::Instrument;

use super::shared::{Beginning, Shared};
use crate::counters::Going;
use crate::error::{Error, panic_text};
use crate::handover::{MAX_ERROR, cut};
use crate::job::context::JobContext;
use crate::job::failure::{JobError, Remedy};
use crate::job::held::Held;
use crate::job::observe::{self, Ended};
use crate::job::stop::StopReason;
use crate::job::store::{Action, FailureCode};

/// The outcome of a handler.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The encoded result.
    Done(Vec<u8>),
    Failed(JobError),
    /// The message of the panic.
    Panicked(String),
    /// The input does not decode to the worker's type.
    Undecodable(Error),
    /// The result cannot be encoded, or is too large.
    Unencodable(Error),
    /// It was dropped before it ended.
    Dropped,
}

impl Outcome {
    /// The reason if it is a failure.
    fn why(&self) -> Option<&'static str> {
        match self {
            Self::Done(_) => None,
            Self::Failed(_) => Some("error"),
            Self::Panicked(_) => Some("panic"),
            Self::Undecodable(_) => Some("undecodable"),
            Self::Unencodable(_) => Some("unencodable"),
            Self::Dropped => Some("dropped"),
        }
    }
}

/// The slot of a handler. It is freed when the handler's future is gone, however that ended.
struct Slot {
    shared: Arc<Shared>,
    held: Arc<Held>,
    outcome: Outcome,
    /// The running measurement of a handler that was started, if there is a recorder.
    running: Option<Going>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        if std::thread::panicking() && matches!(self.outcome, Outcome::Dropped) {
            self.outcome = Outcome::Panicked("while its future was dropped".into());
        }
        let outcome = std::mem::replace(&mut self.outcome, Outcome::Dropped);
        self.shared.finish(&self.held, outcome, self.running.take());
    }
}

/// Runs the handler to its end, or until it must be dropped. Frees the slot even if it is dropped before it was
/// polled.
pub(super) fn run(shared: Arc<Shared>, Beginning { held, older }: Beginning) -> impl Future<Output = ()> + Send {
    let slot = Slot { shared, held, outcome: Outcome::Dropped, running: None };
    async move {
        let mut slot = slot;
        slot.running = observe::begin(&slot.held);
        slot.outcome = handle(&slot.shared, &slot.held, older).await;
    }
}

async fn handle(shared: &Shared, held: &Arc<Held>, older: Vec<Arc<Held>>) -> Outcome {
    let span = observe::process_span(held);
    let context = JobContext { held: Arc::clone(held) };
    // A panic while the handler's future is created counts as a panic of the handler.
    let handler = async {
        for earlier in older {
            earlier.gone().await;
            if held.stop_reason().is_some() {
                return Outcome::Dropped;
            }
        }
        // The run was cancelled, or lost, before it began.
        if matches!(held.stop_reason(), Some(StopReason::Cancelled | StopReason::LeaseLost)) {
            return Outcome::Dropped;
        }
        match (shared.plan.handler)(context) {
            Ok(handler) => handler.await,
            Err(error) => Outcome::Undecodable(error),
        }
    };
    let told = span.clone();
    let handler = AssertUnwindSafe(handler.instrument(span)).catch_unwind();
    let outcome = tokio::select! {
        biased;
        outcome = handler => outcome.unwrap_or_else(|panic| Outcome::Panicked(panic_text(&*panic).to_owned())),
        () = held.dropped() => Outcome::Dropped,
    };
    if let Some(why) = outcome.why() {
        observe::failed(&told, why);
    }
    outcome
}

/// A handler's outcome for metrics; `None` if it was never called.
pub(super) fn ended(reason: Option<StopReason>, outcome: &Outcome) -> Option<Ended> {
    Some(match (reason, outcome) {
        (_, Outcome::Undecodable(_)) => return None,
        (Some(StopReason::LeaseLost), _) => Ended::LeaseLost,
        (Some(StopReason::Cancelled), _) => Ended::Cancelled,
        (Some(StopReason::Timeout), _) => Ended::Timeout,
        (_, Outcome::Done(_)) => Ended::Ok,
        (_, Outcome::Failed(error)) if matches!(error.remedy, Remedy::Reschedule(_)) => Ended::Rescheduled,
        (_, Outcome::Failed(_)) => Ended::Error,
        (_, Outcome::Panicked(_)) => Ended::Panic,
        (_, Outcome::Unencodable(_)) => Ended::Unencodable,
        (_, Outcome::Dropped) => Ended::Dropped,
    })
}

/// The action to send for a run with this outcome; `None` if the run was over before.
pub(super) fn verdict(held: &Held, reason: Option<StopReason>, outcome: Outcome) -> Option<Action> {
    match (reason, outcome) {
        (Some(StopReason::LeaseLost | StopReason::Cancelled), _) => None,
        (_, Outcome::Undecodable(error)) => {
            observe::undecodable(held, &error.to_string());
            Some(failed(FailureCode::Undecodable, &error.to_string(), 0))
        }
        (Some(StopReason::Timeout), _) => Some(timed_out(held)),
        (_, Outcome::Done(result)) => Some(Action::Complete { result }),
        (_, Outcome::Unencodable(error)) => Some(failed(FailureCode::Unencodable, &error.to_string(), 0)),
        (Some(StopReason::Shutdown), _) | (None, Outcome::Dropped) => Some(Action::Release),
        (None, Outcome::Failed(error)) => Some(by_remedy(held, &error)),
        (None, Outcome::Panicked(text)) => {
            let text = format!("the handler panicked: {text}");
            Some(failed(FailureCode::Error, &text, backoff(held)))
        }
    }
}

fn by_remedy(held: &Held, error: &JobError) -> Action {
    let message = error.text();
    match error.remedy {
        Remedy::ByBackoff => Action::Fail { code: FailureCode::Error, message, delay: backoff(held) },
        Remedy::After(delay) => Action::Fail { code: FailureCode::Error, message, delay },
        Remedy::Reschedule(delay) => Action::Reschedule { delay },
        Remedy::End(code) => Action::Fail { code, message, delay: 0 },
    }
}

fn timed_out(held: &Held) -> Action {
    let timeout = Duration::from_millis(held.run.rules.timeout.unwrap_or_default());
    failed(FailureCode::Timeout, &format!("the run did not end within {timeout:?}"), backoff(held))
}

fn failed(code: FailureCode, message: &str, delay: u64) -> Action {
    Action::Fail { code, message: cut(message, MAX_ERROR), delay }
}

/// The pause after this failure, by the job's backoff.
fn backoff(held: &Held) -> u64 {
    held.policy.delay(held.run.failures.saturating_add(1), fastrand::f64())
}

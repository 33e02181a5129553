//! Retried calls.

use std::cell::RefCell;

use tidelock::web::RetryCourse;
use tidelock::{GaveUp, RetryBudget, RetryPolicy, RetryPolicyBuilder};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::error::thrown;
use crate::number::{count, js_millis, millis};
use crate::optional::Optional as _;

/// The decisions between the attempts of one call.
#[wasm_bindgen]
#[derive(Debug)]
pub struct RawRetry {
    course: RefCell<RetryCourse>,
}

#[wasm_bindgen]
impl RawRetry {
    /// Begins a call. Without `attempts` their number is unlimited.
    #[wasm_bindgen(constructor)]
    pub fn new(
        attempts: f64,
        min_delay: f64,
        max_delay: f64,
        factor: f64,
        jitter: f64,
        attempt_timeout: f64,
        deadline: f64,
    ) -> Result<RawRetry, JsValue> {
        let policy = RetryPolicy::builder()
            .unlimited()
            .factor(factor)
            .jitter(jitter)
            .with(count(attempts), |policy, attempts| policy.attempts(u32::try_from(attempts).unwrap_or(u32::MAX)))
            .with(millis(min_delay), RetryPolicyBuilder::min_delay)
            .with(millis(max_delay), RetryPolicyBuilder::max_delay)
            .with(millis(attempt_timeout), RetryPolicyBuilder::attempt_timeout)
            .with(millis(deadline), RetryPolicyBuilder::deadline);
        let policy = policy.build().map_err(|error| thrown(&error))?;
        Ok(Self { course: RefCell::new(RetryCourse::begin(policy)) })
    }

    /// Limits the retries by a budget.
    pub fn limit(&self, budget: &RawRetryBudget) {
        self.course.borrow_mut().limit(&budget.budget);
    }

    /// Begins an attempt; returns its number, or NaN if the deadline has passed.
    pub fn next(&self) -> f64 {
        self.course.borrow_mut().next_attempt().map_or(f64::NAN, f64::from)
    }

    /// The time until the running attempt is cut off; NaN if it never is.
    pub fn left(&self) -> f64 {
        self.course.borrow().left().map_or(f64::NAN, js_millis)
    }

    /// The pause after an attempt that was cut off or failed with a transient error, or why the call gives up.
    pub fn pause(&self, cut_off: bool, stopped: bool, hint: f64) -> JsValue {
        match self.course.borrow_mut().pause(cut_off, stopped, millis(hint)) {
            Ok(pause) => js_millis(pause).into(),
            Err(reason) => reason_name(reason).into(),
        }
    }

    /// Called when an attempt returned a value.
    pub fn succeeded(&self) {
        self.course.borrow().succeeded();
    }

    /// Number of attempts begun.
    #[wasm_bindgen(getter)]
    pub fn attempts(&self) -> f64 {
        self.course.borrow().attempts().into()
    }

    /// Milliseconds since the call began.
    #[wasm_bindgen(getter)]
    pub fn elapsed(&self) -> f64 {
        js_millis(self.course.borrow().elapsed())
    }
}

/// A limit for the retries of all calls that share it.
#[wasm_bindgen]
#[derive(Debug)]
pub struct RawRetryBudget {
    budget: RetryBudget,
}

#[wasm_bindgen]
impl RawRetryBudget {
    /// A full budget.
    #[wasm_bindgen(constructor)]
    pub fn new(capacity: u32, per_second: f64, per_success: f64) -> Result<RawRetryBudget, JsValue> {
        let budget = RetryBudget::builder().capacity(capacity).per_second(per_second).per_success(per_success);
        Ok(Self { budget: budget.build().map_err(|error| thrown(&error))? })
    }
}

fn reason_name(reason: GaveUp) -> &'static str {
    match reason {
        GaveUp::Attempts => "attempts",
        GaveUp::Deadline => "deadline",
        GaveUp::HintTooLong => "hint_too_long",
        GaveUp::Budget => "budget",
        GaveUp::Stopped => "stopped",
        GaveUp::ShuttingDown => "shutting_down",
        _ => "not_retryable",
    }
}

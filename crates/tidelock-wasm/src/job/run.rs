//! One run: a JavaScript handler, which cannot be dropped.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use js_sys::{Array, Function};
use tidelock::job::{FailureCode, Heartbeat, JobContext, JobError, StopReason};
use tidelock::{Raw, web};
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};

use crate::call::{Answer, begun, call};
use crate::error::thrown;
use crate::given::given;
use crate::number::millis;
use crate::optional::Optional as _;
use crate::tenants::name;
use crate::text;

/// A run, as its handler sees it.
#[wasm_bindgen]
pub struct RawRun {
    context: JobContext,
}

#[wasm_bindgen]
impl RawRun {
    /// Restarts the lease of the run.
    pub fn heartbeat(&self, lease: f64) -> Answer {
        let request = self.context.heartbeat().with(millis(lease), Heartbeat::lease);
        call(request, |()| JsValue::UNDEFINED)
    }

    /// Reports the progress of the run.
    pub fn progress(&self, value: String) -> Result<(), JsValue> {
        web::job_progress(&self.context, value.into_bytes()).map_err(|error| thrown(&error))
    }

    /// Returns the stored value of a step. If there is none, calls `body` with a function that takes the value, and
    /// stores it; `undefined` means failure: nothing is stored, and `undefined` is returned.
    pub fn step(&self, id: &str, body: Function) -> Answer {
        let (context, id) = (self.context.clone(), name(id).into_owned());
        begun(async move {
            let run = || async move {
                let (given, give) = given();
                body.call1(&JsValue::UNDEFINED, &give).map_err(|_| failed())?;
                let value = given.await.as_string().ok_or_else(failed)?;
                Ok(Raw(value.into_bytes()))
            };
            match context.step(&id, run).await {
                Ok(Raw(value)) => Ok(text(&value)),
                Err(error) => match error.error().and_then(|error| error.downcast_ref::<tidelock::Error>()) {
                    Some(error) => Err(thrown(error)),
                    None => Ok(JsValue::UNDEFINED),
                },
            }
        })
    }
}

/// The failure of a step; JavaScript knows the details.
fn failed() -> JobError {
    "the step has failed".into()
}

impl fmt::Debug for RawRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RawRun").field(&self.context).finish()
    }
}

/// Runs a handler: resolves to its result, or to the end of the run if that comes first.
pub(super) fn run(
    handler: &Function,
    context: JobContext,
    Raw(input): Raw,
) -> impl Future<Output = Result<Raw, JobError>> + use<> {
    let (mut outcome, give) = given();
    let begun = handler.call3(&JsValue::UNDEFINED, &RawRun { context: context.clone() }.into(), &text(&input), &give);
    async move {
        let mut over = pin!(context.cancelled());
        let come = poll_fn(|polling| {
            // A result counts even if the run ends at the same time; then it is stale.
            if let Poll::Ready(given) = Pin::new(&mut outcome).poll(polling) {
                return Poll::Ready(Ok(given));
            }
            over.as_mut().poll(polling).map(Err)
        });
        match come.await {
            Ok(given) => came_to(&given),
            Err(reason) => {
                if let Some(stop) = begun.ok().and_then(|stop| stop.dyn_into::<Function>().ok()) {
                    let took_too_long = reason == StopReason::LeaseLost;
                    // It does not throw; and the run is over, whatever the handler does.
                    let _ = stop.call1(&JsValue::UNDEFINED, &took_too_long.into());
                }
                Err("the run is over".into())
            }
        }
    }
}

fn came_to(given: &JsValue) -> Result<Raw, JobError> {
    if let Some(result) = given.as_string() {
        return Ok(Raw(result.into_bytes()));
    }
    let failure = given.unchecked_ref::<Array>();
    let message = failure.get(0).as_string().unwrap_or_default();
    match failure.get(1).as_string().as_deref() {
        Some("UNDECODABLE") => Err(web::job_ends(FailureCode::Undecodable, message)),
        Some("UNENCODABLE") => Err(web::job_ends(FailureCode::Unencodable, message)),
        _ => Err(message.into()),
    }
}

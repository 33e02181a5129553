//! What a scheduler needs from the TypeScript layer: calling targets, storing slots, reporting events.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use js_sys::{Array, Date, Object, Reflect};
use send_wrapper::SendWrapper;
use tidelock::job::JobId;
use tidelock::scheduler::{Happening, LostBy, Rejected, SchedulerEvent, SkippedBy, Slot, Trigger};
use tidelock::{Result, Timestamp, web};
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};

use crate::given::given;
use crate::number::js;
use crate::tenants::name;

#[wasm_bindgen]
extern "C" {
    /// The TypeScript side of a handle.
    pub type Surface;
    /// Whether a started handle of the page has a target.
    #[wasm_bindgen(method, js_name = isServed)]
    fn is_served(this: &Surface, name: &str) -> bool;
    /// Whether this handle has the target.
    #[wasm_bindgen(method, js_name = isHere)]
    fn is_here(this: &Surface, name: &str) -> bool;
    /// Calls a target for a slot, or for a trigger without one; `give` takes `[id]` or `[undefined, error, text, is
    /// final]`.
    #[wasm_bindgen(method)]
    fn call(this: &Surface, name: &str, slot: f64, key: Option<String>, give: JsValue);
    /// All slots of the schedule up to this one have been decided.
    #[wasm_bindgen(method, catch)]
    fn decided(this: &Surface, schedule: &str, slot: f64) -> std::result::Result<(), JsValue>;
    /// Reports an event.
    #[wasm_bindgen(method)]
    fn tell(this: &Surface, event: JsValue);
}

/// The exception of a target.
pub(super) struct Thrown {
    pub(super) value: SendWrapper<JsValue>,
    text: String,
}

impl fmt::Display for Thrown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Thrown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Thrown").field(&self.text).finish()
    }
}

impl std::error::Error for Thrown {}

/// From here on, numbers stand for ids that are not numbers themselves.
const FIRST_STAND_IN: u64 = 1 << 53;
/// How long the number of an id is remembered, in ms: longer than it takes to report a slot to everyone.
const SHORT: f64 = 600_000.0;

/// The adapter between a scheduler and its TypeScript layer.
pub(super) struct Desk {
    surface: Surface,
    /// Ids of jobs that are not numbers, by the numbers that stand for them, and how long they are needed.
    jobs: RefCell<HashMap<u64, (String, f64)>>,
    next: Cell<u64>,
    /// How long the job of a key is remembered.
    memory: f64,
    /// Keys of triggers in progress, by their names in the core, and the number of triggers that use each.
    keys: RefCell<HashMap<String, (String, usize)>>,
}

impl Desk {
    pub(super) fn new(surface: Surface, memory: f64) -> Self {
        let (jobs, keys) = Default::default();
        Self { surface, jobs, next: Cell::new(FIRST_STAND_IN), memory, keys }
    }

    pub(super) fn targets(desk: &Rc<Self>) -> Arc<dyn web::Targets> {
        Arc::new(Targets(SendWrapper::new(Rc::clone(desk))))
    }

    pub(super) fn observer(desk: &Rc<Self>) -> impl Fn(&SchedulerEvent) + Send + Sync + 'static + use<> {
        let desk = SendWrapper::new(Rc::clone(desk));
        move |event| {
            if let Some(shown) = desk.shown(event) {
                desk.surface.tell(shown);
            }
        }
    }

    /// Remembers a key as long as the returned value lives.
    pub(super) fn remember(desk: &Rc<Self>, key: String) -> Remembered {
        let short = name(&key).into_owned();
        desk.keys.borrow_mut().entry(short.clone()).or_insert((key, 0)).1 += 1;
        Remembered { desk: Rc::clone(desk), short }
    }

    /// The number of a job for the core.
    fn job_number(&self, id: String, life: f64) -> u64 {
        if let Some(number) =
            id.parse().ok().filter(|number: &u64| *number < FIRST_STAND_IN && number.to_string() == id)
        {
            return number;
        }
        let (number, now) = (self.next.get(), Date::now());
        self.next.set(number + 1);
        let mut jobs = self.jobs.borrow_mut();
        if jobs.len().is_power_of_two() {
            // Removes outdated entries each time the map has doubled.
            jobs.retain(|_, (_, until)| *until > now);
        }
        jobs.insert(number, (id, now + life));
        number
    }

    pub(super) fn job_text(&self, id: JobId) -> String {
        let number = id.to_string();
        let known =
            number.parse().ok().and_then(|number: u64| self.jobs.borrow().get(&number).map(|(id, _)| id.clone()));
        known.unwrap_or(number)
    }

    fn shown(&self, event: &SchedulerEvent) -> Option<JsValue> {
        let (kind, schedule, mut fields) = own(&event.what).or_else(|| self.of_runs(&event.what))?;
        fields.extend([("ts", js(event.at.as_millis()).into()), ("type", text(kind))]);
        fields.extend(schedule.map(|schedule| ("scheduleId", text(schedule))));
        Some(object(&fields))
    }

    /// Events of slots and triggers.
    fn of_runs<'a>(&self, what: &'a Happening) -> Option<Shown<'a>> {
        let time = |at: &Timestamp| JsValue::from(js(at.as_millis()));
        let id = |job: &JobId| JsValue::from(self.job_text(*job));
        Some(match what {
            Happening::DispatchSubmitted { schedule, slot, job, .. } => {
                ("dispatch_submitted", Some(schedule), vec![("slotTs", time(slot)), ("jobId", id(job))])
            }
            Happening::DispatchFailed { schedule, message } => {
                ("dispatch_failed", Some(schedule), vec![("message", text(message))])
            }
            Happening::ScheduleUnserved { schedule } => {
                ("dispatch_skipped", Some(schedule), vec![("reason", text("missing_handler"))])
            }
            Happening::DispatchSkipped { schedule, count, reason } => {
                let reason = match reason {
                    SkippedBy::MissingHandler => "missing_handler",
                    SkippedBy::CasStale => "cas_stale",
                    _ => "missed",
                };
                ("dispatch_skipped", Some(schedule), vec![("reason", text(reason)), ("count", js(*count).into())])
            }
            Happening::DispatchDlq { schedule, slot, message } => {
                ("dispatch_dlq", Some(schedule), vec![("slotTs", time(slot)), ("message", text(message))])
            }
            Happening::DispatchAdvancedAfterFailures { schedule, slot, failures } => {
                let fields = vec![("slotTs", time(slot)), ("failures", (*failures).into())];
                ("dispatch_advanced_after_failures", Some(schedule), fields)
            }
            Happening::TriggerSubmitted { schedule, job } => {
                ("trigger_submitted", Some(schedule), vec![("jobId", id(job))])
            }
            Happening::TriggerFailed { schedule, message } => {
                ("trigger_failed", Some(schedule), vec![("message", text(message))])
            }
            Happening::TriggerRejected { schedule, reason } => {
                let is_there = *reason == Rejected::MissingHandler;
                let reason = text(if is_there { "missing_handler" } else { "missing_schedule" });
                ("trigger_rejected", Some(schedule), vec![("reason", reason)])
            }
            _ => return None,
        })
    }
}

/// The key of a trigger in progress.
pub(super) struct Remembered {
    desk: Rc<Desk>,
    /// Its name in the core.
    pub(super) short: String,
}

impl Drop for Remembered {
    fn drop(&mut self) {
        let mut keys = self.desk.keys.borrow_mut();
        if let Some((_, triggers)) = keys.get_mut(&self.short) {
            *triggers -= 1;
            if *triggers == 0 {
                keys.remove(&self.short);
            }
        }
    }
}

/// An event: its type, its schedule, its other fields.
type Shown<'a> = (&'static str, Option<&'a String>, Vec<(&'static str, JsValue)>);

/// Events of the instance, and of the schedules themselves.
fn own(what: &Happening) -> Option<Shown<'_>> {
    Some(match what {
        Happening::LeaderAcquired { .. } => ("leader_acquired", None, Vec::new()),
        Happening::LeaderLost { reason, .. } => {
            let reason = text(if *reason == LostBy::Stop { "stop" } else { "extend_failed" });
            ("leader_lost", None, vec![("reason", reason)])
        }
        Happening::TickError { message } => ("tick_error", None, vec![("message", text(message))]),
        Happening::ScheduleRegistered { schedule, created } => {
            ("schedule_registered", Some(schedule), vec![("created", (*created).into())])
        }
        Happening::ScheduleUpdated { schedule } => ("schedule_updated", Some(schedule), Vec::new()),
        Happening::ScheduleUnregistered { schedule } => ("schedule_unregistered", Some(schedule), Vec::new()),
        _ => return None,
    })
}

fn text(text: &str) -> JsValue {
    JsValue::from_str(text)
}

/// A plain object.
pub(super) fn object(fields: &[(&str, JsValue)]) -> JsValue {
    let object = Object::new();
    for (name, value) in fields {
        // A new object accepts any property.
        let _ = Reflect::set(&object, &JsValue::from_str(name), value);
    }
    object.into()
}

struct Targets(SendWrapper<Rc<Desk>>);

impl web::Targets for Targets {
    fn is_served(&self, name: &str) -> bool {
        self.0.surface.is_served(name)
    }

    fn is_here(&self, name: &str) -> bool {
        self.0.surface.is_here(name)
    }

    fn call(&self, name: &str, slot: Slot) -> Pin<Box<dyn Future<Output = Result<u64>> + Send>> {
        let desk = Rc::clone(&self.0);
        let (at, key) = match slot.trigger {
            Trigger::Manual { key } => (f64::NAN, key),
            _ => (js(slot.slot.as_millis()), None),
        };
        let life = if key.is_some() { desk.memory } else { SHORT };
        let key = key.map(|short| desk.keys.borrow().get(&short).map(|(key, _)| key.clone()).unwrap_or(short));
        let (given, give) = given();
        desk.surface.call(name, at, key, give);
        Box::pin(SendWrapper::new(async move {
            let given = given.await;
            let given = given.unchecked_ref::<Array>();
            if let Some(id) = given.get(0).as_string() {
                return Ok(desk.job_number(id, life));
            }
            let text = given.get(2).as_string().unwrap_or_default();
            let thrown = Thrown { value: SendWrapper::new(given.get(1)), text };
            Err(web::target_failed(thrown, given.get(3).is_truthy()))
        }))
    }

    fn decided(&self, schedule: &str, slot: Timestamp) -> Result<()> {
        self.0.surface.decided(schedule, js(slot.as_millis())).map_err(|value| {
            let text = Reflect::get(&value, &"message".into()).ok().and_then(|text| text.as_string());
            let text = text.unwrap_or_else(|| "the store failed".to_owned());
            web::target_failed(Thrown { value: SendWrapper::new(value), text }, true)
        })
    }
}

//! Schedulers of the page, as seen by one handle.

mod surface;

use std::fmt;
use std::rc::Rc;

use js_sys::{Array, Error as JsError};
use tidelock::scheduler::{Registered, Rejected, ScheduleInfo, Triggered};
use tidelock::{Cron, Misfire, Raw, Schedule, Scheduler, Timestamp, web};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

pub use self::surface::Surface;

use self::surface::{Desk, Thrown, object};
use crate::call::{Answer, begun, call};
use crate::error::thrown;
use crate::given::settle_down;
use crate::number::{count, js, millis};
use crate::optional::Optional as _;
use crate::page;
use crate::tenants::name;
use crate::text;

/// The schedules of one scheduler, and the instance of one handle.
#[wasm_bindgen]
pub struct RawScheduler {
    scheduler: Scheduler,
    desk: Rc<Desk>,
}

/// The name in the core of a name in TypeScript.
#[wasm_bindgen]
pub fn mapped(text: &str) -> String {
    name(text).into_owned()
}

/// What is wrong with the name of a time zone.
#[wasm_bindgen]
pub fn wrong_zone(zone: &str) -> Option<String> {
    let any = Cron::parse("* * * * *").and_then(|cron| cron.tz(zone));
    any.err().map(|error| error.to_string())
}

/// What is wrong with a cron expression.
#[wasm_bindgen]
pub fn wrong_cron(cron: &str) -> Option<String> {
    Cron::parse(cron).err().map(|error| error.to_string())
}

#[wasm_bindgen]
impl RawScheduler {
    /// The schedules of this name in the page. `rules` are: lease, heartbeat, tick, batch, submits per pass, retries,
    /// their first and longest pause, key lifetime, dead letters, rounds. `watched`: whether events are reported.
    #[wasm_bindgen(constructor)]
    pub fn new(
        id: &str,
        strict: bool,
        watched: bool,
        rules: &[f64],
        surface: Surface,
    ) -> Result<RawScheduler, JsValue> {
        let &[lease, heartbeat, tick, batch, submits, retries, base, max, memory, letters, rounds] = rules else {
            return Err("11 rules".into());
        };
        let time = |ms| millis(ms).unwrap_or_default();
        let small = |number| u32::try_from(count(number).unwrap_or_default()).unwrap_or(u32::MAX);
        let desk = Rc::new(Desk::new(surface, memory));
        let mut builder = page::world()
            .scheduler(&name(id))
            .lease(time(lease))
            .heartbeat(time(heartbeat))
            .tick(time(tick))
            .batch(small(batch) as usize)
            .max_submits_per_tick(small(submits) as usize)
            .submit_retries(small(retries))
            .submit_backoff(time(base), time(max))
            .slot_memory(time(memory))
            .max_dead_letters(small(letters).into())
            .max_dispatch_failures(small(rounds))
            .strict_handlers(strict)
            .history(0);
        builder = web::with_targets(builder, Desk::targets(&desk));
        if watched {
            builder = builder.on_event(Desk::observer(&desk));
        }
        let scheduler = builder.build().map_err(|error| thrown(&error))?;
        Ok(Self { scheduler, desk })
    }

    /// Starts the instance.
    pub fn start(&self) {
        let scheduler = self.scheduler.clone();
        // It cannot fail in a page; and it runs although nobody waits.
        let _ = call(async move { scheduler.start().await }, |()| JsValue::UNDEFINED);
    }

    /// Stops the instance.
    pub fn stop(&self) -> Answer {
        let scheduler = self.scheduler.clone();
        call(async move { scheduler.stop().await }, |_| JsValue::UNDEFINED)
    }

    /// Returns whether the schedule is new. `catch_up`: how many missed slots run, 0 for only the latest. Without
    /// `behind` it continues where it was.
    pub fn register(&self, id: &str, cron: &str, zone: &str, catch_up: f64, shown: String, behind: f64) -> Answer {
        let id = name(id);
        let mut schedule = Schedule::cron(cron).tz(zone).handler(&id, &Raw(shown.into_bytes()));
        schedule = match count(catch_up) {
            None => schedule,
            Some(0) => schedule.misfire(Misfire::CatchUpOne),
            Some(runs) => {
                let runs = u32::try_from(runs).unwrap_or(u32::MAX);
                schedule.misfire(Misfire::CatchUpAll).max_catch_up_runs(runs)
            }
        };
        let behind = count(behind).map(Timestamp::from_millis);
        let request = self.scheduler.register(&id, schedule).with(behind, web::register_behind);
        call(request, |registered| (registered == Registered::Created).into())
    }

    /// Targets with these names are served from now on.
    pub fn appeared(&self, targets: Vec<String>) {
        web::appeared(&self.scheduler, targets.into_iter().map(Into::into).collect());
        settle_down();
    }

    /// Removes a schedule.
    pub fn unregister(&self, id: &str) -> Answer {
        call(self.scheduler.unregister(&name(id)), JsValue::from)
    }

    /// Returns the job's id; throws what the target threw.
    pub fn trigger(&self, id: String, key: Option<String>) -> Answer {
        let mut request = self.scheduler.trigger_now(&name(&id));
        let desk = Rc::clone(&self.desk);
        let key = key.map(|key| Desk::remember(&desk, key));
        if let Some(key) = &key {
            request = request.key(&key.short);
        }
        begun(async move {
            let triggered = request.await;
            drop(key);
            let rejected = |why: &str| {
                let text = format!("scheduler trigger rejected: missing {why} {id}");
                Err(JsError::new(&text).into())
            };
            match triggered {
                Ok(Triggered::Submitted { id, .. }) => Ok(desk.job_text(id).into()),
                Ok(Triggered::Rejected(Rejected::MissingHandler)) => rejected("local handler for schedule"),
                Ok(_) => rejected("schedule"),
                Err(error) => match web::failure_of::<Thrown>(&error) {
                    Some(Thrown { value, .. }) => Err((**value).clone()),
                    None => Err(thrown(&error)),
                },
            }
        })
    }

    /// Returns `[shown, next slot, created at, updated at]`, or `null`.
    pub fn get(&self, id: &str) -> Answer {
        call(self.scheduler.get(&name(id)), |info| info.as_ref().map_or(JsValue::NULL, shown))
    }

    /// Returns an array of the same for all schedules.
    pub fn list(&self) -> Answer {
        let scheduler = self.scheduler.clone();
        begun(async move {
            let all = Array::new();
            let mut after = None;
            loop {
                let mut request = scheduler.list().limit(1_000);
                if let Some(page) = &after {
                    request = request.after(page);
                }
                let page = request.await.map_err(|error| thrown(&error))?;
                for info in &page.items {
                    all.push(&shown(info));
                }
                after = page.next;
                if after.is_none() {
                    return Ok(all.into());
                }
            }
        })
    }

    /// The counters of this handle.
    pub fn metrics(&self) -> JsValue {
        let metrics = self.scheduler.metrics();
        let last = metrics.last_tick_at.map_or(JsValue::NULL, |at| js(at.as_millis()).into());
        object(&[
            ("isLeader", metrics.is_leader.into()),
            ("leaderEpoch", js(metrics.leader_epoch).into()),
            ("leaderChanges", js(metrics.leader_changes).into()),
            ("dispatchSubmitted", js(metrics.dispatch_submitted).into()),
            ("dispatchFailed", js(metrics.dispatch_failed).into()),
            ("dispatchRetried", js(metrics.dispatch_retried).into()),
            ("dispatchSkipped", js(metrics.dispatch_skipped).into()),
            ("dispatchDlq", js(metrics.dispatch_dlq).into()),
            ("triggerSubmitted", js(metrics.trigger_submitted).into()),
            ("triggerFailed", js(metrics.trigger_failed).into()),
            ("triggerRejected", js(metrics.trigger_rejected).into()),
            ("tickErrors", js(metrics.tick_errors).into()),
            ("lastTickAt", last),
            ("missed", js(metrics.missed).into()),
        ])
    }
}

fn shown(info: &ScheduleInfo) -> JsValue {
    let written = info.spec.as_ref().map_or(&[][..], |spec| &spec.input);
    let at = |at: Timestamp| JsValue::from(js(at.as_millis()));
    let next = info.next.map_or(f64::INFINITY.into(), at);
    Array::of4(&text(written), &next, &at(info.created_at), &at(info.updated_at)).into()
}

impl fmt::Debug for RawScheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RawScheduler").field(&self.scheduler).finish()
    }
}

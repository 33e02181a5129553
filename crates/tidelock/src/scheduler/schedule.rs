//! Building a schedule.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::definition::{Content, Spec, Target};
use super::timing::{Rhythm, Timing};
use crate::check;
use crate::codec::{Border, Codec, Raw, Value};
use crate::cron::Cron;
use crate::draft::Draft;
use crate::error::{Error, ErrorKind, Result};
use crate::job::Job;
use crate::job::store::Overlapping;
use crate::name::{self, Address};
use crate::time::{DAY, HOUR, SECOND, TEN_YEARS, Timestamp, whole_millis};

/// The most bytes of input and meta of a handler's run.
const HANDLER_LIMIT: usize = 131_072;

/// The policy for missed slots: those decided later after they were due than the tolerance allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Misfire {
    /// None of them runs.
    #[default]
    Skip,
    /// The latest of them runs, unless a slot that is on time runs anyway.
    CatchUpOne,
    /// The latest `max_catch_up_runs` of them run, oldest first.
    CatchUpAll,
}

/// The policy for a run when an earlier one of the schedule has not ended: it waits, runs or backs off. Triggers count
/// too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// Both run at once.
    #[default]
    Allow,
    /// The new run is skipped.
    Skip,
    /// The new run waits for its turn, one at a time in slot order; if `max_queued` are waiting, it is skipped.
    Queue,
}

/// A schedule: when to run, what to run, and what to do with slots that were missed. A plain value; errors in it are
/// reported by [`register`](super::Scheduler::register).
///
/// Durations are in whole milliseconds, fractions rounded up.
///
/// ```
/// use tidelock::{HOUR, Misfire, Schedule, Tidelock};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> tidelock::Result<()> {
/// # let tide = Tidelock::in_process();
/// # let platform = tide.scheduler("platform").build()?;
/// let mail = tide.job::<String, ()>("mail.send").attempts(3).build()?;
/// let digest = Schedule::cron("0 7 * * MON-FRI")
///     .tz("Europe/Berlin")
///     .misfire(Misfire::CatchUpOne)
///     .tolerance(HOUR)
///     .job(&mail, &"digest".to_owned());
/// platform.register("digest", digest).await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a schedule does nothing until it is registered"]
pub struct Schedule {
    rhythm: Wanted,
    tz: Option<String>,
    offset: Option<Duration>,
    jitter: Duration,
    tolerance: Option<Duration>,
    misfire: Misfire,
    max_catch_up_runs: Option<u32>,
    overlap: Overlap,
    max_queued: Option<u32>,
    /// All targets that were given. There should be one.
    targets: Vec<Aim>,
    draft: Draft,
}

enum Wanted {
    Cron(String),
    Every(Duration),
    Once(Timestamp),
}

/// A target, and its limits.
struct Aim {
    target: Target,
    /// Only for a job.
    tenant: Option<Arc<str>>,
    limit: usize,
    input: Result<Vec<u8>>,
}

impl Schedule {
    /// Slots by a cron expression of five or six fields, see [`guide::cron`](crate::guide::cron); in UTC unless
    /// [`tz`](Self::tz) says otherwise.
    pub fn cron(expression: &str) -> Self {
        Self::new(Wanted::Cron(expression.to_owned()))
    }

    /// Slots every `period` since the Unix epoch, unaffected by daylight saving time: 1 s..=10 years.
    pub fn every(period: Duration) -> Self {
        Self::new(Wanted::Every(period))
    }

    /// One slot. If the instant is further in the past than the tolerance, the schedule is finished at once.
    pub fn once(at: impl Into<Timestamp>) -> Self {
        Self::new(Wanted::Once(at.into()))
    }

    fn new(rhythm: Wanted) -> Self {
        Self {
            rhythm,
            tz: None,
            offset: None,
            jitter: Duration::ZERO,
            tolerance: None,
            misfire: Misfire::default(),
            max_catch_up_runs: None,
            overlap: Overlap::default(),
            max_queued: None,
            targets: Vec::new(),
            draft: Draft::new(Ok(Vec::new())),
        }
    }

    /// The time zone of a cron expression: an IANA name in any case, or `±HH:MM`. Default UTC.
    pub fn tz(mut self, zone: &str) -> Self {
        self.tz = Some(zone.to_owned());
        self
    }

    /// Shifts the slots of [`every`](Self::every): 0 up to less than the period. Default 0.
    pub fn offset(mut self, offset: Duration) -> Self {
        self.offset = Some(offset);
        self
    }

    /// Each slot becomes a job of `job` with this input, and with the current options of the handle. The job must
    /// belong to the same tenant as the scheduler.
    ///
    /// The input is checked and encoded here, once.
    pub fn job<I: Value, O: Value>(mut self, job: &Job<I, O>, input: &I) -> Self {
        let crate::job::Target { address: Address { tenant, id }, rules, max_depth, payload_limit, input } =
            job.target(input);
        let target = Target::Job { id: id.as_ref().to_owned(), rules, max_depth };
        self.targets.push(Aim { target, tenant: Some(tenant), limit: payload_limit, input });
        self
    }

    /// Each slot is run by the handler of this name, provided by instances of the scheduler
    /// ([`SchedulerBuilder::handler`](super::SchedulerBuilder::handler)). Input and metadata have at most 131,072
    /// bytes; the input is encoded as JSON, and [`Raw`] passes as it is.
    pub fn handler<T: Serialize + 'static>(mut self, name: &str, input: &T) -> Self {
        let encoded = Codec::Json.encode(input).map_err(|source| {
            let text = format!("the input of handler {name:?} cannot be encoded as JSON: {source}");
            Error::new(ErrorKind::Encode, text).with_source(source)
        });
        let target = Target::Handler { name: name.to_owned() };
        self.targets.push(Aim { target, tenant: None, limit: HANDLER_LIMIT, input: encoded });
        self
    }

    /// The policy for missed slots. Default [`Misfire::Skip`].
    pub fn misfire(mut self, misfire: Misfire) -> Self {
        self.misfire = misfire;
        self
    }

    /// The maximum number of missed slots run by one decision: 1..=10,000, default 100. Only with
    /// [`Misfire::CatchUpAll`].
    pub fn max_catch_up_runs(mut self, runs: u32) -> Self {
        self.max_catch_up_runs = Some(runs);
        self
    }

    /// The policy for a run when an earlier one has not ended. Default [`Overlap::Allow`].
    pub fn overlap(mut self, overlap: Overlap) -> Self {
        self.overlap = overlap;
        self
    }

    /// How many runs may wait for their turn: 1..=10,000, default 100. Only with [`Overlap::Queue`].
    pub fn max_queued(mut self, runs: u32) -> Self {
        self.max_queued = Some(runs);
        self
    }

    /// Each slot is due up to this much later: 0..=1 day, default 0. The amount is derived from the names of scheduler
    /// and schedule and from the slot, and never reaches the next slot.
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }

    /// A slot that is decided less than this after it was due is on time, a later one is missed: 0..=1 h, default that
    /// of the scheduler. With 0 any delay makes it missed.
    pub fn tolerance(mut self, tolerance: Duration) -> Self {
        self.tolerance = Some(tolerance);
        self
    }

    /// Attaches a JSON value to the metadata of each run. The names of scheduler, schedule and slot are added to it.
    pub fn meta(mut self, name: &str, value: &impl Serialize) -> Self {
        self.draft.attach(name, value);
        self
    }

    /// What is stored of the schedule, for a scheduler of this tenant. Fails if anything in it is wrong.
    pub(super) fn into_spec(self, tenant: &str) -> Result<Spec> {
        let timing = self.timing()?;
        self.check_policies()?;
        let Self { tolerance, misfire, max_catch_up_runs, overlap, max_queued, mut targets, mut draft, .. } = self;
        let aim = match (targets.pop(), targets.is_empty()) {
            (Some(aim), true) => aim,
            (None, _) => return Err(Error::argument("a schedule needs a target: a job or a handler")),
            (Some(_), false) => {
                let text = format!("a schedule has one target, a job or a handler, but {} came", targets.len() + 1);
                return Err(Error::argument(text));
            }
        };
        aim.check(tenant)?;
        draft.put(aim.input);
        let (stored, _) = draft.finish(&Border::<Raw>::new(aim.limit))?;
        let expression = match &timing.rhythm {
            Rhythm::Cron(cron) => Some(cron.to_string()),
            _ => None,
        };
        let max_catch_up_runs = max_catch_up_runs.unwrap_or(100);
        let content = Content {
            expression,
            misfire,
            // A number that the policy does not use must not make the definition different.
            max_catch_up_runs: (misfire == Misfire::CatchUpAll).then_some(max_catch_up_runs),
            tolerance: tolerance.map(whole_millis),
            overlap: match overlap {
                Overlap::Allow => Overlapping::Allow,
                Overlap::Skip => Overlapping::Skip,
                Overlap::Queue => Overlapping::Queue { max: u64::from(max_queued.unwrap_or(100)) },
            },
            target: aim.target,
            meta: String::from_utf8(stored.meta).unwrap_or_default(),
            input: stored.payload,
        };
        Ok(Spec { timing, content })
    }

    fn timing(&self) -> Result<Timing> {
        let only = |option: &str, with: &str| Error::argument(format!("{option} is only for a schedule by {with}"));
        if self.tz.is_some() && !matches!(self.rhythm, Wanted::Cron(_)) {
            return Err(only("tz", "cron"));
        }
        if self.offset.is_some() && !matches!(self.rhythm, Wanted::Every(_)) {
            return Err(only("offset", "every"));
        }
        check::range(Error::argument, "jitter", self.jitter, Duration::ZERO, DAY)?;
        let rhythm = match &self.rhythm {
            Wanted::Cron(expression) => {
                let cron = Cron::parse(expression)?;
                Rhythm::Cron(match &self.tz {
                    Some(zone) => cron.tz(zone)?,
                    None => cron,
                })
            }
            Wanted::Every(period) => {
                check::range(Error::argument, "period", *period, SECOND, TEN_YEARS)?;
                let offset = self.offset.unwrap_or_default();
                if offset >= *period {
                    let text = format!("offset must be less than the period ({period:?}), but is {offset:?}");
                    return Err(Error::argument(text));
                }
                let period = whole_millis(*period);
                Rhythm::Every { period, offset: whole_millis(offset).min(period - 1) }
            }
            Wanted::Once(at) => {
                // Cron ends with the year 9999, too.
                const LATEST: Timestamp = Timestamp::from_millis(253_402_300_799_999);
                if *at > LATEST {
                    return Err(Error::argument(format!("once must be at most {LATEST}, but is {at}")));
                }
                Rhythm::Once { at: at.as_millis() }
            }
        };
        Ok(Timing { rhythm, jitter: whole_millis(self.jitter) })
    }

    fn check_policies(&self) -> Result<()> {
        let counted = |option: &str, value: Option<u32>, applies: bool, with: &str| match value {
            Some(_) if !applies => Err(Error::argument(format!("{option} is only for {with}"))),
            Some(value) => check::range(Error::argument, option, value, 1, 10_000),
            None => Ok(()),
        };
        let all = self.misfire == Misfire::CatchUpAll;
        counted("max_catch_up_runs", self.max_catch_up_runs, all, "Misfire::CatchUpAll")?;
        counted("max_queued", self.max_queued, self.overlap == Overlap::Queue, "Overlap::Queue")?;
        if let Some(tolerance) = self.tolerance {
            check::range(Error::argument, "tolerance", tolerance, Duration::ZERO, HOUR)?;
        }
        Ok(())
    }
}

impl Aim {
    fn check(&self, tenant: &str) -> Result<()> {
        match (&self.target, &self.tenant) {
            (Target::Job { id, .. }, Some(of)) if of.as_ref() != tenant => {
                let text = format!("job {id:?} is of tenant {of:?}, but the scheduler is of tenant {tenant:?}");
                Err(Error::argument(text))
            }
            (Target::Handler { name }, _) => name::check(Error::argument, "handler", name, name::MAX_ID),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Schedule");
        match &self.rhythm {
            Wanted::Cron(expression) => shown.field("cron", expression).field("tz", &self.tz),
            Wanted::Every(period) => shown.field("every", period).field("offset", &self.offset),
            Wanted::Once(at) => shown.field("once", at),
        };
        shown.finish_non_exhaustive()
    }
}

//! From a slot or a trigger to a job: what is submitted, and how often it is tried.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value as Json};

use super::Core;
use super::definition::{Content, Target};
use super::slot::{Slot, Trigger};
use super::store::{LetterView, Look, PlannedSlot, TriggerView, View};
use crate::backoff::Backoff;
use crate::error::{Error, ErrorKind, Result};
use crate::handover::store::Content as Carried;
use crate::handover::{MAX_ERROR, cut};
use crate::job::JobBuilder;
use crate::job::store::{Acceptance, Accepted, Due, Key, KeyKind, KeyLife, NewJob, Origin, SlotNumber};
use crate::meta::Meta;
use crate::name::Address;
use crate::tidelock::World;
use crate::time::Timestamp;

/// A run of a schedule, on its way to its target.
#[derive(Debug)]
pub(crate) struct Dispatch<'a> {
    /// The scheduler's address.
    pub(crate) scheduler: &'a Address,
    pub(crate) schedule: &'a str,
    /// The revision with which the schedule was created.
    pub(crate) born: u64,
    pub(crate) run: u64,
    pub(crate) content: &'a Content,
    /// How long the target remembers the series, in milliseconds.
    pub(crate) memory: u64,
    pub(crate) cause: Cause<'a>,
}

/// Why it is submitted. The target also recognises a repeat by this.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cause<'a> {
    Slot {
        slot: PlannedSlot,
        timing_revision: u64,
        missed: u64,
    },
    Trigger {
        key: Option<&'a str>,
        accepted_at: u64,
    },
    /// A slot from the dead letters. The target has seen newer slots by now, so the run is submitted with a key. Its
    /// slot number only counts if the target still remembers it: the target may have accepted the slot although no
    /// answer arrived.
    Late {
        slot: PlannedSlot,
        timing_revision: u64,
        missed: u64,
    },
}

/// The target's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Landed {
    Accepted { job: u64, duplicate: bool },
    Overlapping { active: u64 },
}

impl<'a> Cause<'a> {
    pub(crate) fn of_trigger(view: &'a TriggerView) -> Self {
        Self::Trigger { key: view.key.as_deref(), accepted_at: view.accepted_at }
    }

    pub(crate) fn of_letter(letter: &'a LetterView) -> Self {
        match letter.slot {
            Some(slot) => Self::Late { slot, timing_revision: letter.timing_revision, missed: letter.missed },
            None => Self::Trigger { key: letter.key.as_deref(), accepted_at: letter.at },
        }
    }
}

impl Dispatch<'_> {
    /// The object of jobs that is the target.
    fn target(&self) -> Address {
        match &self.content.target {
            Target::Job { id, .. } => Address::new(&self.scheduler.tenant, id),
            Target::Handler { name } => self.scheduler.part(name),
        }
    }

    /// Scheduler and schedule as one text. The lengths make it unambiguous.
    fn series(&self) -> String {
        let (scheduler, schedule) = (&self.scheduler.id, self.schedule);
        format!("{}:{scheduler}{}:{schedule}", scheduler.len(), schedule.len())
    }

    /// Whether it must still be submitted: its schedule was neither paused nor removed, and nobody else has submitted
    /// it. Without an answer from the backend this is false.
    pub(crate) async fn is_awaited(&self, core: &Core) -> bool {
        let look = Look::Awaits { id: self.schedule.into(), born: self.born, run: self.run };
        matches!(core.site.store().look(self.scheduler, look).await, Ok(View::Awaits(true)))
    }

    /// Submits it once.
    pub(crate) async fn submit(&self, world: &Arc<World>) -> Result<Landed> {
        submit(world, &self.target(), self.job(world)).await
    }

    /// The job to submit. It is the same each time, so that the target recognises a repeat.
    fn job(&self, world: &Arc<World>) -> NewJob {
        let series = self.series();
        let (rules, max_depth) = match &self.content.target {
            Target::Job { rules, max_depth, .. } => (rules.clone(), *max_depth),
            Target::Handler { .. } => {
                let defaults = JobBuilder::<(), ()>::within(world, self.scheduler.clone());
                (defaults.rules(), None)
            }
        };
        let text = || format!("{series}{}:{}", self.born, self.run).into();
        let key = || Key { kind: KeyKind::Trigger, text: text(), life: KeyLife::For(self.memory) };
        let number = |slot: PlannedSlot, revision| SlotNumber { revision, slot: slot.slot };
        let (slot, key) = match self.cause {
            Cause::Slot { slot, timing_revision, .. } => (Some(number(slot, timing_revision)), None),
            Cause::Late { slot, timing_revision, .. } => (Some(number(slot, timing_revision)), Some(key())),
            Cause::Trigger { .. } => (None, Some(key())),
        };
        let told = self.told();
        let origin = Origin {
            series: series.as_str().into(),
            slot,
            overlap: self.content.overlap,
            memory: self.memory,
            told: told.written(),
        };
        NewJob {
            content: Carried { payload: self.content.input.clone(), meta: self.meta(), ..Carried::default() },
            due: Due::Now,
            priority: 0,
            key,
            rules,
            origin: Some(origin),
            max_depth,
        }
    }

    pub(crate) fn told(&self) -> Slot {
        let (slot, due, trigger, missed) = match self.cause {
            Cause::Slot { slot, missed, .. } | Cause::Late { slot, missed, .. } => {
                let trigger = if slot.on_time { Trigger::OnTime } else { Trigger::CatchUp };
                (slot.slot, slot.due, trigger, missed)
            }
            Cause::Trigger { key, accepted_at } => {
                (accepted_at, accepted_at, Trigger::Manual { key: key.map(str::to_owned) }, 0)
            }
        };
        Slot {
            scheduler: self.scheduler.id.as_ref().to_owned(),
            schedule: self.schedule.to_owned(),
            slot: Timestamp::from_millis(slot),
            due: Timestamp::from_millis(due),
            trigger,
            run: self.run,
            missed: u32::try_from(missed).unwrap_or(u32::MAX),
        }
    }

    /// The schedule's own meta, and entries for scheduler, schedule and slot.
    fn meta(&self) -> Vec<u8> {
        let mut meta: Map<String, Json> = serde_json::from_str(&self.content.meta).unwrap_or_default();
        meta.insert("scheduleId".to_owned(), self.schedule.into());
        meta.insert("schedulerId".to_owned(), self.scheduler.id.as_ref().into());
        match self.cause {
            Cause::Slot { slot, .. } | Cause::Late { slot, .. } => {
                meta.insert("scheduleSlotTs".to_owned(), slot.slot.into());
            }
            Cause::Trigger { key, .. } => {
                meta.insert("scheduleTrigger".to_owned(), "manual".into());
                if let Some(key) = key {
                    meta.insert("scheduleManualKey".to_owned(), key.into());
                }
            }
        }
        Meta::encode(&meta)
    }
}

/// How often a submit is tried in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    /// Not counting the first try.
    pub(crate) retries: u32,
    pub(crate) backoff: Backoff,
}

/// The outcome of a round, and the number of retries.
pub(crate) type Tried = (Result<Landed>, u32);

impl Round {
    /// Submits, and retries errors that may pass as long as `go_on` allows it, until `stop` resolves.
    pub(crate) async fn submit<F: Future<Output = bool>>(
        &self,
        core: &Core,
        dispatch: &Dispatch<'_>,
        go_on: impl Fn() -> F,
        stop: impl Future<Output = ()>,
    ) -> Tried {
        let world = &core.site.world;
        let mut repeats = 0;
        let mut stop = pin!(stop);
        loop {
            let error = match core.targets.submit(world, dispatch).await {
                Err(error) if is_curable(&error) => error,
                answer => return (answer, repeats),
            };
            if repeats == self.retries {
                return (Err(error), repeats);
            }
            tokio::select! {
                biased;
                () = &mut stop => return (Err(error), repeats),
                () = world.clock.sleep(self.backoff.delay(repeats + 1, fastrand::f64())) => {}
            }
            if !go_on().await {
                return (Err(error), repeats);
            }
            repeats += 1;
        }
    }
}

/// Whether the same submit may be accepted later.
pub(crate) fn is_curable(error: &Error) -> bool {
    error.may_pass() || error.kind() == ErrorKind::CapacityReached
}

async fn submit(world: &Arc<World>, target: &Address, job: NewJob) -> Result<Landed> {
    let accepted = world.backend.job().submit(target, vec![job]).await;
    match accepted.map_err(|error| error.in_context(format_args!("submit job {:?}", target.id)))? {
        Accepted::All(all) => match all.first() {
            Some(Acceptance::New { id }) => Ok(Landed::Accepted { job: *id, duplicate: false }),
            Some(Acceptance::Duplicate { id }) => Ok(Landed::Accepted { job: *id, duplicate: true }),
            Some(Acceptance::Overlapping { active }) => Ok(Landed::Overlapping { active: *active }),
            None => Err(Error::new(ErrorKind::IncompatibleFormat, "a submit of one job has no answer")),
        },
        Accepted::Full { depth, limit, .. } => {
            let text = format!("job {:?}: max_depth is reached: {depth} jobs wait, limit {limit}", target.id);
            Err(Error::new(ErrorKind::CapacityReached, text).retryable())
        }
    }
}

/// The part of an error that is stored. The text may be arbitrarily long, and a script writes its length in two
/// bytes.
pub(crate) fn stored(error: &Error) -> Arc<str> {
    cut(&error.to_string(), MAX_ERROR)
}

/// The pause after this many failed rounds, in milliseconds.
pub(crate) fn round_delay(rounds: u32, random: f64) -> u64 {
    const ROUNDS: Backoff = Backoff::exponential(Duration::from_secs(1)).max(Duration::from_mins(1)).jitter(0.25);
    crate::time::whole_millis(ROUNDS.delay(rounds, random))
}

#[cfg(test)]
mod tests {
    use super::super::Schedule;
    use super::*;
    use crate::Tidelock;
    use crate::time::HOUR;

    fn content() -> Content {
        Schedule::every(HOUR).handler("h", &7).meta("tenant", &"acme").into_spec("default").unwrap().content
    }

    fn job(scheduler: &str, schedule: &str, cause: Cause<'_>) -> NewJob {
        let tide = Tidelock::in_process();
        let address = Address::new(&"default".into(), scheduler);
        let (content, born, run) = (content(), 3, 9);
        let dispatch = Dispatch { scheduler: &address, schedule, born, run, content: &content, memory: 60_000, cause };
        dispatch.job(&tide.world)
    }

    const SLOT: PlannedSlot = PlannedSlot { slot: 1_000, due: 1_500, on_time: true };

    #[test]
    fn names_of_any_characters_never_meet() {
        let cause = Cause::Trigger { key: None, accepted_at: 5 };
        let series = |scheduler, schedule| job(scheduler, schedule, cause).origin.unwrap().series;
        let names = [("a", "b"), ("a1:b", "c"), ("a", "1:bc"), ("", "a1:b"), ("a1", ":b")];
        let all: std::collections::HashSet<_> = names.iter().map(|(one, other)| series(one, other)).collect();
        assert_eq!(all.len(), names.len());
        let long = "\u{1f600}".repeat(64);
        assert!(series(&long, &long).len() <= 1_024);
    }

    #[test]
    fn a_slot_goes_by_its_number_and_a_trigger_by_a_key() {
        let slot = job("s", "d", Cause::Slot { slot: SLOT, timing_revision: 4, missed: 2 });
        let origin = slot.origin.unwrap();
        assert_eq!((origin.slot, slot.key), (Some(SlotNumber { revision: 4, slot: 1_000 }), None));
        let told = Slot::read(&origin.told).unwrap();
        assert_eq!((told.run, told.missed, told.trigger), (9, 2, Trigger::OnTime));
        assert_eq!((told.slot.as_millis(), told.due.as_millis()), (1_000, 1_500));

        let trigger = job("s", "d", Cause::Trigger { key: Some("k"), accepted_at: 5 });
        let late = job("s", "d", Cause::Late { slot: SLOT, timing_revision: 4, missed: 0 });
        assert_eq!(trigger.origin.as_ref().unwrap().slot, None);
        // A dead letter uses the key of its run, whatever the target has seen since.
        assert_eq!(trigger.key, late.key);
    }

    #[tokio::test]
    async fn a_slot_out_of_the_dead_letters_is_known_again_if_it_was_accepted() {
        let tide = Tidelock::in_process();
        let address = Address::new(&"default".into(), "s");
        let content = content();
        let submit = async |run, cause| {
            let (schedule, born, memory) = ("d", 3, 60_000);
            let dispatch = Dispatch { scheduler: &address, schedule, born, run, content: &content, memory, cause };
            match dispatch.submit(&tide.world).await.unwrap() {
                Landed::Accepted { job, duplicate } => (job, duplicate),
                other @ Landed::Overlapping { .. } => panic!("{other:?}"),
            }
        };
        let at = |run: u64| PlannedSlot { slot: run * 1_000, due: run * 1_000, on_time: true };
        let in_time = |run| submit(run, Cause::Slot { slot: at(run), timing_revision: 4, missed: 0 });
        let late = |run| submit(run, Cause::Late { slot: at(run), timing_revision: 4, missed: 0 });
        // The answer to the first is lost, the second never reaches its target, and both are given up.
        let (first, _) = in_time(1).await;
        for run in 3..=9 {
            in_time(run).await;
        }
        assert_eq!(late(1).await, (first, true));
        let (second, duplicate) = late(2).await;
        assert_eq!((duplicate, late(2).await), (false, (second, true)));
        assert!(in_time(9).await.1, "the newest slot is as before");
    }

    #[test]
    fn meta_names_schedule_and_slot() {
        let text = |job: NewJob| String::from_utf8(job.content.meta).unwrap();
        let slot = text(job("s", "d", Cause::Slot { slot: SLOT, timing_revision: 4, missed: 2 }));
        assert_eq!(slot, r#"{"scheduleId":"d","scheduleSlotTs":1000,"schedulerId":"s","tenant":"acme"}"#);
        let manual = text(job("s", "d", Cause::Trigger { key: Some("k"), accepted_at: 5 }));
        let expected = r#"{"scheduleId":"d","scheduleManualKey":"k","scheduleTrigger":"manual","schedulerId":"s","tenant":"acme"}"#;
        assert_eq!(manual, expected);
    }

    #[test]
    fn of_an_error_no_more_is_stored_than_fits() {
        let error = Error::new(ErrorKind::Server, "ß".repeat(70_000));
        assert!(stored(&error).len() <= MAX_ERROR);
        assert_eq!(&*stored(&Error::new(ErrorKind::Server, "broke")), "server: broke");
    }

    #[test]
    fn rounds_wait_longer_up_to_a_minute() {
        assert_eq!(round_delay(1, 0.5), 1_000);
        assert_eq!(round_delay(2, 0.0), 1_500);
        assert!(round_delay(40, 0.999) <= 60_000);
    }
}

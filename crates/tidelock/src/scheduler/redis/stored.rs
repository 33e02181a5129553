//! The format of schedules and their data in the server's keys. The other half is `lua/store.lua` and
//! `lua/steps.lua`; all follow docs/wire/scheduler.md.

use std::sync::Arc;

use crate::backend::redis::{Answer, Bytes, Text};
use crate::error::{Error, ErrorKind, Result};
use crate::scheduler::store::{
    Definition, Dispatched, Happened, HistoryView, LastView, LetterView, Next, PlanView, PlannedSlot, ScheduleView,
    StateView, TriggerView,
};

/// The error for stored data of another version, or from somebody else.
fn not_understood() -> Error {
    Error::new(ErrorKind::IncompatibleFormat, "what is stored of a scheduler is not of this version's format")
}

/// A text whose length is stored plus one; 0 for none.
fn optional(bytes: &mut Bytes<'_>, length: usize) -> Option<Text> {
    match length.checked_sub(1) {
        Some(length) => Some(Text(Some(bytes.text(length)?))),
        None => Some(Text(None)),
    }
}

fn slot(bytes: &mut Bytes<'_>) -> Option<PlannedSlot> {
    Some(PlannedSlot { slot: bytes.number(8)?, due: bytes.number(8)?, on_time: bytes.byte()? == b'1' })
}

/// The state of a schedule, and what else a view of it needs.
struct State {
    view: ScheduleView,
    snapshot: bool,
    plan: Option<PlanView>,
}

fn state(id: Arc<str>, bytes: &[u8]) -> Option<State> {
    let mut bytes = Bytes(bytes);
    let [born, revision, timing_revision, created_at, updated_at, run, next_slot, next_due] = numbers(&mut bytes)?;
    let kind = bytes.byte()?;
    let [at, until] = numbers(&mut bytes)?;
    let rounds = u32::try_from(bytes.number(4)?).ok()?;
    let [last_slot, last_job, lateness, first_run] = numbers(&mut bytes)?;
    let (taken, count) = (bytes.number(4)?, bytes.number(4)?);
    let [missed, decided_at, plan_timing, _first_due] = numbers(&mut bytes)?;
    let (_on_time, snapshot) = (bytes.byte()?, bytes.byte()? == b'1');
    let _size = bytes.number(4)?;
    let (handler, note) = (bytes.length(2)?, bytes.length(2)?);
    let handler = optional(&mut bytes, handler)?.0;
    let note = optional(&mut bytes, note)?.0;
    let error = || note.clone().unwrap_or_default();
    let state = match kind {
        b'a' => StateView::Active,
        b'p' => StateView::Paused { reason: note, since: at, until: (until != 0).then_some(until) },
        b'u' => StateView::Unserved { since: at },
        b'f' => StateView::Failing { rounds, retry_at: at, error: error() },
        b'q' => StateView::Quarantined { error: error(), since: at },
        b'x' => StateView::Finished { at },
        _ => return None,
    };
    let plan = (taken < count).then(|| PlanView {
        slots: Vec::new(),
        first_run,
        missed,
        decided_at,
        content: Vec::new(),
        handler: handler.clone(),
        timing_revision: plan_timing,
    });
    let view = ScheduleView {
        id,
        born,
        revision,
        timing_revision,
        definition: Definition { timing: Vec::new(), content: Vec::new(), handler },
        created_at,
        updated_at,
        next: (next_slot != 0).then_some(Next { slot: next_slot, due: next_due }),
        run,
        state,
        plan: None,
        last: (last_job != 0).then_some(LastView { slot: last_slot, job: last_job, lateness }),
    };
    Some(State { view, snapshot, plan })
}

fn numbers<const N: usize>(bytes: &mut Bytes<'_>) -> Option<[u64; N]> {
    let mut found = [0; N];
    for number in &mut found {
        *number = bytes.number(8)?;
    }
    Some(found)
}

/// Reads a schedule as the scripts show it. Parts of its definition or plan that cannot be read are left empty, and
/// their readers will notice.
pub(super) fn schedule(answer: &mut Answer) -> Result<ScheduleView> {
    let id = answer.text()?;
    let read = state(id, &answer.bytes()?);
    let (definition, slots, snapshot) = (answer.bytes()?, answer.bytes()?, answer.bytes()?);
    let State { mut view, snapshot: is_snapshot, plan } = read.ok_or_else(not_understood)?;
    let mut bytes = Bytes(&definition);
    if let Some(timing) = bytes.length(4).and_then(|length| bytes.take(length)) {
        (view.definition.timing, view.definition.content) = (timing.to_vec(), bytes.0.to_vec());
    }
    if let Some(mut plan) = plan {
        let mut slots = Bytes(&slots);
        plan.slots.extend(std::iter::from_fn(|| slot(&mut slots)));
        if is_snapshot {
            let mut bytes = Bytes(&snapshot);
            let handler = bytes.length(2).and_then(|length| optional(&mut bytes, length));
            (plan.handler, plan.content) = (handler.and_then(|handler| handler.0), bytes.0.to_vec());
        } else {
            plan.content.clone_from(&view.definition.content);
        }
        view.plan = Some(plan);
    }
    Ok(view)
}

pub(super) fn trigger(bytes: &[u8]) -> Result<TriggerView> {
    parse_trigger(bytes).ok_or_else(not_understood)
}

fn parse_trigger(bytes: &[u8]) -> Option<TriggerView> {
    let mut bytes = Bytes(bytes);
    let [born, run, accepted_at] = numbers(&mut bytes)?;
    let (key, handler, id) = (bytes.length(2)?, bytes.length(2)?, bytes.length(2)?);
    let id = bytes.text(id)?;
    let key = optional(&mut bytes, key)?.0;
    let handler = optional(&mut bytes, handler)?.0;
    Some(TriggerView { id, born, run, key, accepted_at, content: bytes.0.to_vec(), handler })
}

pub(super) fn letter(bytes: &[u8]) -> Result<LetterView> {
    parse_letter(bytes).ok_or_else(not_understood)
}

fn parse_letter(bytes: &[u8]) -> Option<LetterView> {
    let mut bytes = Bytes(bytes);
    let [at, born, number, timing_revision, run, epoch, missed] = numbers(&mut bytes)?;
    let rounds = u32::try_from(bytes.number(4)?).ok()?;
    let has_slot = bytes.byte()? == b'1';
    let slot = Some(slot(&mut bytes)?).filter(|_| has_slot);
    let (id, key, error) = (bytes.length(2)?, bytes.length(2)?, bytes.length(2)?);
    let schedule = bytes.text(id)?;
    let key = optional(&mut bytes, key)?.0;
    let error = bytes.text(error)?;
    Some(LetterView { number, schedule, born, timing_revision, run, slot, key, missed, error, rounds, epoch, at })
}

/// History entries, newest first.
pub(super) fn history(bytes: &[u8]) -> Result<Vec<HistoryView>> {
    let mut bytes = Bytes(bytes);
    let mut found = Vec::new();
    while !bytes.0.is_empty() {
        let entry = bytes.length(4).and_then(|length| bytes.take(length)).and_then(parse_entry);
        found.push(entry.ok_or_else(not_understood)?);
    }
    found.reverse();
    Ok(found)
}

fn parse_entry(bytes: &[u8]) -> Option<HistoryView> {
    let mut bytes = Bytes(bytes);
    let at = bytes.number(8)?;
    let what = match bytes.byte()? {
        b's' => {
            let run = bytes.number(8)?;
            let slot = slot(&mut bytes)?;
            Happened::Slot { run, slot, decided_at: bytes.number(8)?, outcome: outcome(&mut bytes)? }
        }
        b't' => {
            let [run, accepted_at] = numbers(&mut bytes)?;
            let key = bytes.length(2)?;
            let key = optional(&mut bytes, key)?.0;
            Happened::Trigger { run, key, accepted_at, outcome: outcome(&mut bytes)? }
        }
        b'm' => Happened::Missed(bytes.number(8)?),
        b'p' => Happened::Paused(bytes.number(8)?),
        b'h' => Happened::MissingHandler(bytes.number(8)?),
        _ => return None,
    };
    Some(HistoryView { at, what })
}

fn outcome(bytes: &mut Bytes<'_>) -> Option<Dispatched> {
    Some(match bytes.byte()? {
        b's' => Dispatched::Submitted { job: bytes.number(8)?, lateness: bytes.number(8)? },
        b'o' => Dispatched::Overlapped { active: bytes.number(8)? },
        b'g' => {
            let length = bytes.length(2)?;
            Dispatched::GivenUp { error: bytes.text(length)? }
        }
        _ => return None,
    })
}

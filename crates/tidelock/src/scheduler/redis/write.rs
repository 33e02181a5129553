//! Encoding the decisions and actions of the leader.

use redis::Value;

use super::Remote;
use crate::backend::redis::{Arguments, Script, script};
use crate::error::Result;
use crate::scheduler::store::{Dispatched, Next, PlannedSlot, Step, Write, Written};

static WRITE: Script = script!(
    "scheduler.write",
    "../../lua/time.lua",
    "../lua/store.lua",
    "../lua/moves.lua",
    "../lua/steps.lua",
    "../lua/write.lua",
);

impl Remote {
    pub(super) async fn write(&self, write: Write) -> Result<Written> {
        let push = |arguments: &mut Arguments| {
            arguments.push(write.instance.as_bytes());
            for number in [write.epoch, write.history, write.max_letters] {
                arguments.number(number);
            }
            for step in &write.steps {
                push_step(step, arguments);
            }
        };
        let mut answer = self.run_once(&WRITE, push).await?;
        let mut done = Vec::with_capacity(write.steps.len());
        while !answer.is_over() {
            match answer.bytes()?.as_slice() {
                b"S" => return Ok(Written::Stale),
                b"1" => done.push(true),
                b"0" => done.push(false),
                other => return Err(answer.wrong(&Value::BulkString(other.to_vec()))),
            }
        }
        Ok(Written::Each(done))
    }
}

fn push_step(step: &Step, arguments: &mut Arguments) {
    match step {
        Step::Decide { id, revision, expected, as_of, next, slots, missed, missing_handler } => {
            named(arguments, b"D", id, &[*revision, *expected, *as_of]);
            push_next(*next, arguments);
            arguments.push(&slots.iter().flat_map(packed).collect::<Vec<_>>());
            arguments.number(*missed);
            arguments.number(*missing_handler);
        }
        Step::Confirm { id, born, run, outcome } => {
            named(arguments, b"C", id, &[*born, *run]);
            push_outcome(outcome, 1, arguments);
        }
        Step::Fail { id, born, run, error, delay } => {
            named(arguments, b"F", id, &[*born, *run]);
            arguments.push(error.as_bytes());
            arguments.number(*delay);
        }
        Step::Unserve { id, revision, handler } => {
            named(arguments, b"U", id, &[*revision]);
            arguments.push(handler.as_bytes());
        }
        Step::Quarantine { id, revision, error } => {
            named(arguments, b"Q", id, &[*revision]);
            arguments.push(error.as_bytes());
        }
        Step::Resume { id, revision, next, passed } => {
            named(arguments, b"R", id, &[*revision]);
            push_next(*next, arguments);
            arguments.number(*passed);
        }
        Step::Move { id, revision, next } => {
            named(arguments, b"M", id, &[*revision]);
            push_next(*next, arguments);
        }
        Step::Zones { version } => named(arguments, b"Z", version, &[]),
        Step::TriggerFail { id, born, run, delay } => named(arguments, b"W", id, &[*born, *run, *delay]),
        Step::TriggerDone { id, born, run, outcome, rounds } => {
            named(arguments, b"T", id, &[*born, *run]);
            push_outcome(outcome, *rounds, arguments);
        }
    }
}

fn named(arguments: &mut Arguments, letter: &[u8], id: &str, numbers: &[u64]) {
    arguments.push(letter);
    arguments.push(id.as_bytes());
    for number in numbers {
        arguments.number(*number);
    }
}

/// Appends slot and due instant of a next slot; zeros for none.
pub(super) fn push_next(next: Option<Next>, arguments: &mut Arguments) {
    let (slot, due) = next.map_or((0, 0), |next| (next.slot, next.due));
    arguments.number(slot);
    arguments.number(due);
}

/// Appends an outcome. `rounds` is only used if it was given up.
pub(super) fn push_outcome(outcome: &Dispatched, rounds: u32, arguments: &mut Arguments) {
    match outcome {
        Dispatched::Submitted { job, lateness } => {
            arguments.push(b"s");
            arguments.number(*job);
            arguments.number(*lateness);
        }
        Dispatched::Overlapped { active } => {
            arguments.push(b"o");
            arguments.number(*active);
            arguments.push(b"");
        }
        Dispatched::GivenUp { error } => {
            arguments.push(b"g");
            arguments.push(error.as_bytes());
            arguments.number(u64::from(rounds));
        }
    }
}

fn packed(slot: &PlannedSlot) -> Vec<u8> {
    let mut bytes = [slot.slot.to_be_bytes(), slot.due.to_be_bytes()].concat();
    bytes.push(if slot.on_time { b'1' } else { b'0' });
    bytes
}

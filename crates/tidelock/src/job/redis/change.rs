//! Changing jobs from outside their runs, and the object as a whole.

use redis::Value;

use super::Remote;
use super::stored::state_of;
use crate::backend::redis::{Answer, Arguments, Script, script, unexpected, until_settled};
use crate::error::Result;
use crate::job::store::{Change, Changes};
use crate::limits;

static CHANGE: Script = script!(
    "job.change",
    "../../lua/time.lua",
    "../../lua/receipts.lua",
    "../lua/keys.lua",
    "../../handover/lua/record.lua",
    "../../handover/lua/lines.lua",
    "../../handover/lua/parking.lua",
    "../../lua/answers.lua",
    "../lua/layout.lua",
    "../lua/books.lua",
    "../lua/store.lua",
    "../lua/series.lua",
    "../lua/moves.lua",
    "../../handover/lua/overdue.lua",
    "../lua/begin.lua",
    "../../handover/lua/limits.lua",
    "../lua/change.lua",
);

fn push_reason(reason: Option<&str>, arguments: &mut Arguments) {
    arguments.push(if reason.is_some() { b"1" } else { b"0" });
    arguments.push(reason.unwrap_or_default().as_bytes());
}

fn push(change: &Change, arguments: &mut Arguments) {
    match change {
        Change::Cancel { id, reason } => {
            arguments.push(b"cancel");
            arguments.push(&id.to_be_bytes());
            push_reason(reason.as_deref(), arguments);
        }
        Change::Retry { id, max_depth } => {
            arguments.push(b"retry");
            arguments.push(&id.to_be_bytes());
            arguments.number(max_depth.unwrap_or(0));
        }
        Change::Remove { id } => {
            arguments.push(b"remove");
            arguments.push(&id.to_be_bytes());
        }
        Change::Pause { for_at_most, reason } => {
            arguments.push(b"pause");
            match for_at_most {
                Some(longest) => arguments.number(*longest),
                None => arguments.push(b"-1"),
            }
            push_reason(reason.as_deref(), arguments);
        }
        Change::Resume => arguments.push(b"resume"),
        Change::LimitRate(rate) => {
            arguments.push(b"limit_rate");
            limits::push_rate(*rate, arguments);
        }
        Change::LimitHeld(held) => {
            arguments.push(b"limit_held");
            arguments.number(held.unwrap_or(0));
        }
        Change::Delete => arguments.push(b"delete"),
    }
}

/// The next deadline, and the outcome of the change; `None` if nothing was done and the change must be repeated.
fn read(answer: Value) -> Result<(u64, Option<Changes>)> {
    let mut answer = Answer::read("change", answer)?;
    let next = answer.count()?;
    let word = answer.bytes()?;
    let wrong = |answer: &Answer| answer.wrong(&Value::BulkString(word.clone()));
    let changes = match word.as_slice() {
        b"again" => return Ok((next, None)),
        b"done" => Changes::Done,
        b"nothing" => Changes::Nothing,
        b"absent" => Changes::Absent,
        b"taken" => Changes::KeyTaken(answer.count()?),
        b"full" => Changes::Full { depth: answer.count()?, limit: answer.count()? },
        b"refused" => {
            let kind = u8::try_from(answer.count()?).ok().and_then(state_of);
            Changes::Refused(kind.ok_or_else(|| wrong(&answer))?)
        }
        _ => return Err(wrong(&answer)),
    };
    Ok((next, Some(changes)))
}

impl Remote {
    pub(super) async fn change(&self, change: Change) -> Result<Changes> {
        let change = &change;
        let changes = until_settled(|last| async move {
            let mut rest = Arguments::default();
            rest.push(if last { b"1" } else { b"0" });
            push(change, &mut rest);
            let (next, changes) = read(self.changes.change(&self.home, &CHANGE, rest).await?)?;
            self.told_next(next);
            Ok((changes.is_none(), changes))
        });
        // The last step applies the change even if something is overdue.
        changes.await?.ok_or_else(|| unexpected("change", &Value::Nil))
    }
}

//! Encoding changes by anybody but the leader.

use redis::Value;

use super::write::{push_next, push_outcome};
use super::{Remote, stored};
use crate::backend::redis::{Arguments, Script, script};
use crate::error::Result;
use crate::scheduler::store::{Change, Changes, Guess};

pub(super) static CHANGE: Script = script!(
    "scheduler.change",
    "../../lua/time.lua",
    "../lua/store.lua",
    "../lua/moves.lua",
    "../lua/steps.lua",
    "../lua/change.lua",
);

impl Remote {
    pub(super) async fn change(&self, change: Change) -> Result<Changes> {
        if change == Change::PurgeLetters {
            return self.purge().await;
        }
        let mut answer = self.run_once(&CHANGE, |arguments| push_change(&change, arguments)).await?;
        let word = answer.bytes()?;
        Ok(match word.as_slice() {
            b"created" => Changes::Created,
            b"updated" => Changes::Updated,
            b"unchanged" => Changes::Unchanged,
            b"done" => Changes::Done,
            b"absent" => Changes::Absent,
            b"now" => Changes::Now(answer.count()?),
            b"conflict" => Changes::Conflict,
            b"full" => match change {
                Change::Register { max_schedules, .. } => Changes::Full { limit: max_schedules },
                _ => return Err(answer.wrong(&Value::BulkString(word))),
            },
            b"accepted" => Changes::Accepted(Box::new(stored::trigger(&answer.bytes()?)?)),
            b"known" => Changes::Known { job: answer.count()? },
            b"missing" => Changes::MissingHandler,
            b"invalid" => Changes::Invalid { error: answer.text()? },
            _ => return Err(answer.wrong(&Value::BulkString(word))),
        })
    }

    async fn purge(&self) -> Result<Changes> {
        let (mut removed, mut newest) = (0, 0);
        loop {
            let push = |arguments: &mut Arguments| {
                arguments.push(b"purge");
                arguments.number(newest);
            };
            let mut answer = self.run_once(&CHANGE, push).await?;
            let _word = answer.bytes()?;
            removed += answer.count()?;
            newest = answer.count()?;
            if answer.flag()? {
                return Ok(Changes::Count(removed));
            }
        }
    }
}

fn push_guess(guess: Guess, arguments: &mut Arguments) {
    arguments.number(guess.from);
    arguments.number(guess.until);
    push_next(guess.next, arguments);
}

/// Appends whether there is a text, and the text or an empty one.
fn push_optional(text: Option<&str>, arguments: &mut Arguments) {
    arguments.number(u64::from(text.is_some()));
    arguments.push(text.unwrap_or_default().as_bytes());
}

fn push_change(change: &Change, arguments: &mut Arguments) {
    let named = |arguments: &mut Arguments, what: &str, id: &str| {
        arguments.push(what.as_bytes());
        arguments.push(id.as_bytes());
    };
    match change {
        Change::Register { id, definition, guess, max_schedules } => {
            named(arguments, "register", id);
            arguments.push(&definition.timing);
            arguments.push(&definition.content);
            arguments.push(definition.handler.as_deref().unwrap_or_default().as_bytes());
            push_guess(*guess, arguments);
            arguments.number(*max_schedules);
        }
        Change::Unregister { id } => named(arguments, "unregister", id),
        Change::Pause { id, for_at_most, reason } => {
            named(arguments, "pause", id);
            match for_at_most {
                Some(duration) => arguments.number(*duration),
                None => arguments.push(b"-1"),
            }
            push_optional(reason.as_deref(), arguments);
        }
        Change::Resume { id, revision, guess, passed, history } => {
            named(arguments, "resume", id);
            arguments.number(*revision);
            push_guess(*guess, arguments);
            arguments.number(*passed);
            arguments.number(*history);
        }
        Change::Trigger { id, key, strict, memory } => {
            named(arguments, "trigger", id);
            push_optional(key.as_deref(), arguments);
            arguments.number(u64::from(*strict));
            arguments.number(*memory);
        }
        Change::TriggerDone { id, born, run, outcome, history } => {
            named(arguments, "done", id);
            arguments.number(*born);
            arguments.number(*run);
            push_outcome(outcome, 1, arguments);
            arguments.number(*history);
        }
        Change::RemoveLetter { number } => {
            arguments.push(b"letter");
            arguments.number(*number);
        }
        Change::PurgeLetters => arguments.push(b"purge"),
        Change::Delete => arguments.push(b"delete"),
    }
}

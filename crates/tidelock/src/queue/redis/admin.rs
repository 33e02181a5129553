//! Querying a queue, and changing it as a whole: bounded steps of two scripts.

use std::sync::Arc;

use redis::Value;

use super::Remote;
use super::stored::Stored;
use crate::backend::redis::{Answer, Arguments, Script, reason_letter, script, until_settled};
use crate::error::Result;
use crate::handover::cursor::{Cursor, read_cursor};
use crate::limits;
use crate::queue::store::{
    Change, Changes, DeadFilter, DeadView, Look, MessageView, PauseView, Removed, Requeue, State, StatsView, View,
};

static LOOK: Script = script!(
    "queue.look",
    "../../lua/time.lua",
    "../../lua/receipts.lua",
    "../../lua/rank.lua",
    "../lua/keys.lua",
    "../../handover/lua/record.lua",
    "../../handover/lua/lines.lua",
    "../lua/store.lua",
    "../lua/moves.lua",
    "../../handover/lua/overdue.lua",
    "../../handover/lua/parking.lua",
    "../lua/find.lua",
    "../lua/look.lua",
);

static CHANGE: Script = script!(
    "queue.change",
    "../../lua/time.lua",
    "../../lua/receipts.lua",
    "../../lua/rank.lua",
    "../lua/keys.lua",
    "../../handover/lua/record.lua",
    "../../handover/lua/lines.lua",
    "../../lua/answers.lua",
    "../lua/store.lua",
    "../lua/moves.lua",
    "../../handover/lua/overdue.lua",
    "../../handover/lua/parking.lua",
    "../lua/find.lua",
    "../lua/take.lua",
    "../../handover/lua/limits.lua",
    "../lua/change.lua",
);

/// The reply of the look script.
struct Shown {
    settling: bool,
    now: u64,
    answer: Answer,
}

/// The next message and its lease end; `None` after the last.
fn message(answer: &mut Answer) -> Result<Option<(Stored, u64)>> {
    if answer.left() < 2 {
        return Ok(None);
    }
    Ok(Some((Stored::read(answer.bytes()?)?, answer.count()?)))
}

fn messages(answer: &mut Answer) -> Result<Vec<(Stored, u64)>> {
    std::iter::from_fn(|| message(answer).transpose()).collect()
}

/// The messages of a list, and whether it ended early because they are large.
fn part(mut answer: Answer) -> Result<(Vec<(Stored, u64)>, bool)> {
    Ok((messages(&mut answer)?, !answer.is_over()))
}

impl Remote {
    /// Calls the look script, and again while more is overdue than one step carries out.
    async fn show_all(&self, what: &str, push: impl Fn(&mut Arguments)) -> Result<Shown> {
        let push = &push;
        until_settled(|_| async move {
            let mut arguments = self.home.arguments(None);
            arguments.push(what.as_bytes());
            push(&mut arguments);
            let mut answer = self.home.show("look", &LOOK, &arguments).await?;
            let (settling, now) = (answer.flag()?, answer.count()?);
            Ok((settling, Shown { settling, now, answer }))
        })
        .await
    }

    async fn show(&self, what: &str, push: impl Fn(&mut Arguments)) -> Result<Answer> {
        Ok(self.show_all(what, push).await?.answer)
    }

    pub(super) async fn look(&self, look: Look) -> Result<View> {
        match look {
            Look::Stats => Ok(View::Stats(self.stats().await?)),
            Look::Get { id } => {
                let mut shown = self.show("get", |arguments| arguments.push(&id.to_be_bytes())).await?;
                Ok(View::Message(message(&mut shown)?.and_then(|(stored, end)| stored.into_view(end))))
            }
            Look::GetDead { id } => {
                let mut shown = self.show("dead", |arguments| arguments.push(&id.to_be_bytes())).await?;
                Ok(View::Dead(message(&mut shown)?.and_then(|(stored, _)| stored.into_dead())))
            }
            Look::Peek { max } => Ok(View::Messages(views(self.ready_page(max, None).await?), None)),
            Look::List { state, limit, after } => {
                let after = after.as_deref().map(read_cursor).transpose()?;
                match state {
                    State::Ready => self.list_ready(limit, after).await,
                    State::Delayed => self.list_timed("delayed", limit, after).await,
                    State::Leased => self.list_timed("leased", limit, after).await,
                }
            }
            Look::ListDead { filter, limit, after } => {
                let after = after.as_deref().map(read_cursor).transpose()?;
                self.list_dead(filter, limit, after).await
            }
        }
    }

    async fn stats(&self) -> Result<StatsView> {
        let Shown { settling, now, answer: mut shown } = self.show_all("stats", |_| ()).await?;
        let (ready, blocked) = (shown.count()?, shown.count()?);
        let (delayed, leased, dead) = (shown.count()?, shown.count()?, shown.count()?);
        let (accepted, settled) = (shown.count()?, shown.count()?);
        let paused = shown.number()?;
        let oldest = shown.number()?;
        let next_due = shown.number()?;
        let reason = shown.text()?;
        let (rate, most_held) = limits::read(&mut shown)?;
        let in_force = paused.is_none_or(|until| until > now);
        let pause = PauseView { until: paused, reason: (!reason.is_empty()).then_some(reason) };
        Ok(StatsView {
            ready: ready + blocked,
            blocked,
            delayed,
            leased,
            dead,
            accepted,
            settled,
            oldest_ready_age: oldest.map(|standing| now.saturating_sub(standing)),
            next_due,
            paused: in_force.then_some(pause),
            rate,
            most_held,
            settling,
        })
    }

    async fn ready_page(&self, wanted: usize, mut after: Option<Cursor>) -> Result<Vec<(Stored, u64)>> {
        let mut found = Vec::new();
        loop {
            let push = |arguments: &mut Arguments| {
                arguments.number((wanted - found.len()) as u64);
                arguments.behind_place(after.as_ref());
            };
            let (messages, goes_on) = part(self.show("ready", push).await?)?;
            found.extend(messages);
            if !goes_on || found.len() >= wanted {
                return Ok(found);
            }
            after = found.last().map(|(last, _)| last.cursor());
        }
    }

    /// Deliverable messages, then blocked ones. Reads one more than the page holds, to know whether there is a next
    /// page.
    async fn list_ready(&self, limit: usize, after: Option<Cursor>) -> Result<View> {
        let (mut found, mut line) = match after {
            Some(Cursor::Blocked(join, key)) => (Vec::new(), (key, join)),
            after => (self.ready_page(limit + 1, after).await?, (String::new(), 0)),
        };
        while found.len() <= limit {
            let wanted = limit + 1 - found.len();
            let push = |arguments: &mut Arguments| {
                arguments.number(wanted as u64);
                arguments.push(line.0.as_bytes());
                arguments.number(line.1);
            };
            let mut shown = self.show("blocked", push).await?;
            found.extend(messages(&mut shown)?);
            let last = shown.bytes()?;
            let Some((key, join)) = last.split_at_checked(last.len().saturating_sub(9)).filter(|_| !last.is_empty())
            else {
                break;
            };
            line = (String::from_utf8_lossy(key).into_owned(), number(&join[1..]));
        }
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|(last, _)| last.cursor().to_string());
        Ok(View::Messages(views(found), next))
    }

    async fn list_timed(&self, what: &str, limit: usize, mut after: Option<Cursor>) -> Result<View> {
        let mut found = Vec::new();
        loop {
            let push = |arguments: &mut Arguments| {
                arguments.number((limit + 1 - found.len()) as u64);
                arguments.behind_instant(after.as_ref());
            };
            let (messages, goes_on) = part(self.show(what, push).await?)?;
            found.extend(views(messages));
            if !goes_on || found.len() > limit {
                break;
            }
            after = found.last().map(cursor_of);
        }
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|last| cursor_of(last).to_string());
        Ok(View::Messages(found, next))
    }

    async fn list_dead(&self, filter: DeadFilter, limit: usize, after: Option<Cursor>) -> Result<View> {
        let mut found: Vec<DeadView> = Vec::new();
        let mut after = after;
        while found.len() <= limit {
            let wanted = (limit + 1 - found.len()) as u64;
            let push = |arguments: &mut Arguments| {
                arguments.number(wanted);
                arguments.behind_instant(after.as_ref());
                push_filter(arguments, filter);
            };
            let mut shown = self.show("deads", push).await?;
            found.extend(messages(&mut shown)?.into_iter().filter_map(|(stored, _)| stored.into_dead()));
            let last = shown.bytes()?;
            if last.len() != 16 {
                break;
            }
            after = Some(Cursor::At(number(&last[..8]), number(&last[8..])));
        }
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|last| Cursor::At(last.moved_at, last.id).to_string());
        Ok(View::Deads(found, next))
    }
}

/// The cursor of a delayed or leased message.
fn cursor_of(message: &MessageView) -> Cursor {
    let leaves = message.expires_at.map_or(message.due, |expiry| expiry.min(message.due));
    Cursor::At(message.lease.as_ref().map_or(leaves, |lease| lease.end), message.id)
}

fn views(found: Vec<(Stored, u64)>) -> Vec<MessageView> {
    found.into_iter().filter_map(|(stored, end)| stored.into_view(end)).collect()
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn push_filter(arguments: &mut Arguments, filter: DeadFilter) {
    arguments.push(filter.reason.map_or(&[][..], reason_letter));
    for bound in [filter.moved_before, filter.moved_after] {
        match bound {
            Some(bound) => arguments.number(bound),
            None => arguments.push(b"-1"),
        }
    }
}

/// One reply of the change script.
struct Changed {
    settling: bool,
    word: Arc<str>,
    now: u64,
    numbers: Vec<u64>,
}

impl Changed {
    fn read(answer: Value) -> Result<Self> {
        let mut answer = Answer::read("change", answer)?;
        let (settling, word, now) = (answer.flag()?, answer.text()?, answer.count()?);
        let mut numbers = Vec::new();
        while !answer.is_over() {
            numbers.push(answer.count()?);
        }
        Ok(Self { settling, word, now, numbers })
    }

    fn number(&self, index: usize) -> u64 {
        self.numbers.get(index).copied().unwrap_or(0)
    }
}

/// How far a change of many dead letters has come.
struct Progress {
    done: u64,
    after: Option<Cursor>,
    /// Dead letters moved later than this were not there when the change began.
    newest: Option<u64>,
}

impl Remote {
    /// One step of a change that depends on the state of messages. It waits until everything overdue was carried out,
    /// unless that takes more steps than a query waits for.
    async fn judged_step(&self, what: &str, push: impl Fn(&mut Arguments)) -> Result<Changed> {
        let push = &push;
        until_settled(|last| async move {
            let answer = self.change_step(what, last, push).await?;
            Ok((&*answer.word == "settling", answer))
        })
        .await
    }

    /// `now`: apply it even if more is overdue than one step carries out.
    async fn change_step(&self, what: &str, now: bool, push: impl FnOnce(&mut Arguments)) -> Result<Changed> {
        let mut rest = Arguments::default();
        rest.push(if now { b"1" } else { b"0" });
        rest.push(what.as_bytes());
        push(&mut rest);
        Changed::read(self.changes.change(&self.home, &CHANGE, rest).await?)
    }

    pub(super) async fn change(&self, change: Change) -> Result<Changes> {
        match change {
            Change::Pause { for_at_most, reason } => {
                let push = |arguments: &mut Arguments| {
                    match for_at_most {
                        Some(duration) => arguments.number(duration),
                        None => arguments.push(b"-1"),
                    }
                    arguments.push(reason.as_deref().unwrap_or_default().as_bytes());
                };
                Ok(Changes::Did(&*self.change_step("pause", true, push).await?.word == "yes"))
            }
            Change::Resume => Ok(Changes::Did(&*self.change_step("resume", true, |_| ()).await?.word == "yes")),
            Change::LimitRate(rate) => {
                let push = |arguments: &mut Arguments| limits::push_rate(rate, arguments);
                Ok(Changes::Did(&*self.change_step("limit_rate", true, push).await?.word == "yes"))
            }
            Change::LimitHeld(held) => {
                let push = |arguments: &mut Arguments| arguments.number(held.unwrap_or(0));
                Ok(Changes::Did(&*self.change_step("limit_held", true, push).await?.word == "yes"))
            }
            Change::Delete => Ok(Changes::Did(&*self.change_step("delete", true, |_| ()).await?.word == "yes")),
            Change::Remove { id } => {
                let answer = self.judged_step("remove", |arguments| arguments.push(&id.to_be_bytes())).await?;
                Ok(Changes::Removed(match &*answer.word {
                    "removed" => Removed::Removed,
                    "held" => Removed::Held,
                    _ => Removed::Absent,
                }))
            }
            Change::Purge => self.purge().await,
            Change::Requeue { id, requeue } => {
                let push = |arguments: &mut Arguments| {
                    arguments.push(&id.to_be_bytes());
                    push_requeue(arguments, &requeue);
                };
                let answer = self.judged_step("requeue", push).await?;
                Ok(match &*answer.word {
                    "full" => Changes::Full { depth: answer.number(0), limit: answer.number(1) },
                    "count" => Changes::Count(1),
                    _ => Changes::Count(0),
                })
            }
            Change::RequeueAll { filter, limit, requeue } => {
                self.change_dead("requeue_all", filter, limit, Some(&requeue)).await
            }
            Change::RemoveDead { id } => {
                let answer = self.judged_step("remove_dead", |arguments| arguments.push(&id.to_be_bytes())).await?;
                Ok(Changes::Count(answer.number(0)))
            }
            Change::PurgeDead { filter, limit } => self.change_dead("purge_dead", filter, limit, None).await,
        }
    }

    async fn purge(&self) -> Result<Changes> {
        let (mut removed, mut newest) = (0, 0);
        loop {
            let answer = self.judged_step("purge", |arguments| arguments.number(newest)).await?;
            removed += answer.number(0);
            newest = answer.number(1);
            if answer.number(2) == 1 && !answer.settling {
                return Ok(Changes::Count(removed));
            }
        }
    }

    async fn change_dead(
        &self,
        what: &str,
        filter: DeadFilter,
        limit: Option<u64>,
        requeue: Option<&Requeue>,
    ) -> Result<Changes> {
        let mut progress = Progress { done: 0, after: None, newest: None };
        loop {
            let most = limit.map_or(1_000_000, |limit| limit - progress.done);
            let newest = progress.newest.map(|newest| newest + 1);
            let moved_before = filter.moved_before.into_iter().chain(newest).min();
            let push = |arguments: &mut Arguments| {
                arguments.number(most);
                arguments.behind_instant(progress.after.as_ref());
                push_filter(arguments, DeadFilter { moved_before, ..filter });
                match requeue {
                    Some(requeue) => push_requeue(arguments, requeue),
                    None => arguments.push(b""),
                }
            };
            let answer = self.judged_step(what, push).await?;
            progress.done += answer.number(0);
            progress.newest.get_or_insert(answer.now);
            progress.after = Some(Cursor::At(answer.number(1), answer.number(2)));
            if answer.number(3) == 1 || limit.is_some_and(|limit| progress.done >= limit) {
                return Ok(Changes::Count(progress.done));
            }
        }
    }
}

fn push_requeue(arguments: &mut Arguments, requeue: &Requeue) {
    let Requeue { delay, max_age, retention, max_depth } = *requeue;
    let numbers = [delay, max_age.unwrap_or(0), retention.unwrap_or(0), max_depth.unwrap_or(0)];
    let bytes: Vec<u8> = numbers.into_iter().flat_map(u64::to_be_bytes).collect();
    arguments.push(&bytes);
}

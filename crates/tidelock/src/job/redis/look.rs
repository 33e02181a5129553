//! Querying jobs, after carrying out what is overdue.

use std::sync::Arc;

use super::Remote;
use super::stored::{Shown, Stored, content_of, events_of, failures_of, line_bytes, line_text, state_of};
use crate::backend::redis::{Answer, Arguments, Bytes, Script, foreign, script, until_settled};
use crate::error::Result;
use crate::handover::cursor::{Cursor, read_cursor};
use crate::job::store::{
    EndView, EventView, EventsView, JobFilter, JobState, Look, MAX_EVENTS, PauseView, StatsView, Totals, View,
};
use crate::limits;

static LOOK: Script = script!(
    "job.look",
    "../../lua/time.lua",
    "../../lua/receipts.lua",
    "../../lua/rank.lua",
    "../lua/keys.lua",
    "../../handover/lua/record.lua",
    "../../handover/lua/lines.lua",
    "../../handover/lua/parking.lua",
    "../lua/layout.lua",
    "../lua/books.lua",
    "../lua/store.lua",
    "../lua/series.lua",
    "../lua/moves.lua",
    "../../handover/lua/overdue.lua",
    "../lua/begin.lua",
    "../lua/look.lua",
);

/// The reply of the script.
struct Showing {
    settling: bool,
    now: u64,
    answer: Answer,
}

/// Bytes after a `1`; anything else means none.
fn optional(answer: &mut Answer) -> Result<Option<Vec<u8>>> {
    Ok(answer.bytes()?.strip_prefix(b"1").map(<[u8]>::to_vec))
}

fn optional_text(answer: &mut Answer) -> Result<Option<Arc<str>>> {
    Ok(optional(answer)?.map(|bytes| String::from_utf8_lossy(&bytes).into()))
}

fn state(answer: &mut Answer) -> Result<JobState> {
    let kind = answer.bytes()?;
    kind.first().and_then(|kind| state_of(*kind)).ok_or_else(|| foreign("kind of job", kind.len()))
}

/// The next job; `None` after the last.
fn job(answer: &mut Answer) -> Result<Option<Shown>> {
    if answer.left() < 6 {
        return Ok(None);
    }
    let bytes = answer.bytes()?;
    let (id, state) = bytes.split_at_checked(8).ok_or_else(|| foreign("job", bytes.len()))?;
    Ok(Some(Shown {
        stored: Stored::read(id, state)?,
        lease_end: answer.count()?,
        progress: optional(answer)?,
        last_failures: failures_of(&answer.bytes()?)?,
        content: content_of(answer.bytes()?)?,
        result: optional(answer)?,
    }))
}

fn jobs(answer: &mut Answer) -> Result<Vec<Shown>> {
    std::iter::from_fn(|| job(answer).transpose()).collect()
}

/// The jobs of a list, and whether it ended early because their inputs are large.
fn part(mut answer: Answer) -> Result<(Vec<Shown>, bool)> {
    Ok((jobs(&mut answer)?, !answer.is_over()))
}

impl Remote {
    /// Calls the script, and again while more is overdue than one step carries out.
    async fn show_all(&self, what: &str, push: impl Fn(&mut Arguments)) -> Result<Showing> {
        let push = &push;
        until_settled(|last| async move {
            let mut arguments = self.home.arguments(None);
            arguments.push(if last { b"1" } else { b"0" });
            arguments.push(what.as_bytes());
            push(&mut arguments);
            let mut answer = self.home.show("look", &LOOK, &arguments).await?;
            let (settling, now) = (answer.flag()?, answer.count()?);
            self.told_next(answer.count()?);
            Ok((settling, Showing { settling, now, answer }))
        })
        .await
    }

    async fn show(&self, what: &str, push: impl Fn(&mut Arguments)) -> Result<Answer> {
        Ok(self.show_all(what, push).await?.answer)
    }

    pub(super) async fn look(&self, look: Look) -> Result<View> {
        match look {
            Look::Stats => Ok(View::Stats(Box::new(self.stats().await?))),
            Look::Get { id } => {
                let mut answer = self.show("get", |arguments| arguments.push(&id.to_be_bytes())).await?;
                Ok(View::Job(job(&mut answer)?.map(Shown::into_view).transpose()?.map(Box::new)))
            }
            Look::List { filter, limit, after } => {
                let after = after.as_deref().map(read_cursor).transpose()?;
                self.list(filter, limit, after).await
            }
            Look::Join { id, park } => self.join(id, park).await,
            Look::Events { id, after, max, park } => Ok(View::Events(self.events(id, after, max, park).await?)),
            Look::Places { id } => {
                let mut answer = self.show("places", |arguments| arguments.push(&id.to_be_bytes())).await?;
                if answer.is_over() {
                    return Ok(View::Places(None));
                }
                let last = answer.count()?;
                Ok(View::Places(Some((last.saturating_sub(MAX_EVENTS as u64), last))))
            }
            Look::Memos { id, fence } => self.memos(id, fence).await,
        }
    }

    async fn stats(&self) -> Result<StatsView> {
        let Showing { settling, now, answer: mut shown } = self.show_all("stats", |_| ()).await?;
        let (ready, blocked, delayed, running) = (shown.count()?, shown.count()?, shown.count()?, shown.count()?);
        let totals = Totals {
            submitted: shown.count()?,
            completed: shown.count()?,
            failed: shown.count()?,
            cancelled: shown.count()?,
            timed_out: shown.count()?,
            retries: shown.count()?,
            crashes: shown.count()?,
            stale: shown.count()?,
        };
        let paused = shown.number()?;
        let (completed, failed, cancelled, timed_out) =
            (shown.count()?, shown.count()?, shown.count()?, shown.count()?);
        let (oldest, next_due) = (shown.number()?, shown.number()?);
        let in_force = paused.is_none_or(|until| until > now);
        let pause = PauseView { until: paused, reason: optional_text(&mut shown)? };
        let (rate, most_held) = limits::read(&mut shown)?;
        Ok(StatsView {
            ready: ready + blocked,
            blocked,
            delayed,
            running,
            completed,
            failed,
            cancelled,
            timed_out,
            oldest_ready_age: oldest.map(|standing| now.saturating_sub(standing)),
            next_due,
            paused: in_force.then_some(pause),
            rate,
            most_held,
            totals,
            settling,
        })
    }

    /// Reads one more than the page holds, to know whether there is a next page.
    async fn list(&self, filter: JobFilter, limit: usize, after: Option<Cursor>) -> Result<View> {
        let mut found = match filter {
            JobFilter::Ready => self.list_ready(limit + 1, after).await?,
            JobFilter::Delayed => self.list_timed("delayed", filter, limit + 1, after).await?,
            JobFilter::Running => self.list_timed("running", filter, limit + 1, after).await?,
            JobFilter::Completed => self.list_timed("completed", filter, limit + 1, after).await?,
            JobFilter::Failed => self.list_timed("failed", filter, limit + 1, after).await?,
            JobFilter::Cancelled => self.list_timed("cancelled", filter, limit + 1, after).await?,
            JobFilter::TimedOut => self.list_timed("timed_out", filter, limit + 1, after).await?,
        };
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|last| last.cursor(filter).to_string());
        let views = found.into_iter().map(Shown::into_view).collect::<Result<_>>()?;
        Ok(View::Jobs(views, next))
    }

    async fn list_timed(
        &self,
        what: &str,
        filter: JobFilter,
        wanted: usize,
        mut after: Option<Cursor>,
    ) -> Result<Vec<Shown>> {
        let mut found = Vec::new();
        loop {
            let push = |arguments: &mut Arguments| {
                arguments.number((wanted - found.len()) as u64);
                arguments.behind_instant(after.as_ref());
            };
            let (jobs, goes_on) = part(self.show(what, push).await?)?;
            found.extend(jobs);
            if !goes_on || found.len() >= wanted {
                return Ok(found);
            }
            after = found.last().map(|last| last.cursor(filter));
        }
    }

    /// Jobs that can be started, then those that wait for another job of their line.
    async fn list_ready(&self, wanted: usize, after: Option<Cursor>) -> Result<Vec<Shown>> {
        let (mut found, mut line) = match after {
            Some(Cursor::Blocked(join, line)) => (Vec::new(), (line_bytes(&line), join)),
            after => (self.startable(wanted, after).await?, (Vec::new(), 0)),
        };
        while found.len() < wanted {
            let push = |arguments: &mut Arguments| {
                arguments.number((wanted - found.len()) as u64);
                arguments.push(&line.0);
                arguments.number(line.1);
            };
            let mut shown = self.show("blocked", push).await?;
            found.extend(jobs(&mut shown)?);
            let last = shown.bytes()?;
            let Some((key, join)) = last.split_at_checked(last.len().saturating_sub(9)).filter(|_| last.len() > 9)
            else {
                break;
            };
            line = (line_bytes(&line_text(key)), Bytes(&join[1..]).number(8).unwrap_or(0));
        }
        Ok(found)
    }

    async fn startable(&self, wanted: usize, mut after: Option<Cursor>) -> Result<Vec<Shown>> {
        let mut found = Vec::new();
        loop {
            let push = |arguments: &mut Arguments| {
                arguments.number((wanted - found.len()) as u64);
                arguments.behind_place(after.as_ref());
            };
            let (jobs, goes_on) = part(self.show("ready", push).await?)?;
            found.extend(jobs);
            if !goes_on || found.len() >= wanted {
                return Ok(found);
            }
            after = found.last().map(|last| last.cursor(JobFilter::Ready));
        }
    }

    fn push_watch(&self, park: bool, arguments: &mut Arguments) {
        arguments.push(if park { b"1" } else { b"0" });
        arguments.push(self.home.server.channel.as_bytes());
    }

    async fn join(&self, id: u64, park: bool) -> Result<View> {
        let push = |arguments: &mut Arguments| {
            arguments.push(&id.to_be_bytes());
            self.push_watch(park, arguments);
        };
        let mut answer = self.show("join", push).await?;
        if answer.is_over() {
            return Ok(View::Joined(None));
        }
        let state = state(&mut answer)?;
        let mut end = EndView { state, result: None, failure: None, reason: None };
        if state.is_terminal() {
            end.reason = optional_text(&mut answer)?;
            let failures = failures_of(&answer.bytes()?)?;
            let failed = matches!(state, JobState::Failed | JobState::TimedOut);
            end.failure = failures.into_iter().next_back().filter(|_| failed);
            end.result = optional(&mut answer)?;
        }
        Ok(View::Joined(Some(Box::new(end))))
    }

    async fn events(&self, id: u64, after: u64, max: usize, park: bool) -> Result<EventsView> {
        let push = |arguments: &mut Arguments| {
            arguments.push(&id.to_be_bytes());
            arguments.number(after);
            arguments.number(max as u64);
            self.push_watch(park, arguments);
        };
        let mut answer = self.show("events", push).await?;
        if answer.is_over() {
            return Ok(EventsView { absent: true, ..EventsView::default() });
        }
        let last = answer.count()?;
        let ended = answer.bytes()? == b"1";
        let first = last.saturating_sub(MAX_EVENTS as u64);
        let place = after.clamp(first, last);
        let mut events: Vec<(u64, EventView)> = Vec::new();
        while !answer.is_over() {
            let before = answer.count()?;
            let chunk = events_of(&answer.bytes()?)?;
            events.extend((before + 1..).zip(chunk).filter(|(number, _)| *number > place));
        }
        events.truncate(max);
        let shown = place + events.len() as u64;
        Ok(EventsView { absent: false, missed: first.saturating_sub(after), events, ended: ended && shown == last })
    }

    async fn memos(&self, id: u64, fence: u64) -> Result<View> {
        let push = |arguments: &mut Arguments| {
            arguments.push(&id.to_be_bytes());
            arguments.push(&fence.to_be_bytes());
        };
        let mut answer = self.show("memos", push).await?;
        if answer.is_over() {
            return Ok(View::Memos(None));
        }
        answer.bytes()?;
        let mut memos = Vec::new();
        while !answer.is_over() {
            memos.push((answer.text()?, answer.bytes()?));
        }
        Ok(View::Memos(Some(memos)))
    }
}

//! The schedules, their history and their next slots.

use clap::Args;
use serde_json::json;
use tidelock::PageToken;
use tidelock::scheduler::{
    HistoryEntry, HistoryEvent, Outcome, ScheduleInfo, ScheduleState, ScheduleTarget, ScheduleTiming, SchedulerStats,
};

use super::{One, Target};
use crate::exit::Exit;
use crate::output;
use crate::value::{SHOWN, about, count, cut, instant, plain, table};

const LIST_HELP: &str = "\
Exit code 1: there are none.

Examples:
  tidelock schedule ls platform
  tidelock schedule ls platform --json | jq '.items[] | select(.state.state != \"active\").id'";

#[derive(Args)]
#[command(after_help = LIST_HELP)]
pub(crate) struct List {
    #[command(flatten)]
    target: Target,
    /// The maximum number to show: 1..=1000.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: usize,
    /// Continue after a page: the `next` that it showed.
    #[arg(long, value_name = "TOKEN")]
    after: Option<PageToken>,
}

impl List {
    pub(crate) async fn run(&self) -> anyhow::Result<Exit> {
        let (_tide, scheduler) = self.target.open().await?;
        let mut list = scheduler.list().limit(self.limit);
        if let Some(after) = &self.after {
            list = list.after(after);
        }
        let page = list.await?;
        let mut human = human(&page.items);
        if let Some(next) = &page.next {
            human = format!("{human}more: --after {next}\n");
        }
        output::answer(self.target.json(), &json!({ "items": page.items, "next": page.next }), &human)?;
        Ok(Exit::any(!page.items.is_empty()))
    }
}

fn human(schedules: &[ScheduleInfo]) -> String {
    if schedules.is_empty() {
        return "there are none\n".to_owned();
    }
    let head = ["id", "runs", "when", "what", "next", "state"].map(str::to_owned).to_vec();
    let rows = schedules.iter().map(|schedule| {
        let spec = schedule.spec.as_ref();
        let when = spec.map_or_else(|| "?".to_owned(), |spec| when(&spec.timing));
        let what = spec.map_or_else(|| "?".to_owned(), |spec| what(&spec.target));
        let next = schedule.next.map_or_else(|| "-".to_owned(), instant);
        vec![plain(&schedule.id), count(schedule.run), when, what, next, state(&schedule.state)]
    });
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    table(&rows, 1..=1)
}

fn when(timing: &ScheduleTiming) -> String {
    match timing {
        ScheduleTiming::Cron { expression, zone } => format!("{} {}", plain(expression), plain(zone)),
        ScheduleTiming::Every { period, .. } => format!("every {}", about(*period)),
        ScheduleTiming::Once { at } => format!("once at {}", instant(*at)),
        _ => "?".to_owned(),
    }
}

fn what(target: &ScheduleTarget) -> String {
    match target {
        ScheduleTarget::Job { id } => format!("job {}", plain(id)),
        ScheduleTarget::Handler { name } => format!("handler {}", plain(name)),
        _ => "?".to_owned(),
    }
}

fn state(state: &ScheduleState) -> String {
    let text = |text: &str| cut(&plain(text), SHOWN);
    match state {
        ScheduleState::Active => "active".to_owned(),
        ScheduleState::Paused { reason, until, .. } => {
            let until = until.map(|until| format!(" until {}", instant(until))).unwrap_or_default();
            let reason = reason.as_deref().map(|reason| format!(": {}", text(reason))).unwrap_or_default();
            format!("paused{until}{reason}")
        }
        ScheduleState::Unserved { since } => format!("unserved since {}", instant(*since)),
        ScheduleState::Failing { rounds, retry_at, error } => {
            format!("failing for {rounds} rounds, again at {}: {}", instant(*retry_at), text(error))
        }
        ScheduleState::Quarantined { error, .. } => format!("quarantined: {}", text(error)),
        ScheduleState::Finished { .. } => "finished".to_owned(),
        _ => "?".to_owned(),
    }
}

const NEXT_HELP: &str = "\
These follow from the schedule's timing, from now on, whether or not it is paused. Exit code 1: there is no such
schedule, or no slot is left.

Examples:
  tidelock schedule next platform digest
  tidelock schedule next platform digest --count 3 --json";

#[derive(Args)]
#[command(after_help = NEXT_HELP)]
pub(crate) struct Next {
    #[command(flatten)]
    schedule: One,
    /// The number to show: 1..=1000.
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    count: usize,
}

impl Next {
    pub(crate) async fn run(&self) -> anyhow::Result<Exit> {
        let (_tide, scheduler) = self.schedule.target.open().await?;
        let slots = scheduler.upcoming(&self.schedule.id).count(self.count).await?;
        let lines: Vec<_> = slots.iter().map(|slot| format!("{}\n", instant(*slot))).collect();
        let human = if slots.is_empty() { "there are none\n".to_owned() } else { lines.concat() };
        output::answer(self.schedule.target.json(), &slots, &human)?;
        Ok(Exit::any(!slots.is_empty()))
    }
}

const HISTORY_HELP: &str = "\
Exit code 1: there is no history.

Example:
  tidelock schedule history platform digest --json | jq '.[0]'";

#[derive(Args)]
#[command(after_help = HISTORY_HELP)]
pub(crate) struct History {
    #[command(flatten)]
    schedule: One,
}

impl History {
    pub(crate) async fn run(&self) -> anyhow::Result<Exit> {
        let (_tide, scheduler) = self.schedule.target.open().await?;
        let entries = scheduler.history(&self.schedule.id).await?;
        let human: String = entries.iter().map(entry).collect();
        let human = if entries.is_empty() { "there is nothing\n".to_owned() } else { human };
        output::answer(self.schedule.target.json(), &entries, &human)?;
        Ok(Exit::any(!entries.is_empty()))
    }
}

fn entry(entry: &HistoryEntry) -> String {
    let what = match &entry.event {
        HistoryEvent::Slot { run, slot, on_time, outcome, .. } => {
            let late = if *on_time { "" } else { ", caught up" };
            format!("run {run} of slot {}{late}: {}", instant(*slot), outcome_text(outcome))
        }
        HistoryEvent::Trigger { run, key, outcome, .. } => {
            let key = key.as_deref().map(|key| format!(" with key {}", plain(key))).unwrap_or_default();
            format!("run {run} by a trigger{key}: {}", outcome_text(outcome))
        }
        HistoryEvent::Missed { count } => format!("{count} slots were missed"),
        HistoryEvent::Paused { count } => format!("{count} slots were in a pause"),
        HistoryEvent::MissingHandler { count } => format!("for {count} slots nobody had the handler"),
        _ => "something that this version does not know".to_owned(),
    };
    format!("{}  {what}\n", instant(entry.at))
}

fn outcome_text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Submitted { job, lateness_ms } => format!("job {job}, {lateness_ms} ms after it was due"),
        Outcome::Overlapped { active } => format!("job {active} was not over"),
        Outcome::GivenUp { error } => format!("given up: {}", cut(&plain(error), SHOWN)),
        _ => "?".to_owned(),
    }
}

const STATS_HELP: &str = "\
`most overdue` is the number to alert on: how long the most overdue slot has been due, even if there is no leader.

Examples:
  tidelock schedule stats platform
  tidelock schedule stats platform --json | jq .most_overdue";

#[derive(Args)]
#[command(after_help = STATS_HELP)]
pub(crate) struct Stats {
    #[command(flatten)]
    target: Target,
}

impl Stats {
    pub(crate) async fn run(&self) -> anyhow::Result<Exit> {
        let (_tide, scheduler) = self.target.open().await?;
        let stats = scheduler.stats().await?;
        output::answer(self.target.json(), &stats, &figures(&stats))?;
        Ok(Exit::Yes)
    }
}

fn figures(stats: &SchedulerStats) -> String {
    let rows = [
        ("active", stats.active),
        ("paused", stats.paused),
        ("unserved", stats.unserved),
        ("failing", stats.failing),
        ("quarantined", stats.quarantined),
        ("finished", stats.finished),
        ("due now", stats.due_now),
        ("dead letters", stats.dead_letters),
    ];
    let mut lines: Vec<_> = rows.iter().map(|(name, number)| format!("{name:<13}{:>11}\n", count(*number))).collect();
    if let Some(overdue) = stats.most_overdue {
        lines.push(format!("most overdue: {}\n", about(overdue)));
    }
    if let Some(next) = stats.next_due {
        lines.push(format!("next due at {}\n", instant(next)));
    }
    lines.push(match &stats.leader {
        Some(leader) => {
            let left = about(leader.lease_left);
            format!("led by {}, epoch {}, for {left} unless renewed\n", plain(&leader.instance), leader.epoch)
        }
        None => "nobody leads\n".to_owned(),
    });
    lines.concat()
}

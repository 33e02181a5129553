//! The groups of a topic.

use clap::Args;
use tidelock::topic::GroupInfo;

use super::Target;
use crate::exit::Exit;
use crate::output;
use crate::value::{count, instant, paused, plain, table};

const GROUPS_HELP: &str = "\
lag         events that the group has not finished: the sum of the next four
unread      kept events after its position
in flight   held by readers
waiting     returned, and not yet delivered again
set aside   waiting for an earlier event with the same ordering key
dead        in its dead letters
missed      no longer kept when the group got to them, so far
position    its position in the log; `topic tail --from` shows the events after it
An empty list is an answer: exit code 0.

Examples:
  tidelock topic groups orders
  tidelock topic groups orders --json | jq '.[] | select(.lag > 1000).name'";

#[derive(Args)]
#[command(after_help = GROUPS_HELP)]
pub(crate) struct List {
    #[command(flatten)]
    target: Target,
}

impl List {
    pub(crate) async fn run(&self) -> anyhow::Result<Exit> {
        let (_tide, topic) = self.target.open().await?;
        let groups = topic.groups().list().await?;
        output::answer(self.target.json(), &groups, &human(&groups))?;
        Ok(Exit::Yes)
    }
}

const LAG_HELP: &str = "\
The numbers mean the same as in `tidelock topic groups`. Exit code 1: there is no such group.

Examples:
  tidelock topic lag orders billing
  tidelock topic lag orders billing --json | jq .lag";

#[derive(Args)]
#[command(after_help = LAG_HELP)]
pub(crate) struct Lag {
    #[command(flatten)]
    target: Target,
    /// The name of the group.
    group: String,
}

impl Lag {
    pub(crate) async fn run(&self) -> anyhow::Result<Exit> {
        let (_tide, topic) = self.target.open().await?;
        let group = topic.groups().get(&self.group).await?;
        let human = group.as_ref().map_or_else(|| "there is no such group\n".to_owned(), one);
        output::answer(self.target.json(), &group, &human)?;
        Ok(Exit::any(group.is_some()))
    }
}

const NUMBERS: [&str; 7] = ["lag", "unread", "in flight", "waiting", "set aside", "dead", "missed"];

fn numbers(group: &GroupInfo) -> [u64; 7] {
    [group.lag, group.unread, group.in_flight, group.waiting, group.set_aside, group.dead, group.missed]
}

fn human(groups: &[GroupInfo]) -> String {
    if groups.is_empty() {
        return "there are no groups\n".to_owned();
    }
    let mut head = vec!["name".to_owned()];
    head.extend(NUMBERS.map(str::to_owned));
    head.extend(["paused".to_owned(), "position".to_owned()]);
    let rows = groups.iter().map(|group| {
        let mut row = vec![plain(&group.name)];
        row.extend(numbers(group).map(count));
        row.extend([if group.paused.is_some() { "yes" } else { "no" }.to_owned(), group.position.to_string()]);
        row
    });
    let settling = groups.iter().any(|group| group.settling);
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    table(&rows, 1..=NUMBERS.len()) + remark(settling)
}

fn one(group: &GroupInfo) -> String {
    let mut lines: Vec<_> =
        NUMBERS.iter().zip(numbers(group)).map(|(name, n)| format!("{name:<10}{:>14}\n", count(n))).collect();
    if let Some(at) = group.oldest_open_at {
        let holder = group.oldest_open_holder.as_deref().map(|holder| format!(", held by {}", plain(holder)));
        lines.push(format!("oldest open: published {}{}\n", instant(at), holder.unwrap_or_default()));
    }
    if let Some(pause) = &group.paused {
        lines.push(paused(pause));
    }
    lines.push(format!("position {}\n", group.position));
    lines.concat() + remark(group.settling)
}

fn remark(settling: bool) -> &'static str {
    if settling { "more is overdue than one look carries out; look again\n" } else { "" }
}

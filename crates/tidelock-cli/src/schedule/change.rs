//! Changes of existing schedules.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use tidelock::scheduler::{Rejected, Triggered};

use super::{One, Target};
use crate::exit::Exit;
use crate::output;
use crate::value::{duration, plain};

const REMOVE_HELP: &str = "\
Definition, plan and history are deleted. Exit code 1: at least one did not exist.

Example:
  tidelock schedule rm platform digest";

#[derive(Args)]
#[command(after_help = REMOVE_HELP)]
pub(crate) struct Remove {
    #[command(flatten)]
    target: Target,
    /// The ids of the schedules.
    #[arg(required = true)]
    ids: Vec<String>,
}

impl Remove {
    pub(crate) async fn run(&self) -> anyhow::Result<Exit> {
        let (_tide, scheduler) = self.target.open().await?;
        let (mut machine, mut human, mut all) = (Vec::new(), Vec::new(), true);
        for id in &self.ids {
            let removed = scheduler.unregister(id).await?;
            all &= removed;
            machine.push(json!({ "id": id, "removed": removed }));
            human.push(format!("{}: {}\n", plain(id), if removed { "removed" } else { "there is no such schedule" }));
        }
        output::answer(self.target.json(), &machine, &human.concat())?;
        Ok(Exit::any(all))
    }
}

const PAUSE_HELP: &str = "\
Slots during a pause are counted and never caught up; triggers still work. A second pause replaces end and reason. Exit
code 1: it was already paused in the same way, or does not exist.

Examples:
  tidelock schedule pause platform digest --reason 'holidays'
  tidelock schedule pause platform digest --for 2h";

#[derive(Args)]
#[command(after_help = PAUSE_HELP)]
pub(crate) struct Pause {
    #[command(flatten)]
    schedule: One,
    /// End the pause after this time.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    at_most: Option<Duration>,
    /// The reason, shown by `ls`.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Pause {
    pub(crate) async fn run(&self) -> anyhow::Result<Exit> {
        let (_tide, scheduler) = self.schedule.target.open().await?;
        let mut pause = scheduler.pause(&self.schedule.id);
        if let Some(at_most) = self.at_most {
            pause = pause.for_at_most(at_most);
        }
        if let Some(reason) = &self.reason {
            pause = pause.reason(reason);
        }
        output::changed(
            self.schedule.target.json(),
            &self.schedule.id,
            pause.await?,
            ["paused", "was paused just so already", "there is no such schedule"],
        )
    }
}

const RESUME_HELP: &str = "\
Exit code 1: it was not paused, or does not exist.

Example:
  tidelock schedule resume platform digest";

#[derive(Args)]
#[command(after_help = RESUME_HELP)]
pub(crate) struct Resume {
    #[command(flatten)]
    schedule: One,
}

impl Resume {
    pub(crate) async fn run(&self) -> anyhow::Result<Exit> {
        let (_tide, scheduler) = self.schedule.target.open().await?;
        output::changed(
            self.schedule.target.json(),
            &self.schedule.id,
            scheduler.resume(&self.schedule.id).await?,
            ["resumed", "was not paused", "there is no such schedule"],
        )
    }
}

const TRIGGER_HELP: &str = "\
This works even while the schedule is paused or there is no leader. With a key, repeated calls return the same run. Exit
code 1: nothing was triggered.

Examples:
  tidelock schedule trigger platform digest
  tidelock schedule trigger platform digest --key repair-42";

#[derive(Args)]
#[command(after_help = TRIGGER_HELP)]
pub(crate) struct Trigger {
    #[command(flatten)]
    schedule: One,
    /// Run at most once per key.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

impl Trigger {
    pub(crate) async fn run(&self) -> anyhow::Result<Exit> {
        let (_tide, scheduler) = self.schedule.target.open().await?;
        let mut trigger = scheduler.trigger_now(&self.schedule.id);
        if let Some(key) = &self.key {
            trigger = trigger.key(key);
        }
        let triggered = trigger.await?;
        let human = match &triggered {
            Triggered::Submitted { id, duplicate: false } => format!("job {id}\n"),
            Triggered::Submitted { id, .. } => format!("job {id}  duplicate: triggered before with this key\n"),
            Triggered::Overlapping { active } => format!("skipped: job {active} is not over\n"),
            Triggered::Rejected(Rejected::MissingSchedule) => "there is no such schedule\n".to_owned(),
            Triggered::Rejected(Rejected::MissingHandler) => "nobody has its handler\n".to_owned(),
            Triggered::Rejected(Rejected::InvalidSchedule { error }) => {
                format!("it cannot be read: {}\n", plain(error))
            }
            _ => "nothing was triggered\n".to_owned(),
        };
        output::answer(self.schedule.target.json(), &triggered, &human)?;
        Ok(Exit::any(matches!(triggered, Triggered::Submitted { .. })))
    }
}

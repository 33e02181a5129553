//! Adding a schedule whose target is a job.

use std::time::{Duration, SystemTime};

use clap::{ArgGroup, Args, ValueEnum};
use serde_json::json;
use tidelock::scheduler::{Misfire, Overlap, Schedule};
use tidelock::{Raw, Timestamp};

use super::One;
use crate::exit::Exit;
use crate::lines;
use crate::output;
use crate::value::{duration, meta, plain};

const HELP: &str = "\
Each slot becomes a job of that name; workers of the job run it, and a started scheduler of this name decides the slots.
Without --input, the job's input is read from stdin to its end. Adding an identical schedule changes nothing.

--misfire: which of the slots that were not decided in time run: none, the latest, or all up to a number.
--overlap: what happens to a run while an earlier one has not ended: it runs at the same time, is skipped, or waits.

Examples:
  tidelock schedule add platform digest --cron '0 7 * * MON-FRI' --tz Europe/Berlin --job mail.digest --input '{}'
  tidelock schedule add platform purge --every 1h --job purge --input 30 --misfire catch-up-one
  tidelock schedule add platform launch --at 2026-12-01T08:00:00Z --job announce --input '\"go\"'";

#[derive(Args)]
#[command(after_help = HELP, group(ArgGroup::new("when").required(true).args(["cron", "every", "at"])))]
pub(crate) struct Add {
    #[command(flatten)]
    schedule: One,
    /// A cron expression of five fields (six with seconds first), or a macro such as @daily.
    #[arg(long, value_name = "EXPRESSION")]
    cron: Option<String>,
    /// The time zone of --cron [default: UTC].
    #[arg(long, value_name = "ZONE", conflicts_with_all = ["every", "at"])]
    tz: Option<String>,
    /// The interval between slots, aligned to the Unix epoch.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    every: Option<Duration>,
    /// Shift the slots of --every.
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with_all = ["cron", "at"])]
    offset: Option<Duration>,
    /// One slot, at this time in UTC.
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<Timestamp>,
    /// The name of the job to submit.
    #[arg(long, value_name = "NAME")]
    job: String,
    /// Its input; read from stdin if omitted or `-`.
    #[arg(long, value_name = "TEXT")]
    input: Option<String>,
    /// The number of failed runs that ends a job [default: 1].
    #[arg(long, value_name = "COUNT")]
    attempts: Option<u32>,
    /// The policy for missed slots.
    #[arg(long, value_enum, default_value = "skip")]
    misfire: Missed,
    /// The policy for a run while an earlier one has not ended.
    #[arg(long, value_enum, default_value = "allow")]
    overlap: Beside,
    /// Spread the slots over this time.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    jitter: Option<Duration>,
    /// Metadata of the jobs; a value that is not JSON is taken as text.
    #[arg(long, value_name = "KEY=VALUE")]
    meta: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Missed {
    Skip,
    CatchUpOne,
    CatchUpAll,
}

#[derive(Clone, Copy, ValueEnum)]
enum Beside {
    Allow,
    Skip,
    Queue,
}

fn time(text: &str) -> Result<Timestamp, String> {
    let time: Result<SystemTime, _> = humantime::parse_rfc3339_weak(text);
    time.map(Timestamp::from).map_err(|_| "expected a time such as 2026-01-31T12:00:00Z".to_owned())
}

impl Add {
    pub(crate) async fn run(&self) -> anyhow::Result<Exit> {
        let (tide, scheduler) = self.schedule.target.open().await?;
        let input = lines::body(self.input.as_deref()).await?;
        let mut job = tide.job::<Raw, Raw>(&self.job);
        if let Some(attempts) = self.attempts {
            job = job.attempts(attempts);
        }
        let mut schedule = self.timing().job(&job.build()?, &Raw(input));
        schedule = schedule.misfire(match self.misfire {
            Missed::Skip => Misfire::Skip,
            Missed::CatchUpOne => Misfire::CatchUpOne,
            Missed::CatchUpAll => Misfire::CatchUpAll,
        });
        schedule = schedule.overlap(match self.overlap {
            Beside::Allow => Overlap::Allow,
            Beside::Skip => Overlap::Skip,
            Beside::Queue => Overlap::Queue,
        });
        if let Some(jitter) = self.jitter {
            schedule = schedule.jitter(jitter);
        }
        for pair in &self.meta {
            let (name, value) = meta(pair)?;
            schedule = schedule.meta(name, &value);
        }
        let registered = scheduler.register(&self.schedule.id, schedule).await?;
        let human = format!("{}: {registered}\n", plain(&self.schedule.id));
        output::answer(self.schedule.target.json(), &json!({ "registered": registered }), &human)?;
        Ok(Exit::Yes)
    }

    fn timing(&self) -> Schedule {
        if let Some(expression) = &self.cron {
            let schedule = Schedule::cron(expression);
            return match &self.tz {
                Some(zone) => schedule.tz(zone),
                None => schedule,
            };
        }
        if let Some(period) = self.every {
            let schedule = Schedule::every(period);
            return match self.offset {
                Some(offset) => schedule.offset(offset),
                None => schedule,
            };
        }
        Schedule::once(self.at.expect("one of the three is required"))
    }
}

//! Adding a schedule whose target is a job.

use std::time::{Duration, SystemTime};

use clap::{ArgGroup, Args, ValueEnum};
use serde_json::json;
use tidelock::scheduler::{Misfire, Overlap, Schedule};
use tidelock::{Raw, Timestamp};

use super::One;
use crate::exit::Exit;
use crate::lines::read_all;
use crate::output;
use crate::value::{duration, meta, plain};

const HELP: &str = "\
Each slot becomes a job of that name; workers of the job run it, and a started scheduler of this name decides the slots.
Without --input the job's input is read from stdin to its end. Adding what is there already changes nothing.

--misfire says what becomes of slots that nobody decided in time: none is run, the latest, or all up to a number.
--overlap says what becomes of a run when an earlier one is not over: it runs beside it, is skipped, or waits.

Examples:
  tidelock schedule add platform digest --cron '0 7 * * MON-FRI' --tz Europe/Berlin --job mail.digest --input '{}'
  tidelock schedule add platform purge --every 1h --job purge --input 30 --misfire catch-up-one
  tidelock schedule add platform launch --at 2026-12-01T08:00:00Z --job announce --input '\"go\"'";

#[derive(Args)]
#[command(after_help = HELP, group(ArgGroup::new("when").required(true).args(["cron", "every", "at"])))]
pub(crate) struct Add {
    #[command(flatten)]
    schedule: One,
    /// Five fields (six with seconds first), or a word such as @daily.
    #[arg(long, value_name = "EXPRESSION")]
    cron: Option<String>,
    /// The zone whose clocks the expression is about [default: UTC].
    #[arg(long, value_name = "ZONE", requires = "cron")]
    tz: Option<String>,
    /// A slot each so often, counted from 1970.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    every: Option<Duration>,
    /// Shifts the slots of --every.
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "every")]
    offset: Option<Duration>,
    /// One slot, at this time in UTC.
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<Timestamp>,
    /// The name of the job to submit.
    #[arg(long, value_name = "NAME")]
    job: String,
    /// Its input; without it, stdin.
    #[arg(long, value_name = "TEXT")]
    input: Option<String>,
    /// Runs of each job that may fail [default: 1].
    #[arg(long, value_name = "COUNT")]
    attempts: Option<u32>,
    /// What becomes of missed slots.
    #[arg(long, value_enum, default_value = "skip")]
    misfire: Missed,
    /// What becomes of a run when an earlier one is not over.
    #[arg(long, value_enum, default_value = "allow")]
    overlap: Beside,
    /// Spreads the slots over this time.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    jitter: Option<Duration>,
    /// Metadata of the jobs; a value that is no JSON is taken as text.
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
        let input = match &self.input {
            Some(input) => input.clone().into_bytes(),
            None => tokio::task::spawn_blocking(read_all).await??,
        };
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

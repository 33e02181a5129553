//! The account, printed for people or as JSON.

use std::collections::HashSet;
use std::fmt;

use serde::Serialize;
use tidelock::job::{FailureCode, JobInfo};

use super::audit::{Account, Dead};
use crate::exit::Exit;
use crate::value::{count, cut, line, plain};

/// Maximum number of failed jobs shown as examples.
const SAMPLES: usize = 6;
/// Errors with this many equal first characters are of one kind.
const KIND: usize = 27;

/// The final output of the demo.
#[derive(Serialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    pub(crate) account: Account,
    pub(crate) interrupted: bool,
    pub(crate) backend: &'static str,
    pub(crate) processes: u16,
    pub(crate) killed: u64,
    pub(crate) killed_holding: u64,
    /// Events that the reader of the stock held when it failed; `None`: it did not fail.
    pub(crate) reader_fell_holding: Option<u64>,
    pub(crate) elapsed_ms: u64,
    pub(crate) job_name: String,
    #[serde(skip)]
    pub(crate) kept: bool,
    #[serde(skip)]
    pub(crate) samples: Vec<String>,
}

impl Report {
    pub(crate) fn exit(&self) -> Exit {
        match (self.account.adds_up, self.interrupted) {
            (false, _) => Exit::Account,
            (true, true) => Exit::Interrupted,
            (true, false) => Exit::Yes,
        }
    }
}

impl From<JobInfo> for Dead {
    fn from(job: JobInfo) -> Self {
        let failure = job.last_failure.as_ref();
        Self {
            id: super::number(job.id),
            reason: failure.map(|failure| failure.code.as_str().to_owned()).unwrap_or_default(),
            rejected: failure.is_some_and(|failure| failure.code == FailureCode::Fatal),
            error: failure.map(|failure| failure.message.clone()).unwrap_or_default(),
            attempts: job.attempt,
            failures: job.failures + job.crashes,
            raw: job.input.as_bytes().to_vec(),
        }
    }
}

/// One failed job of each kind.
pub(crate) fn samples(dead: &[Dead]) -> Vec<String> {
    let mut kinds = HashSet::new();
    let firsts = dead.iter().filter(|letter| kinds.insert((&letter.reason, cut(&letter.error, KIND))));
    let sample = |letter: &Dead| {
        let (error, body) = (cut(&plain(&letter.error), 96), cut(&line(&letter.raw), 96));
        format!("{} at attempt {}: {error}\n      {body}", letter.reason, letter.attempts)
    };
    firsts.take(SAMPLES).map(sample).collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Account { blank, too_long, duplicates, .. } = self.account;
        let account = &self.account;
        let mut row = |number: u64, name: &str, remark: String| {
            let line = format!("{:>9}  {name:<14}{remark}", count(number));
            writeln!(f, "{}", line.trim_end())
        };
        let seconds = self.elapsed_ms.div_ceil(100);
        row(account.lines, "lines", format!("in {}.{} s", seconds / 10, seconds % 10))?;
        row(blank + too_long, "skipped", format!("{blank} blank, {too_long} too long"))?;
        row(duplicates, "duplicates", "refused: their order id was accepted before".to_owned())?;
        row(account.accepted, "accepted", String::new())?;
        row(account.settled, "settled", format!("charged {} in all", money(account.charged_cents)))?;
        let by_reason = account.dead_by_reason.iter().map(|(reason, number)| format!("{} {reason}", count(*number)));
        row(account.dead, "failed", by_reason.collect::<Vec<_>>().join(", "))?;
        if account.unfinished > 0 {
            row(account.unfinished, "unfinished", "not ended when it was stopped".to_owned())?;
        }
        let revenue = money(account.revenue_cents);
        row(account.events, "events", format!("one for each order; a group adds them up to {revenue}"))?;
        let fell =
            self.reader_fell_holding.map(|held| format!(", whose reader fell with {} events in hand", count(held)));
        row(account.sold, "sold", format!("items, by a second group{}", fell.unwrap_or_default()))?;
        let expired =
            if account.expired > 0 { format!("; {} said no goodbye", account.expired) } else { String::new() };
        row(account.members, "members", format!("came and went{expired}"))?;
        row(account.digests, "digests", "one each second, by a schedule".to_owned())?;
        row(account.lost, "lost", String::new())?;
        row(account.double, "double", String::new())?;
        row(account.retried, "retried", "orders that ran again after a failure or a crash".to_owned())?;
        if account.replayed + account.stale > 0 {
            row(account.replayed, "replayed", "run again after their charge, and not charged again".to_owned())?;
            row(account.stale, "stale", "came too late with an old fence, and were refused".to_owned())?;
        }
        if self.killed > 0 {
            let remark = format!("worker process, which held {} orders", count(self.killed_holding));
            row(self.killed, "killed", remark)?;
        }
        self.fmt_samples(f)?;
        self.fmt_verdict(f)
    }
}

fn money(cents: i64) -> String {
    format!("{}.{:02}", count((cents / 100).unsigned_abs()), cents % 100)
}

impl Report {
    fn fmt_samples(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.samples.is_empty() {
            writeln!(f, "\nSome of those that failed:")?;
        }
        for sample in &self.samples {
            writeln!(f, "    {sample}")?;
        }
        if self.kept {
            let name = &self.job_name;
            writeln!(f, "\nKept: tidelock job stats {name}, tidelock topic tail {name} --from earliest (--redis …)")?;
        }
        Ok(())
    }

    fn fmt_verdict(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Account { accepted, settled, dead, unfinished, lost, double, .. } = self.account;
        if self.account.adds_up {
            let open = if unfinished > 0 { format!(" + {} unfinished", count(unfinished)) } else { String::new() };
            let (accepted, settled, dead) = (count(accepted), count(settled), count(dead));
            return writeln!(
                f,
                "\nThe account adds up: {accepted} accepted = {settled} settled + {dead} dead{open}, {lost} lost, {double} double."
            );
        }
        writeln!(f, "\nThe account does NOT add up:")?;
        for problem in &self.account.problems {
            writeln!(f, "    {}", plain(problem))?;
        }
        Ok(())
    }
}

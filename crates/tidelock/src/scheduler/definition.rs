//! The stored form of a schedule. It is canonical, so that equal definitions are equal bytes.
//!
//! The content consists of a byte for the format, four bytes with the length of the head, the head in JSON, and the
//! input unchanged.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::decide::Terms;
use super::schedule::Misfire;
use super::store::Definition;
use super::timing::Timing;
use crate::error::{Error, ErrorKind, Result};
use crate::job::store::{Overlapping, Rules};

/// The format that this version writes.
const FORM: u8 = 1;

/// A schedule, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spec {
    pub(crate) timing: Timing,
    pub(crate) content: Content,
}

/// Policies, target, input and meta.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Content {
    /// The original text of a cron expression, shown in queries.
    pub(crate) expression: Option<String>,
    pub(crate) misfire: Misfire,
    pub(crate) max_catch_up_runs: Option<u32>,
    /// `None`: the leader's setting.
    pub(crate) tolerance: Option<u64>,
    pub(crate) overlap: Overlapping,
    pub(crate) target: Target,
    /// A JSON object, or empty.
    pub(crate) meta: String,
    #[serde(skip)]
    pub(crate) input: Vec<u8>,
}

/// The target of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// A job of this id, with the options that its handle had when the schedule was registered.
    Job { id: String, rules: Rules, max_depth: Option<u64> },
    /// A run of this handler.
    Handler { name: String },
}

impl Spec {
    pub(crate) fn definition(&self) -> Definition {
        let handler = match &self.content.target {
            Target::Job { .. } => None,
            Target::Handler { name } => Some(Arc::from(name.as_str())),
        };
        Definition { timing: self.timing.encode(), content: self.content.encode(), handler }
    }

    /// Reads a stored definition. Fails with *incompatible data format* if this version cannot read it, or if its
    /// time zone is not in the time zone database.
    pub(crate) fn read(definition: &Definition) -> Result<Self> {
        let content = Content::read(&definition.content)?;
        let timing = Timing::decode(&definition.timing, content.expression.as_deref())?;
        Ok(Self { timing, content })
    }
}

impl Content {
    fn encode(&self) -> Vec<u8> {
        let head = serde_json::to_vec(self).expect("numbers and texts can be written");
        let length = u32::try_from(head.len()).expect("names, options and meta are bounded");
        let mut bytes = Vec::with_capacity(5 + head.len() + self.input.len());
        bytes.push(FORM);
        bytes.extend(length.to_be_bytes());
        bytes.extend(head);
        bytes.extend(&self.input);
        bytes
    }

    pub(crate) fn read(bytes: &[u8]) -> Result<Self> {
        let unreadable = |why: String| Error::new(ErrorKind::IncompatibleFormat, format!("its content: {why}"));
        let (form, rest) = bytes.split_first().ok_or_else(|| unreadable("nothing is stored".to_owned()))?;
        if *form != FORM {
            return Err(unreadable(format!("form {form}, where this version reads form {FORM}")));
        }
        let cut = || unreadable(format!("cut off after {} bytes", bytes.len()));
        let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| cut())?;
        let (head, input) = rest.split_at_checked(length).ok_or_else(cut)?;
        let content: Self = serde_json::from_slice(head).map_err(|error| unreadable(error.to_string()))?;
        Ok(Self { input: input.to_vec(), ..content })
    }

    /// The policies for its late slots; `tolerance` is the leader's.
    pub(crate) fn terms(&self, tolerance: u64) -> Terms {
        Terms {
            tolerance: self.tolerance.unwrap_or(tolerance),
            misfire: self.misfire,
            max_catch_up_runs: u64::from(self.max_catch_up_runs.unwrap_or(0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Overlap, Schedule};
    use super::*;
    use crate::Tidelock;
    use crate::codec::Raw;
    use crate::time::{DAY, HOUR, SECOND, Timestamp};

    fn spec(schedule: Schedule) -> Result<Spec> {
        schedule.into_spec("default")
    }

    #[test]
    fn input_bytes_come_back_unchanged() {
        for input in [&b""[..], b"\0\xff\"{}", "9007199254740993 \u{1f600}".as_bytes()] {
            let written = spec(Schedule::every(HOUR).handler("h", &Raw(input.to_vec())).meta("a", &1)).unwrap();
            let read = Spec::read(&written.definition()).unwrap();
            assert_eq!(read, written);
            assert_eq!(read.content.input, input);
        }
    }

    #[test]
    fn equal_definitions_are_equal_bytes() {
        let one = Schedule::cron("0 0 * * 0").handler("h", &1).meta("b", &2).meta("a", &1).max_queued(7);
        let other = Schedule::cron(" 0  0 * * 0").handler("h", &1).meta("a", &1).meta("b", &2).max_queued(7);
        let [one, other] = [one, other].map(|schedule| spec(schedule.overlap(Overlap::Queue)).unwrap().definition());
        assert_eq!(one, other);
        // The same slots in another notation: the content differs, the timing does not.
        let weekly = spec(Schedule::cron("@weekly").handler("h", &1)).unwrap().definition();
        let sunday = spec(Schedule::cron("0 0 * * SUN").handler("h", &1)).unwrap().definition();
        assert_eq!(weekly.timing, sunday.timing);
        assert_ne!(weekly.content, sunday.content);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let written = spec(Schedule::every(HOUR).handler("h", &1)).unwrap().definition();
        for end in 0..written.content.len() - 1 {
            let cut = Definition { content: written.content[..end].to_vec(), ..written.clone() };
            assert_eq!(Spec::read(&cut).unwrap_err().kind(), ErrorKind::IncompatibleFormat, "cut at {end}");
        }
        let mut later = written.clone();
        later.content[0] = 2;
        assert!(Spec::read(&later).unwrap_err().to_string().contains("form 2"));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_value() {
        let tide = Tidelock::in_process();
        let job = tide.job::<u32, ()>("j").build().unwrap();
        let base = || Schedule::every(HOUR).handler("h", &1);
        let ms = std::time::Duration::from_millis;
        let cases = [
            (Schedule::every(HOUR), "needs a target"),
            (base().job(&job, &1), "one target, a job or a handler, but 2 came"),
            (Schedule::every(HOUR).job(&job.tenant("acme"), &1), "of tenant \"acme\""),
            (base().tz("UTC"), "tz is only for a schedule by cron"),
            (Schedule::cron("* * * * *").handler("h", &1).offset(SECOND), "offset is only for a schedule by every"),
            (Schedule::cron("* * * *").handler("h", &1), "cron must have 5 fields"),
            (Schedule::cron("* * * * *").tz("Mars").handler("h", &1), "unknown time zone: Mars"),
            (Schedule::every(ms(999)).handler("h", &1), "period must be 1s"),
            (base().offset(HOUR), "offset must be less than the period (3600s), but is 3600s"),
            (base().jitter(DAY + ms(1)), "jitter must be 0ns..=86400s"),
            (base().tolerance(HOUR + ms(1)), "tolerance must be 0ns..=3600s"),
            (base().max_catch_up_runs(5), "max_catch_up_runs is only for Misfire::CatchUpAll"),
            (base().misfire(Misfire::CatchUpAll).max_catch_up_runs(0), "max_catch_up_runs must be 1..=10000, but is 0"),
            (base().max_queued(5), "max_queued is only for Overlap::Queue"),
            (base().overlap(Overlap::Queue).max_queued(10_001), "but is 10001"),
            (Schedule::every(HOUR).handler("", &1), "handler must be 1..=256 bytes"),
            (Schedule::every(HOUR).handler("a\0b", &1), "must not contain NUL"),
            (Schedule::once(Timestamp::from_millis(u64::MAX)).handler("h", &1), "once must be at most"),
            (Schedule::every(HOUR).handler("h", &Raw(vec![0; 131_073])), "payload exceeds limit: 131073"),
        ];
        for (schedule, expected) in cases {
            let error = spec(schedule).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} does not contain {expected}");
        }
    }
}

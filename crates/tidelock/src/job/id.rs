//! The names of jobs and of positions in their events.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::check;
use crate::cursor::{Owner, decode, encode};
use crate::error::{Error, Result};

/// The id of a job. Ids of a name only grow and never repeat, not even after the jobs were deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub(crate) u64);

impl From<&Self> for JobId {
    fn from(id: &Self) -> Self {
        *id
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for JobId {
    type Err = Error;

    /// Reads an id from decimal text.
    fn from_str(text: &str) -> Result<Self> {
        let id = check::decimal(text).map(Self);
        id.ok_or_else(|| Error::argument(format!("a job id is a decimal below 2^53, but this is {text:?}")))
    }
}

/// A position in the events of one job, just after an event. Opaque text: it can be stored, and used in another
/// process.
///
/// A cursor belongs to one job; any other one refuses it. It stays valid as long as the job is kept: events after it
/// that no longer exist are reported as a gap.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct JobCursor {
    owner: Owner,
    job: u64,
    /// The number of the event before the position; 0 is before the first.
    number: u64,
}

impl JobCursor {
    pub(crate) fn new(owner: Owner, job: u64, number: u64) -> Self {
        Self { owner, job, number }
    }

    /// The position in the events of this job. Refuses a cursor of another job.
    pub(crate) fn of(self, owner: Owner, job: u64) -> Result<u64> {
        if self.owner == owner && self.job == job {
            return Ok(self.number);
        }
        Err(Error::argument(format!("the cursor {self} is of another job, job name or tenant")))
    }
}

impl fmt::Display for JobCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode(self.owner, &[self.job, self.number]))
    }
}

impl fmt::Debug for JobCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobCursor({self})")
    }
}

impl FromStr for JobCursor {
    type Err = Error;

    /// Reads the text of a cursor. Cut or otherwise malformed text is an invalid argument.
    fn from_str(text: &str) -> Result<Self> {
        let (owner, [job, number]) =
            decode(text).ok_or_else(|| Error::argument(format!("{text:?} is not the text of a job cursor")))?;
        Ok(Self { owner, job, number })
    }
}

impl Serialize for JobCursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JobCursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Address;

    fn owner(id: &str) -> Owner {
        Owner::of("job", &Address::new(&"default".into(), id))
    }

    #[test]
    fn an_id_is_its_decimal_and_nothing_else_is_read() {
        let id = JobId(check::LARGEST);
        assert_eq!(id.to_string().parse::<JobId>().unwrap(), id);
        for text in ["", "-1", "+1", "1.0", "0x1", " 1", "9007199254740992", "99999999999999999999"] {
            assert!(text.parse::<JobId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_cursor_is_text_that_belongs_to_one_job() {
        let cursor = JobCursor::new(owner("mail"), 7, 3);
        let read: JobCursor = cursor.to_string().parse().unwrap();
        assert_eq!(read, cursor);
        let json = serde_json::to_string(&cursor).unwrap();
        assert_eq!(serde_json::from_str::<JobCursor>(&json).unwrap(), cursor);
        assert_eq!(cursor.of(owner("mail"), 7).unwrap(), 3);
        assert!(cursor.of(owner("mail"), 8).is_err());
        assert!(cursor.of(owner("letters"), 7).is_err());
        assert!(cursor.to_string()[1..].parse::<JobCursor>().is_err());
    }
}

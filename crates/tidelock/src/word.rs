//! The words for outcomes and states: `Display` writes the same as serde.

/// Implements `Display` with one word per variant, regardless of the variant's fields.
macro_rules! words {
    ($type:ident: $($variant:pat => $word:literal),+ $(,)?) => {
        impl std::fmt::Display for $type {
            /// The same word as in JSON.
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(match self {
                    $($variant => $word,)+
                })
            }
        }
    };
}

pub(crate) use words;

#[cfg(test)]
mod tests {
    use std::fmt::Display;

    use serde::Serialize;
    use serde_json::Value;

    use crate::job::{CancelOutcome, JobState, RetryOutcome, StopReason};
    use crate::keyed::change::{Removal, Touch};
    use crate::keyed::cursor::Version;
    use crate::keyed::entry::Status;
    use crate::mutex::{GrantEnd, Release};
    use crate::queue::{DeadReason, Nacked, Removed, State};
    use crate::ratelimit::DecidedBy;
    use crate::registry::Left;
    use crate::scheduler::Registered;
    use crate::topic::GapCause;
    use crate::{Changed, JobId, Timestamp};

    fn assert_same<T: Serialize + Display>(values: &[T]) {
        for value in values {
            let word = match serde_json::to_value(value).unwrap() {
                Value::String(word) => word,
                Value::Object(variant) => variant.keys().next().unwrap().clone(),
                other => panic!("{value} is no word, but {other}"),
            };
            assert_eq!(value.to_string(), word);
        }
    }

    #[test]
    fn a_word_is_the_same_for_people_and_in_json() {
        let at = Timestamp::from_millis(0);
        assert_same(&[Changed::Yes, Changed::No, Changed::Absent]);
        assert_same(&[Nacked::Requeued { due: at }, Nacked::DeadLettered, Nacked::Stale]);
        assert_same(&[State::Ready, State::Delayed, State::Leased]);
        assert_same(&[Removed::Removed, Removed::Held, Removed::Absent, Removed::Conflict]);
        assert_same(&[DeadReason::Expired, DeadReason::MaxDeliveriesExceeded]);
        assert_same(&[DeadReason::Rejected, DeadReason::Undecodable]);
        assert_same(&[GapCause::Trimmed, GapCause::Replaced]);
        assert_same(&[JobState::Submitted, JobState::Running, JobState::Completed]);
        assert_same(&[JobState::Failed, JobState::Cancelled, JobState::TimedOut]);
        assert_same(&[StopReason::LeaseLost, StopReason::Cancelled, StopReason::Timeout, StopReason::Shutdown]);
        let finished = CancelOutcome::AlreadyFinished(JobState::Failed);
        assert_same(&[CancelOutcome::Cancelled, finished, CancelOutcome::NotFound]);
        let (running, taken) = (RetryOutcome::NotRetryable(JobState::Running), RetryOutcome::KeyTaken(JobId(1)));
        assert_same(&[RetryOutcome::Submitted, running, taken, RetryOutcome::NotFound]);
        assert_same(&[DecidedBy::Backend, DecidedBy::Local, DecidedBy::Assumed]);
        assert_same(&[Registered::Created, Registered::Updated, Registered::Unchanged]);
        assert_same(&[Release::Released, Release::WasLost]);
        assert_same(&[GrantEnd::Unproven, GrantEnd::NotOwner, GrantEnd::Finished]);
        assert_same(&[Left::Left, Left::WasLost]);
        assert_same(&[Status::Active, Status::Expired]);
        assert_same(&[Removal::Removed, Removal::Absent, Removal::Conflict(Version(1))]);
        let extended = Touch::Extended { version: Version(1), expires_at: at };
        assert_same(&[extended, Touch::Absent, Touch::Permanent, Touch::Conflict(Version(1))]);
    }
}

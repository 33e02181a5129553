//! Jobs whose handlers cannot be dropped.

use crate::error::BoxError;
#[cfg(doc)]
use crate::job::JobContext;
use crate::job::{FailureCode, JobBuilder, JobError};

/// Of a job definition: its lease is the limit of a run too, which only heartbeats move. The end of the lease is a timeout,
/// settled in that instant whatever the handler does; [`JobContext::cancelled`] tells it as a lost lease.
pub fn lease_is_limit<I, O>(job: JobBuilder<I, O>) -> JobBuilder<I, O> {
    job.lease_is_limit()
}

/// A handler's failure that ends its job with this code, whatever attempts are left.
pub fn job_ends(code: FailureCode, error: impl Into<BoxError>) -> JobError {
    JobError::ending(code, error)
}

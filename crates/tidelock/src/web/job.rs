//! Jobs whose handlers cannot be dropped.

use crate::error::{BoxError, Result};
use crate::job::{FailureCode, JobBuilder, JobContext, JobError};

/// Makes a job's lease the time limit of a run, extended only by heartbeats. When the lease ends the run times out at
/// that instant, whatever the handler does; [`JobContext::cancelled`] reports it as a lost lease.
pub fn lease_is_limit<I, O>(job: JobBuilder<I, O>) -> JobBuilder<I, O> {
    job.lease_is_limit()
}

/// A handler's failure that ends its job with this code, even if attempts are left.
pub fn job_ends(code: FailureCode, error: impl Into<BoxError>) -> JobError {
    JobError::ending(code, error)
}

/// As [`JobContext::progress`], for an encoded value whose size the caller has checked.
pub fn job_progress(context: &JobContext, value: Vec<u8>) -> Result<()> {
    context.progress_encoded(value)
}

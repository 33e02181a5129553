//! Jobs whose handlers cannot be dropped.

use crate::error::{BoxError, Result};
use crate::job::{FailureCode, JobBuilder, JobContext, JobError};

/// Of a job definition: its lease is the limit of a run too, which only heartbeats move. The end of the lease is a timeout,
/// settled in that instant whatever the handler does; [`JobContext::cancelled`] tells it as a lost lease.
pub fn lease_is_limit<I, O>(job: JobBuilder<I, O>) -> JobBuilder<I, O> {
    job.lease_is_limit()
}

/// A handler's failure that ends its job with this code, whatever attempts are left.
pub fn job_ends(code: FailureCode, error: impl Into<BoxError>) -> JobError {
    JobError::ending(code, error)
}

/// Like [`JobContext::progress`], of a value whose bytes are known, and whose size was judged by who made them.
pub fn job_progress(context: &JobContext, value: Vec<u8>) -> Result<()> {
    context.progress_encoded(value)
}

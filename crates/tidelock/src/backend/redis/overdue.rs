//! Scripts that carry out what is overdue before they answer, a bounded part of it in each call.

use crate::backend::SETTLING_STEPS;
use crate::error::Result;

/// Repeats a step until nothing is overdue any more, but not longer than a caller would wait. The step is told
/// whether it is the last one. It returns whether more is overdue than it carried out, and its result.
pub(crate) async fn until_settled<T, F>(mut step: impl FnMut(bool) -> F) -> Result<T>
where
    F: Future<Output = Result<(bool, T)>>,
{
    for _ in 1..SETTLING_STEPS {
        let (settling, found) = step(false).await?;
        if !settling {
            return Ok(found);
        }
    }
    Ok(step(true).await?.1)
}

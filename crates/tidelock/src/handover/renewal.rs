//! Leases that renew themselves: every third of a lease, all in one request.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::held::Held;
use super::site::Site;
use super::store::{Action, MAX_BATCH, Settled};
use crate::runtime::BoxFuture;
use crate::time::{SECOND, whole_millis};

/// Renews what `held` gives, every third of `lease`, for ever.
///
/// Where a renewal fails, it is tried again well before the lease is over.
pub(crate) fn every(
    site: &Arc<Site>,
    lease: Duration,
    held: impl Fn() -> Vec<Arc<Held>> + Send + 'static,
) -> BoxFuture<'static, ()> {
    let site = Arc::clone(site);
    let lease_ms = whole_millis(lease);
    Box::pin(async move {
        let mut next = site.tick().plus(lease / 3);
        loop {
            site.clock().sleep_until(next).await;
            let began = site.tick();
            let renewed = renew(&site, lease_ms, held()).await;
            let pause = if renewed { lease / 3 } else { (lease / 12).min(SECOND) };
            // From where it began: a slow answer does not put off the next renewal.
            next = began.plus(pause);
        }
    })
}

/// Answers whether everything was answered, whatever the answers were.
async fn renew(site: &Arc<Site>, lease: u64, held: Vec<Arc<Held>>) -> bool {
    let parts = held.chunks(MAX_BATCH).map(|part| async move {
        let asked = site.moment();
        // It may end sooner by it: whoever holds it may have asked for a longer one.
        for held in part {
            held.touching(asked, lease);
        }
        let touches = part.iter().map(|held| held.settle(Action::Touch { lease })).collect();
        match site.settle(touches).await {
            Ok(settled) => {
                for (held, settled) in part.iter().zip(settled) {
                    held.touched(asked, lease, settled == Settled::Done);
                }
                true
            }
            Err(error) => {
                tracing::warn!(
                    messaging.destination.name = %crate::name::shown(&site.address.id),
                    messaging.batch.message_count = part.len(),
                    %error,
                    "leases could not be renewed; retrying"
                );
                false
            }
        }
    });
    join_all(parts).await.into_iter().all(|answered| answered)
}

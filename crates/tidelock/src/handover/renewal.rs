//! Leases that renew themselves: every third of a lease, all in one request.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::held::Held;
use super::site::Site;
use super::store::{Action, MAX_BATCH, Settled};
use crate::runtime::BoxFuture;
use crate::time::{SECOND, whole_millis};

/// Renews everything that `held` returns, every third of `lease`, forever.
///
/// A failed renewal is retried well before the lease ends.
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
            // The interval starts when the renewal began, so that a slow answer does not delay the next one.
            next = began.plus(pause);
        }
    })
}

/// Returns whether every request was answered, whatever the answers were.
async fn renew(site: &Arc<Site>, lease: u64, held: Vec<Arc<Held>>) -> bool {
    let parts = held.chunks(MAX_BATCH).map(|part| async move {
        let asked = site.moment();
        // The renewal may shorten the lease, because a holder may have asked for a longer one.
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

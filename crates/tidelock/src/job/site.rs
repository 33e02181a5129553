//! One object of jobs in this process: its line of receivers, and its store.

use std::sync::{Arc, OnceLock};

use super::ears::Ears;
use super::store::{Action, Change, Changes, Claim, JobStore, Look, Settle, Settled, View};
use crate::bell::Bell;
use crate::error::{Error, ErrorKind, Result};
use crate::handover::store::{self as handover, Content, Handed, Taken};
use crate::handover::{Object, Receivers, Site, Source, Terms};
use crate::name::Address;
use crate::runtime::BoxFuture;
use crate::tidelock::World;
use crate::topic::store::Position;

/// The line of receivers for runs of the jobs at `address`, shared by all handles.
pub(super) fn receivers(world: &Arc<World>, address: &Address) -> Arc<Receivers> {
    world.receivers.get_or_insert(&(address.clone(), Object::Jobs), || {
        let source = Runs { store: world.backend.job(), address: address.clone(), ears: OnceLock::new() };
        Receivers::new(world, address.clone(), Object::Jobs, Box::new(source))
    })
}

/// The store that requests use.
pub(super) fn store_of(site: &Site) -> Arc<dyn JobStore> {
    site.world.backend.job()
}

pub(super) async fn look(site: &Site, operation: &str, look: Look) -> Result<View> {
    site.check(operation)?;
    store_of(site).look(&site.address, look).await.map_err(|error| site.context(operation, error))
}

/// Applies a change. A reached depth is an error.
pub(super) async fn change(site: &Site, operation: &str, change: Change) -> Result<Changes> {
    site.check(operation)?;
    let changes = store_of(site).change(&site.address, change).await;
    match changes.map_err(|error| site.context(operation, error))? {
        Changes::Full { depth, limit } => Err(site.context(operation, full(depth, limit))),
        changes => Ok(changes),
    }
}

/// The error for a reached `max_depth`. A retry helps once something was started.
pub(super) fn full(depth: u64, limit: u64) -> Error {
    let text = format!("max_depth is reached: {depth} jobs are ready or delayed, limit {limit}");
    Error::new(ErrorKind::CapacityReached, text).retryable()
}

/// The source of the runs of one object of jobs.
#[derive(Debug)]
struct Runs {
    store: Arc<dyn JobStore>,
    address: Address,
    /// Kept from the first use on, so that all takes share one bell.
    ears: OnceLock<Arc<Ears>>,
}

impl Source for Runs {
    fn is_local(&self) -> bool {
        self.store.is_local()
    }

    fn take(&self, terms: &Terms, max: usize, park: bool) -> BoxFuture<'static, Result<Taken>> {
        let claiming = self.store.claim(&self.address, Claim { max, worker: Arc::clone(&terms.consumer), park });
        Box::pin(async move {
            let claimed = claiming.await?;
            let messages = claimed.runs.into_iter().map(|run| {
                let (id, fence, attempt, priority) = (run.id, run.fence, run.attempt, run.priority);
                Handed {
                    id,
                    fence,
                    attempt,
                    priority,
                    enqueued_at: run.submitted_at,
                    position: Position::default(),
                    run: Some(Arc::new(run)),
                    event: None,
                    last_error: None,
                    content: Content::default(),
                }
            });
            Ok(Taken { gap: None, messages: messages.collect(), next: claimed.next, ended: false })
        })
    }

    /// The line only settles runs that were claimed for nobody: they are released.
    fn settle(&self, settles: Vec<handover::Settle>) -> BoxFuture<'static, Result<Vec<handover::Settled>>> {
        let release = |settle: handover::Settle| {
            debug_assert_eq!(settle.action, handover::Action::GiveBack, "runs are settled by their worker");
            Settle { id: settle.id, fence: settle.fence, progress: None, action: Action::Release }
        };
        let settling = self.store.settle(&self.address, settles.into_iter().map(release).collect());
        Box::pin(async move {
            let outcome = |settled: Settled| match settled {
                Settled::Stale | Settled::Cancelled => handover::Settled::Stale,
                _ => handover::Settled::Done,
            };
            Ok(settling.await?.into_iter().map(outcome).collect())
        })
    }

    fn bell(&self) -> Arc<Bell> {
        let ears = self.ears.get_or_init(|| self.store.ears(&self.address));
        Arc::clone(&ears.work)
    }
}

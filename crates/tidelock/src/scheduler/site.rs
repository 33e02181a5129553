//! One object of schedules in this process: its requests, and its instances that run here.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use tokio::sync::Notify;

use super::store::{Change, Changes, Look, SchedulerStore, View};
use crate::error::{Error, Result};
use crate::name::Address;
use crate::tidelock::World;

/// The schedules at one address, in this process.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) world: Arc<World>,
    pub(crate) address: Address,
    /// Wakes the instances that run in this process.
    instances: Mutex<Vec<Weak<Notify>>>,
}

impl Site {
    /// The site at this address, shared by all handles of the process.
    pub(crate) fn of(world: &Arc<World>, address: &Address) -> Arc<Self> {
        world.schedulers.get_or_insert(address, || {
            let (world, address) = (Arc::clone(world), address.clone());
            Arc::new(Self { world, address, instances: Mutex::default() })
        })
    }

    pub(crate) fn id(&self) -> &Arc<str> {
        &self.address.id
    }

    pub(crate) fn store(&self) -> Arc<dyn SchedulerStore> {
        self.world.backend.scheduler()
    }

    /// Refuses names that no object can have, and any call once a shutdown is over. Until then, what is held may be
    /// finished.
    pub(crate) fn check(&self, operation: &str) -> Result<()> {
        let checked = self.world.lifecycle.check_not_closed().and_then(|()| self.address.check());
        checked.map_err(|error| self.context(operation, error))
    }

    /// Refuses to begin something lasting once a shutdown has begun.
    pub(crate) fn check_beginning(&self, operation: &str) -> Result<()> {
        self.check(operation)?;
        self.world.lifecycle.check().map_err(|error| self.context(operation, error))
    }

    /// Adds operation and object to an error.
    pub(crate) fn context(&self, operation: &str, error: Error) -> Error {
        error.in_context(format_args!("{operation} on scheduler {:?}", self.address.id))
    }

    /// The same for a call about one schedule.
    pub(crate) fn about(&self, operation: &str, schedule: &str, error: Error) -> Error {
        self.context(operation, error.in_context(format_args!("schedule {schedule:?}")))
    }

    pub(crate) async fn look(&self, operation: &str, look: Look) -> Result<View> {
        self.check(operation)?;
        self.store().look(&self.address, look).await.map_err(|error| self.context(operation, error))
    }

    pub(crate) async fn change(&self, operation: &str, change: Change) -> Result<Changes> {
        self.check(operation)?;
        self.store().change(&self.address, change).await.map_err(|error| self.context(operation, error))
    }

    /// The error for an answer of the backend that does not fit the request.
    pub(crate) fn misfit(&self, operation: &str) -> Error {
        self.context(operation, Error::misfit())
    }

    /// From now on the instance is woken together with the others of this process.
    pub(super) fn enlist(&self, instance: &Arc<Notify>) {
        let mut instances = self.lock();
        instances.retain(|other| other.strong_count() > 0);
        instances.push(Arc::downgrade(instance));
    }

    /// The backend rings once for all instances of a process, so the instance that heard it wakes the others.
    pub(super) fn pass_on(&self, heard: &Arc<Notify>) {
        for other in self.lock().iter().filter_map(Weak::upgrade) {
            if !Arc::ptr_eq(&other, heard) {
                other.notify_one();
            }
        }
    }

    /// Wakes all instances of this process.
    #[cfg(target_family = "wasm")]
    pub(super) fn wake(&self) {
        for instance in self.lock().iter().filter_map(Weak::upgrade) {
            instance.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Notify>>> {
        self.instances.lock().expect("no code panics while it holds this lock")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.world.schedulers.forget(&self.address);
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "scheduler {:?}", self.address.id)
    }
}

//! How a mutex is defined.

use std::sync::Arc;
use std::time::Duration;

use crate::check;
use crate::error::{Error, Result};
use crate::mutex::observe::Meter;
use crate::mutex::room::Room;
use crate::mutex::{Mutex, check_lease};
use crate::name::{self, Address, MAX_ID};
use crate::tidelock::{Tidelock, World};
use crate::time::{SECOND, TEN_YEARS};

/// The defaults of `lock` and `try_lock`.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) lease: Duration,
    pub(crate) wait: Duration,
    pub(crate) renews: bool,
    pub(crate) owner: Arc<str>,
}

/// Defines a [`Mutex`]; created by [`Tidelock::mutex`].
///
/// | option | default | valid |
/// |---|---|---|
/// | [`lease`](Self::lease) | 10 s | whole ms, 100 ms to 10 years; from 1 ms with `fixed_lease` |
/// | [`wait`](Self::wait) | 3 s | 0 to 10 years |
/// | [`fixed_lease`](Self::fixed_lease) | renewed | |
/// | [`owner`](Self::owner) | an id of this opened `Tidelock` | 1 to 256 bytes |
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct MutexBuilder {
    world: Arc<World>,
    address: Address,
    options: Options,
}

impl MutexBuilder {
    pub(crate) fn new(tide: &Tidelock, id: &str) -> Self {
        let options =
            Options { lease: 10 * SECOND, wait: 3 * SECOND, renews: true, owner: Arc::clone(&tide.world.process) };
        Self { world: Arc::clone(&tide.world), address: Address::new(&tide.tenant, id), options }
    }

    /// How long a grant lasts unless it is renewed, and so how long others wait for a holder that died.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.options.lease = lease;
        self
    }

    /// How long `lock` waits, counted from its first poll; zero asks once.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.options.wait = wait;
        self
    }

    /// Grants are not renewed: they end with their lease.
    pub fn fixed_lease(mut self) -> Self {
        self.options.renews = false;
        self
    }

    /// The label of holders that use this handle, shown by `describe`.
    pub fn owner(mut self, owner: &str) -> Self {
        self.options.owner = owner.into();
        self
    }

    /// Checks the options and creates the handle. Does no I/O.
    ///
    /// # Errors
    ///
    /// *Invalid configuration*, with the option and its value.
    pub fn build(self) -> Result<Mutex> {
        let Self { world, address, options } = self;
        let check = || {
            address.check_built()?;
            name::check(Error::configuration, "owner", &options.owner, MAX_ID)?;
            check_lease(Error::configuration, options.lease, options.renews)?;
            check::range(Error::configuration, "wait", options.wait, Duration::ZERO, TEN_YEARS)
        };
        check().map_err(|error| error.in_context(format!("mutex {:?}", address.id)))?;
        let (options, meter) = (Arc::new(options), Arc::new(Meter::new(&address.id)));
        Ok(Mutex { room: Room::of(&world), address, options, meter, world })
    }
}
